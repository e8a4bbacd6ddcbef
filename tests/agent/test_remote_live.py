"""Running calls seen from another process: everything that the console does to a call, over a bus."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from agent.call.running import LISTENERS_A_CALL, CallGone, RunningCall, TooManyListeners, UnknownTarget
from agent.call.watching import EVERY_S, Watching
from agent.workers import remote_live
from agent.workers.bus import Bus
from agent.workers.live_desk import LiveDesk
from agent.workers.remote_live import RemoteLiveCalls
from tests.agent.test_live import begin

if TYPE_CHECKING:
    from tests.agent.conftest import Rig


@dataclass
class Worker:
    """The supervisor's idea of a worker."""

    bus: Bus | None
    number: int = 1
    pid: int = field(default_factory=os.getpid)
    state: str = "serving"


@dataclass
class Far:
    """The rig's agent as a worker, seen over a bus."""

    rig: Rig
    worker: Worker
    workers: list[Worker]
    calls: RemoteLiveCalls
    theirs: Bus

    async def call(self, condition: Callable[[RunningCall], object] = lambda call: True) -> RunningCall:
        """The one call, once it is so."""
        async with asyncio.timeout(10):
            while True:
                await self.calls.look()
                found = [call for call in self.calls if condition(call)]
                if found:
                    return found[0]
                await asyncio.sleep(0.02)


@pytest.fixture
async def far(rig: Rig) -> AsyncIterator[Far]:
    here, there = socket.socketpair()
    bus, theirs = await Bus.open(here, "worker 1"), await Bus.open(there, "the supervisor")
    desk = LiveDesk(rig.agent.live, lambda: rig.agent.floor.process(1), theirs)
    worker = Worker(bus)
    workers = [worker]
    calls = RemoteLiveCalls(lambda: workers)
    yield Far(rig, worker, workers, calls, theirs)
    await calls.close()
    await desk.close()
    await bus.close()
    await theirs.close()
    names = {task.get_name() for task in asyncio.all_tasks()}
    assert not [name for name in names if name.startswith(("look at", "listening in", "bus of"))]


async def test_a_call_looks_the_same_from_afar(far: Far) -> None:
    running = begin(far.rig, "say: My tap leaks\nwait: 20s")
    near = await running.live()
    call = await far.call(lambda call: call.doing == "listening" and call.turns == 2)
    for name in (
        "uuid", "did", "caller_id", "caller_name", "started", "rate", "company", "company_id", "targets", "doing",
        "steps", "step_number", "step", "caller", "agent", "turns", "latency_ms", "listeners",
    ):  # fmt: skip
        assert getattr(call, name) == getattr(near, name), name
    assert (call.worker, len(far.calls)) == (1, 1)
    (process,) = far.calls.processes()
    assert (process.number, process.pid, process.state, process.calls) == (1, os.getpid(), "serving", 1)
    assert process.vendors is not None
    assert process.vendors["tts cartesia"]["state"] == "closed"
    assert far.calls.all(lambda company_id: company_id == near.company_id) == [call]
    far.calls._seen.clear()  # as when an answer was lost: what has not changed is told anew
    await far.calls.look()
    assert [one.uuid for one in far.calls] == [call.uuid]
    assert far.calls.get(call.uuid, lambda company_id: company_id is None) is None
    assert await call.end("anna")
    await running.over()
    await far.calls.look()
    assert len(far.calls) == 0


async def test_orders_reach_the_call(far: Far) -> None:
    running = begin(far.rig, "say: My tap leaks\nwait: 20s")
    call = await far.call(lambda call: call.targets)
    with pytest.raises(UnknownTarget, match="no transfer target 'cellar'"):
        await call.transfer("cellar", "anna")
    assert await call.transfer("office", "anna")
    result, record = await running.over()
    assert (result.verdict, result.verdict_target) == ("transfer", "2001")
    assert [mark.detail for mark in record.marks if mark.what == "operator"] == ["transfer by anna"]
    with pytest.raises(CallGone):
        await call.end("carl")
    with pytest.raises(CallGone):
        await call.audio().__aenter__()
    assert far.calls.listeners == 0


async def test_sound_comes_over_whole(far: Far) -> None:
    """The same samples as one who listens in beside it."""
    far.rig.voice.char_ms = 20
    running = begin(far.rig, "say: My tap leaks\nhangup")
    near = await running.live()
    call = await far.call()
    heard, beside = bytearray(), bytearray()

    async def listen(call: RunningCall, to: bytearray) -> None:
        async with call.audio(60) as audio:
            async for pcm in audio:
                to += pcm

    await asyncio.gather(listen(call, heard), listen(near, beside))
    await running.over()
    assert far.calls.listeners == near.listeners == 0
    assert far.calls.counters["listened_lost_ms"] == 0
    assert len(heard) > 4 * call.rate
    assert bytes(heard[:4000]) in beside or bytes(beside[:4000]) in heard
    assert bytes(heard[-4000:]) == bytes(beside[-4000:])


async def test_who_goes_listens_no_more_and_who_is_slow_loses_their_own(
    far: Far, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_live, "LISTENER_S", 0.3)
    running = begin(far.rig, "wait: 20s")
    near = await running.live()
    call = await far.call()
    async with call.audio(60) as audio:
        await anext(aiter(audio))
        await far.rig.until(lambda: near.listeners == 1)
        await asyncio.sleep(1.0)
    assert far.calls.counters["listened_lost_ms"] > 300
    await far.rig.until(lambda: near.listeners == 0)
    entered = [call.audio() for _ in range(LISTENERS_A_CALL)]
    for one in entered:
        await one.__aenter__()
    with pytest.raises(TooManyListeners, match="4 may listen to a call"):
        await call.audio().__aenter__()
    monkeypatch.setattr(remote_live, "LISTENERS", LISTENERS_A_CALL)
    with pytest.raises(TooManyListeners, match="may listen in at once"):
        await call.audio().__aenter__()
    for one in entered:
        await one.__aexit__(None, None, None)
    await far.rig.until(lambda: near.listeners == 0)
    await call.end("anna")
    await running.over()


async def test_levels_are_told_while_somebody_looks_at_them(far: Far) -> None:
    far.rig.voice.char_ms = 60
    watching = Watching(far.calls)
    running = begin(far.rig, "say: My tap leaks badly\nwait: 20s")
    call = await far.call(lambda call: call.company)
    asked = far.theirs.counters["handled"]
    await asyncio.sleep(2.5 * EVERY_S)
    assert far.theirs.counters["handled"] == asked, "nobody watches: nothing is asked"
    loud = [0, 0]
    async with watching.watch() as watcher:
        watcher.meter(frozenset({call.uuid}))
        async with asyncio.timeout(15):
            async for change in watcher.changes():
                levels = change.levels.get(call.uuid, (0, 0))
                loud = [max(one, other) for one, other in zip(loud, levels, strict=True)]
                if min(loud) > 500:
                    break
    await call.end("anna")
    await running.over()


async def test_a_worker_that_dies_takes_its_calls_along(far: Far) -> None:
    running = begin(far.rig, "wait: 20s")
    call = await far.call()

    async def until_over() -> None:
        async with call.audio() as audio:
            async for _ in audio:
                pass

    listening = asyncio.create_task(until_over())
    await far.rig.until(lambda: call.listeners or far.calls.listeners)
    await asyncio.sleep(0.1)
    await far.theirs.close()  # as a process that died does
    async with asyncio.timeout(3):
        await listening
    assert far.worker.bus is not None
    await far.worker.bus.wait_closed()
    assert len(far.calls) == 0
    assert far.calls.get(call.uuid) is None
    with pytest.raises(CallGone):
        await call.end("anna")
    await far.calls.look()
    far.workers.clear()
    assert far.calls.processes() == []
    await running.live()
    for one in far.rig.agent.live:
        await one.end("test")
    await running.over()


async def test_a_worker_that_hangs_holds_up_nobody(far: Far) -> None:
    """Its calls stay as they were, and the others' are told."""
    running = begin(far.rig, "wait: 20s")
    call = await far.call()
    here, there = socket.socketpair()
    deaf, other_end = await Bus.open(here, "worker 2"), await Bus.open(there, "the supervisor")
    hangs = asyncio.Event()

    async def never(values: Any) -> None:
        await hangs.wait()

    other_end.on("live", never)
    far.workers.append(Worker(deaf, 2))
    loop = asyncio.get_running_loop()
    began = loop.time()
    await far.calls.look()
    await far.calls.look()
    assert loop.time() - began < 2.0
    assert [one.uuid for one in far.calls] == [call.uuid]
    assert [process.number for process in far.calls.processes()] == [1, 2]
    assert other_end.counters["handled"] == 0
    far.workers.pop()
    await far.calls.look()
    hangs.set()
    await deaf.close()
    await other_end.close()
    await call.end("anna")
    await running.over()
