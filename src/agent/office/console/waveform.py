"""How loud both sides of a recording are over its time: what a player draws, small enough to send and to keep."""

from __future__ import annotations

import array
import asyncio
import base64
import math
import sys
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import fastaudio
from agent.ops.recording_file import StereoReader, open_stereo

STEP_MS: Final = 20
MOST_STEPS: Final = 15_000
"""Of each side: five minutes in steps of 20 ms; a longer call has longer ones."""
KEPT: Final = 64
"""Waveforms in memory, of 30 KB at most."""
BLOCK_S: Final = 4
"""Seconds that are read at once: a long recording takes no more memory than a short one."""
FLOOR_DB: Final = -50.0
"""Of full scale: what is quieter is drawn as silence."""


@dataclass(frozen=True, slots=True)
class Waveform:
    """The level of each step, 0 (silence) to 255 (as loud as can be), by its decibels."""

    step_ms: int
    caller: bytes
    agent: bytes

    def as_dict(self) -> dict[str, Any]:
        """As JSON; the levels in base64."""
        return {
            "step_ms": self.step_ms,
            "caller": base64.b64encode(self.caller).decode(),
            "agent": base64.b64encode(self.agent).decode(),
        }


def read_waveform(path: Path) -> Waveform:
    """Read a recording; blocks. Raises what `open_stereo` does."""
    with open_stereo(path) as audio:
        length_ms = 1000 * audio.frames // audio.rate
        step_ms = STEP_MS * max(1, math.ceil(length_ms / STEP_MS / MOST_STEPS))
        caller, agent = bytearray(), bytearray()
        for left, right in _steps(audio, audio.rate * step_ms // 1000):
            caller.append(_level(fastaudio.rms(left)))
            agent.append(_level(fastaudio.rms(right)))
        return Waveform(step_ms, bytes(caller), bytes(agent))


def _steps(audio: StereoReader, size: int) -> Iterator[tuple[bytes, bytes]]:
    steps = max(1, BLOCK_S * audio.rate // size)
    while pcm := audio.read(steps * size):
        both = array.array("h", pcm[: len(pcm) // 4 * 4])
        if sys.byteorder == "big":
            both.byteswap()
        left, right = both[0::2].tobytes(), both[1::2].tobytes()
        for at in range(0, len(left), 2 * size):
            yield left[at : at + 2 * size], right[at : at + 2 * size]


@cache
def _level(rms: int) -> int:
    """Of 16-bit sound: there are no more of them than that."""
    if not rms:
        return 0
    decibels = 20 * math.log10(rms / 32768)
    return max(0, min(255, round(255 * (1 - decibels / FLOOR_DB))))


def _version(path: Path) -> tuple[Path, int, int]:
    status = path.stat()
    return path, status.st_size, status.st_mtime_ns


class Waveforms:
    """Those that were looked at last; each is read once, on a thread, however many ask."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[Path, int, int], Waveform] = OrderedDict()
        self._one_at_a_time = asyncio.Semaphore(1)  # calls are under way beside it

    async def of(self, path: Path) -> Waveform:
        """Return the waveform of a recording. Raises what `open_stereo` does."""
        key = _version(path)
        async with self._one_at_a_time:
            if key not in self._kept:
                self._kept[key] = await asyncio.to_thread(read_waveform, path)
                while len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(key)
            return self._kept[key]
