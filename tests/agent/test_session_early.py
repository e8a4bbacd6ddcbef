"""Whole calls in which answers are thought of early, or something keeps them from being heard."""

from __future__ import annotations

import asyncio
import wave
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from agent.call import turn_limits
from agent.call.prompts import Prompt
from agent.conversations import Phrases
from agent.providers.base import LlmEvent, Message
from agent.sandbox.caller import SimulatedCaller, parse_script
from agent.speech_engines import Speech
from agent.speech_engines.tones import ToneVoice

if TYPE_CHECKING:
    from tests.agent.conftest import Rig, RigMaker

BOOKING = """
say: Hello, my kitchen tap is leaking
when "thirty minutes": say: Yes that's fine
when "postcode": say: SW4 7DQ
when "Sierra" or "right": say: Yes
when "street": say: 12 Baker Street
when "name": say: Anna Smith
when "anything else": say: No thanks
"""


def halves(path: Path, first: str, pause_ms: int, second: str) -> str:
    """A line of a script that says two things with a pause between them."""
    one, two = (ToneVoice().speak(text, 8000).samples for text in (first, second))
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(np.concatenate([one, np.zeros(8 * pause_ms, np.int16), two]).astype("<i2").tobytes())
    return f"play: {path}"


@pytest.mark.alone  # half a second is to be long enough, and too short
async def test_what_is_thrown_away_leaves_no_trace_but_its_count(rig: Rig, tmp_path: Path) -> None:
    """The pause is long enough to think of an answer, and too short to be certain."""
    line = halves(tmp_path / "said.wav", "My tap is leaking.", 520, "It's the kitchen one.")
    result, record = await rig.call(f"{line}\nhangup")
    assert result.failure == ""
    whole = "My tap is leaking. It's the kitchen one."
    assert [exchange.caller for exchange in record.turns] == ["", whole]
    assert [asked[-1]["content"] for asked in rig.llm.asked] == ["My tap is leaking.", whole]
    assert [message["role"] for message in rig.llm.asked[-1]] == ["system", "assistant", "user"]
    assert record.early_answers == {"begun": 2, "used": 1, "thrown_away": 1}
    assert (record.turns[1].drafts, record.turns[1].wasted) == (2, 1)
    assert record.turns[1].heard == record.turns[1].agent
    assert "flush" not in [mark.what for mark in record.marks], "nothing of the first answer was heard"


async def test_thinking_early_can_be_switched_off(a_rig: RigMaker, tmp_path: Path) -> None:
    async with a_rig(early_answers=0) as rig:
        line = halves(tmp_path / "said.wav", "My tap is leaking.", 520, "It's the kitchen one.")
        _, record = await rig.call(f"{line}\nhangup")
        assert len(rig.llm.asked) == 1
        assert record.early_answers == {"begun": 0, "used": 0, "thrown_away": 0}
        times = record.turns[1].times
        assert times.turn_end is not None
        assert times.llm_request is not None
        assert times.llm_request >= times.turn_end


async def test_a_booking_with_an_stt_that_ends_turns_itself(a_rig: RigMaker) -> None:
    async with a_rig(deepgram_model="flux-general-en") as rig:
        result, record = await rig.call(BOOKING)
        assert (result.failure, result.ended_by, record.outcome) == ("", "agent", "booked")
        (booking,) = await rig.store.list_bookings()
        assert (booking.customer_name, booking.postcode) == ("Anna Smith", "SW4 7DQ")
        assert len(record.turns) == 8, "each turn is answered once"
        assert record.early_answers["used"] >= 4
        for exchange in record.turns[1:]:
            assert exchange.times.turn_end is not None
            assert exchange.times.first_frame is not None
            assert exchange.times.turn_end <= exchange.times.first_frame


class Hum:
    """A voice without words: what hears levels and pitch hears somebody, and the STT hears nothing."""

    name = "hum"

    def speak(self, text: str, sample_rate: int) -> Speech:
        """Two and a half seconds of it, whatever the text."""
        time_s = np.arange(int(2.5 * sample_rate)) / sample_rate
        waver = 1 + 0.4 * np.sin(2 * np.pi * 3 * time_s)
        tones = sum(np.sin(2 * np.pi * 140 * n * time_s) / n for n in range(1, 12))
        return Speech((2500 * waver * tones).astype(np.int16), sample_rate, ())


async def test_a_noise_that_cuts_the_agent_off_does_not_leave_it_silent(rig: Rig) -> None:
    rig.voice.char_ms = 40
    plan = rig.plan()
    await SimulatedCaller(plan, parse_script("interrupt 500ms: hum\nwait: 6s\nhangup"), Hum()).run()
    record = await rig.record_of(plan.call)
    marks = [mark.what for mark in record.marks]
    assert marks.index("flush") < marks.index("goes_on")
    greeting, rest = record.turns[0], record.turns[1]
    assert greeting.interrupted
    assert greeting.agent.endswith(rest.agent)
    assert rest.heard == rest.agent
    assert rig.llm.asked == []


class Hanging:
    """A language model that neither answers nor fails."""

    def __init__(self) -> None:
        self.asked = 0

    async def reply(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> AsyncGenerator[LlmEvent]:
        self.asked += 1
        await asyncio.Event().wait()
        yield  # type: ignore[misc]


async def test_a_vendor_that_hangs_is_apologised_for_once_and_then_a_person_takes_the_call(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn_limits, "THINKING_MS", 700)
    llm = rig.agent.services.llm = Hanging()
    result, record = await rig.call("say: My tap leaks")
    sorry = f"{Prompt.SORRY.value} {Prompt.TRANSFERRING.value}"
    assert [exchange.agent for exchange in record.turns[1:]] == [Phrases().trouble, sorry]
    assert [mark.what for mark in record.marks if mark.what in ("stalled", "no_llm")] == [
        "stalled",
        "stalled",
        "no_llm",
    ]
    assert (record.outcome, result.verdict) == ("failed", "transfer")
    assert llm.asked == 2


async def test_a_number_may_be_typed_where_one_is_asked_for(rig: Rig) -> None:
    script = BOOKING.replace('when "anything', 'when "number to reach": dtmf: 07700900456\nwhen "anything')
    result, record = await rig.call(script, rig.plan(caller_id="", longest_s=60.0))
    assert (result.failure, record.outcome) == ("", "booked")
    (booking,) = await rig.store.list_bookings()
    assert booking.phone == "+447700900456"
