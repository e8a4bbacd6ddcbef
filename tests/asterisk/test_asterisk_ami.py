"""Transfers by AMI: the agent has Asterisk take the caller out of AudioSocket(), with a manager.conf that allows it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from rig.config import HUMAN, MANAGER_SECRET, MANAGER_USER
from rig.line import Line, hears_message, hears_tone, talks_with_the_human
from rig.sipp import HumanPhone

from agent.telephony import Manager

pytestmark = [pytest.mark.asterisk, pytest.mark.asyncio(loop_scope="session")]

NUMBER = "02079460101"
AS_IT_SHOULD = {
    "Asterisk wakes the thread of the call with a signal": r"app_audiosocket\.c: Reached timeout after \d+ ms",
}


def manager(line: Line, secret: str = MANAGER_SECRET) -> Manager:
    return Manager("127.0.0.1", line.rig.manager_port, MANAGER_USER, secret)


@pytest.mark.parametrize("codec", ["", "slin16"])
async def test_a_caller_is_taken_out_of_the_call(line: Line, tmp_path: Path, codec: str) -> None:
    """Also where the dialplan has no `next`, as on hosts that cannot go on after AudioSocket()."""
    await line.rig.set_global("VOICE_AGENT_CODEC", codec)
    entry = "all" if codec else "bare"
    async with HumanPhone(line.rig, tmp_path) as human:
        async with line.caller().call(f"{entry}-{NUMBER}") as call:
            agent = await line.agent.call()
            assert agent.info is not None
            asked = manager(line)
            assert await asked.redirect(agent.info.channel, HUMAN)
            await asyncio.wait_for(agent.over.wait(), 2)
            await asyncio.sleep(2.5)
            await talks_with_the_human(call)
        await human.done()
    assert asked.counters == {"redirected": 1}
    assert line.rig.complaints(AS_IT_SHOULD) == []


async def test_a_target_that_is_not_in_the_context_is_the_fallback(line: Line) -> None:
    async with line.caller().call(f"all-{NUMBER}") as call:
        agent = await line.agent.call()
        assert agent.info is not None
        assert await manager(line).redirect(agent.info.channel, "*9")
        await hears_message(call)
    assert line.rig.complaints(AS_IT_SHOULD) == []


async def test_what_asterisk_refuses_changes_nothing_for_the_caller(line: Line) -> None:
    async with line.caller().call(f"all-{NUMBER}") as call:
        agent = await line.agent.call()
        assert agent.info is not None
        asked = manager(line)
        assert not await asked.redirect("PJSIP/rig-ffffffff", "2001")
        assert asked.counters == {"failed_refused": 1}
        stranger = manager(line, "wrong")
        assert not await stranger.redirect(agent.info.channel, "2001")
        assert stranger.counters == {"failed_login": 1}
        assert not agent.over.is_set()
        assert await asked.redirect(agent.info.channel, "2001")
        await hears_tone(call, 620)
    refused = {"the wrong secret": r"manager\.c: 127\.0\.0\.1 failed to authenticate"}
    assert line.rig.complaints(AS_IT_SHOULD, refused) == []


@pytest.mark.parametrize("name", ["Ann\rAction: Originate", 'x"; Action: Redirect', "Ann\x0bB"])
async def test_a_name_is_no_action(line: Line, name: str) -> None:
    """Whatever the name, the channel that is redirected is this one."""
    async with line.caller(name=name).call(f"all-{NUMBER}") as call:
        agent = await line.agent.call()
        assert agent.info is not None
        assert agent.info.caller_name.isprintable()
        assert await manager(line).redirect(agent.info.channel, "2001")
        await hears_tone(call, 620)
    assert line.rig.complaints(AS_IT_SHOULD) == []
