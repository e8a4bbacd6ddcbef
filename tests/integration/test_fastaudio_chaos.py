"""The engine behind a proxy that cuts, delays, lumps, resets and half-closes: nothing of a call's audio changes.

`make chaos-media MINUTES=5` runs the drawn schedules for longer; CHAOS_SEED says where they begin.
"""

from __future__ import annotations

import array
import asyncio
import os
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import pytest
from rig.chaos import ALL, PATIENT, ChaosProxy, End, Fate, Way
from rig.fake import SILENCE, FakeCall, NextFrame
from rig.versions import NEW

import fastaudio

CHAOS_SECONDS = float(os.environ.get("CHAOS_SECONDS", "4"))
CHAOS_SEED = int(os.environ.get("CHAOS_SEED", "1"))
TWO_TICKS_MS = 45.0
"""The engine reads once a tick: bytes that are two of them apart are read apart."""
BATCH = 64


def numbered(samples: int, first: int = 1) -> bytes:
    """Samples that tell their place, and no frame is quiet: of a caller ahead of the clock those are left out."""
    return array.array("h", (5000 + (first + i) % 25000 for i in range(samples))).tobytes()


def loud(pcm: bytes | bytearray) -> list[int]:
    return [sample for sample in array.array("h", pcm) if sample]


def in_messages(sizes: Iterable[int]) -> tuple[NextFrame, list[int]]:
    """A caller whose telephone sends messages of these sizes, then silence; and the samples that they hold."""
    frames, expected, at = [], array.array("h"), 0
    for size in sizes:
        pcm = numbered(size // 2, at)
        frames.append(pcm + b"\x7f" * (size % 2))
        expected.frombytes(pcm)
        at += size // 2
    waiting = iter(frames)
    return lambda tick: next(waiting, SILENCE), list(expected)


@dataclass
class Ends:
    """Both ends of one call, and what the engine's end hears."""

    fake: FakeCall
    call: fastaudio.Call
    heard: bytearray = field(default_factory=bytearray)

    async def listen(self) -> None:
        async for batch in self.call.capture(batch_ms=20, preroll_ms=2000):
            self.heard += batch.caller

    async def say(self, pcm: bytes) -> None:
        with suppress(fastaudio.EngineClosed):
            utterance = self.call.begin()
            await utterance.play(pcm)
            await utterance.end()

    async def exchanged(self, heard: int, spoken: int, limit_s: float = 6.0) -> bool:
        """Whether either side has heard so many samples within the time, or the call is over."""
        return await until(
            lambda: self.call.ended or (len(loud(self.heard)) >= heard and len(loud(self.fake.audio)) >= spoken),
            limit_s,
        )


class Switchboard:
    """Knows which of the engine's calls is which fake's."""

    def __init__(self, engine: fastaudio.Engine) -> None:
        self.engine = engine
        self._calls: dict[uuid.UUID, fastaudio.Call] = {}

    async def serve(self) -> None:
        async for call in self.engine:
            self._calls[call.uuid] = call

    @asynccontextmanager
    async def call(self, fake: FakeCall) -> AsyncIterator[Ends | None]:
        """The call of this fake while it lasts; None when it is over before its UUID is through."""
        fake.start()
        await until(lambda: fake.uuid in self._calls or fake.over)
        await until(lambda: fake.uuid in self._calls, 0.2)
        call = self._calls.pop(fake.uuid, None)
        if call is None:
            yield None
            await fake.outcome()
            return
        ends = Ends(fake, call)
        listening = asyncio.create_task(ends.listen())
        try:
            yield ends
        finally:
            fake.abandon()
            await fake.outcome()
            async with asyncio.timeout(4):
                await call.wait_ended()
                await listening


@pytest.fixture
async def board() -> AsyncIterator[Switchboard]:
    options = fastaudio.CallOptions(detector="rms", barge_in=fastaudio.BargeInOptions(enabled=False))
    async with fastaudio.Engine(port=0, options=options) as engine:
        board = Switchboard(engine)
        serving = asyncio.create_task(board.serve())
        yield board
    await serving


async def until(condition: Callable[[], object], limit_s: float = 6.0) -> bool:
    """Whether it came to hold in time."""
    limit = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > limit:
            return False
        await asyncio.sleep(0.01)
    return True


def cut_at(byte: int) -> Fate:
    way = Way((byte, ALL), (TWO_TICKS_MS, 0.0))
    return Fate(way, way)


SIZES = (320, 161, 160, 640, 3, 318)
FIRST_MESSAGES = 19 + 4 + 323 + 164
"""Bytes of the UUID, a digit, a frame of 20 ms and one of an odd length: what is cut at each place."""


async def test_cut_at_every_byte_both_sides_hear_the_same(board: Switchboard) -> None:
    spoken = numbered(900)

    async def at(byte: int) -> None:
        frames, expected = in_messages(SIZES)
        async with ChaosProxy(board.engine.port, lambda _: cut_at(byte)) as proxy:
            fake = FakeCall(PATIENT, proxy.port, next_frame=frames)
            fake.press("7")
            async with board.call(fake) as ends:
                assert ends is not None, byte
                await ends.say(spoken)
                assert await ends.exchanged(len(expected), 900), (byte, ends.call.counters())
                assert loud(ends.heard) == expected, byte
                assert loud(fake.audio) == loud(spoken), byte
                assert ends.call.counters()["dtmf"] == 1, byte

    for first in range(1, FIRST_MESSAGES + 1, BATCH):
        await asyncio.gather(*(at(byte) for byte in range(first, min(first + BATCH, FIRST_MESSAGES + 1))))


@pytest.mark.parametrize("end", ["reset", "half-close"])
async def test_an_end_at_any_byte_ends_one_call_alone_with_a_reason(board: Switchboard, end: End) -> None:
    """In front of the UUID, within it, in a header, in a payload, in a digit."""
    places = [*range(19 + 4 + 8), *range(31, FIRST_MESSAGES, 23)]
    spoken = numbered(160 * 60)

    async def at(place: int) -> None:
        frames, expected = in_messages(SIZES)
        async with ChaosProxy(board.engine.port, lambda _: Fate(up=Way(end=end, end_at=place))) as proxy:
            fake = FakeCall(PATIENT, proxy.port, next_frame=frames)
            fake.press("7")
            async with board.call(fake) as ends:
                assert (ends is None) == (place < 19), place
                if ends is not None:
                    assert await asyncio.wait_for(ends.call.wait_ended(), 4) == "caller", place
                    assert loud(ends.heard) == expected[: len(loud(ends.heard))], place

    async with board.call(FakeCall(NEW, board.engine.port)) as neighbour:
        assert neighbour is not None
        await neighbour.say(spoken)
        await asyncio.gather(*(at(place) for place in places))
        assert await neighbour.exchanged(0, 160 * 60)
        assert loud(neighbour.fake.audio) == loud(spoken), "not a sample of the neighbour's is missing"
        assert not neighbour.fake.over
        counters = board.engine.counters()
        assert counters["accepted"] == 1 + len(places)
        assert {reason: n for reason, n in counters["ended"].items() if n} == {"caller": len(places)}
        assert counters["live"] == 1


async def one_call(board: Switchboard, fate: Fate, spoken: bytes) -> bool:
    """A call of this fate: what either side heard is what the other said, or the beginning of it. True: it was cut."""
    frames, expected = in_messages(SIZES)
    async with ChaosProxy(board.engine.port, lambda _: fate) as proxy:
        fake = FakeCall(PATIENT, proxy.port, next_frame=frames)
        async with board.call(fake) as ends:
            if ends is not None:
                await ends.say(spoken)
                assert await ends.exchanged(len(expected), len(spoken) // 2), (fate, ends.call.counters())
            cut = ends is None or ends.call.ended
            assert not cut or fate.up.end or fate.down.end, fate
        if ends is None:
            return True
        assert await ends.call.wait_ended() == "caller", fate
        assert loud(ends.heard) == expected[: len(loud(ends.heard))], fate
        assert loud(fake.audio) == loud(spoken)[: len(loud(fake.audio))], fate
        assert cut or len(loud(ends.heard)) == len(expected), fate
        return cut


async def one_schedule(board: Switchboard, seed: int, count: int = 16) -> int:
    """Calls of drawn fates at once, beside one on a straight line; returns how many were cut short."""
    engine = board.engine
    before = sum(engine.counters()["ended"].values())
    spoken = numbered(160 * 20)
    async with board.call(FakeCall(NEW, engine.port)) as neighbour:
        assert neighbour is not None
        await neighbour.say(numbered(160 * 30))
        cut = await asyncio.gather(*(one_call(board, Fate.drawn(seed, number), spoken) for number in range(count)))
        assert await neighbour.exchanged(0, 160 * 30)
        assert loud(neighbour.fake.audio) == loud(numbered(160 * 30)), f"seed {seed}"
        assert not neighbour.fake.over, f"seed {seed}"
        assert neighbour.call.counters()["blocked"] == 0, f"seed {seed}"
        counters = engine.counters()
        assert sum(counters["ended"].values()) - before == count, f"seed {seed}: each end is counted once"
        assert counters["live"] == 1, f"seed {seed}"
    return sum(cut)


@pytest.mark.timeout(CHAOS_SECONDS + 60)
async def test_drawn_schedules_change_nothing_but_time(board: Switchboard) -> None:
    limit = time.monotonic() + CHAOS_SECONDS
    schedules = cut_short = 0
    while schedules == 0 or time.monotonic() < limit:
        cut_short += await one_schedule(board, CHAOS_SEED + schedules)
        schedules += 1
    print(f"{schedules} schedules of 16 calls from seed {CHAOS_SEED} on, {cut_short} calls cut short")
    assert cut_short > 0


def test_a_fate_is_drawn_the_same_again() -> None:
    fates = [Fate.drawn(seed, number) for seed in range(20) for number in range(20)]
    assert fates == [Fate.drawn(seed, number) for seed in range(20) for number in range(20)]
    ends = {(fate.up.end, fate.down.end) for fate in fates}
    assert ends == {("", ""), ("reset", ""), ("half-close", ""), ("", "reset")}
