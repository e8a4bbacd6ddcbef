"""Connections that are no calls, on each of the three ports: each has a limit and a counter, and calls feel nothing."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING
from uuid import uuid4

import aiohttp
import pytest
from aiohttp import web

from agent.ops import http as agent_http
from agent.ops.http import HttpLimits, http_port
from agent.ops.settings import Settings
from agent.ops.strangers import LINES, Strangers
from agent.sandbox.caller.agi import Dialplan
from fastaudio import load

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.agent.conftest import Rig, RigMaker

HERE = "127.0.0.1"


# ---- the log --------------------------------------------------------------------------------------------------------


def test_ten_thousand_make_a_few_lines(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    strangers = Strangers(clock=lambda: now[0])
    for number in range(10_000):
        now[0] += 0.001
        strangers.turned_away("HTTP", "timeout" if number % 2 else "peer", f"10.0.0.{number % 250}")
    strangers.turned_away("FastAGI", "script", "10.0.0.9")
    assert strangers.counters == {("HTTP", "timeout"): 5000, ("HTTP", "peer"): 5000, ("FastAGI", "script"): 1}
    assert len(caplog.records) <= LINES + 3
    assert "HTTP: turned a connection from 10.0.0.0 away: peer" in caplog.text
    assert "FastAGI: turned a connection from 10.0.0.9 away: script" in caplog.text, "another port has lines of its own"
    now[0] += 60
    strangers.tell()
    strangers.tell()
    told = [record.getMessage() for record in caplog.records if "more were turned away" in record.getMessage()]
    assert sum(int(line.split()[1]) for line in told) + LINES + 1 >= 10_000 - len(told)
    assert told[-1].endswith("the last from 10.0.0.249")
    assert caplog.records[-1].getMessage() == told[-1], "said once"


# ---- HTTP -----------------------------------------------------------------------------------------------------------


class Client:
    """A plain socket."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> Client:
        self._reader, self._writer = await asyncio.open_connection(HERE, self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    def say(self, text: bytes) -> None:
        self._writer.write(text)

    async def answer(self, seconds: float = 5.0) -> bytes:
        """All that comes until the other side closes."""
        async with asyncio.timeout(seconds):
            with contextlib.suppress(ConnectionError):
                return await self._reader.read(-1)
        return b""


class Door:
    """An HTTP port with short limits, and what it turned away."""

    def __init__(self, port: int, strangers: Strangers) -> None:
        self.port = port
        self.strangers = strangers

    def client(self) -> Client:
        return Client(self.port)

    @property
    def reasons(self) -> dict[str, int]:
        return {reason: count for (_, reason), count in self.strangers.counters.items()}


@contextlib.asynccontextmanager
async def a_door(settings: Settings, **limits: float) -> AsyncIterator[Door]:
    async def hello(_request: web.Request) -> web.Response:
        return web.Response(text="hello")

    async def hang(_request: web.Request) -> web.Response:
        await asyncio.sleep(60)
        return web.Response()

    async def flood(_request: web.Request) -> web.Response:
        return web.Response(body=bytes(20_000_000))

    app = web.Application()
    app.router.add_get("/", hello)
    app.router.add_get("/hang", hang)
    app.router.add_get("/flood", flood)
    strangers = Strangers()
    chosen = HttpLimits(**{"head_s": 0.3, "request_s": 0.4, "idle_s": 0.5} | limits)  # type: ignore[arg-type]
    async with http_port(app, settings, strangers, chosen) as (_, port):
        yield Door(port, strangers)


REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"", "timeout"),
        (b"GET / HT", "timeout"),
        (b"GET /hang HTTP/1.1\r\nHost: x\r\n\r\n", "timeout"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n", "timeout"),
    ],
)
async def test_who_does_not_come_to_the_point_is_closed(
    agent_settings: Callable[..., Settings], said: bytes, reason: str
) -> None:
    async with a_door(agent_settings()) as door, door.client() as client:
        client.say(said)
        assert await client.answer() == b""
        assert door.reasons == {reason: 1}


async def test_a_drop_at_a_time_does_not_help(agent_settings: Callable[..., Settings]) -> None:
    async with a_door(agent_settings()) as door, door.client() as client:
        begun = time.monotonic()
        answer = asyncio.create_task(client.answer())
        for letter in REQUEST * 3:
            if answer.done():
                break
            client.say(bytes([letter]))
            await asyncio.sleep(0.05)
        assert await answer == b""
        assert time.monotonic() - begun < 2.0
        assert door.reasons == {"timeout": 1}


async def test_a_head_that_does_not_end_is_not_kept(agent_settings: Callable[..., Settings]) -> None:
    async with a_door(agent_settings(), head_s=5.0, unasked_bytes=20_000) as door:
        async with door.client() as client:
            client.say(b"GET / HTTP/1.1\r\n" + b"".join(b"x-%d: %s\r\n" % (n, b"y" * 1000) for n in range(100)))
            await client.answer(2.0)
            assert door.reasons == {"too_much": 1}
        async with door.client() as client:
            client.say(b"GET / HTTP/1.1\r\nx: " + b"y" * 10_000 + b"\r\n\r\n")
            assert b" 400 " in await client.answer(2.0)


async def test_who_does_not_take_the_answer_is_closed(agent_settings: Callable[..., Settings]) -> None:
    async with a_door(agent_settings()) as door:
        with socket.create_connection((HERE, door.port)) as client:
            client.sendall(b"GET /flood HTTP/1.1\r\nHost: x\r\n\r\n")
            async with asyncio.timeout(5):
                while not door.reasons:  # noqa: ASYNC110 - it is the counter that matters
                    await asyncio.sleep(0.02)
        assert door.reasons == {"not_reading": 1}


async def test_a_connection_that_is_kept_open_is_closed_without_a_word(agent_settings: Callable[..., Settings]) -> None:
    async with a_door(agent_settings()) as door, door.client() as client:
        client.say(REQUEST)
        assert (await client.answer()).endswith(b"hello")
        assert door.reasons == {}


async def test_the_silent_give_way_to_those_who_ask(agent_settings: Callable[..., Settings]) -> None:
    async with (
        a_door(agent_settings(), connections=8, head_s=5.0, idle_s=5.0) as door,
        contextlib.AsyncExitStack() as stack,
    ):
        known = await stack.enter_async_context(door.client())
        known.say(REQUEST)
        await asyncio.sleep(0.05)
        for _ in range(50):
            await stack.enter_async_context(door.client())
        async with aiohttp.ClientSession() as http, http.get(f"http://{HERE}:{door.port}/") as answer:
            assert await answer.text() == "hello"
        assert door.reasons == {"connections": 44}
        known.say(REQUEST.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert (await known.answer()).count(b"hello") == 2, "who has asked before is kept for longer"


async def test_who_is_not_allowed_is_told_so(
    agent_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_http, "_own_addresses", lambda _host: ())
    async with a_door(agent_settings(allowed_peers=("10.0.0.0/8",))) as door:
        async with aiohttp.ClientSession() as http, http.get(f"http://{HERE}:{door.port}/") as answer:
            assert (answer.status, await answer.text()) == (403, "this address is not among ALLOWED_PEERS\n")
        async with door.client() as silent:
            assert await silent.answer() == b""
        assert door.reasons == {"peer": 1, "timeout": 1}


# ---- all ports, beside calls ----------------------------------------------------------------------------------------


def _swarm(port: int, count: int, said: bytes, at_once: int = 400) -> None:
    """So many connections, some hundred open at a time; whoever is closed has had what it came for."""
    for _ in range(count // at_once):
        with contextlib.ExitStack() as stack:
            for _ in range(at_once):
                peer = stack.enter_context(socket.create_connection((HERE, port), timeout=5))
                with contextlib.suppress(OSError):
                    peer.sendall(said)


@contextlib.contextmanager
def quiet_log() -> Iterator[None]:
    """The lines of strangers are counted elsewhere."""
    log = logging.getLogger("agent.ops.strangers")
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before


@pytest.mark.alone
async def test_swarms_of_strangers_do_not_touch_the_calls(a_rig: RigMaker) -> None:
    """Their frames come as they would, by the account of the callers, and a new call finds its way in."""
    async with a_rig(max_calls=20) as rig:
        agent = rig.agent
        before, stalls = agent.engine.lateness(), agent.engine.counters()["stalls"]
        measured = asyncio.create_task(
            asyncio.to_thread(load.run, HERE, agent.audio_port, calls=4, seconds=6.0, warmup=0.5)
        )
        await rig.until(lambda: agent.calls == 4)
        with quiet_log():
            for port, count, said in (
                (agent.audio_port, 10_000, b""),
                (agent.audio_port, 400, b"\x01\x00"),
                (agent.audio_port, 400, b"GET / HTTP/1.1\r\n\r\n"),
                (agent.fastagi_port, 800, b""),
                (agent.fastagi_port, 400, b"agi_network: yes\n"),
                (agent.http_port, 800, b""),
                (agent.http_port, 400, b"GET /health HTTP/1.1\r\nx: "),
            ):
                await asyncio.to_thread(_swarm, port, count, said)
                with contextlib.suppress(OSError):
                    await _hello(rig)
        late = agent.engine.lateness().since(before)
        report = await measured
        assert report.carried, report.ended
        assert report.slip_worst_ms < 60 + report.lag_max_ms
        assert late.quantile_us(0.99) / 1000 < 20 + report.lag_p99_ms
        assert agent.engine.counters()["stalls"] - stalls <= 4 * (1 + report.lag_max_ms // 80)
        result = await rig.dial("say: Goodbye")
        assert result.failure == ""
        counters = agent.strangers.counters
        assert counters["AudioSocket", "pending_full"] > 1000
        assert counters["AudioSocket", "not_uuid"] > 100
        assert counters["FastAGI", "connections"] > 0
        assert counters["HTTP", "connections"] > 0
        assert agent.engine.counters()["pending"] <= 256


async def test_asterisk_finds_its_way_in_past_the_silent(rig: Rig) -> None:
    with contextlib.ExitStack() as stack, quiet_log():
        for _ in range(300):
            address = (HERE, rig.agent.fastagi_port)
            stack.enter_context(await asyncio.to_thread(socket.create_connection, address, timeout=5))
        dialplan = Dialplan(HERE, rig.agent.fastagi_port, did="+442079460123", caller_id="+447700900123")
        assert (await dialplan.start(uuid4()))["VOICE_AGENT_STATUS"] == "OK"
        assert rig.agent.strangers.counters["FastAGI", "connections"] == 45, "256 of 301 are kept"


async def _hello(rig: Rig) -> None:
    """While the swarm is still there, who asks is answered."""
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"http://{HERE}:{rig.agent.http_port}/ready", timeout=aiohttp.ClientTimeout(5)) as answer,
    ):
        assert answer.status == 200
