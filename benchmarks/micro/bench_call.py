"""The ring and a call's tick: against plain Python and asyncio. The engine has no shell around them."""

from __future__ import annotations

import asyncio
import ctypes
import struct
from typing import TYPE_CHECKING, Any

from fastaudio import _core, _reference
from fastaudio._reference.playout import Ring

if TYPE_CHECKING:
    from benchmarks.micro.conftest import Compare

UUID = bytes(range(16))
FRAMES = 50
SPEECH = struct.pack(f"<{160 * FRAMES}h", *(1 + n % 3000 for n in range(160 * FRAMES)))
CALLER = _core.message(0x10, struct.pack("<160h", *(n % 50 for n in range(160))))


def driven(module: Any) -> Any:
    """A second of a call: the agent's audio in, a caller's frame and a tick each 20 ms, and the capture out."""
    call = module.Call(1, playback_slots=128, capture_blocks=128, detector="rms", lead=0, bargein={"enabled": 0})
    call.start(UUID)
    reader = call.reader()

    def second() -> int:
        assert call.write(1, SPEECH) == len(SPEECH)
        sent = 0
        for _ in range(FRAMES):
            call.input(CALLER)
            sent += len(call.tick())
        assert sent == FRAMES * 323
        assert reader.read(64, True) is not None
        call.events()
        return sent

    return second


def test_a_call(compare: Compare) -> None:
    compare("20 ms of a call, by hand", driven(_core), "_reference", driven(_reference), of=FRAMES)


def test_ring_write(compare: Compare) -> None:
    """Write and throw away: the producer's side of the ring, and the consumer's way through it."""

    def work(module: Any) -> Any:
        call = module.Call(1, detector="rms", lead=0)
        call.start(UUID)
        generation = 0

        def write() -> None:
            nonlocal generation
            generation += 1
            assert call.write(generation, SPEECH) == len(SPEECH)
            call.do_flush(generation)
            call.events()

        return write

    compare("ring, write and drop a frame", work(_core), "_reference", work(_reference), of=FRAMES)


def test_ring_write_and_consume(compare: Compare, c_loops: ctypes.CDLL) -> None:
    """A frame through the ring, producer and consumer in one thread: against the queue of an asyncio agent."""
    times = 500
    frame = SPEECH[:320]
    queue: asyncio.Queue[bytes] = asyncio.Queue(128)
    assert c_loops.ring_loop(frame, times) == times

    def through_a_queue() -> None:
        for _ in range(times):
            queue.put_nowait(frame)
            queue.get_nowait()

    compare(
        "ring, write and consume a frame, C",
        lambda: c_loops.ring_loop(frame, times),
        "asyncio.Queue put and get",
        through_a_queue,
        of=times,
    )
    compare(
        "ring, write and consume a frame, C",
        lambda: c_loops.ring_loop(frame, times),
        "_reference",
        reference_ring(frame, times),
        of=times,
    )


def reference_ring(frame: bytes, times: int) -> Any:
    ring = Ring(128)
    producer, playout = _reference.Producer(ring, 320), _reference.Playout(ring, 8000, 0)

    def work() -> None:
        for _ in range(times):
            producer.write(1, frame)
            playout.frame()

    return work
