"""Stereo recordings: the caller left, the agent right, on one time line, exactly what went over the wire."""

from __future__ import annotations

import array
import asyncio
import contextlib
import logging
import os
import sys
import threading
import wave
from dataclasses import dataclass
from pathlib import Path

import fastaudio

log = logging.getLogger(__name__)

EVERY_S = 0.5


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


class _Recording:
    """One call's file. Made on the event loop; `step` and `close` are for the thread that writes."""

    def __init__(self, call: fastaudio.Call, path: Path) -> None:
        self.over = False
        """No more comes: what is there is all there will be."""
        self._loop = asyncio.get_running_loop()
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._reader = call.capture_reader(sent=True)
        self._next_block = 0
        self._rate = call.rate
        self._path = path
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")
        self._writer = wave.open(self._file, "wb")  # noqa: SIM115 - it is closed in another thread
        self._writer.setnchannels(2)
        self._writer.setsampwidth(2)
        self._writer.setframerate(call.rate)

    async def closed(self) -> int:
        """Wait until the file is complete, or has failed; returns the ms that a slow disk lost."""
        await asyncio.shield(self._closed)
        return self._reader.lost * fastaudio.TICK_MS

    def step(self) -> bool:
        """Write what has come; whether more is to come."""
        over = self.over  # first: what comes before it is set is read below
        try:
            while (batch := self._reader.read()) is not None:
                if batch.position > self._next_block:  # what was lost is silence: the time line stays true
                    self._writer.writeframesraw(bytes((batch.position - self._next_block) * self._rate // 50 * 4))
                self._writer.writeframesraw(interleave(batch.caller, batch.sent))
                self._next_block = batch.position + len(batch.flags)
            if not over:
                return True
            self._writer.close()
            self._file.close()
        except OSError as error:
            log.error("cannot record to %s: %s", self._path.parent, error.strerror)
            for part in (self._writer, self._file):
                with contextlib.suppress(OSError):
                    part.close()
        with contextlib.suppress(RuntimeError):  # the event loop has ended: nobody waits
            self._loop.call_soon_threadsafe(self._closed.set_result, None)
        return False


class _Writing:
    """One thread that writes the recordings of all calls; there is none while nothing is recorded.

    It looks at the captures itself, twice a second: the event loop is left alone, and a disk may stand still for 1.4 s
    before anything is lost.
    """

    def __init__(self) -> None:
        self._change = threading.Condition()
        self._recordings: list[_Recording] = []
        self._thread: threading.Thread | None = None

    def begin(self, recording: _Recording) -> None:
        """Write this one, too."""
        with self._change:
            self._recordings.append(recording)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="recordings", daemon=True)
                self._thread.start()

    def finish(self, recording: _Recording) -> None:
        """Write the rest of it now."""
        with self._change:
            recording.over = True
            self._change.notify()

    def _run(self) -> None:
        while True:
            ended = [recording for recording in list(self._recordings) if not recording.step()]
            with self._change:
                for recording in ended:
                    self._recordings.remove(recording)
                if not self._recordings:
                    self._thread = None
                    return
                if not any(recording.over for recording in self._recordings):
                    self._change.wait(EVERY_S)


_writing = _Writing()


async def record(call: fastaudio.Call, path: Path) -> int:
    """Write the call to a WAV file until it ends; returns the ms that a slow disk lost.

    The disk is written on a thread of its own: a slow one loses the recordings' own copy and delays nothing.
    """
    try:
        recording = _Recording(call, path)
    except OSError as error:
        log.error("cannot record to %s: %s", path.parent, error.strerror)
        return 0
    _writing.begin(recording)
    try:
        await call.wait_ended()
    finally:
        _writing.finish(recording)
    return await recording.closed()
