"""The engine against the fake Asterisk in its three modes: nothing that it sends is anything they do not forgive."""

from __future__ import annotations

import array
import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from rig import versions
from rig.fake import FakeCall, Outcome
from rig.versions import MODES, NEW, OLD, VERSIONS, Version

import fastaudio
from fastaudio import EventKind

each_mode = pytest.mark.parametrize("version", MODES.values(), ids=MODES)


def numbered(samples: int) -> bytes:
    """Samples that are all different from silence and tell their place."""
    return array.array("h", (1 + i % 30000 for i in range(samples))).tobytes()


def speaking(pcm: bytes) -> Callable[[int], bytes]:
    return lambda tick: pcm[tick * 320 : tick * 320 + 320].ljust(320, b"\0")


@asynccontextmanager
async def calling(
    version: Version, engine: fastaudio.Engine, **options: object
) -> AsyncIterator[tuple[fastaudio.Call, FakeCall]]:
    fake = FakeCall(version, engine.port, **options).start()  # type: ignore[arg-type]
    try:
        call = await asyncio.wait_for(engine.accept(), 3)
        assert call.uuid == fake.uuid
        yield call, fake
    finally:
        fake.abandon()
        await fake.outcome()


async def until(condition: Callable[[], object], limit_s: float = 4.0) -> None:
    async with asyncio.timeout(limit_s):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def agents_hangup(version: Version, outcome: Outcome) -> None:
    """The dialplan goes on; before 20.14, 21.9 and 22.4 it does so behind TryExec alone."""
    assert outcome.returned == (-1 if version is OLD else 0)
    assert [level for level, _ in outcome.log] == (["WARNING"] if version is OLD else [])
    assert outcome.said(versions.NOT_RECEIVED) == (version is OLD)


@pytest.mark.parametrize("version", VERSIONS, ids=lambda v: v.name)
async def test_a_whole_call_and_the_agents_hangup(version: Version) -> None:
    said, spoken = numbered(160 * 60), numbered(12_345)
    async with fastaudio.Engine(port=0) as engine, calling(version, engine, next_frame=speaking(said)) as (call, fake):
        capture = call.capture(batch_ms=20)
        utterance = call.begin()
        for start, end in ((0, 1), (1, 4001), (4001, len(spoken))):
            await utterance.play(spoken[start:end])
        await utterance.end()
        assert await asyncio.wait_for(utterance.finished(), 4) == fastaudio.Played(12_345, flushed=False)
        call.hangup(trail_ms=200)
        agents_hangup(version, await fake.outcome())
        assert await asyncio.wait_for(call.wait_ended(), 3) == "agent"
        assert spoken in fake.audio
        assert fake.audio.strip(b"\0") == spoken.strip(b"\0"), "each sample once, in order, and silence around it"
        assert {(message.rate, len(message.pcm)) for message in fake.heard} == {(8000, 320)}
        heard = b"".join([batch.caller async for batch in capture])
        assert said[: 320 * 50] in heard
        counters = call.counters()
        assert counters["frames_in"] + counters["left_out"] >= 50


@each_mode
@pytest.mark.parametrize("how", ["close", "fin", "reset"])
async def test_the_caller_hangs_up_while_the_agent_speaks(version: Version, how: str) -> None:
    async with fastaudio.Engine(port=0) as engine, calling(version, engine) as (call, fake):
        utterance = call.begin()
        await utterance.play(numbered(16_000))
        await until(lambda: len(fake.heard) > 10)
        fake.hang_up(how)
        outcome = await fake.outcome()
        assert outcome.returned == -1
        assert outcome.said(versions.CALLER_GONE)
        assert await asyncio.wait_for(call.wait_ended(), 3) == "caller"
        played = await utterance.finished()
        assert played.flushed
        assert 0 < played.samples < 16_000
        await until(lambda: engine.counters()["live"] == 0)
        assert engine.counters()["ended"]["caller"] == 1


@each_mode
async def test_one_call_too_many_lets_the_dialplan_go_on(version: Version) -> None:
    async with fastaudio.Engine(port=0, max_calls=1) as engine, calling(version, engine) as (_, first):
        second = FakeCall(version, engine.port).start()
        agents_hangup(version, await second.outcome())
        assert second.heard == []
        await until(lambda: len(first.heard) > 5)
        assert engine.counters()["ended"]["full"] == 1


@each_mode
async def test_an_engine_that_stops_lets_every_dialplan_go_on(version: Version) -> None:
    engine = fastaudio.Engine(port=0)
    await engine.start()
    fakes = [FakeCall(version, engine.port).start() for _ in range(5)]
    calls = [await asyncio.wait_for(engine.accept(), 3) for _ in fakes]
    await calls[0].play(numbered(8000))
    await until(lambda: all(len(fake.heard) > 3 for fake in fakes))
    await engine.stop()
    for fake in fakes:
        agents_hangup(version, await fake.outcome())
    assert {await call.wait_ended() for call in calls} == {"stopped"}


@each_mode
async def test_digits_are_events_where_they_are_sent(version: Version) -> None:
    async with fastaudio.Engine(port=0) as engine, calling(version, engine) as (call, fake):
        digits: list[str] = []
        call.listen(lambda event: digits.append(chr(event.value)) if event.kind is EventKind.DTMF else None)
        await until(lambda: len(fake.heard) > 3)
        fake.press("12*#AD")
        await until(lambda: fake.digits_sent == "12*#AD" or version is OLD)
        await asyncio.sleep(0.8 if version is OLD else 0.1)
        assert "".join(digits) == ("" if version is OLD else "12*#AD")
        assert call.counters()["filled"] > 0, "a key takes 100 ms of the caller's audio, and OLD tells nothing"


async def test_a_slow_peer_gets_whole_messages_or_none() -> None:
    """What does not fit into its socket waits, and no message is torn when there is room again.

    A tail that was cut off follows at once, as epoll tells of the room. That helps from 22.9 on alone: OLD forgives no
    cut at all, MID none in a header, and where the kernel cuts is not in the sender's hand.
    """
    async with (
        fastaudio.Engine(port=0) as engine,
        calling(NEW, engine, receive_bytes=2048) as (call, fake),
        calling(NEW, engine) as (_, neighbour),
    ):
        await call.play(numbered(8000))
        await until(lambda: len(fake.heard) > 5)
        fake.stall()
        await until(lambda: call.counters()["blocked"] > 5, 10)
        before = len(neighbour.heard)
        await until(lambda: call.counters()["blocked"] > 45)
        assert len(neighbour.heard) - before >= 30, "a peer that does not read disturbs nobody else"
        count = len(fake.heard)
        fake.go_on()
        await until(lambda: len(fake.heard) > count + 50 or fake.over)
        assert not fake.over, fake.over and await fake.outcome()
        assert {len(message.pcm) for message in fake.heard} == {320}
        spoken = [sample for sample in array.array("h", fake.audio) if sample]
        assert spoken == list(array.array("h", numbered(8000)))[: len(spoken)], "nothing lost, nothing twice"


async def test_calls_of_every_version_side_by_side() -> None:
    async with fastaudio.Engine(port=0) as engine:
        fakes = [FakeCall(version, engine.port).start() for version in VERSIONS * 3]
        calls = {call.uuid: call for call in [await asyncio.wait_for(engine.accept(), 3) for _ in fakes]}
        for number, fake in enumerate(fakes):
            await calls[fake.uuid].play(array.array("h", [number + 1] * 4000).tobytes())
        await asyncio.sleep(0.8)
        for call in calls.values():
            call.hangup(trail_ms=40)
        for number, fake in enumerate(fakes):
            agents_hangup(fake.version, await fake.outcome())
            samples = set(array.array("h", fake.audio))
            assert samples == {0, number + 1}, "nobody hears another's audio"
        await until(lambda: engine.counters()["ended"]["agent"] == len(fakes))
