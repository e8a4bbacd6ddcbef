"""Calls through a real Asterisk and the shipped dialplan, with a stand-in for the agent's audio."""

from __future__ import annotations

import asyncio

import pytest
from rig import rtpcheck
from rig.config import PEOPLE_ANSWER, PEOPLE_SILENT
from rig.line import Line, hears_message, hears_tone
from rig.server import KNOWN_WITHOUT_AGENT
from rig.sipcaller import CallRefusedError
from rig.sounds import chirp

from agent.telephony import Verdict

pytestmark = [pytest.mark.asterisk, pytest.mark.asyncio(loop_scope="session")]

NUMBER = "02079460101"


async def test_the_caller_is_announced_greeted_and_heard(line: Line) -> None:
    greeting, words = chirp(2.0, 1), chirp(1.0, 2)
    async with line.caller().call(f"all-{NUMBER}") as call:
        agent = await line.agent.call()
        agent.play(greeting)
        await call.media.heard(5, after_s=0.0)
        await call.media.quiet(10)
        await call.media.say(words)
        await asyncio.sleep(0.2)
        await line.agent.decide(agent, Verdict("hangup"))
        await call.wait_ended(5)

    info = agent.info
    assert info is not None
    assert (info.did, info.caller_id, info.caller_name) == (NUMBER, "07700900123", "Ann Example")
    assert (info.source, info.uuid) == ("fastagi", agent.uuid)
    assert info.linked_id == info.unique_id != ""
    assert info.channel.startswith("PJSIP/rig-")
    assert agent.odd_kinds == []

    report = rtpcheck.check(call.packets)
    assert report.problems() == []
    assert report.packets > 150
    assert rtpcheck.on_pace(report, ppm=5000)
    _, likeness = rtpcheck.find(greeting, rtpcheck.samples(call.packets))
    assert likeness > 0.95
    _, likeness = rtpcheck.find(words, rtpcheck.linear(bytes(agent.heard)))
    assert likeness > 0.95
    _, likeness = rtpcheck.find(chirp(2.0, 3), rtpcheck.samples(call.packets))
    assert likeness < 0.5
    assert line.rig.complaints() == []


async def test_digits_arrive(line: Line) -> None:
    async with line.caller().call(f"all-{NUMBER}") as call:
        agent = await line.agent.call()
        await call.media.press("1#05")
        assert [await agent.digit() for _ in range(4)] == ["1", "#", "0", "5"]
        await line.agent.decide(agent, Verdict("hangup"))
        await call.wait_ended(5)
    assert line.rig.complaints() == []


async def test_a_transfer_goes_on_in_the_dialplan(line: Line) -> None:
    async with line.caller().call(f"all-{NUMBER}") as call:
        agent = await line.agent.call()
        agent.play(chirp(1.0, 4))
        await call.media.heard(5, after_s=0.0)
        await call.media.quiet(5, 0.3)
        await line.agent.decide(agent, Verdict("transfer", "2001"))
        await hears_tone(call, 620)
        assert agent.over.is_set()
    assert line.rig.complaints() == []


async def test_a_transfer_to_nowhere_is_the_fallback(line: Line) -> None:
    async with line.caller().call(f"all-{NUMBER}") as call:
        await line.agent.decide(await line.agent.call(), Verdict("transfer", "*9"))
        await hears_message(call)
    assert line.rig.complaints() == []


async def test_a_menu_is_the_site_s_own(line: Line) -> None:
    async with line.caller().call(f"all-{NUMBER}") as call:
        await line.agent.decide(await line.agent.call(), Verdict("menu"))
        await hears_message(call)
    assert "voice-agent-menu" in line.rig.log()
    assert line.rig.complaints() == []


async def test_the_caller_hangs_up(line: Line) -> None:
    async with line.caller().call(f"all-{NUMBER}") as call:
        agent = await line.agent.call()
        await asyncio.sleep(0.3)
        await call.hang_up()
        async with asyncio.timeout(5):
            await agent.over.wait()
    assert line.rig.complaints() == []


async def test_a_full_agent_is_not_called(line: Line) -> None:
    line.room = False
    before = line.agent.connections
    async with line.caller().call(f"all-{NUMBER}") as call:
        await hears_message(call)
    assert len(line.started) == 1
    assert line.agent.connections == before
    assert line.registry.announced == 0
    assert line.rig.complaints() == []


async def test_with_no_agent_listening_the_fallback_plays(line: Line) -> None:
    # Port 1 is nobody's.
    await line.rig.set_global("VOICE_AGENT_AGI_PORT", "1")
    async with line.caller().call(f"all-{NUMBER}") as call:
        await hears_message(call)
    assert line.started == []
    assert line.rig.complaints(KNOWN_WITHOUT_AGENT) == []


@pytest.mark.parametrize("end", ["killed", "silent"])
async def test_an_agent_that_ends_without_a_word_is_the_fallback(line: Line, end: str) -> None:
    async with line.caller().call(f"all-{NUMBER}") as call:
        agent = await line.agent.call()
        await asyncio.sleep(0.2)
        if end == "killed":
            agent.drop()
        else:
            await line.agent.decide(agent, None)
        await hears_message(call)


async def test_people_who_are_busy_are_the_agent_s(line: Line) -> None:
    async with line.caller().call(f"missed-{NUMBER}") as call:
        agent = await line.agent.call()
        assert agent.info is not None
        assert agent.info.did == NUMBER
        await line.agent.decide(agent, Verdict("hangup"))
        await call.wait_ended(5)
    assert line.rig.complaints() == []


async def test_people_who_do_not_answer_are_the_agent_s(line: Line) -> None:
    await line.rig.set_global("VOICE_AGENT_PEOPLE", PEOPLE_SILENT)
    async with line.caller().call(f"missed-{NUMBER}") as call:
        await line.agent.decide(await line.agent.call(), Verdict("hangup"))
        await call.wait_ended(5)
    assert line.rig.complaints() == []


async def test_people_who_answer_keep_the_call(line: Line) -> None:
    await line.rig.set_global("VOICE_AGENT_PEOPLE", PEOPLE_ANSWER)
    async with line.caller().call(f"missed-{NUMBER}") as call:
        await hears_tone(call, 440)
    assert line.started == []
    assert line.rig.complaints() == []


async def test_some_numbers_are_the_agent_s(line: Line) -> None:
    await line.rig.set_global("VOICE_AGENT_PEOPLE", PEOPLE_ANSWER)
    async with line.caller().call("some-02079460999") as call:
        await hears_tone(call, 440)
    assert line.started == []
    async with line.caller().call(f"some-{NUMBER}") as call:
        await line.agent.decide(await line.agent.call(), Verdict("hangup"))
        await call.wait_ended(5)
    assert line.rig.complaints() == []


@pytest.mark.parametrize(
    ("time", "opened"),
    [
        ("2026/11/23 07:59:30 Europe/London", False),  # a Monday
        ("2026/11/23 08:00:00 Europe/London", True),
        ("2026/11/28 12:59:00 Europe/London", True),  # Saturday
        ("2026/11/28 13:30:00 Europe/London", False),
        ("2026/11/29 10:00:00 Europe/London", False),  # Sunday
        ("2026/07/06 07:30:00 UTC", True),  # half past eight in a London summer
    ],
)
async def test_opening_hours_are_the_people_s(line: Line, time: str, opened: bool) -> None:
    await line.rig.set_global("VOICE_AGENT_PEOPLE", PEOPLE_ANSWER)
    await line.rig.set_global("RIG_TIME", time)
    async with line.caller().call(f"hours-{NUMBER}") as call:
        if opened:
            await hears_tone(call, 440)
        else:
            await line.agent.decide(await line.agent.call(), Verdict("hangup"))
            await call.wait_ended(5)
    assert len(line.started) == (0 if opened else 1)
    assert line.rig.complaints() == []


@pytest.mark.parametrize("name", ['"; x (y) <z>', "Ünal 🙂", "a\\", "x" * 70, ""])
async def test_odd_names_are_safe(line: Line, name: str) -> None:
    async with line.caller(name=name).call(f"all-{NUMBER}") as call:
        agent = await line.agent.call()
        assert agent.info is not None
        assert name.startswith(agent.info.caller_name)
        assert len(agent.info.caller_name) >= min(len(name), 64)
        await line.agent.decide(agent, Verdict("hangup"))
        await call.wait_ended(5)
    assert line.rig.complaints() == []


async def test_a_withheld_number_is_empty(line: Line) -> None:
    async with line.caller("anonymous", "Anonymous").call(f"all-{NUMBER}") as call:
        agent = await line.agent.call()
        assert agent.info is not None
        assert agent.info.caller_id == ""
        await line.agent.decide(agent, Verdict("hangup"))
        await call.wait_ended(5)


async def test_a_number_cannot_carry_dialplan(line: Line) -> None:
    async with line.caller().call("all-0207)Set(A=1") as call:
        agent = await line.agent.call()
        assert agent.info is not None
        assert agent.info.did == "0207SetA1"
        await line.agent.decide(agent, Verdict("hangup"))
        await call.wait_ended(5)


async def test_a_number_that_nobody_has_is_refused(line: Line) -> None:
    with pytest.raises(CallRefusedError) as refused:
        async with line.caller().call("nobody"):
            pass
    assert refused.value.status == 404
