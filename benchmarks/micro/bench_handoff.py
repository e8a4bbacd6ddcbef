"""The hand-off between the media thread and asyncio: commands there, events back through the eventfd, in batches."""

from __future__ import annotations

import asyncio
import queue
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fastaudio import _core

if TYPE_CHECKING:
    from benchmarks.micro.conftest import Compare

BATCH = 256
FLUSHED = 11
"""`FA_EVENT_FLUSHED`: each flush is answered by one, also when there is nothing to throw away."""


@contextmanager
def media_thread(loop: asyncio.AbstractEventLoop) -> Iterator[Callable[[], None]]:
    """An engine with one call; what comes out gives it a batch of commands and waits for as many events."""
    engine = _core.Engine()
    call = _core.Call(1, detector="rms")
    answered = generation = 0
    done = asyncio.Event()

    def on_events() -> None:
        nonlocal answered
        engine.wake()
        while events := engine.drain(BATCH):
            answered += sum(event[0] == FLUSHED for event in events)
        if answered >= generation:
            done.set()

    async def batch() -> None:
        nonlocal generation
        done.clear()
        for _ in range(BATCH):
            generation += 1
            engine.flush(call, generation)
        await done.wait()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        loop.add_reader(engine.fileno(), on_events)
        engine.start(listener.fileno())
        engine.spare(call)
        with socket.create_connection(listener.getsockname()) as peer:
            peer.sendall(_core.message(0x01, bytes(range(16))))
            while not engine.counters()["live"]:
                loop.run_until_complete(asyncio.sleep(0.01))
            yield lambda: loop.run_until_complete(batch())
        loop.remove_reader(engine.fileno())
        engine.stop()


@contextmanager
def plain_thread(loop: asyncio.AbstractEventLoop) -> Iterator[Callable[[], None]]:
    """The plain way: a Python thread, `queue.SimpleQueue` there and `call_soon_threadsafe` back."""
    commands: queue.SimpleQueue[int | None] = queue.SimpleQueue()
    answered = asked = 0
    done = asyncio.Event()

    def on_event(number: int) -> None:
        nonlocal answered
        answered += 1
        if answered >= asked:
            done.set()

    def serve() -> None:
        while (number := commands.get()) is not None:
            loop.call_soon_threadsafe(on_event, number)

    async def batch() -> None:
        nonlocal asked
        done.clear()
        for _ in range(BATCH):
            asked += 1
            commands.put(asked)
        await done.wait()

    thread = threading.Thread(target=serve)
    thread.start()
    yield lambda: loop.run_until_complete(batch())
    commands.put(None)
    thread.join()


def test_handoff(compare: Compare) -> None:
    loop = asyncio.new_event_loop()
    with media_thread(loop) as ours, plain_thread(loop) as theirs:
        compare(f"command and its event, batch of {BATCH}", ours, "SimpleQueue, call_soon_threadsafe", theirs, of=BATCH)
    loop.close()


def test_events_by_hand(compare: Compare) -> None:
    """What one event costs the event loop: out of the ring as a tuple, against a callback of asyncio's own."""
    call = _core.Call(1, detector="rms")
    call.start(bytes(range(16)))
    generation = 0
    loop = asyncio.new_event_loop()
    seen: list[int] = []

    def ours() -> None:
        nonlocal generation
        for _ in range(BATCH):
            generation += 1
            call.do_flush(generation)
        assert len(call.events()) == BATCH

    def theirs() -> None:
        seen.clear()
        for number in range(BATCH):
            loop.call_soon(seen.append, number)
        loop.call_soon(loop.stop)
        loop.run_forever()
        assert len(seen) == BATCH

    compare(f"event by hand, batch of {BATCH}", ours, "asyncio call_soon", theirs, of=BATCH)
    loop.close()
