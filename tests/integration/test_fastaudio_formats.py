"""Whatever Asterisk or a stranger may send, on real sockets: each of the nine kinds, any size of message, digits."""

from __future__ import annotations

import array
import asyncio
import contextlib
import itertools
import sys
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

import fastaudio
from fastaudio import EventKind

KINDS = {
    0x10: 8000, 0x11: 12000, 0x12: 16000, 0x13: 24000, 0x14: 32000, 0x15: 44100, 0x16: 48000, 0x17: 96000, 0x18: 192000,
}  # fmt: skip
UUID = 0x01


def message(kind: int, payload: bytes = b"") -> bytes:
    return bytes((kind,)) + len(payload).to_bytes(2, "big") + payload


def loud(samples: int) -> bytes:
    """No two frames are the same, none is quiet, and none is silence."""
    return array.array("h", (5000 + i % 19997 for i in range(samples))).tobytes()


class Caller:
    """Asterisk's end of one call, of one kind of audio."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kind: int) -> None:
        self.kind = kind
        self.id = uuid.uuid4()
        self.heard: list[tuple[int, bytes]] = []
        self._reader = reader
        self.writer = writer
        writer.write(message(UUID, self.id.bytes))

    async def say(self, pcm: bytes, packet_bytes: int, seconds_each: float) -> None:
        """Messages of one size at their pace; a moment at which this process stood still is caught up at once."""
        due = time.monotonic()
        for packet in (pcm[at : at + packet_bytes] for at in range(0, len(pcm), packet_bytes)):
            self.writer.write(message(self.kind, packet))
            due += seconds_each
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def listen(self) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                kind, high, low = await self._reader.readexactly(3)
                self.heard.append((kind, await self._reader.readexactly(high << 8 | low)))

    @property
    def audio(self) -> bytes:
        """What was said to the caller, without the silence between."""
        return b"".join(payload for kind, payload in self.heard if kind == self.kind and any(payload))


@asynccontextmanager
async def caller(port: int, kind: int = 0x10) -> AsyncIterator[Caller]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    one = Caller(reader, writer, kind)
    listening = asyncio.create_task(one.listen())
    try:
        yield one
    finally:
        writer.close()
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


async def test_one_echo_server_echoes_every_kind() -> None:
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "fastaudio", "echo", "--port", "0", stdout=asyncio.subprocess.PIPE
    )
    assert server.stdout is not None
    port = int((await server.stdout.readline()).split(b"127.0.0.1:")[1].split(b";")[0])

    async def one(kind: int, rate: int) -> None:
        frame = rate // 50 * 2
        async with caller(port, kind) as other:
            said = loud(40 * rate // 50)
            await other.say(said, frame, 0.02)
            async with asyncio.timeout(5):
                while len(other.audio) < len(said):  # noqa: ASYNC110 - the peer has no event for it
                    await asyncio.sleep(0.02)
            assert other.audio == said
            kinds = [heard for heard, _ in other.heard]
            assert set(kinds) <= {0x10, kind}
            first = kinds.index(kind)
            assert first <= 10  # silence of 8 kHz until the rate is known
            assert set(kinds[first:]) == {kind}
            assert {len(payload) for heard, payload in other.heard[first:]} == {frame}

    try:
        await asyncio.gather(*(one(kind, rate) for kind, rate in KINDS.items()))
    finally:
        server.terminate()
        status = await server.wait()
    assert status == 0


async def test_messages_of_any_length_are_captured_exactly_at_every_rate() -> None:
    options = fastaudio.CallOptions(rate=None, detector="rms")
    async with fastaudio.Engine(port=0, options=options) as engine:
        captured: dict[uuid.UUID, bytes] = {}
        rates: dict[uuid.UUID, int] = {}
        counted: dict[uuid.UUID, dict[str, int]] = {}

        async def keep(call: fastaudio.Call) -> None:
            rates[call.uuid] = call.rate
            blocks = b""
            size = call.rate // 50 * 2
            async for batch in call.capture(batch_ms=20, preroll_ms=400):
                for n, flags in enumerate(batch.flags):
                    if not flags & 1:  # silence in place of what did not come
                        blocks += batch.caller[n * size : (n + 1) * size]
            counted[call.uuid] = call.counters()
            captured[call.uuid] = blocks

        async def one(kind: int, rate: int, ms: int) -> None:
            async with caller(engine.port, kind) as other:
                said = loud(rate * 6 // 10)
                await other.say(said, rate * ms // 1000 * 2, ms / 1000)
                await asyncio.sleep(0.7)  # what came in a burst behind a stall of this process is taken in by and by
                other.writer.close()
                async with asyncio.timeout(5):
                    while other.id not in captured:  # noqa: ASYNC110 - the end comes by its own task
                        await asyncio.sleep(0.02)
                assert rates[other.id] == rate
                assert captured[other.id] == said, counted[other.id]

        async with asyncio.TaskGroup() as group:

            async def accept() -> None:
                async for call in engine:
                    group.create_task(keep(call))

            accepting = group.create_task(accept())
            pairs = itertools.product(KINDS.items(), (10, 20, 30, 40, 60))
            await asyncio.gather(*(one(kind, rate, ms) for (kind, rate), ms in pairs))
            accepting.cancel()


async def test_digits_empty_and_odd_messages_and_a_kind_that_does_not_exist() -> None:
    async with fastaudio.Engine(port=0) as engine, caller(engine.port) as other:
        call = await asyncio.wait_for(engine.accept(), 2)
        digits: list[str] = []
        call.listen(lambda event: digits.append(chr(event.value)) if event.kind is EventKind.DTMF else None)
        for digit in b"0123456789*#ABCD":
            other.writer.write(message(0x03, bytes((digit,))) + message(0x10))
        other.writer.write(message(0x10, b"\1" * 321) * 3 + message(0x10, b"\1"))
        other.writer.write(b"\x42\x00\x00")
        assert await asyncio.wait_for(call.wait_ended(), 2) == "bad_kind"
        await asyncio.sleep(0)
        assert "".join(digits) == "0123456789*#ABCD"
        counters = call.counters()
        assert (counters["dtmf"], counters["lost_in"]) == (16, 17)
        assert engine.counters()["ended"]["bad_kind"] == 1


async def test_a_caller_who_says_nothing_is_taken_for_8_khz_and_one_who_leaves_is_not_forgotten() -> None:
    options = fastaudio.CallOptions(rate=None, detector="rms")
    async with fastaudio.Engine(port=0, options=options, max_calls=4) as engine:
        for _ in range(8):  # more than there is room for: each gives its place back
            async with caller(engine.port):
                pass
            call = await asyncio.wait_for(engine.accept(), 2)
            assert await asyncio.wait_for(call.wait_ended(), 2) == "caller"
        async with caller(engine.port) as other:
            began = time.monotonic_ns()
            call = await asyncio.wait_for(engine.accept(), 2)
            assert call.rate == 8000
            assert call.counters()["rate_guessed"] == 1
            assert call.started_ns < began + 50_000_000 < began + 150_000_000 < time.monotonic_ns()
            assert {kind for kind, _ in other.heard} == {0x10}
            changes: list[int] = []
            call.listen(lambda event: changes.append(event.value) if event.kind is EventKind.FORMAT else None)
            other.writer.write(message(0x12, bytes(640)) * 2)
            async with asyncio.timeout(2):
                while not changes:  # noqa: ASYNC110 - a listener cannot be awaited
                    await asyncio.sleep(0.01)
            assert changes == [16000]
            assert call.counters()["other_format"] == 2


async def test_a_call_of_a_fixed_rate_speaks_it_from_the_first_frame() -> None:
    options = fastaudio.CallOptions(rate=44100, detector="rms")
    async with fastaudio.Engine(port=0, options=options) as engine, caller(engine.port, 0x15) as other:
        call = await asyncio.wait_for(engine.accept(), 2)
        said = loud(44100 // 2)
        utterance = call.begin()
        await utterance.play(said)
        await utterance.end()
        played = await asyncio.wait_for(utterance.finished(), 3)
        assert played.samples == 44100 // 2
        assert utterance.heard_ms == 500
        await asyncio.sleep(0.1)
        assert {(kind, len(payload)) for kind, payload in other.heard} == {(0x15, 1764)}
        assert other.audio == said


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (fastaudio.CallOptions(rate=11025, detector="rms"), "rate is 11025"),  # type: ignore[arg-type]
        (fastaudio.CallOptions(rate=48000), 'a rate of 48000, use detector="rms"'),
        (fastaudio.CallOptions(rate=None, detector="webrtc"), 'caller\'s rate .* use detector="rms"'),
    ],
)
def test_what_cannot_be_heard_is_refused_with_the_reason(options: fastaudio.CallOptions, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        options.create(1)
