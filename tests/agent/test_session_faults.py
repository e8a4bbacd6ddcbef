"""Whole calls while something that the agent needs is broken: what the caller hears, and what the dialplan is told."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import json
from typing import TYPE_CHECKING

import pytest

from agent.call import reply
from agent.call.prompts import Prompt
from agent.conversations import Phrases
from agent.office.seed import LONDON_PLUMBER
from agent.office.store import add_companies
from agent.sandbox.brain import answer

if TYPE_CHECKING:
    from agent.sandbox.caller.result import CallResult
    from tests.agent.conftest import Rig, RigMaker

UNKNOWN = "the agent's next has no verdict: the dialplan goes to its fallback"
APOLOGY = f"{Prompt.SORRY.value} {Prompt.TRANSFERRING.value}"


def waits(result: CallResult) -> list[float]:
    """How long the caller heard nothing, s: after each thing they said, and between two that the agent said."""
    gaps = []
    for before, after in itertools.pairwise(result.utterances):
        if after.who == "agent":
            gaps.append(after.start_s - before.end_s)
    return gaps


async def nobody_to_transfer_to(rig: Rig) -> None:
    await add_companies(rig.store, [dataclasses.replace(LONDON_PLUMBER, transfer_targets={})])


async def test_the_stt_refuses_its_key(rig: Rig) -> None:
    """The caller hears that there is trouble, and is put through."""
    rig.vendors.deepgram.config.keys = ("another",)
    result, record = await rig.call("wait: 20s")
    assert (result.ended_by, result.verdict, result.verdict_target) == ("agent", "transfer", "2001")
    assert record.turns[-1].heard == APOLOGY
    assert (record.outcome, record.verdict) == ("failed", "transfer 2001")
    assert "no_stt" in [mark.what for mark in record.marks]


async def test_where_there_is_nobody_the_dialplan_takes_its_fallback(rig: Rig) -> None:
    await nobody_to_transfer_to(rig)
    rig.vendors.deepgram.config.keys = ("another",)
    result, record = await rig.call("wait: 20s")
    assert (result.ended_by, result.failure) == ("agent", UNKNOWN)
    assert record.turns[-1].heard == Prompt.SORRY.value
    assert (record.outcome, record.verdict) == ("failed", "")


async def test_the_stt_is_lost_in_the_middle_for_good(rig: Rig) -> None:
    async def revoke() -> None:
        await asyncio.sleep(0.9)
        rig.vendors.deepgram.config.keys = ("another",)
        for socket in list(rig.vendors.deepgram.sockets):
            await socket.close(1011)

    revoking = asyncio.create_task(revoke())
    result, record = await rig.call("wait: 20s")
    await revoking
    assert result.verdict == "transfer"
    assert record.turns[-1].heard == APOLOGY
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


@pytest.mark.parametrize("fault", ["close", "error", "garbage", "cut", "silent"])
async def test_the_llm_breaks_off_in_mid_reply(rig: Rig, fault: str) -> None:
    """Another model goes on, and the caller hears each word once."""
    setattr(rig.vendors.groq.faults, f"{fault}_times", 1)
    setattr(rig.vendors.groq.faults, f"{fault}_after", 20)
    result, record = await rig.call("say: My tap leaks\nhangup")
    assert result.failure == ""
    conversation = rig.agent.services.conversations.default
    whole = conversation.spoken(answer(rig.llm.asked[-1], conversation.tools.schemas()).text)
    assert record.turns[1].agent == whole
    assert (rig.llm.counters["went_on"], rig.agent.services.counters["replies_failed"]) == (1, 0)


async def test_the_llm_is_down_for_good(rig: Rig) -> None:
    """The caller is told once, and reaches the dialplan's fallback: there is no verdict."""
    await nobody_to_transfer_to(rig)
    rig.vendors.groq.config.keys = ("another",)
    result, record = await rig.call("say: My tap leaks\nwait: 20s")
    assert (result.ended_by, result.failure) == ("agent", UNKNOWN)
    assert [turn.heard for turn in record.turns].count(Phrases().trouble) == 1
    assert record.turns[-1].heard == Prompt.SORRY.value
    assert (record.outcome, record.verdict) == ("failed", "")
    assert "no_llm" in [mark.what for mark in record.marks]


async def test_the_tts_is_down(rig: Rig) -> None:
    """Nothing can be said but what was recorded before."""
    rig.vendors.cartesia.config.keys = ("another",)
    result, record = await rig.call("wait: 20s")
    assert (result.ended_by, result.verdict) == ("agent", "transfer")
    assert result.utterances[0].start_s < 2.0
    assert record.turns[-1].heard == APOLOGY
    assert (record.outcome, record.verdict) == ("failed", "transfer 2001")
    assert "no_tts" in [mark.what for mark in record.marks]


async def test_a_goodbye_that_cannot_be_said_was_recorded_before(a_rig: RigMaker) -> None:
    """The voice is lost between the greeting and the goodbye: nothing else is being said that would miss it."""
    greeted = asyncio.Event()
    async with a_rig(max_call_seconds=10) as rig:
        object.__setattr__(rig.agent.settings, "max_call_seconds", 3)
        rig.agent.services.on_turn = lambda record, turn: greeted.set()
        call = asyncio.create_task(rig.call("wait: 20s"))
        await greeted.wait()
        rig.vendors.cartesia.config.keys = ("another",)
        for socket in list(rig.vendors.cartesia.sockets):
            await socket.close(1011)
        result, record = await call
    assert (result.ended_by, result.verdict) == ("agent", "hangup")
    assert record.turns[-1].heard == Prompt.SORRY_GOODBYE.value


async def test_last_words_that_are_being_said_at_the_calls_limit_are_heard_out(a_rig: RigMaker) -> None:
    async with a_rig(max_call_seconds=10) as rig:
        object.__setattr__(rig.agent.settings, "max_call_seconds", 2)
        rig.vendors.cartesia.config.keys = ("another",)
        result, record = await rig.call("wait: 20s")
    assert record.turns[-1].heard == APOLOGY
    assert record.seconds > 2.0, "the limit was reached in the middle of them"
    assert (result.ended_by, result.verdict, result.verdict_target) == ("agent", "transfer", "2001")


async def test_an_answer_that_is_late_is_waited_for_in_company(rig: Rig) -> None:
    rig.vendors.groq.config.queue = 4000.0
    result, record = await rig.call("say: My tap leaks\nwait: 8s\nhangup", rig.plan(longest_s=25.0))
    assert max(waits(result)) < 2.0, result.utterances
    assert [mark.detail for mark in record.marks if mark.what == "bear_with_me"][:1] == ["bear_with_me"]
    whole = record.turns[1].times.latency_ms
    assert whole is None or whole > 2500, "what is said meanwhile is no answer"


async def test_a_voice_that_stops_in_the_middle_is_waited_for_in_company(rig: Rig) -> None:
    """Cartesia goes silent in the middle of a word and says so only late."""
    rig.speak_slowly(25, until_asked=99)
    rig.vendors.cartesia.config.chunk_ms = 50
    result, _ = await rig.call("hangup")
    assert result.failure == ""
    rig.vendors.cartesia.faults.silent_times = 1
    rig.vendors.cartesia.faults.silent_after = 12
    result, _ = await rig.call("say: My tap leaks\nwait: 6s\nhangup", rig.plan(longest_s=30.0))
    assert max(waits(result)) < 2.0, result.utterances


async def test_a_greeting_whose_context_was_late_too(rig: Rig) -> None:
    rig.vendors.cartesia.faults.silent_times = 9
    async with rig.slow_contexts(1.7):
        result, _ = await rig.call("wait: 20s", rig.plan(announced=False, longest_s=30.0))
    assert result.utterances[0].start_s < 2.0
    assert max(waits(result), default=0.0) < 2.0, result.utterances


async def test_a_greeting_that_is_late(rig: Rig) -> None:
    rig.vendors.cartesia.faults.silent_times = 9
    result, record = await rig.call("wait: 20s", rig.plan(announced=False, longest_s=30.0))
    assert result.utterances[0].start_s < 2.0
    assert max(waits(result), default=0.0) < 2.0, result.utterances
    assert record.marks[0].detail == "hello" or "no_tts" in [mark.what for mark in record.marks]


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
