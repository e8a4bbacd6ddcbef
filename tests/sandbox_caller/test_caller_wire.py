"""The caller's wire is as strict as Asterisk's, on time, and hears everything."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from agent.sandbox.caller.wire import AudioSocketCaller, ConnectError, frame_bytes

CALL = uuid.uuid4()
FRAME = b"\x10\x01\x40" + b"\x01\x00" * 160
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


FRAME_BYTES = frame_bytes(8000)


def silent(tick: int) -> bytes:
    return bytes(FRAME_BYTES)


@asynccontextmanager
async def calling(serve: Serve) -> AsyncIterator[tuple[AudioSocketCaller, list[tuple[float, bytes, int]]]]:
    heard: list[tuple[float, bytes, int]] = []
    tasks: list[asyncio.Task[None]] = []

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.append(task)
        try:
            await serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(accepted, "127.0.0.1", 0)
    async with server:
        caller = AudioSocketCaller(CALL, silent, lambda at, samples, rate: heard.append((at, samples, rate)))
        await caller.connect("127.0.0.1", server.sockets[0].getsockname()[1])
        caller.start()
        yield caller, heard
        await caller.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def sending(*pieces: bytes | float, stay: bool = True) -> Serve:
    """An agent that sends pieces, sleeps where one is a number, and then stays and sends frames, or ends."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            if isinstance(piece, bytes):
                writer.write(piece)
                await writer.drain()
            else:
                await asyncio.sleep(piece)
        while stay:
            await asyncio.sleep(0.02)
            writer.write(FRAME)
        # Closing over what was not read would be a reset: half-close, and drain.
        writer.write_eof()
        await reader.read(-1)

    return serve


async def ended(caller: AudioSocketCaller, within: float = 1.0) -> str:
    async with asyncio.timeout(within):
        return await asyncio.shield(caller.ended)


async def test_the_uuid_then_a_frame_each_20_ms() -> None:
    arrivals: list[tuple[float, bytes]] = []
    first = b""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal first
        writer.write(FRAME)
        first = await reader.readexactly(19)
        while True:
            arrivals.append((0.0, await reader.readexactly(3 + FRAME_BYTES)))
            arrivals[-1] = (time.monotonic(), arrivals[-1][1])

    async with calling(serve) as (caller, heard):
        await asyncio.sleep(0.5)
    assert first == b"\x01\x00\x10" + CALL.bytes
    assert {message[:3] for _, message in arrivals} == {b"\x10\x01\x40"}
    # The schedule is absolute: however late single frames are, their number is that of the time.
    assert 24 <= len(arrivals) <= 28
    assert caller.counters.frames_sent >= len(arrivals)
    assert [samples for _, samples, _ in heard] == [FRAME[3:]]


@pytest.mark.parametrize(
    ("agent", "told"),
    [
        (sending(b"\x01\x00\x10" + bytes(16)), "kind 0x01"),
        (sending(b"\x02\x00\x00"), "kind 0x02"),
        (sending(b"\x03\x00\x011"), "kind 0x03"),
        (sending(b"\x0f\x00\x00"), "kind 0x0f"),
        (sending(b"\x19\x00\x02xx"), "kind 0x19"),
        (sending(b"\xff\x00\x01\x01"), "kind 0xff"),
        (sending(b"\x10\x00\x00"), "length 0"),
        (sending(FRAME[:100], 0.05, FRAME[100:]), "paused"),
        (sending(FRAME[:3], 0.05, FRAME[3:]), "paused"),
        (sending(FRAME, FRAME[:100], stay=False), "inside a payload"),
    ],
)
async def test_what_asterisk_ends_a_call_over_ends_it_here(agent: Serve, told: str) -> None:
    async with calling(agent) as (caller, _):
        how = await ended(caller)
        assert how.startswith("failure: ")
        assert told in how


@pytest.mark.parametrize("last", [b"\x00\x00\x00", b"\x00\x01\x40", b"", b"\x10", b"\x10\x01"])
async def test_a_hangup_and_the_end_of_the_stream_before_a_payload_are_the_agents_hangup(last: bytes) -> None:
    async with calling(sending(FRAME, last, stay=False)) as (caller, heard):
        assert await ended(caller) == "agent"
        assert len(heard) == 1


async def test_frames_may_come_in_any_pieces_of_a_header_and_many_at_once() -> None:
    agent = sending(FRAME[:1], 0.03, FRAME[1:2], 0.03, FRAME[2:] + FRAME * 3 + b"\x10\x00\x03abc", b"\x00\x00\x00")
    async with calling(agent) as (caller, heard):
        assert await ended(caller) == "agent"
    assert [len(samples) for _, samples, _ in heard] == [320, 320, 320, 320, 2]


async def test_wider_audio_is_audio() -> None:
    async with calling(sending(b"\x12\x00\x04abcd", b"\x18\x00\x02ab", b"\x00\x00\x00")) as (caller, heard):
        assert await ended(caller) == "agent"
    assert [rate for _, _, rate in heard] == [16000, 192000]


async def test_two_seconds_of_nothing_end_the_call() -> None:
    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)

    async with calling(mute) as (caller, _):
        begun = time.monotonic()
        assert "for 2 s" in await ended(caller, 3.0)
        assert time.monotonic() - begun > 1.9


async def test_a_reset_is_a_failure() -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(19)
        connection: socket.socket = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async with calling(reset) as (caller, _):
        assert "failure: cannot" in await ended(caller)


async def test_keys_pause_the_audio_and_come_one_by_one() -> None:
    messages: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(19)
        writer.write(FRAME)
        while True:
            header = await reader.readexactly(3)
            messages.append(header + await reader.readexactly(int.from_bytes(header[1:], "big")))

    async with calling(serve) as (caller, _):
        caller.press("5#")
        await asyncio.sleep(0.5)
        assert not caller.pressing
    kinds = [message[0] for message in messages]
    assert [m for m in messages if m[0] == 3] == [b"\x03\x00\x015", b"\x03\x00\x01#"]
    first, second = (index for index, kind in enumerate(kinds) if kind == 3)
    assert second - first == 6, "five frames between two keys"
    assert 25 - 10 <= kinds.count(0x10) <= 28 - 10, "no audio in the ten ticks with a key down"


async def test_the_caller_hangs_up_without_a_word() -> None:
    rest: list[bytes] = []
    writers: list[asyncio.StreamWriter] = []
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        rest.append(await reader.read(-1))
        over.set()

    async with calling(serve) as (caller, _):
        await asyncio.sleep(0.1)
        # What the caller has not read yet must not turn its hangup into a reset.
        writers[0].write(FRAME)
        caller.hang_up()
        assert await ended(caller) == "caller"
        async with asyncio.timeout(1):
            await over.wait()
    assert (len(rest[0]) - 19) % (3 + FRAME_BYTES) == 0, "whole messages, no 00 00 00, and an end that is no reset"


async def test_an_agent_that_does_not_read_is_found_out() -> None:
    stop = asyncio.Event()

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection: socket.socket = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await stop.wait()

    async with calling(deaf) as (caller, _):
        assert caller._socket is not None
        caller._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1024)
        filler = b"\x10\xff\xff" + bytes(65535)
        for _ in range(200):
            caller._write(filler)
        assert "does not read" in await ended(caller)
        stop.set()


async def test_nobody_there_is_said_with_the_address() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        caller = AudioSocketCaller(CALL, silent, lambda at, samples, rate: None)
        with pytest.raises(ConnectError, match=f"127.0.0.1:{port}"):
            await caller.connect("127.0.0.1", port)
        await caller.close()
