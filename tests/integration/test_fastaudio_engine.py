"""The asyncio face of the media core on real sockets: a peer that speaks AudioSocket as Asterisk does."""

from __future__ import annotations

import array
import asyncio
import contextlib
import gc
import itertools
import math
import socket
import subprocess
import sys
import time
import uuid
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

import fastaudio
from fastaudio import EventKind

TICK_S = 0.02
SILENCE = bytes(320)


def tone(samples: int, hz: int = 400, peak: int = 9000) -> bytes:
    return array.array("h", (round(peak * math.sin(2 * math.pi * hz * i / 8000)) for i in range(samples))).tobytes()


def numbered(samples: int) -> bytes:
    """Samples that are all different from silence and tell their place."""
    return array.array("h", (1 + i % 30000 for i in range(samples))).tobytes()


@dataclass
class Peer:
    """Asterisk's end of one call."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    id: uuid.UUID
    frames: list[bytes] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    hung_up: bool = False
    eof: bool = False

    def say(self, pcm: bytes) -> None:
        for start in range(0, len(pcm), 320):
            self.writer.write(b"\x10\x01\x40" + pcm[start : start + 320])

    async def say_paced(self, pcm: bytes) -> None:
        due = time.monotonic()
        for start in range(0, len(pcm), 320):
            self.say(pcm[start : start + 320])
            due += TICK_S
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def listen(self) -> None:
        try:
            while True:
                kind, high, low = await self.reader.readexactly(3)
                payload = await self.reader.readexactly(high << 8 | low)
                if kind == 0:
                    self.hung_up = True
                    continue
                assert kind == 0x10
                self.frames.append(payload)
                self.times.append(time.monotonic())
        except (asyncio.IncompleteReadError, ConnectionError):
            self.eof = True

    @property
    def audio(self) -> bytes:
        return b"".join(self.frames)


@asynccontextmanager
async def peer(engine: fastaudio.Engine) -> AsyncIterator[Peer]:
    reader, writer = await asyncio.open_connection("127.0.0.1", engine.port)
    one = Peer(reader, writer, uuid.uuid4())
    writer.write(b"\x01\x00\x10" + one.id.bytes)
    listening = asyncio.create_task(one.listen())
    try:
        yield one
    finally:
        writer.close()
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


@asynccontextmanager
async def one_call(
    **options: object,
) -> AsyncIterator[tuple[fastaudio.Engine, fastaudio.Call, Peer]]:
    async with (
        fastaudio.Engine(port=0, options=fastaudio.CallOptions(**options)) as engine,  # type: ignore[arg-type]
        peer(engine) as other,
    ):
        yield engine, await asyncio.wait_for(engine.accept(), 2), other


async def until(condition: Callable[[], bool], limit_s: float = 3.0) -> None:
    async with asyncio.timeout(limit_s):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_silence_leaves_from_the_uuid_on() -> None:
    async with one_call() as (_, call, other):
        assert call.uuid == other.id
        assert call.peer[0] == "127.0.0.1"
        await until(lambda: len(other.frames) >= 10)
        assert set(other.frames) == {SILENCE}


async def test_any_sizes_arrive_as_one_unbroken_run_of_frames() -> None:
    async with one_call(lead_frames=0) as (_, call, other):
        pcm = numbered(5000)
        utterance = call.begin()
        for start, end in ((0, 1), (1, 700), (700, 701), (701, 4000), (4000, 10_000)):
            await utterance.play(pcm[start:end])
        await utterance.end()
        assert await utterance.finished() == fastaudio.Played(5000, flushed=False)
        assert utterance.heard_ms == 625
        await until(lambda: pcm in other.audio)
        place = other.audio.index(pcm)
        assert place % 320 == 0
        assert other.audio[place + len(pcm) :][:240] == bytes(240)  # the odd tail is padded with silence


async def test_play_waits_while_the_ring_is_full_and_nothing_is_lost() -> None:
    async with one_call(lead_frames=0) as (_, call, other):
        pcm = numbered(8000 * 4)
        began = time.monotonic()
        utterance = call.begin()
        await utterance.play(pcm)
        assert time.monotonic() - began > 1.0  # 4 s do not fit into a ring of 2.56 s
        await utterance.end()
        await asyncio.wait_for(utterance.finished(), 6)
        await until(lambda: pcm in other.audio)


async def test_a_flush_is_heard_at_once_and_accounted_for_exactly() -> None:
    async with one_call(lead_frames=0) as (_, call, other):
        utterance = call.begin()
        await utterance.play(numbered(16_000))
        await until(lambda: len(other.audio.rstrip(b"\0")) > 6000)
        call.flush()
        played = await asyncio.wait_for(utterance.finished(), 1)
        assert played.flushed
        frames = len(other.frames)
        await asyncio.sleep(0.2)
        assert set(other.frames[frames + 2 :]) == {SILENCE}
        sent = len(other.audio.strip(b"\0")) // 2
        assert 0 <= played.samples - sent <= 4  # the end of the ramp rounds to zero
        with pytest.raises(fastaudio.StaleGeneration):
            await utterance.play(tone(160))


async def test_hold_resume_and_the_whole_speech_arrives_once() -> None:
    async with one_call(lead_frames=0) as (_, call, other):
        utterance = call.begin()
        pcm = numbered(8000)
        await utterance.play(pcm)
        await utterance.end()
        await asyncio.sleep(0.3)
        call.hold()
        await asyncio.sleep(0.3)
        call.resume()
        played = await asyncio.wait_for(utterance.finished(), 3)
        assert played == fastaudio.Played(8000, flushed=False)
        await asyncio.sleep(0.05)
        heard = [s for s in array.array("h", other.audio) if s != 0]
        assert len(heard) >= 8000 - 4  # but for the ends of the two ramps, every sample went out, once
        assert len(heard) <= 8000


async def test_a_caller_who_speaks_is_held_for_at_once_and_told(voice: bytes) -> None:
    async with one_call(lead_frames=2) as (_, call, other):
        events: list[fastaudio.Event] = []
        call.listen(events.append)
        utterance = call.begin()
        await utterance.play(tone(8000 * 2))
        await other.say_paced(SILENCE * 15)  # Asterisk sends from the beginning, and a detector learns the line
        began = time.monotonic()
        speaking = asyncio.create_task(other.say_paced(voice))
        await until(lambda: any(event.kind is EventKind.BARGE_IN for event in events))
        await asyncio.sleep(0.1)
        loud = [at for at, frame in zip(other.times, other.frames, strict=True) if fastaudio.rms(frame) > 100]
        assert max(loud) - began < 0.4  # 80 ms to decide, 40 ms of lead, and a busy machine
        kinds = [event.kind for event in events]
        assert kinds.index(EventKind.SPEECH) < kinds.index(EventKind.BARGE_IN)
        assert kinds.index(EventKind.HOLD) < kinds.index(EventKind.BARGE_IN)
        # No word from the agent for 1.5 s is a flush.
        played = await asyncio.wait_for(utterance.finished(), 3)
        assert played.flushed
        speaking.cancel()


async def test_a_cough_is_no_interruption(voice: bytes) -> None:
    async with one_call(lead_frames=0) as (_, call, other):
        events: list[EventKind] = []
        call.listen(lambda event: events.append(event.kind))
        utterance = call.begin()
        await utterance.play(tone(8000 * 2))
        await utterance.end()
        await other.say_paced(SILENCE * 15)
        await other.say_paced(voice[: 320 * 6] + bytes(320 * 40))
        assert await asyncio.wait_for(utterance.finished(), 4) == fastaudio.Played(16_000, flushed=False)
        assert EventKind.HOLD in events
        assert EventKind.RESUME in events
        assert EventKind.BARGE_IN not in events


async def test_a_digit_that_comes_with_the_uuid_is_heard_by_who_listens_later() -> None:
    async with fastaudio.Engine(port=0) as engine:
        _, writer = await asyncio.open_connection("127.0.0.1", engine.port)
        writer.write(b"\x01\x00\x10" + uuid.uuid4().bytes + b"\x03\x00\x01" + b"7")
        call = await asyncio.wait_for(engine.accept(), 2)
        await until(lambda: call.counters()["dtmf"] == 1)
        await asyncio.sleep(0.05)
        first: list[tuple[EventKind, int]] = []
        second: list[EventKind] = []
        call.listen(lambda event: first.append((event.kind, event.value)))
        call.listen(lambda event: second.append(event.kind))
        assert first == [(EventKind.DTMF, ord("7"))]
        assert not second
        writer.close()
        await call.wait_ended()
        assert first[-1][0] is second[-1] is EventKind.ENDED


async def test_readers_have_places_of_their_own_and_a_preroll() -> None:
    async with one_call(detector="rms") as (_, call, other):
        first = call.capture(batch_ms=20, sent=True)
        pcm = numbered(160 * 50)
        await other.say_paced(pcm)
        late = call.capture(batch_ms=20, preroll_ms=500)
        assert late.position >= call.core.captured() - 25
        other.writer.close()
        await call.wait_ended()
        whole, sent, again = b"", b"", b""
        async for batch in first:
            whole += batch.caller
            sent += batch.sent
        async for batch in late:
            again += batch.caller
        assert pcm[: 320 * 45] in whole
        assert len(sent) == len(whole)
        assert whole.endswith(again)
        assert len(again) >= 320 * 20


async def test_the_hangup_is_what_asterisk_understands() -> None:
    async with one_call() as (_, call, other):
        await call.play(numbered(800))
        await asyncio.sleep(0.1)
        call.hangup(trail_ms=200)
        await until(lambda: other.eof)
        assert other.hung_up
        assert set(other.frames[-8:]) == {SILENCE}
        other.writer.close()
        assert await asyncio.wait_for(call.wait_ended(), 2) == "agent"
        with pytest.raises(fastaudio.EngineClosed):
            call.begin()


async def test_a_caller_who_hangs_up_ends_the_call() -> None:
    async with one_call() as (engine, call, other):
        utterance = call.begin()
        playing = asyncio.create_task(utterance.play(numbered(80_000)))
        await asyncio.sleep(0.1)
        other.writer.transport.abort()
        assert await asyncio.wait_for(call.wait_ended(), 2) == "caller"
        assert (await utterance.finished()).flushed
        with pytest.raises(fastaudio.EngineClosed):
            await playing
        assert engine.counters()["live"] == 0


async def test_a_call_that_is_over_is_freed_without_the_garbage_collector() -> None:
    class Owner:
        """Holds the call, and is held by it as a listener: as a session does."""

        def __init__(self, call: fastaudio.Call) -> None:
            self.call = call
            call.listen(self.hear)

        def hear(self, event: fastaudio.Event) -> None:
            self.last = event.kind

    gc.disable()
    try:
        async with fastaudio.Engine(port=0) as engine:
            async with peer(engine):
                owner = Owner(await engine.accept())
                seen = weakref.ref(owner.call)
            await asyncio.wait_for(owner.call.wait_ended(), 2)
            assert owner.last is EventKind.ENDED
            del owner
            assert seen() is None
    finally:
        gc.enable()


async def test_one_call_too_many_is_told_to_hang_up() -> None:
    async with fastaudio.Engine(port=0, max_calls=1) as engine, peer(engine) as first:
        await engine.accept()
        async with peer(engine) as second:
            await until(lambda: second.eof)
            assert second.hung_up
            assert second.frames == []
        await until(lambda: len(first.frames) > 3)
        assert engine.counters()["ended"]["full"] == 1


async def test_bad_input_ends_one_call_and_disturbs_no_other() -> None:
    async with fastaudio.Engine(port=0) as engine, peer(engine) as good, peer(engine) as bad:
        calls = {call.uuid: call for call in (await engine.accept(), await engine.accept())}
        bad.writer.write(b"\x42\x00\x01x")
        assert await asyncio.wait_for(calls[bad.id].wait_ended(), 2) == "bad_kind"
        before = len(good.frames)
        await asyncio.sleep(0.2)
        assert len(good.frames) >= before + 8
        assert not calls[good.id].ended


async def test_stop_ends_what_is_under_way() -> None:
    engine = fastaudio.Engine(port=0)
    await engine.start()
    async with peer(engine):
        call = await engine.accept()
        utterance = call.begin()
        await utterance.play(tone(8000))
        await engine.stop()
        assert await call.wait_ended() == "stopped"
        assert (await utterance.finished()).flushed
        with pytest.raises(fastaudio.EngineClosed):
            await engine.accept()


def _server(kind: str, port: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "fastaudio", kind, "--port", str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize("kind", ["echo", "tone"])
async def test_the_test_servers_for_a_dialplan(kind: str) -> None:
    server = _server(kind, 0)
    assert server.stdout is not None
    line = await asyncio.to_thread(server.stdout.readline)
    port = int(line.split("127.0.0.1:")[1].split(";")[0])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    other = Peer(reader, writer, uuid.uuid4())
    writer.write(b"\x01\x00\x10" + other.id.bytes)
    listening = asyncio.create_task(other.listen())
    said = numbered(160 * 50)
    await other.say_paced(said)
    await asyncio.sleep(0.2)
    if kind == "echo":
        # A stall of this host makes a gap in it; test_fastaudio_formats.py holds every sample of every kind.
        assert any(said[at : at + 3200] in other.audio for at in range(0, 320 * 40, 3200))
    else:
        samples = array.array("h", b"".join(other.frames[10:40]))
        crossings = sum(a < 0 <= b for a, b in itertools.pairwise(samples))
        assert abs(crossings / (len(samples) / 8000) - 440) < 4
    writer.close()
    listening.cancel()
    server.terminate()
    await asyncio.to_thread(server.communicate, None, 5)
    assert server.returncode == 0


def test_a_taken_port_is_said_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = _server("echo", taken.getsockname()[1])
        output, _ = server.communicate(timeout=10)
    assert server.returncode == 2
    assert "cannot listen on 127.0.0.1" in output


@pytest.mark.parametrize(("host", "allowed"), [("127.0.0.1", "10.0.0.0/8"), ("::1", "2001:db8::/32")])
async def test_who_is_turned_away_is_named(host: str, allowed: str, caplog: pytest.LogCaptureFixture) -> None:
    told: list[tuple[str, str]] = []
    async with fastaudio.Engine(host, 0, allowed_peers=(allowed,)) as engine:
        for hook in (None, lambda reason, peer: told.append((reason, peer))):
            engine.on_refused = hook
            with caplog.at_level("WARNING"):
                _, writer = await asyncio.open_connection(host, engine.port)
                async with asyncio.timeout(5):
                    while not (told if hook else caplog.messages):  # noqa: ASYNC110 - it is told by a listener
                        await asyncio.sleep(0.01)
                writer.close()
    assert caplog.messages == [f"turned a connection from {host} away: peer_refused"], "once: the other one has a hook"
    assert told == [("peer_refused", host)]


PROXY_HEADER = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c" + bytes([192, 0, 2, 7, 10, 0, 0, 1]) + b"\x9c\x40\x23\x8b"
LOCAL_HEADER = PROXY_HEADER[:12] + bytes([0x20, 0, 0, 0])


async def test_behind_a_balancer_a_call_comes_from_who_is_before_it() -> None:
    async with fastaudio.Engine(port=0, proxy_protocol=True, allowed_peers=("127.0.0.0/8",)) as engine:
        for header, source in ((PROXY_HEADER, "192.0.2.7"), (LOCAL_HEADER, "127.0.0.1")):
            for cut in (5, 14, len(header), len(header) + 2, len(header) + 19):
                _, writer = await asyncio.open_connection("127.0.0.1", engine.port)
                stream = header + b"\x01\x00\x10" + uuid.uuid4().bytes + b"\x03\x00\x015"
                writer.write(stream[:cut])
                await asyncio.sleep(0.01)
                writer.write(stream[cut:])
                async with asyncio.timeout(5):
                    call = await engine.accept()
                    assert call.peer[0] == source
                    assert await call.events().__anext__() is not None
                writer.close()
                await asyncio.wait_for(call.wait_ended(), 5)
        assert engine.counters()["started"] == 10


@pytest.mark.parametrize(
    ("stream", "reason", "peer"),
    [
        (b"\x01\x00\x10" + bytes(16), "no_proxy", "127.0.0.1"),
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 40000 9099\r\n", "proxy_v1", "127.0.0.1"),
        (PROXY_HEADER[:12] + b"\x11", "bad_proxy", "127.0.0.1"),
        (PROXY_HEADER + b"GET", "not_uuid", "192.0.2.7"),
        (b"", "no_uuid", "127.0.0.1"),
        (PROXY_HEADER[:20], "no_uuid", "127.0.0.1"),
        (PROXY_HEADER, "no_uuid", "192.0.2.7"),
    ],
)
async def test_who_sends_no_such_header_is_turned_away_and_why_is_counted(
    stream: bytes, reason: str, peer: str
) -> None:
    told: list[tuple[str, str]] = []
    async with fastaudio.Engine(port=0, proxy_protocol=True, uuid_timeout_ms=300) as engine:
        engine.on_refused = lambda reason, peer: told.append((reason, peer))
        reader, writer = await asyncio.open_connection("127.0.0.1", engine.port)
        writer.write(stream)
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()
        await until(lambda: bool(told))
        assert told == [(reason, peer)]
        assert engine.counters()["ended"][reason] == 1
        assert engine.counters()["pending"] == 0


async def test_the_balancer_must_be_allowed_and_its_word_opens_no_door() -> None:
    told: list[tuple[str, str]] = []
    async with fastaudio.Engine(port=0, proxy_protocol=True, allowed_peers=("192.0.2.0/24",)) as engine:
        engine.on_refused = lambda reason, peer: told.append((reason, peer))
        _, writer = await asyncio.open_connection("127.0.0.1", engine.port)
        writer.write(PROXY_HEADER + b"\x01\x00\x10" + bytes(16))
        await until(lambda: bool(told))
        writer.close()
        assert told == [("peer_refused", "127.0.0.1")]
        assert engine.counters()["started"] == 0
