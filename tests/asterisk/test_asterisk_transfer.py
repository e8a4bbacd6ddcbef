"""A transfer to a phone that really rings: last words to their end, the ringing, then both ends hear each other.

The phone is SIPp at a port of its own, and says back whatever it hears.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from uuid import UUID

import pytest
from rig import rtpcheck
from rig.config import HUMAN
from rig.line import Line, hears_message, rings, talks_with_the_human
from rig.sipp import HumanPhone
from rig.sounds import chirp

from agent.telephony import Verdict

pytestmark = [pytest.mark.asterisk, pytest.mark.asyncio(loop_scope="session")]

NUMBER = "all-02079460101"


@pytest.mark.parametrize("target", [HUMAN, "sales"], ids=["a number", "a queue"])
async def test_the_last_words_then_a_phone_that_rings(line: Line, tmp_path: Path, target: str) -> None:
    words = chirp(1.5, 4)
    async with HumanPhone(line.rig, tmp_path) as human:
        async with line.caller().call(NUMBER) as call:
            agent = await line.agent.call()
            agent.play(words)
            await call.media.heard(5, after_s=0.0)
            await call.media.quiet(5, 0.3)
            await line.agent.decide(agent, Verdict("transfer", target))
            if target == HUMAN:
                await rings(call)
                heard = rtpcheck.samples([packet for packet in call.packets if packet.payload_type == 0])
                _, likeness = rtpcheck.find(words, heard)
                assert likeness > 0.95
            await asyncio.sleep(2.5)
            await talks_with_the_human(call)
            assert agent.over.is_set()
        await human.done()
    await line.rig.settle()
    assert line.missed == []
    assert line.rig.complaints() == []


@pytest.mark.parametrize("way", ["fastagi", "http", "script"])
async def test_a_human_who_is_busy_is_said_to_the_caller_and_to_the_agent(line: Line, way: str) -> None:
    if way == "http":
        await line.rig.set_global("VOICE_AGENT_HTTP_PORT", str(line.http_port))
    elif way == "script":
        await line.rig.set_global("VOICE_AGENT_SCRIPT", "voice-agent.agi")
    async with line.caller().call(NUMBER) as call:
        agent = await line.agent.call()
        await line.agent.decide(agent, Verdict("transfer", "2003"))
        await hears_message(call)
    assert await missed(line) == [(agent.uuid, "BUSY")]
    assert line.rig.complaints() == []


async def missed(line: Line) -> list[tuple[UUID, str]]:
    """The transfers that were in vain, once the call has left nothing."""
    await line.rig.settle()
    return line.missed


async def test_a_queue_with_nobody_in_it_is_the_fallback(line: Line) -> None:
    await line.rig.cli(f"queue pause member PJSIP/{HUMAN} queue sales")
    try:
        async with line.caller().call(NUMBER) as call:
            agent = await line.agent.call()
            await line.agent.decide(agent, Verdict("transfer", "sales"))
            await hears_message(call)
    finally:
        await line.rig.cli(f"queue unpause member PJSIP/{HUMAN} queue sales")
    assert [uuid for uuid, _ in await missed(line)] == [agent.uuid]
    assert line.rig.complaints({"as it should": r"app_queue\.c: Unable to join queue 'sales'"}) == []


async def test_a_caller_who_gives_up_while_it_rings_leaves_nothing(line: Line, tmp_path: Path) -> None:
    async with HumanPhone(line.rig, tmp_path, rings_s=20), line.caller().call(NUMBER) as call:
        agent = await line.agent.call()
        await line.agent.decide(agent, Verdict("transfer", HUMAN))
        await rings(call)
        await call.hang_up()
        assert await missed(line) == [(agent.uuid, "CANCEL")]
    assert line.rig.complaints() == []
