"""Whole calls while something that the agent needs is broken: what the caller hears, and what the dialplan is told."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from agent.call import reply
from agent.conversations import Phrases

if TYPE_CHECKING:
    from tests.agent.conftest import Rig, RigMaker

UNKNOWN = "the agent's next has no verdict: the dialplan goes to its fallback"


async def test_the_stt_refuses_its_key(rig: Rig) -> None:
    """The caller hears that there is trouble; the dialplan gets no verdict and takes its fallback."""
    rig.vendors.deepgram.config.keys = ("another",)
    result, record = await rig.call("wait: 20s")
    assert (result.ended_by, result.failure) == ("agent", UNKNOWN)
    assert record.turns[-1].heard == Phrases().trouble
    assert (record.outcome, record.verdict) == ("failed", "")
    assert "no_stt" in [mark.what for mark in record.marks]


async def test_the_stt_is_lost_in_the_middle_for_good(rig: Rig) -> None:
    async def revoke() -> None:
        await asyncio.sleep(0.9)
        rig.vendors.deepgram.config.keys = ("another",)
        for socket in list(rig.vendors.deepgram.sockets):
            await socket.close(1011)

    revoking = asyncio.create_task(revoke())
    result, record = await rig.call("wait: 20s")
    await revoking
    assert result.failure == UNKNOWN
    assert record.turns[-1].heard == Phrases().trouble
    assert record.outcome == "failed"


async def test_the_stt_is_lost_for_a_moment(rig: Rig) -> None:
    rig.vendors.deepgram.faults.close_times = 1
    result, record = await rig.call("say: My tap leaks\nhangup")
    assert result.failure == ""
    assert record.turns[1].caller == "My tap leaks"
    assert record.vendors["stt"]["reconnected"] == 1


async def test_the_llm_is_down_for_a_moment_and_is_asked_again(rig: Rig) -> None:
    rig.vendors.groq.faults.refuse_times = 2
    result, record = await rig.call("say: My tap leaks\nwait: 4s\nhangup")
    assert result.failure == ""
    assert [turn.heard for turn in record.turns][1] == Phrases().trouble
    assert "plumber" in record.turns[2].agent
    assert rig.agent.services.counters["replies_failed"] == 1
    assert rig.llm.asked[-1][-1] == {"role": "user", "content": "My tap leaks"}
    assert record.outcome == "no_booking"


async def test_the_llm_is_down_for_good(rig: Rig) -> None:
    """The caller is told once, and reaches the dialplan's fallback: there is no verdict."""
    rig.vendors.groq.config.keys = ("another",)
    result, record = await rig.call("say: My tap leaks\nwait: 20s")
    assert (result.ended_by, result.failure) == ("agent", UNKNOWN)
    assert [turn.heard for turn in record.turns].count(Phrases().trouble) == 1
    assert (record.outcome, record.verdict) == ("failed", "")
    assert "no_llm" in [mark.what for mark in record.marks]


async def test_the_tts_is_down(rig: Rig) -> None:
    """Nothing can be said, so nothing is waited for: the dialplan takes its fallback."""
    rig.vendors.cartesia.config.keys = ("another",)
    result, record = await rig.call("wait: 20s")
    assert result.ended_by == "agent"
    assert result.verdict in ("", "UNKNOWN")
    assert result.duration_s < 3.0
    assert (record.outcome, record.verdict) == ("failed", "")
    assert "no_tts" in [mark.what for mark in record.marks]


@pytest.mark.parametrize("after", [-1, 8, 25])
async def test_the_tts_loses_its_connection_in_the_middle(rig: Rig, after: int) -> None:
    """Before the first audio or behind some of it: the rest is said on another connection."""
    rig.vendors.cartesia.config.chunk_ms = 20

    async def close() -> None:
        await rig.until(lambda: rig.llm.asked)
        chunks = rig.vendors.cartesia.counters["sent_chunk"]
        await rig.until(lambda: rig.vendors.cartesia.counters["sent_chunk"] > chunks + after)
        for socket in list(rig.vendors.cartesia.sockets):
            await socket.close(0)

    closing = asyncio.create_task(close())
    result, record = await rig.call("say: My tap leaks\nhangup")
    await closing
    assert result.failure == ""
    assert "£65" in record.turns[1].heard
    assert record.outcome == "no_booking"
    quote = next(u for u in result.utterances if u.who == "agent" and u.start_s > 1.0)
    letters = (quote.end_s - quote.start_s) * 1000 / rig.voice.char_ms
    assert letters == pytest.approx(len(record.turns[1].agent), abs=40), "hardly a word twice, and none left out"


async def test_the_context_api_is_down(a_rig: RigMaker) -> None:
    async with a_rig(context_api_url="http://127.0.0.1:1/did_context") as rig:
        result, record = await rig.call("say: My tap leaks\nhangup")
    assert result.failure == ""
    assert record.company == "Home Services"
    assert record.turns[0].heard.startswith("Hello, Home Services, good ")
    assert "A tradesperson" in record.turns[1].agent
    assert [mark.detail for mark in record.marks if mark.what == "default_context"] == ["connect"]


async def test_a_slow_context_is_waited_for_a_second_and_no_longer(rig: Rig) -> None:
    async with rig.slow_contexts(1.7):
        result, record = await rig.call("hangup", rig.plan(announced=False))
    assert result.failure == ""
    assert record.company == "Home Services"
    greeting = next(utterance for utterance in result.utterances if utterance.who == "agent")
    assert 0.9 < greeting.start_s < 1.45
    assert [mark.detail for mark in record.marks if mark.what == "default_context"] == ["late"]


async def test_a_slow_tool_says_that_someone_is_there(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reply, "FILLER_S", 0.2)
    async with rig.slow_tools(0.8):
        result, record = await rig.call("say: Speak to a person")
    assert (result.failure, result.verdict) == ("", "transfer")
    assert record.turns[-1].heard == "Of course, I'll put you through." + " " + Phrases().filler(0)
    assert record.turns[-1].tools[0]["ms"] >= 800


async def test_a_caller_speaks_while_a_tool_runs(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each tool call has its answer in what the LLM reads next, or the vendor would refuse the conversation."""
    monkeypatch.setattr(reply, "FILLER_S", 0.1)
    rig.speak_slowly(20, until_asked=2)
    async with rig.slow_tools(2.0):
        result, record = await rig.call("say: Speak to a person\ninterrupt 300ms: no wait my tap leaks")
    assert (result.failure, result.verdict) == ("", "transfer")
    asked = rig.llm.asked[-1]
    calls = [call["id"] for message in asked for call in message.get("tool_calls", ())]
    answers = [message for message in asked if message["role"] == "tool"]
    assert calls == [message["tool_call_id"] for message in answers]
    assert json.loads(answers[0]["content"])["status"] == "still running"
    assert record.outcome == "transferred"
