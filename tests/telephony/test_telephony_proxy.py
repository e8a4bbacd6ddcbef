"""FastAGI and HTTP behind a balancer that puts the PROXY header of version 2 in front of each connection."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable

import pytest
from aiohttp import web

from agent.ops.http import HttpLimits, guarded_port
from agent.ops.strangers import Strangers
from agent.telephony.fastagi import FastAgiLimits, FastAgiServer
from agent.telephony.registry import CallInfo, CallRegistry

HERE = "127.0.0.1"
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
ADDRESSES = socket.inet_aton("192.0.2.7") + socket.inet_aton("10.0.0.1") + struct.pack("!HH", 40000, 4573)
LONG = ADDRESSES + b"\x04" + struct.pack("!H", 3000) + bytes(3000)


def header(payload: bytes = ADDRESSES, command: int = 0x21) -> bytes:
    return SIGNATURE + bytes([command, 0x11]) + struct.pack("!H", len(payload)) + payload


NEXT = b"agi_network: yes\nagi_network_script: next\nagi_arg_1: none\n\n"
UNKNOWN = b'SET VARIABLE VOICE_AGENT_TARGET ""\n'
GET = b"GET /who HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

Told = list[tuple[str, str]]


async def room(_info: CallInfo) -> bool:
    return True


@contextlib.asynccontextmanager
async def fastagi(*, proxy_protocol: bool = True) -> AsyncIterator[tuple[FastAgiServer, Told]]:
    told: Told = []
    limits = FastAgiLimits(request_timeout_s=0.3, verdict_wait_s=0.05)
    server = FastAgiServer(
        CallRegistry(),
        room,
        port=0,
        limits=limits,
        on_refused=lambda *what: told.append(what),
        proxy_protocol=proxy_protocol,
    )
    async with server:
        yield server, told


@contextlib.asynccontextmanager
async def http() -> AsyncIterator[tuple[int, Strangers]]:
    async def hello(_request: web.Request) -> web.Response:
        return web.Response(text="hello")

    app = web.Application()
    app.router.add_get("/who", hello)
    strangers = Strangers()
    limits = HttpLimits(head_s=0.3, request_s=1.0, idle_s=0.5)
    async with guarded_port(app, HERE, 0, strangers=strangers, limits=limits, proxy_protocol=True) as port:
        yield port, strangers


async def ask(port: int, *chunks: bytes, until: Callable[[bytes], bool] = lambda _heard: False) -> bytes:
    """What is heard until it is enough, or until the other side closes."""
    reader, writer = await asyncio.open_connection(HERE, port)
    heard = b""
    try:
        for chunk in chunks:
            writer.write(chunk)
            await asyncio.sleep(0.005)
        async with asyncio.timeout(5):
            with contextlib.suppress(ConnectionError):
                while not until(heard) and (data := await reader.read(65536)):
                    heard += data
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    return heard


def cuts(stream: bytes) -> list[list[bytes]]:
    """The stream in one piece, byte by byte, and cut in the header, at its end and behind it."""
    head = stream[: 28 + 4]
    return [
        [stream],
        [*(head[i : i + 1] for i in range(len(head))), stream[len(head) :]],
        *([stream[:at], stream[at:]] for at in (1, 15, 20, 28, 30)),
    ]


@pytest.mark.parametrize("payload", [ADDRESSES, LONG], ids=["plain", "with extensions"])
async def test_a_dialplan_s_question_comes_behind_the_header(payload: bytes) -> None:
    async with fastagi() as (server, told):
        streams = cuts(header(payload) + NEXT)
        for chunks in streams:
            assert await ask(server.port, *chunks, until=lambda heard: b"\n" in heard) == UNKNOWN
        assert await ask(server.port, header(b"", 0x20) + NEXT, until=lambda heard: b"\n" in heard) == UNKNOWN
        assert server.counters["next_unknown"] == len(streams) + 1
        assert [reason for reason, _ in told if reason not in ("closed",)] == []


@pytest.mark.parametrize(
    ("said", "reason", "peer"),
    [
        (NEXT, "no_proxy", HERE),
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 40000 4573\r\n" + NEXT, "proxy_v1", HERE),
        (header(command=0x31) + NEXT, "bad_proxy", HERE),
        (header(ADDRESSES[:5]) + NEXT, "bad_proxy", HERE),
        (header()[:20], "timeout", HERE),
        (header(), "timeout", "192.0.2.7"),
        (header() + b"GET / HTTP/1.1\n\n", "bad_header", "192.0.2.7"),
        (header() + NEXT.replace(b"next", b"other"), "script", "192.0.2.7"),
    ],
)
async def test_what_is_no_such_question_is_counted_and_whose_it_was(said: bytes, reason: str, peer: str) -> None:
    async with fastagi() as (server, told):
        assert await ask(server.port, said) == b""
        assert told == [(reason, peer)]
        assert server.counters[f"refused_{reason}"] == 1


async def test_a_balancer_that_hangs_up_in_its_header_is_no_stranger() -> None:
    async with fastagi() as (server, told):
        _, writer = await asyncio.open_connection(HERE, server.port)
        writer.write(header(b"", 0x20)[:9])
        writer.close()
        async with asyncio.timeout(5):
            while not server.counters["refused_closed"]:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)
        assert told == []


async def test_without_the_setting_a_header_is_no_question() -> None:
    async with fastagi(proxy_protocol=False) as (server, told):
        assert await ask(server.port, header() + NEXT) == b""
        assert len(told) == 1
        assert server.counters["next_unknown"] == 0


async def test_http_takes_who_comes_through_the_balancer_and_who_does_not() -> None:
    async with http() as (port, strangers):
        for chunks in (
            *cuts(header() + GET),
            *cuts(header(LONG) + GET),
            [header(b"", 0x20) + GET],
            [GET],
            [b"G", GET[1:]],
        ):
            assert (await ask(port, *chunks)).endswith(b"hello")
        assert not strangers.counters


@pytest.mark.parametrize(
    ("said", "reason", "peer"),
    [
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 40000 9098\r\n" + GET, "proxy_v1", HERE),
        (header(command=0x31) + GET, "bad_proxy", HERE),
        (b"\r\n\r\nGET / HTTP/1.1\r\n\r\n", "no_proxy", HERE),
        (header()[:20], "timeout", HERE),
        (header(), "timeout", "192.0.2.7"),
        (header() + b"GET /who HT", "timeout", "192.0.2.7"),
    ],
)
async def test_http_turns_away_what_is_no_header(
    said: bytes, reason: str, peer: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with http() as (port, strangers):
        assert await ask(port, said) == b""
        assert strangers.counters == {("HTTP", reason): 1}
        if reason != "timeout" or b"GET" in said:
            assert f"a connection from {peer} away: {reason}" in caplog.text
