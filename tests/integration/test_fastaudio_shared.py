"""Engines of several processes on one listening socket: who takes a call, who leaves it to the others."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

import fastaudio

WORKER = """
import asyncio, socket, sys
import fastaudio

async def main(descriptor, max_calls):
    listener = socket.socket(fileno=descriptor)
    async with fastaudio.Engine(sock=listener, shared=True, max_calls=max_calls) as engine:
        loop = asyncio.get_running_loop()
        orders = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)

        async def obey():
            while order := (await orders.readline()).decode().strip():
                if order == "count":
                    print(engine.counters()["started"], engine.counters()["ended"]["full"], flush=True)
                else:
                    engine.accepting = order == "accept"
                    print(await engine.responsive(5), flush=True)
            await engine.stop()

        obeying = asyncio.create_task(obey())
        print("ready", await engine.responsive(5), flush=True)
        async for call in engine:
            pass
        await obeying

asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
"""


@dataclass
class Worker:
    process: asyncio.subprocess.Process

    async def ask(self, order: str) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(order.encode() + b"\n")
        return await self.line()

    async def line(self) -> str:
        assert self.process.stdout is not None
        async with asyncio.timeout(20):
            return (await self.process.stdout.readline()).decode().strip()

    async def counts(self) -> tuple[int, int]:
        """Calls started, and calls that were told that it is full."""
        started, full = (await self.ask("count")).split()
        return int(started), int(full)


@dataclass
class Shop:
    """A listening socket, and workers on it."""

    listener: socket.socket
    workers: list[Worker]
    callers: contextlib.AsyncExitStack

    async def hire(self, max_calls: int) -> Worker:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", WORKER, str(self.listener.fileno()), str(max_calls),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, pass_fds=[self.listener.fileno()],
        )  # fmt: skip
        worker = Worker(process)
        self.workers.append(worker)
        assert await worker.line() == "ready True"
        return worker

    async def call(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """One that rings: connected, its UUID told. The kernel connects it whoever is there."""
        reader, writer = await asyncio.open_connection(*self.listener.getsockname())
        self.callers.callback(writer.close)
        writer.write(b"\x01\x00\x10" + uuid.uuid4().bytes)
        return reader, writer


async def answered(reader: asyncio.StreamReader) -> bool:
    """Whether audio comes, and no word that it is to hang up."""
    async with asyncio.timeout(20):
        return (await reader.readexactly(3))[0] == 0x10


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        async with contextlib.AsyncExitStack() as callers:
            one = Shop(listener, [], callers)
            try:
                yield one
            finally:
                for worker in one.workers:
                    if worker.process.returncode is None:
                        worker.process.kill()
                    await worker.process.communicate()


async def test_each_takes_calls_and_a_full_one_leaves_them_to_the_other(shop: Shop) -> None:
    small, large = await shop.hire(3), await shop.hire(12)
    for _ in range(6):
        reader, _ = await shop.call()
        assert await answered(reader)
    assert (await small.counts())[0] >= 1
    assert (await large.counts())[0] >= 1
    readers = [(await shop.call())[0] for _ in range(9)]
    assert all([await answered(reader) for reader in readers])
    assert await small.counts() == (3, 0)
    assert await large.counts() == (12, 0)
    # Everybody is full: one more is told so, and a second later somebody has hung up and there is room again.
    reader, _ = await shop.call()
    assert not await answered(reader)
    assert (await small.counts())[1] + (await large.counts())[1] == 1


async def test_who_is_full_takes_part_again_when_a_call_has_ended(shop: Shop) -> None:
    only = await shop.hire(1)
    reader, writer = await shop.call()
    assert await answered(reader)
    second, _ = await shop.call()
    await asyncio.sleep(0.3)
    writer.close()
    assert await answered(second), "it has waited in the backlog"
    assert await only.counts() == (2, 0)


async def test_one_that_is_killed_takes_no_call_of_the_other_with_it(shop: Shop) -> None:
    workers = [await shop.hire(20), await shop.hire(20)]
    readers = [(await shop.call())[0] for _ in range(8)]
    assert all([await answered(reader) for reader in readers])
    shares = [(await worker.counts())[0] for worker in workers]
    assert min(shares) >= 1
    workers[0].process.send_signal(signal.SIGKILL)
    await workers[0].process.wait()
    for _ in range(6):
        reader, _ = await shop.call()
        assert await answered(reader)
    assert await workers[1].counts() == (shares[1] + 6, 0)
    lost = 0
    for reader in readers:
        await asyncio.sleep(0)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, TimeoutError):
            async with asyncio.timeout(0.5):
                while await reader.read(65536):
                    pass
            lost += 1
    assert lost == shares[0], "its own calls, and nobody else's"
    assert (await shop.hire(20)).process.pid != os.getpid()  # another takes its place on the same socket
    for _ in range(6):
        reader, _ = await shop.call()
        assert await answered(reader)
    assert (await shop.workers[2].counts())[0] >= 1


async def test_who_drains_leaves_calls_to_the_other(shop: Shop) -> None:
    leaving, staying = await shop.hire(20), await shop.hire(20)
    assert await leaving.ask("leave") == "True"
    for _ in range(5):
        reader, _ = await shop.call()
        assert await answered(reader)
    assert await leaving.counts() == (0, 0)
    assert await staying.ask("leave") == "True"
    waiting, _ = await shop.call()
    await asyncio.sleep(0.3)
    assert await leaving.ask("accept") == "True"
    assert await answered(waiting), "nothing of the backlog is lost"
    assert (await leaving.counts(), await staying.counts()) == ((1, 0), (5, 0))


class Deaf:
    """A media thread that does not run: what it is told waits in the ring."""

    answered = 0

    def ping(self, number: int) -> None:
        pass


async def test_a_thread_that_runs_is_responsive_and_one_that_does_not_is_not() -> None:
    engine = fastaudio.Engine(port=0)
    assert not await engine.responsive(0.1), "it has not started"
    async with engine:
        assert await engine.responsive(5)
        assert all(await asyncio.gather(*(engine.responsive(5) for _ in range(20))))
        wakeups = engine.counters()["wakeups"]
        await asyncio.sleep(0.2)
        assert engine.counters()["wakeups"] <= wakeups + 1, "only who asks wakes it"
        core, engine.core = engine.core, Deaf()  # type: ignore[assignment]
        assert not await engine.responsive(0.1), "nobody answers"
        engine.core = core
    assert not await engine.responsive(0.1), "it has stopped"


def test_a_shared_engine_needs_its_socket() -> None:
    with pytest.raises(ValueError, match="listening sock"):
        fastaudio.Engine(port=0, shared=True)
