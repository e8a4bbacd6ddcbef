"""Whole conversations on the fake Asterisk in its three modes: what the dialplan is told, and what `next` answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp
import pytest
from rig import versions
from rig.fake import FakeCall
from rig.manager import SECRET, FakeManager, fake_manager
from rig.versions import MODES, OLD, Version

from agent.sandbox.caller import parse_script
from agent.sandbox.caller.agi import Dialplan
from agent.sandbox.caller.listen import rms
from agent.sandbox.caller.speak import Mouth, prepare
from agent.speech_engines.tones import ToneVoice

if TYPE_CHECKING:
    from tests.agent.conftest import Rig, RigMaker

each_mode = pytest.mark.parametrize("version", MODES.values(), ids=MODES)
A_PERSON = "Speak to a person"


@asynccontextmanager
async def answered(rig: Rig, version: Version) -> AsyncIterator[tuple[FakeCall, Mouth, Dialplan]]:
    """A call that was announced by FastAGI and is up; the caller is quiet."""
    plan = rig.plan()
    assert plan.fastagi_port is not None
    dialplan = Dialplan(plan.host, plan.fastagi_port, did=plan.did, caller_id=plan.caller_id)
    assert (await dialplan.start(plan.call))["VOICE_AGENT_STATUS"] == "OK"
    mouth = Mouth()
    fake = FakeCall(version, plan.port, call=plan.call, next_frame=mouth.next_frame).start()
    try:
        yield fake, mouth, dialplan
    finally:
        fake.abandon()
        await fake.outcome()


def speaks(fake: FakeCall) -> bool:
    return any(rms(message.pcm) > 200 for message in fake.heard[-10:])


async def greeted(rig: Rig, fake: FakeCall) -> None:
    await rig.until(lambda: speaks(fake))
    await rig.until(lambda: not speaks(fake))


@each_mode
async def test_a_caller_who_wants_a_person_is_put_through_by_next(rig: Rig, version: Version) -> None:
    sounds = prepare(parse_script(f"say: {A_PERSON}"), ToneVoice())
    async with answered(rig, version) as (fake, mouth, dialplan):
        await greeted(rig, fake)
        mouth.say(sounds[A_PERSON])
        outcome = await fake.outcome(15)
        assert outcome.returned == (-1 if version is OLD else 0)
        assert outcome.try_status == ("FAILED" if version is OLD else "SUCCESS")
        answer = await dialplan.next(fake.uuid)
        assert (answer["VOICE_AGENT_NEXT"], answer["VOICE_AGENT_TARGET"]) == ("transfer", "2001")
    record = await rig.record_of(fake.uuid)
    assert (record.ended_by, record.outcome) == ("agent", "transferred")
    assert {(message.rate, len(message.pcm)) for message in fake.heard} == {(8000, 320)}
    assert not any(rms(message.pcm) for message in fake.heard[-10:]), "200 ms of silence before the hangup"


@each_mode
@pytest.mark.parametrize("how", ["fin", "reset"])
async def test_a_caller_who_hangs_up_in_the_greeting(rig: Rig, version: Version, how: str) -> None:
    async with answered(rig, version) as (fake, _, _):
        await rig.until(lambda: speaks(fake))
        fake.hang_up(how)
        outcome = await fake.outcome()
        assert outcome.returned == -1
        assert outcome.said(versions.CALLER_GONE)
    record = await rig.record_of(fake.uuid)
    assert (record.ended_by, record.outcome) == ("caller", "no_booking")


@each_mode
async def test_the_key_0_reaches_a_person_where_keys_are_told(rig: Rig, version: Version) -> None:
    async with answered(rig, version) as (fake, _, dialplan):
        await greeted(rig, fake)
        fake.press("0")
        if version is OLD:
            await rig.until(lambda: not fake._keys)
            assert not fake.over
            return
        assert (await fake.outcome(10)).returned == 0
        assert (await dialplan.next(fake.uuid))["VOICE_AGENT_NEXT"] == "transfer"


def by_ami(a_rig: RigMaker, manager: FakeManager) -> AbstractAsyncContextManager[Rig]:
    return a_rig(ami_host="127.0.0.1", ami_port=manager.port, ami_user="agent", ami_secret=SECRET)


@each_mode
async def test_a_caller_is_taken_by_ami_before_the_audio_ends(a_rig: RigMaker, version: Version) -> None:
    async with fake_manager() as manager, by_ami(a_rig, manager) as rig:
        sounds = prepare(parse_script(f"say: {A_PERSON}"), ToneVoice())
        async with answered(rig, version) as (fake, mouth, _):
            # Asterisk leaves the application and closes its socket: -1 is returned, and nobody reads it.
            manager.on_redirect = lambda action: fake.hang_up()
            await greeted(rig, fake)
            mouth.say(sounds[A_PERSON])
            outcome = await fake.outcome(15)
            assert outcome.said(versions.CALLER_GONE)
            assert any(rms(message.pcm) > 200 for message in fake.heard[-400:])
            assert not any(rms(message.pcm) for message in fake.heard[-10:]), "200 ms of silence before the redirect"
        record = await rig.record_of(fake.uuid)
        assert (record.ended_by, record.outcome, record.verdict) == ("agent", "transferred", "transfer 2001")
        where = f"http://127.0.0.1:{rig.agent.http_port}/metrics"
        async with aiohttp.ClientSession() as session, session.get(where) as page:
            assert 'voice_agent_ami_transfers_total{what="redirected"} 1.0' in await page.text()
    redirect = manager.actions[-1]
    assert (redirect["Exten"], redirect["Channel"].partition("/")[0]) == ("2001", "PJSIP")


@each_mode
@pytest.mark.parametrize("fault", ["silent", "deaf"])
async def test_a_transfer_that_ami_refuses_is_the_dialplan_s(a_rig: RigMaker, version: Version, fault: str) -> None:
    async with fake_manager(fault) as manager, by_ami(a_rig, manager) as rig:
        sounds = prepare(parse_script(f"say: {A_PERSON}"), ToneVoice())
        async with answered(rig, version) as (fake, mouth, dialplan):
            await greeted(rig, fake)
            mouth.say(sounds[A_PERSON])
            assert (await fake.outcome(15)).returned == version.hangup_returns
            answer = await dialplan.next(fake.uuid)
            assert (answer["VOICE_AGENT_NEXT"], answer["VOICE_AGENT_TARGET"]) == ("transfer", "2001")


async def test_a_caller_who_hangs_up_while_ami_is_asked(a_rig: RigMaker) -> None:
    async with fake_manager("silent") as manager, by_ami(a_rig, manager) as rig:
        async with answered(rig, versions.NEW) as (fake, _, _):
            await greeted(rig, fake)
            fake.press("0")
            asked = rig.agent.services.manager
            assert asked is not None
            await rig.until(lambda: asked._open, 10)
            fake.hang_up()
            await fake.outcome()
        await rig.record_of(fake.uuid)
        assert asked.counters == {"failed_timeout": 1}
