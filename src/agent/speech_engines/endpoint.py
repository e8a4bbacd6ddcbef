"""Where speech begins and ends, by energy: what Deepgram's `endpointing` and `vad_events` rest on."""

from __future__ import annotations

from collections import deque

import fastaudio
from agent.speech_engines.types import Samples

FRAME_MS = 10
_FLOOR_FRAMES = 500
_FLOOR_EVERY = 10
_MOST_RMS = 600.0
"""Speech above this is speech on any floor: one learnt from speech without a pause must not hide it."""
_START_FRAMES = 4
"""So many speech frames of the last `_START_WINDOW` begin a stretch of speech: clicks are shorter."""
_START_WINDOW = 6


class EnergyEndpointer:
    """Follows the level in frames of 10 ms against the noise floor; positions are samples from the first one on."""

    def __init__(self, sample_rate: int, *, least_rms: float = 150.0, over_floor: float = 2.5) -> None:
        self._size = sample_rate * FRAME_MS // 1000
        self._least_rms = least_rms
        self._over_floor = over_floor
        self._rest = b""
        self._levels: deque[float] = deque(maxlen=_FLOOR_FRAMES)
        self._frames = 0
        self._threshold = least_rms
        self._recent: deque[bool] = deque(maxlen=_START_WINDOW)
        self.position = 0
        """Samples judged so far."""
        self.speaking = False
        self.speech_start = 0
        """First sample of the present or last stretch of speech."""
        self.speech_end = 0
        """One past the last sample that was speech."""

    @property
    def silence(self) -> int:
        """Samples since the last speech; 0 before any."""
        return self.position - self.speech_end if self.speech_end else 0

    def feed(self, samples: Samples) -> None:
        """Judge more audio; what does not fill a frame waits for the next call."""
        data = self._rest + samples.tobytes()
        size = 2 * self._size
        whole = len(data) // size * size
        self._rest = data[whole:]
        for start in range(0, whole, size):
            self._frame(fastaudio.rms(data[start : start + size]))

    def end(self) -> None:
        """Close the present stretch: the next speech frames begin a new one."""
        self.speaking = False
        self._recent.clear()

    def _frame(self, rms: float) -> None:
        self._levels.append(rms)
        self._frames += 1
        if self._frames % _FLOOR_EVERY == 0:
            floor = sorted(self._levels)[len(self._levels) // 16]
            self._threshold = max(self._least_rms, min(self._over_floor * floor, _MOST_RMS))
        speech = rms > self._threshold
        self._recent.append(speech)
        self.position += self._size
        if not speech:
            return
        if not self.speaking and sum(self._recent) >= _START_FRAMES:
            self.speaking = True
            first = list(self._recent).index(True)
            self.speech_start = self.position - (len(self._recent) - first) * self._size
        if self.speaking:
            self.speech_end = self.position
