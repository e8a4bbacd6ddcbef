"""Stereo recordings: the caller left, the agent right, on one time line, exactly what went over the wire."""

from __future__ import annotations

import array
import asyncio
import contextlib
import logging
import sys
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import fastaudio
from agent.ops.recording_file import create, read_stereo

log = logging.getLogger(__name__)

EVERY_S = 0.5
COUNTED: Counter[str] = Counter()
"""Of this process's recordings: `whole`, `cut` (a slow disk lost some of it), `failed`, `bytes` and `lost_ms`."""


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
    """Read a recording. Raises OSError, and ValueError for a file that is no stereo recording of 16 bits."""
    rate, stereo = read_stereo(path)
    both = array.array("h", stereo)
    return Tracks(rate, both[0::2].tobytes(), both[1::2].tobytes())


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of a recording."""

    lost_ms: int = 0
    """Silence in the place of what a slow disk lost."""
    failed: str = ""
    """Why it ends before the call did, or is not there at all."""


class _Recording:
    """One call's file. Made on the event loop; `step` and `close` are for the thread that writes."""

    def __init__(self, call: fastaudio.Call, path: Path) -> None:
        self.over = False
        """No more comes: what is there is all there will be."""
        self._loop = asyncio.get_running_loop()
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._failed = ""
        self._reader = call.capture_reader(sent=True)
        self._next_block = 0
        self._rate = call.rate
        self._path = path
        self._file = create(path, call.rate)

    async def closed(self) -> Recorded:
        """Wait until the file is complete, or has failed."""
        await asyncio.shield(self._closed)
        return Recorded(self._reader.lost * fastaudio.TICK_MS, self._failed)

    def step(self) -> bool:
        """Write what has come; whether more is to come."""
        over = self.over  # first: what comes before it is set is read below
        try:
            while (batch := self._reader.read()) is not None:
                if batch.position > self._next_block:  # what was lost is silence: the time line stays true
                    self._file.write(bytes((batch.position - self._next_block) * self._rate // 50 * 4))
                self._file.write(interleave(batch.caller, batch.sent))
                self._next_block = batch.position + len(batch.flags)
            if not over:
                return True
            self._file.close()
            COUNTED["bytes"] += self._path.stat().st_size
        except OSError as error:
            self._failed = _told(self._path, error)
            with contextlib.suppress(OSError):
                self._file.close()
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


async def record(call: fastaudio.Call, path: Path) -> Recorded:
    """Write the call to a file until it ends; the suffix tells its format (`recording_file.py`).

    The disk is written on a thread of its own: a slow one loses the recordings' own copy, and one that takes nothing
    more ends the recording; neither delays anything. What is there until then can be played.
    """
    try:
        recording = _Recording(call, path)
    except OSError as error:
        return _counted(Recorded(failed=_told(path, error)))
    _writing.begin(recording)
    try:
        await call.wait_ended()
    finally:
        _writing.finish(recording)
    return _counted(await recording.closed())


def _counted(recorded: Recorded) -> Recorded:
    COUNTED["failed" if recorded.failed else "cut" if recorded.lost_ms else "whole"] += 1
    COUNTED["lost_ms"] += recorded.lost_ms
    return recorded


def _told(path: Path, error: OSError) -> str:
    why = error.strerror or type(error).__name__
    log.error("cannot record to %s: %s", path.parent, why)
    return why
