"""The map from a vendor's time to the call's: it survives pre-roll, gaps and replay."""

from __future__ import annotations

import bisect


class Timeline:
    """Runs of audio: each began at a time of the stream and a time of the call. Both in ms, the stream's from 0.

    The stream only grows; the call's time jumps at each gap (nothing was sent) and may go back (pre-roll, replay).
    Old runs are forgotten beyond `limit`, counted in `forgotten`.
    """

    def __init__(self, limit: int = 256) -> None:
        self._stream: list[float] = []
        self._call: list[float] = []
        self._limit = limit
        self.sent_ms = 0.0
        """How much was sent on this stream, ms."""
        self.forgotten = 0

    def restart(self) -> None:
        """A new stream begins at 0."""
        self._stream.clear()
        self._call.clear()
        self.sent_ms = 0.0

    def sent(self, call_ms: float, length_ms: float) -> None:
        """Note that audio from `call_ms` on, `length_ms` of it, was sent."""
        expected = self._call[-1] + (self.sent_ms - self._stream[-1]) if self._stream else None
        if expected is None or abs(expected - call_ms) > 0.5:
            self._stream.append(self.sent_ms)
            self._call.append(call_ms)
            if len(self._stream) > self._limit:
                del self._stream[0], self._call[0]
                self.forgotten += 1
        self.sent_ms += length_ms

    def call_ms(self, stream_ms: float) -> int:
        """The time of the call at a time of the stream, at which something may begin."""
        return self._at(bisect.bisect_right(self._stream, stream_ms + 0.5), stream_ms)

    def call_end_ms(self, stream_ms: float) -> int:
        """The same of an end: at the border of two runs it belongs to the earlier one."""
        return self._at(bisect.bisect_left(self._stream, stream_ms - 0.5), stream_ms)

    def _at(self, runs: int, stream_ms: float) -> int:
        """By the last of so many runs."""
        if not self._stream:
            return 0
        index = max(0, runs - 1)
        return round(self._call[index] + (stream_ms - self._stream[index]))
