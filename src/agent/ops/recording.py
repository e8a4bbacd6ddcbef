"""Stereo recordings: the caller left, the agent right, on one time line, exactly what went over the wire."""

from __future__ import annotations

import array
import asyncio
import logging
import os
import sys
import wave
from dataclasses import dataclass
from pathlib import Path

import fastaudio

log = logging.getLogger(__name__)

BATCH_MS = 400


def interleave(left: bytes, right: bytes) -> bytes:
    """Two 16-bit mono signals of one length as one stereo signal."""
    stereo = array.array("h", bytes(2 * len(left)))
    stereo[0::2] = array.array("h", left)
    stereo[1::2] = array.array("h", right)
    if sys.byteorder == "big":  # WAV is little-endian
        stereo.byteswap()
    return stereo.tobytes()


@dataclass(frozen=True, slots=True)
class Tracks:
    """Both sides of a recording: 16-bit mono PCM of one length, little-endian, `rate` samples a second."""

    rate: int
    caller: bytes
    agent: bytes


def read_tracks(path: Path) -> Tracks:
    """Read a recording. Raises OSError, and ValueError for a file that is no stereo WAV of 16 bits."""
    try:
        with wave.open(str(path), "rb") as file:
            if (file.getnchannels(), file.getsampwidth()) != (2, 2):
                raise ValueError(f"{path} is no stereo recording of 16 bits")
            both = array.array("h", file.readframes(file.getnframes()))
            return Tracks(file.getframerate(), both[0::2].tobytes(), both[1::2].tobytes())
    except (wave.Error, EOFError) as error:
        raise ValueError(f"{path} is no WAV file: {error}") from error


async def record(call: fastaudio.Call, path: Path) -> int:
    """Write the call to a WAV file until it ends; returns the ms that a slow disk lost.

    The disk is written on a thread of its own: a slow one loses its own copy and delays nothing.
    """
    stream = call.capture(batch_ms=BATCH_MS, sent=True)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file, wave.open(file, "wb") as writer:
            writer.setnchannels(2)
            writer.setsampwidth(2)
            writer.setframerate(call.rate)
            await _write(stream, writer, call.rate)
    except OSError as error:
        log.error("cannot record to %s: %s", path.parent, error.strerror)
    finally:
        stream.close()
    return stream.lost * fastaudio.TICK_MS


async def _write(stream: fastaudio.CaptureStream, writer: wave.Wave_write, rate: int) -> None:
    next_block = 0
    async for batch in stream:
        if batch.position > next_block:  # what was lost is silence: the time line stays true
            gap = bytes((batch.position - next_block) * rate // 50 * 4)
            await asyncio.to_thread(writer.writeframesraw, gap)
        await asyncio.to_thread(writer.writeframesraw, interleave(batch.caller, batch.sent))
        next_block = batch.position + len(batch.flags)
