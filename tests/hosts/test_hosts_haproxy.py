"""HAProxy's sample, with the real HAProxy in front of media cores: what it must not do to a call."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from uuid import uuid4

import pytest
from aiohttp import web

import fastaudio
from tests.hosts.cluster import HERE, SAMPLE, configured
from tests.hosts.servers import HaProxy, MissingProgramError, free_port, program

FRAME = b"\x10" + (320).to_bytes(2, "big") + bytes(320)
HANGUP = b"\0\0\0"
PORTS = ("LISTEN", "FASTAGI", "HTTP", "CONSOLE")


@pytest.fixture(autouse=True)
def _haproxy() -> None:
    try:
        program("haproxy", "haproxy")
    except MissingProgramError as error:
        pytest.skip(str(error))


class Core:
    """A media core, and the pages that HAProxy asks."""

    def __init__(self, number: int) -> None:
        self.name = f"host{number}"
        self.ports = {name: free_port() for name in PORTS}
        self.ready = True
        self.answering = asyncio.Event()
        self.checks = 0
        self.engine: fastaudio.Engine
        self._stack, self._dying = AsyncExitStack(), AsyncExitStack()

    async def __aenter__(self) -> Core:
        self.answering.set()
        app = web.Application()
        app.router.add_get("/ready", self._ready)
        app.router.add_get("/health", self._healthy)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, HERE, self.ports["HTTP"]).start()
        self._stack.push_async_callback(runner.cleanup)
        self.engine = fastaudio.Engine(HERE, self.ports["LISTEN"], proxy_protocol=True)
        await self._dying.enter_async_context(self.engine)
        self._stack.push_async_callback(self.die)
        return self

    async def die(self) -> None:
        """Listen for no calls any more."""
        await self._dying.aclose()

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _ready(self, _request: web.Request) -> web.Response:
        self.checks += 1
        await self.answering.wait()
        return web.Response(status=200 if self.ready else 503)

    async def _healthy(self, _request: web.Request) -> web.Response:
        return web.Response()


class Balanced:
    """Cores behind HAProxy."""

    def __init__(self, folder: Path, cores: list[Core]) -> None:
        self.hosts = cores
        self.ports = {name: free_port() for name in PORTS}
        self.stats = folder / "haproxy.sock"
        self.proxy: HaProxy

    def status(self, name: str) -> str:
        """What HAProxy takes a host of `calls` for."""
        return self.proxy.statuses(self.stats)["calls", name]

    async def call(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A call as Asterisk begins it."""
        reader, writer = await asyncio.open_connection(HERE, self.ports["LISTEN"])
        writer.write(b"\x01" + (16).to_bytes(2, "big") + uuid4().bytes)
        return reader, writer


@pytest.fixture
async def balanced(tmp_path: Path) -> AsyncIterator[Balanced]:
    """Two cores, and a tenth of the sample's time-outs of a connection."""
    async with AsyncExitStack() as stack:
        cores = [await stack.enter_async_context(Core(number)) for number in (1, 2)]
        balanced = Balanced(tmp_path, cores)
        text = configured(SAMPLE.read_text("utf-8"), balanced)
        assert text.count(" 10s") == 4
        configuration = tmp_path / "haproxy.cfg"
        configuration.write_text(text.replace(" 10s", " 1s"))
        balanced.proxy = HaProxy(configuration, balanced.ports["HTTP"])
        stack.callback(balanced.proxy.stop)
        yield balanced


async def until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - nobody tells when that is
            await asyncio.sleep(0.02)


def test_the_sample_is_as_haproxy_wants_it() -> None:
    assert HaProxy.check(SAMPLE) == ""


async def test_a_caller_on_hold_stays_and_the_end_comes_whole(balanced: Balanced) -> None:
    """The time-outs are a tenth of the sample's: nothing comes of this caller for four times as long."""
    reader, writer = await balanced.call()
    await until(lambda: any(core.engine.calls for core in balanced.hosts))
    (call,) = [call for core in balanced.hosts for call in core.engine.calls.values()]
    heard = 0
    end = time.monotonic() + 4.0
    async with asyncio.timeout(10):
        while time.monotonic() < end:
            assert await reader.readexactly(len(FRAME)) == FRAME
            heard += 1
    assert heard > 150, "a frame each 20 ms"
    assert not call.ended
    call.hangup(0)
    async with asyncio.timeout(5):
        rest = await reader.read()  # up to the end that the core sends: its half of the connection
    assert rest.replace(FRAME, b"") == HANGUP
    assert rest.endswith(HANGUP)
    writer.write(FRAME * 3)  # what was under way: Asterisk may still write
    await asyncio.sleep(0.1)
    writer.close()
    await until(lambda: call.ended)
    assert await call.wait_ended() == "agent", "and not a reset, nor a time-out"


async def test_a_check_is_no_call(balanced: Balanced) -> None:
    await until(lambda: all(core.checks >= 6 for core in balanced.hosts))
    for core in balanced.hosts:
        counters = core.engine.counters()
        assert counters["accepted"] == 0
        assert not any(counters["ended"].values())


async def test_a_host_that_is_not_ready_keeps_its_calls_and_gets_none(balanced: Balanced) -> None:
    first, second = balanced.hosts
    calls = [await balanced.call() for _ in range(4)]
    await until(lambda: len(first.engine.calls) == len(second.engine.calls) == 2)
    first.ready = False
    since = first.checks
    await until(lambda: first.checks >= since + 3)
    assert balanced.status("host1") == "NOLB"
    calls += [await balanced.call() for _ in range(4)]
    await until(lambda: len(second.engine.calls) == 6)
    assert len(first.engine.calls) == 2
    for reader, _ in calls:
        assert await reader.readexactly(len(FRAME)) == FRAME
    first.ready = True
    since = first.checks
    await until(lambda: first.checks >= since + 2)
    calls += [await balanced.call() for _ in range(4)]
    # It has the fewest, and so gets the next; one of them was seen to go to the other, just when it was back.
    await until(lambda: len(first.engine.calls) >= 2 + 3)
    for _, writer in calls:
        writer.close()


async def test_a_host_that_hangs_loses_its_calls_and_no_other_does(balanced: Balanced) -> None:
    """Its callers would hear nothing for as long as they stay; the dialplan's fallback is better."""
    first, second = balanced.hosts
    calls = [await balanced.call() for _ in range(4)]
    await until(lambda: len(first.engine.calls) == len(second.engine.calls) == 2)
    lost = list(first.engine.calls.values())
    first.answering.clear()
    await until(lambda: all(call.ended for call in lost), 15)
    first.answering.set()
    assert len(second.engine.calls) == 2
    over = 0
    for reader, writer in calls:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await reader.read()
                over += 1
        writer.close()
    assert over == 2
    await until(lambda: balanced.status("host1") == "UP")


async def test_a_reload_and_a_drain_by_hand_end_no_call(balanced: Balanced) -> None:
    first, second = balanced.hosts
    calls = [await balanced.call() for _ in range(2)]
    await until(lambda: len(first.engine.calls) == len(second.engine.calls) == 1)
    balanced.proxy.reload()
    await until(lambda: balanced.status("host1") == "UP")
    balanced.proxy.ask(balanced.stats, "set server calls/host1 state drain")
    await until(lambda: balanced.status("host1") == "DRAIN")
    calls += [await balanced.call() for _ in range(3)]
    await until(lambda: len(second.engine.calls) == 4)
    balanced.proxy.ask(balanced.stats, "set server calls/host1 state ready")
    end = time.monotonic() + 2.0
    for reader, _ in calls:  # longer than a time-out
        async with asyncio.timeout(6):
            while time.monotonic() < end:
                assert await reader.readexactly(len(FRAME)) == FRAME
    calls += [await balanced.call() for _ in range(2)]
    await until(lambda: len(first.engine.calls) > 1)
    await until(lambda: len(first.engine.calls) + len(second.engine.calls) == 7)
    for _, writer in calls:
        writer.close()


async def test_a_host_that_died_just_now_costs_a_call_nothing(balanced: Balanced) -> None:
    """No check has noticed yet: who is sent there is sent to another host at once."""
    first, second = balanced.hosts
    await until(lambda: first.checks and second.checks)
    await first.die()
    begin = time.monotonic()
    calls = [await balanced.call() for _ in range(6)]
    await until(lambda: len(second.engine.calls) == 6)
    for reader, writer in calls:
        assert await reader.readexactly(len(FRAME)) == FRAME
        writer.close()
    assert time.monotonic() - begin < 1.0
