"""How calls end, whoever ends them, and that nothing of them is left."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from agent.conversations import Phrases
from agent.sandbox.caller.agi import Dialplan
from agent.sandbox.caller.wire import AudioSocketCaller

if TYPE_CHECKING:
    from tests.agent.conftest import Rig, RigMaker


async def hang_up_after(rig: Rig, seconds: float, *, announced: bool = True) -> dict[str, object]:
    """A caller who hangs up in the middle of whatever goes on; the record as it was written."""
    plan = rig.plan(announced=announced)
    if plan.fastagi_port is not None:
        await Dialplan(plan.host, plan.fastagi_port, did=plan.did, caller_id=plan.caller_id).start(plan.call)
    silence = bytes(320)
    wire = AudioSocketCaller(plan.call, lambda tick: silence, lambda at, samples, rate: None)
    await wire.connect(plan.host, plan.port)
    wire.start()
    await asyncio.sleep(seconds)
    wire.hang_up()
    await wire.close()
    record = await rig.record_of(plan.call, 8)
    document = json.loads((rig.agent.settings.records / f"{plan.call}.json").read_bytes())
    assert document["ended_by"] == record.ended_by == "caller"
    assert document["outcome"] == "no_booking"
    assert isinstance(document, dict)
    return document


@pytest.mark.parametrize("announced", [True, False])
async def test_a_caller_who_hangs_up_at_once(rig: Rig, announced: bool) -> None:
    await hang_up_after(rig, 0.0, announced=announced)
    await hang_up_after(rig, 0.03, announced=announced)
    document = await hang_up_after(rig, 0.25, announced=announced)
    assert document["company"] == ("Thames Plumbing" if announced else "Home Services")
    assert rig.sandbox_streams() == 0


async def test_a_caller_who_hangs_up_while_the_context_is_asked_for(rig: Rig) -> None:
    async with rig.slow_contexts(0.5):
        await hang_up_after(rig, 0.1, announced=False)


async def test_a_caller_who_hangs_up_in_the_middle_of_a_reply(rig: Rig) -> None:
    rig.voice.char_ms = 30
    plan = rig.plan(longest_s=3.4)
    result = await rig.dial("say: My tap leaks", plan)
    assert "not over after" in result.failure
    record = await rig.record_of(plan.call)
    assert record.ended_by == "caller"
    assert record.turns[1].interrupted
    assert record.turns[1].agent.startswith(record.turns[1].heard)
    assert 10 < len(record.turns[1].heard) < len(record.turns[1].agent)


async def test_a_caller_who_hangs_up_while_the_llm_thinks(rig: Rig) -> None:
    rig.vendors.groq.config.queue = 1500.0
    plan = rig.plan(longest_s=2.7)
    await rig.dial("say: My tap leaks", plan)
    record = await rig.record_of(plan.call)
    assert (record.ended_by, record.turns[-1].caller, record.turns[-1].agent) == ("caller", "My tap leaks", "")


async def test_a_human_is_asked_for(rig: Rig) -> None:
    result, record = await rig.call("say: Speak to a person")
    assert (result.failure, result.ended_by) == ("", "agent")
    assert (result.verdict, result.verdict_target) == ("transfer", "2001"), "the company's own extension"
    assert (record.outcome, record.verdict) == ("transferred", "transfer 2001")
    assert record.turns[-1].heard == "Of course, I'll put you through."


async def test_unknown_numbers_and_unknown_calls_are_answered(rig: Rig) -> None:
    """By the defaults: a company that nobody knows has nobody to be put through to."""
    unknown = rig.plan(did="+442079460999")
    unannounced = rig.plan(announced=False)
    first, second = await asyncio.gather(
        rig.dial("say: Speak to a person\nhangup", unknown), rig.dial("say: My tap leaks\nhangup", unannounced)
    )
    assert first.failure == second.failure == ""
    record = await rig.record_of(unknown.call)
    assert (record.source, record.company, record.outcome) == ("fastagi", "Home Services", "no_booking")
    assert "nobody's free" in record.turns[-1].agent
    record = await rig.record_of(unannounced.call)
    assert (record.source, record.company, record.caller_id) == ("none", "Home Services", "")
    assert record.turns[0].agent.startswith("Hello, Home Services, good ")
    assert "A tradesperson" in record.turns[1].agent


async def test_the_key_0_puts_through_to_a_person(rig: Rig) -> None:
    result, record = await rig.call("dtmf: 70")
    assert (result.failure, result.verdict, result.verdict_target) == ("", "transfer", "2001")
    assert record.turns[-1].heard == Phrases().transferring
    assert [(mark.what, mark.detail) for mark in record.marks if mark.what == "dtmf"] == [("dtmf", "7"), ("dtmf", "0")]
    assert rig.llm.asked == []


async def test_an_unknown_call_is_refused_where_that_is_asked_for(a_rig: RigMaker) -> None:
    async with a_rig(unknown_uuid="refuse") as rig:
        result = await rig.dial("say: hello", rig.plan(announced=False))
        assert (result.ended_by, result.failure) == ("agent", "the agent never spoke")
        assert result.duration_s < 2.5, "the announcement may still come for a second"
        await rig.nothing_is_left()
        assert rig.records == {}
        assert rig.vendors.deepgram.counters["upgrades"] == 0
        known, _ = await rig.call("say: Goodbye")
        assert known.failure == ""


async def test_a_second_connection_of_a_call_is_hung_up_and_the_first_goes_on(rig: Rig) -> None:
    plan = rig.plan()
    first = asyncio.create_task(rig.dial("wait: 700ms\nsay: Goodbye", plan))
    await asyncio.sleep(0.8)
    second = await rig.dial("say: hello", rig.plan(announced=False, call=plan.call))
    assert (second.ended_by, second.failure) == ("agent", "the agent never spoke")
    result = await first
    assert (result.failure, result.verdict) == ("", "hangup")
    record = await rig.record_of(plan.call)
    assert record.turns[-1].caller == "Goodbye"


async def test_an_announced_call_that_never_comes_is_let_go(rig: Rig) -> None:
    plan, call = rig.plan(), uuid4()
    assert plan.fastagi_port is not None
    await Dialplan(plan.host, plan.fastagi_port, did=plan.did, caller_id="").start(call)
    await rig.until(lambda: rig.sandbox_streams() == 1)
    await rig.agent.registry.withdraw(call)
    await rig.nothing_is_left()


async def test_the_agent_stops_in_the_middle_of_calls(a_rig: RigMaker) -> None:
    async with a_rig() as rig:
        calls = [asyncio.create_task(rig.dial("wait: 20s", rig.plan())) for _ in range(3)]
        await asyncio.sleep(0.5)
        assert rig.agent.calls == 3
    results = await asyncio.gather(*calls)
    assert [result.ended_by for result in results] == ["agent"] * 3
    assert len(rig.records) == 3
    assert rig.sandbox_streams() == 0
