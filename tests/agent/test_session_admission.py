"""Calls that are not taken, an agent that stops, and settings that change while calls run."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import aiohttp
import pytest

from agent import front
from agent.call.prompts import Prompt
from agent.call.record import CallRecord
from agent.conversations import ConversationError
from agent.ops.settings import Settings
from agent.sandbox.caller import CallResult
from agent.sandbox.caller.agi import Dialplan

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.agent.conftest import Rig, RigMaker


async def start(rig: Rig, call: UUID) -> Mapping[str, str]:
    plan = rig.plan()
    assert plan.fastagi_port is not None
    return await Dialplan(plan.host, plan.fastagi_port, did=plan.did, caller_id=plan.caller_id).start(call)


async def page(rig: Rig, path: str) -> tuple[int, Any]:
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"http://127.0.0.1:{rig.agent.http_port}{path}") as answer,
    ):
        return answer.status, await (answer.text() if path == "/metrics" else answer.json())


@contextlib.asynccontextmanager
async def a_call(
    rig: Rig, script: str = "wait: 30s", **plan: Any
) -> AsyncIterator[asyncio.Task[tuple[CallResult, CallRecord]]]:
    """One that goes on beside what is tested; awaiting the task gives its result and its record."""
    calls = rig.agent.calls
    made = rig.plan(**plan)

    async def call() -> tuple[CallResult, CallRecord]:
        return await rig.dial(script, made), await rig._record(made.call)

    task = asyncio.create_task(call(), name="the call beside")
    await rig.until(lambda: rig.agent.calls > calls)
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_a_full_agent_says_so_before_the_answer_and_hangs_up_who_does_not_ask(a_rig: RigMaker) -> None:
    async with a_rig(max_calls=2) as rig:
        announced = uuid4()
        assert (await start(rig, announced))["VOICE_AGENT_STATUS"] == "OK"
        async with a_call(rig, "wait: 300ms\nhangup") as beside:
            assert await page(rig, "/ready") == (503, {"ready": False, "why": "calls"})
            assert (await start(rig, uuid4()))["VOICE_AGENT_STATUS"] == "FULL", "one runs and one is to come"
            result = await rig.dial("wait: 5s", rig.plan(announced=False))
            assert (result.ended_by, result.failure) == ("agent", "the agent never spoke")
            assert result.duration_s < 1.0, "nobody waits in silence, nor for a metadata file"
            assert result.verdict in ("", "UNKNOWN"), "the dialplan's fallback"
            _, health = await page(rig, "/health")
            assert health["refused"] == {"calls": 2}
            assert (await beside)[0].failure == ""
        await rig.agent.registry.withdraw(announced)
        assert await page(rig, "/ready") == (200, {"ready": True})
        _, metrics = await page(rig, "/metrics")
        assert 'voice_agent_calls_refused_total{reason="calls"} 2.0' in metrics
        assert 'voice_agent_calls_refused_total{reason="lag"} 0.0' in metrics


async def test_a_caller_who_calls_too_often_hears_a_goodbye_that_asks_no_vendor(a_rig: RigMaker) -> None:
    async with a_rig(calls_per_caller_hour=1) as rig:
        first, _ = await rig.call("say: Goodbye")
        assert first.failure == ""
        asked = dict(rig.vendors.deepgram.counters), dict(rig.vendors.cartesia.counters), len(rig.llm.asked)
        result, record = await rig.call("wait: 20s")
        assert (result.ended_by, result.verdict) == ("agent", "hangup")
        assert (record.outcome, record.verdict) == ("refused", "hangup")
        assert [(mark.what, mark.detail) for mark in record.marks] == [("refused", "abuse_caller")]
        pcm, _ = rig.agent.services.prompts.audio(Prompt.LIMIT)
        heard = [u for u in result.utterances if u.who == "agent"]
        assert heard[-1].end_s - heard[0].start_s == pytest.approx(len(pcm) / 16000, abs=1.0), "all of it"
        assert asked == (dict(rig.vendors.deepgram.counters), dict(rig.vendors.cartesia.counters), len(rig.llm.asked))
        other, _ = await rig.call("say: Goodbye", rig.plan(caller_id="+447700900199"))
        assert other.failure == ""
        assert rig.agent.admission.counters == {"abuse_caller": 1}


async def test_a_stopping_agent_lets_calls_end_and_says_goodbye_to_those_that_do_not(rig: Rig) -> None:
    async with a_call(rig, "wait: 1s\nhangup") as short, a_call(rig, caller_id="+447700900124") as long:
        draining = asyncio.create_task(rig.agent.drain(3.0), name="drain")
        await rig.until(lambda: rig.agent.stopping)
        assert (await start(rig, uuid4()))["VOICE_AGENT_STATUS"] == "FULL"
        assert await page(rig, "/ready") == (503, {"ready": False, "why": "stopping"})
        assert (await page(rig, "/health"))[1]["status"] == "stopping"
        refused = await rig.dial("wait: 5s", rig.plan(announced=False))
        assert (refused.ended_by, refused.failure) == ("agent", "the agent never spoke")
        result, record = await short
        assert (result.failure, record.ended_by) == ("", "caller")
        assert not draining.done()
        result, record = await long
        assert (result.ended_by, result.verdict) == ("agent", "hangup")
        assert record.turns[-1].heard == Prompt.CLOSING.value
        assert "stopping" in [mark.what for mark in record.marks]
        await draining


async def test_a_call_that_was_announced_is_still_taken_when_the_agent_stops(rig: Rig) -> None:
    plan = rig.plan()
    assert (await start(rig, plan.call))["VOICE_AGENT_STATUS"] == "OK"
    draining = asyncio.create_task(rig.agent.drain(10.0), name="drain")
    await rig.until(lambda: rig.agent.stopping)
    result = await rig.dial("say: Goodbye", rig.plan(announced=False, call=plan.call))
    assert "never spoke" not in result.failure
    assert (await rig.record_of(plan.call)).company == "Thames Plumbing"
    await draining


async def test_a_call_that_does_not_come_is_not_waited_for_for_long(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "COMING_S", 0.2)
    assert (await start(rig, uuid4()))["VOICE_AGENT_STATUS"] == "OK"
    async with asyncio.timeout(5):
        await rig.agent.drain(30.0)


async def test_new_settings_are_for_new_calls(a_rig: RigMaker, agent_settings: Callable[..., Settings]) -> None:
    async with a_rig() as rig:
        old = rig.agent.services
        async with a_call(rig, "say: My tap leaks\nwait: 1s\nhangup") as beside:
            await rig.until(lambda: rig.llm.asked)
            fixed = await rig.agent.reload(
                agent_settings(conversation="dentist", listen_port=rig.agent.audio_port, max_calls=7, llm_max_tokens=99)
            )
            assert fixed == ["listen_port", "max_calls"]
            assert rig.agent.settings.max_calls == 20
            assert rig.agent.services is not old
            _, record = await beside
            assert "£65" in record.turns[1].agent, "the home service's price: it keeps what it began with"
        await rig.until(lambda: list(rig.agent.floor._voices) == [id(rig.agent.services)], 6)
        assert rig.agent.services.conversations.default.name == "dentist"
        assert rig.agent.services.settings.llm_max_tokens == 99
        result, record = await rig.call("hangup", rig.plan(did="+442079460999"))
        assert result.failure == ""


async def test_wrong_settings_leave_everything_as_it_is(rig: Rig, agent_settings: Callable[..., Settings]) -> None:
    before = rig.agent.services, rig.agent.settings
    with pytest.raises(ConversationError, match="nowhere"):
        await rig.agent.reload(agent_settings(conversation="nowhere", llm_max_tokens=99))
    assert (rig.agent.services, rig.agent.settings) == before
