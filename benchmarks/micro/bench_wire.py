"""Parsing, messages and rechunking: against the asyncio way of published tutorials and plain Python."""

from __future__ import annotations

import asyncio
import ctypes
import struct
from typing import TYPE_CHECKING

import pytest

from fastaudio import _core, _reference

if TYPE_CHECKING:
    from benchmarks.micro.conftest import Compare

FRAMES = 100
HELLO = _core.message(0x01, bytes(range(16)))
FRAME = bytes(range(160)) * 2
STREAM = HELLO + _core.message(0x10, FRAME) * FRAMES


def asyncio_way() -> int:
    """`readexactly` of a header and of its payload, with all bytes there already: no waiting is measured."""

    async def read() -> int:
        reader = asyncio.StreamReader()
        reader.feed_data(STREAM)
        reader.feed_eof()
        audio = 0
        while header := await reader.read(3):
            kind, length = struct.unpack(">BH", header)
            payload = await reader.readexactly(length)
            if kind == 0x10:
                audio += len(payload)
        return audio

    coroutine = read()  # driven by hand: the loop's own cost per run stays out of it
    audio = 0
    try:
        coroutine.send(None)
    except StopIteration as done:
        audio = done.value
    if audio != FRAMES * 320:
        raise AssertionError("the reader waited, or lost something")
    return audio


@pytest.fixture(autouse=True)
def loop() -> object:
    """`asyncio.StreamReader` wants one."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield loop
    asyncio.set_event_loop(None)
    loop.close()


def test_parse_in_the_media_thread(compare: Compare, c_loops: ctypes.CDLL) -> None:
    times = 20
    assert c_loops.parse_loop(STREAM, ctypes.c_size_t(len(STREAM)), 1) == FRAMES * 320
    compare(
        "parse a frame, C",
        lambda: c_loops.parse_loop(STREAM, ctypes.c_size_t(len(STREAM)), times),
        "asyncio readexactly",
        lambda: [asyncio_way() for _ in range(times)],
        of=FRAMES * times,
        goal=50,
    )


def test_parse_from_python(compare: Compare) -> None:
    def ours() -> object:
        return _core.FrameParser().feed(STREAM)

    compare("parse a frame, FrameParser", ours, "asyncio readexactly", asyncio_way, of=FRAMES)
    compare("parse a frame, FrameParser", ours, "_reference", lambda: _reference.FrameParser().feed(STREAM), of=FRAMES)


def test_message(compare: Compare) -> None:
    compare("message", lambda: _core.message(0x10, FRAME), "_reference", lambda: _reference.message(0x10, FRAME))
    compare(
        "message",
        lambda: _core.message(0x10, FRAME),
        "struct.pack and join",
        lambda: struct.pack(">BH", 0x10, len(FRAME)) + FRAME,
    )


def test_message_in_the_media_thread(compare: Compare, c_loops: ctypes.CDLL) -> None:
    times = 2000
    writer = Transportless()

    def tutorials_way() -> None:
        for _ in range(times):
            writer.write(struct.pack(">BH", 0x10, len(FRAME)) + FRAME)

    compare(
        "message, C",
        lambda: c_loops.encode_loop(FRAME, times),
        "struct.pack, join and write",
        tutorials_way,
        of=times,
    )


class Transportless:
    """A writer of messages that are thrown away: what the socket costs is no part of making them."""

    def write(self, data: bytes) -> None:
        """Forgets the one before."""
        self.last = data


def test_rechunk(compare: Compare) -> None:
    chunk = bytes(1237)  # what a TTS sends has no size in particular
    ours, twin = _core.Rechunker(), _reference.Rechunker()
    carry = bytearray()

    def slicing() -> list[bytes]:
        carry.extend(chunk)
        frames = []
        while len(carry) >= 320:
            frames.append(bytes(carry[:320]))
            del carry[:320]
        return frames

    compare("rechunk 1237 bytes", lambda: ours.push(chunk), "_reference", lambda: twin.push(chunk))
    compare("rechunk 1237 bytes", lambda: ours.push(chunk), "bytearray slicing", slicing)
