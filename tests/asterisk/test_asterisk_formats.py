"""Every kind of audio under a real Asterisk: what the core says comes back as it was, by Asterisk's own Echo()."""

from __future__ import annotations

import array
import asyncio
import socket
import uuid

import numpy as np
import pytest
from rig import rtpcheck
from rig.line import Line, hears_message, hears_tone
from rig.sounds import chirp

import fastaudio
from agent.speech_engines.audio import resample, to_float, to_int16
from agent.telephony import Verdict
from fastaudio import EventKind

pytestmark = [pytest.mark.asterisk, pytest.mark.asyncio(loop_scope="session")]

CODECS: dict[str, fastaudio.Rate] = {
    "slin": 8000, "slin12": 12000, "slin16": 16000, "slin24": 24000, "slin32": 32000, "slin44": 44100,
    "slin48": 48000, "slin96": 96000, "slin192": 192000,
}  # fmt: skip


def engine_at(rate: fastaudio.Rate | None) -> fastaudio.Engine:
    """An engine that is not interrupted by its own echo."""
    barge_in = fastaudio.BargeInOptions(enabled=False)
    return fastaudio.Engine(port=0, options=fastaudio.CallOptions(rate=rate, detector="rms", barge_in=barge_in))


async def originate(line: Line, engine: fastaudio.Engine, codec: str) -> fastaudio.Call:
    """Have Asterisk call the core with audio of this codec, and echo what it hears."""
    number = uuid.uuid4()
    channel = f"AudioSocket/127.0.0.1:{engine.port}/{number}/c({codec})"
    await line.rig.cli(f"channel originate {channel} application Echo")
    async with asyncio.timeout(5):
        call = await engine.accept()
    assert call.uuid == number
    return call


async def echoed(call: fastaudio.Call, said: bytes) -> bytes:
    """What the core hears of itself, without the silence around it."""
    stream = call.capture(batch_ms=20)
    utterance = call.begin()
    playing = asyncio.create_task(utterance.play(said))
    heard = b""
    async with asyncio.timeout(5):
        async for batch in stream:
            size = len(batch.caller) // len(batch.flags)
            blocks = (batch.caller[at : at + size] for at in range(0, len(batch.caller), size))
            heard += b"".join(block for block in blocks if any(block))
            if len(heard) >= len(said):
                break
    await playing
    await utterance.end()
    return heard


def loud(rate: int) -> bytes:
    """Half a second in which no two frames are the same, and none is silent."""
    return array.array("h", (5000 + i % 19997 for i in range(rate // 2))).tobytes()


@pytest.mark.parametrize("codec", CODECS)
async def test_asterisk_takes_and_sends_every_kind(line: Line, codec: str) -> None:
    rate = CODECS[codec]
    async with engine_at(rate) as engine:
        call = await originate(line, engine, codec)
        said = loud(rate)
        assert await echoed(call, said) == said
        counters = call.counters()
        assert (counters["other_format"], counters["odd_in"], counters["lost_in"]) == (0, 0, 0)
        call.hangup()
        assert await call.wait_ended() == "agent"
        await line.rig.settle()
    assert line.rig.complaints() == []


async def test_a_call_that_follows_its_caller(line: Line) -> None:
    async with engine_at(None) as engine:
        for codec in ("slin16", "slin44"):
            call = await originate(line, engine, codec)
            assert call.rate == CODECS[codec]
            assert call.counters()["rate_guessed"] == 0
            said = loud(call.rate)
            assert await echoed(call, said) == said
            call.hangup()
            await call.wait_ended()
            await line.rig.settle()
    assert line.rig.complaints() == []


async def test_a_telephone_speaks_at_16_khz_by_the_shipped_dialplan(line: Line) -> None:
    await line.rig.set_global("VOICE_AGENT_CODEC", "slin16")
    speech = chirp(1.5, 5)
    wide = to_int16(resample(to_float(np.frombuffer(speech, "<i2")), 8000, 16000)).tobytes()
    async with engine_at(16000) as engine:
        await line.rig.set_global("VOICE_AGENT_AUDIO_PORT", str(engine.port))
        async with line.caller().call("all-02079460101") as phone:
            async with asyncio.timeout(10):
                call = await engine.accept()
            assert await line.registry.claim(call.uuid) is not None
            await line.registry.opened(call.uuid)
            digits: list[str] = []
            call.listen(lambda event: digits.append(chr(event.value)) if event.kind is EventKind.DTMF else None)
            stream = call.capture(batch_ms=20)
            utterance = call.begin()
            await utterance.play(wide)
            await utterance.end()
            said = chirp(1.0, 7)
            await phone.media.say(said)
            played = await utterance.finished()
            assert (played.samples, played.flushed) == (len(wide) // 2, False)
            await phone.media.press("5")
            await asyncio.sleep(0.3)
            heard = b""
            while stream.position < call.core.captured() and (batch := await stream.read()) is not None:
                heard += batch.caller
            assert stream.lost == 0
            assert digits == ["5"]
            assert call.counters()["other_format"] == 0
            await line.registry.decide(call.uuid, Verdict("transfer", "2001"))
            call.hangup()
            assert await call.wait_ended() == "agent"
            await line.registry.closed(call.uuid)
            await hears_tone(phone, 620)  # Dial() goes on in the dialplan, and the agent is asked what comes next
    _, likeness = rtpcheck.find(speech, rtpcheck.samples(phone.packets))
    assert likeness > 0.98
    narrow = to_int16(resample(to_float(np.frombuffer(heard, "<i2")), 16000, 8000))
    _, likeness = rtpcheck.find(said, narrow.astype(float))
    assert likeness > 0.98
    await line.rig.settle()
    assert line.rig.complaints() == []


async def test_a_wideband_call_without_an_agent_goes_to_the_fallback(line: Line) -> None:
    await line.rig.set_global("VOICE_AGENT_CODEC", "slin16")
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    await line.rig.set_global("VOICE_AGENT_AUDIO_PORT", str(port))
    async with line.caller().call("all-02079460101") as phone:
        await hears_message(phone)
    await line.rig.settle()
    assert any("audiosocket" in text for text in line.rig.complaints())
