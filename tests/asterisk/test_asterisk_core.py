"""The media core under a real Asterisk: what reaches the caller's telephone, packet by packet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from rig import rtpcheck
from rig.line import Line, hears_tone
from rig.sounds import chirp

from agent.telephony import Verdict
from fastaudio import BargeInOptions, Call, CallOptions, Engine, EventKind

pytestmark = [pytest.mark.asterisk, pytest.mark.asyncio(loop_scope="session")]

NUMBER = "all-02079460101"


@pytest_asyncio.fixture(loop_scope="session")
async def engine(line: Line) -> AsyncIterator[Engine]:
    # Tones stand for voices here: only the level tells them from silence.
    options = CallOptions(detector="rms", barge_in=BargeInOptions(rms=800, ms=300))
    async with Engine(port=0, options=options) as engine:
        await line.rig.set_global("VOICE_AGENT_AUDIO_PORT", str(engine.port))
        yield engine
        await line.rig.settle()


async def accept(engine: Engine, line: Line) -> Call:
    async with asyncio.timeout(10):
        call = await engine.accept()
        assert await line.registry.claim(call.uuid) is not None
        await line.registry.opened(call.uuid)
        return call


async def end(call: Call, line: Line, verdict: Verdict) -> None:
    await line.registry.decide(call.uuid, verdict)
    call.hangup()
    await call.wait_ended()
    await line.registry.closed(call.uuid)


async def test_speech_reaches_the_caller_whole_and_on_time(line: Line, engine: Engine) -> None:
    speech = chirp(6.0, 5)
    async with line.caller().call(NUMBER) as phone:
        call = await accept(engine, line)
        utterance = call.begin()
        for place in range(0, len(speech), 1777):
            await utterance.play(speech[place : place + 1777])
        await utterance.end()
        played = await utterance.finished()
        assert (played.samples, played.flushed) == (len(speech) // 2, False)
        await asyncio.sleep(0.5)
        await end(call, line, Verdict("hangup"))
        await phone.wait_ended(5)
    report = rtpcheck.check(phone.packets)
    assert report.problems() == []
    # Between the lead's being built and its being given back.
    assert rtpcheck.on_pace(rtpcheck.check(phone.packets[25:275]), ppm=1000)
    second, likeness = rtpcheck.find(speech, rtpcheck.samples(phone.packets))
    assert likeness > 0.99
    assert second < 1.0
    assert line.rig.complaints() == []


async def test_an_interruption_silences_the_line(line: Line, engine: Engine) -> None:
    async with line.caller().call(NUMBER) as phone:
        call = await accept(engine, line)
        kinds: list[EventKind] = []
        call.listen(lambda event: kinds.append(event.kind))
        utterance = call.begin()
        speaking = asyncio.create_task(utterance.play(chirp(10.0, 6)))
        begun = await phone.interrupt(1500, chirp(1.0, 7))
        call.flush()
        await asyncio.gather(speaking, return_exceptions=True)
        await asyncio.sleep(0.3)
        last = max(packet.at_s for packet in phone.packets if packet.level > 200)
        assert EventKind.HOLD in kinds
        assert EventKind.BARGE_IN in kinds
        # The caller's first packet leaves, is measured, and what was on its way still arrives.
        assert 0.0 < last - begun < 0.25
        await end(call, line, Verdict("hangup"))
        await phone.wait_ended(5)
    # The lead that is given back is a short gap, and no break in the account.
    assert rtpcheck.check(phone.packets).problems() == []
    assert line.rig.complaints() == []


async def test_digits_and_a_transfer_pass_through_the_core(line: Line, engine: Engine) -> None:
    async with line.caller().call(NUMBER) as phone:
        call = await accept(engine, line)
        digits: list[str] = []
        call.listen(lambda event: digits.append(chr(event.value)) if event.kind is EventKind.DTMF else None)
        await phone.media.press("0#9")
        await asyncio.sleep(0.2)
        assert digits == ["0", "#", "9"]
        await end(call, line, Verdict("transfer", "2001"))
        await hears_tone(phone, 620)
    assert line.rig.complaints() == []


async def test_the_core_sees_the_caller_hang_up(line: Line, engine: Engine) -> None:
    async with line.caller().call(NUMBER) as phone:
        call = await accept(engine, line)
        await asyncio.sleep(0.3)
        await phone.hang_up()
        async with asyncio.timeout(5):
            assert await call.wait_ended() == "caller"
        await line.registry.closed(call.uuid)
    assert line.rig.complaints() == []
