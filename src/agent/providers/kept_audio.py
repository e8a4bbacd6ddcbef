"""The audio of one call on its way to an STT: what waits, what was sent and is not final yet, and how fast it may go.

What is not final when a connection is lost goes to another one, or to another vendor, from the very sample on: so no
word is lost, and none that was final comes again. With it goes where a final text was asked for.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from typing import TypeAlias

KEPT_MS = 30_000  # of audio that waits, and as much of what was sent and is not final
ROUNDED_MS = 0.5  # vendors round times to the ms
BURST_MS = 1000  # may go at once: the pre-roll of an interruption is half of it

Piece: TypeAlias = tuple[int, bytes]
"""Audio, and which ms of the call it begins at; without audio it stands for a request for the final text."""


class KeptAudio:
    """One owner, one event loop. Stream times are ms of audio sent on the present connection."""

    def __init__(self, bytes_a_ms: int, counters: Counter[str]) -> None:
        """Counts `dropped_ms` (lost for good: beyond the limit) and `replayed_ms`."""
        self._bytes_a_ms = bytes_a_ms
        self._counters = counters
        self._waiting: deque[Piece] = deque()
        self._waiting_bytes = 0
        self._unfinal: deque[tuple[float, int, bytes]] = deque()  # end in stream ms, position, audio
        self._unfinal_bytes = 0
        self._let_go = 0.0, 0.0  # sent, not final, and more than is kept: its end in stream ms, and how many ms

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, position_ms: int, pcm: bytes) -> None:
        """Queue audio; at the limit the oldest is dropped, counted."""
        self._waiting.append((position_ms, pcm))
        self._waiting_bytes += len(pcm)
        self._bound()

    def ask(self) -> None:
        """Queue a request for the final text of what was queued before it."""
        if not self._waiting or self._waiting[-1][1]:
            self._waiting.append((0, b""))

    def first(self) -> Piece:
        """What is to go next. Raises `IndexError`."""
        return self._waiting[0]

    def take(self, sent_ms: float) -> Piece:
        """The same, which goes now, `sent_ms` having gone before; it is kept until it is final."""
        position_ms, pcm = self._waiting.popleft()
        self._waiting_bytes -= len(pcm)
        self._unfinal.append((sent_ms + len(pcm) / self._bytes_a_ms, position_ms, pcm))
        self._unfinal_bytes += len(pcm)
        while self._unfinal_bytes > KEPT_MS * self._bytes_a_ms:
            end_ms, _, old = self._unfinal.popleft()
            self._unfinal_bytes -= len(old)
            self._let_go = end_ms, self._let_go[1] + len(old) / self._bytes_a_ms
        return position_ms, pcm

    def settle(self, stream_ms: float) -> None:
        """Everything before this is final, to the sample: the rest of a piece is kept."""
        if stream_ms + ROUNDED_MS >= self._let_go[0]:
            self._let_go = 0.0, 0.0
        while self._unfinal and self._unfinal[0][0] <= stream_ms + ROUNDED_MS:
            self._unfinal_bytes -= len(self._unfinal.popleft()[2])
        if not self._unfinal:
            return
        end_ms, position_ms, pcm = self._unfinal[0]
        final_ms = round(stream_ms - (end_ms - len(pcm) / self._bytes_a_ms))
        if final_ms > 0:
            rest = pcm[final_ms * self._bytes_a_ms :]
            self._unfinal[0] = end_ms, position_ms + final_ms, rest
            self._unfinal_bytes -= len(pcm) - len(rest)

    def take_back(self) -> None:
        """The connection is lost: what is not final goes to the front of what waits."""
        self._waiting.extendleft((position_ms, pcm) for _, position_ms, pcm in reversed(self._unfinal))
        self._waiting_bytes += self._unfinal_bytes
        self._counters["replayed_ms"] += self._unfinal_bytes // self._bytes_a_ms
        self._counters["dropped_ms"] += round(self._let_go[1])
        self._let_go = 0.0, 0.0
        self._unfinal.clear()
        self._unfinal_bytes = 0
        self._bound()

    def hand_over(self) -> list[Piece]:
        """All that another vendor is to hear; nothing is left."""
        self.take_back()
        pieces = list(self._waiting)
        self._waiting.clear()
        self._waiting_bytes = 0
        return pieces

    def take_over(self, pieces: Sequence[Piece]) -> None:
        """What another vendor did not make final comes before everything else."""
        self._waiting.extendleft(reversed(pieces))
        self._waiting_bytes += sum(len(pcm) for _, pcm in pieces)
        self._bound()

    def _bound(self) -> None:
        while self._waiting_bytes > KEPT_MS * self._bytes_a_ms:
            _, old = self._waiting.popleft()
            self._waiting_bytes -= len(old)
            self._counters["dropped_ms"] += len(old) // self._bytes_a_ms


class Pace:
    """How fast audio may go: a second of it at once, and then `speed` times as fast as it was spoken."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._room_ms = float(BURST_MS)
        self._at: float | None = None

    def wait_s(self, now: float, ms: float) -> float:
        """For how long from `now` (s) on `ms` of audio has to wait; 0: it may go, and is reckoned as gone."""
        if self._at is not None:
            self._room_ms = min(BURST_MS, self._room_ms + 1000 * self._speed * (now - self._at))
        self._at = now
        lacks_ms = min(ms, BURST_MS) - self._room_ms
        if lacks_ms > 0.001:
            return lacks_ms / (1000 * self._speed)
        self._room_ms -= ms
        return 0.0
