"""How often something may happen: so many a minute for each key, with memory for so many keys."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

REMEMBERED = 4096


class RateLimit:
    """The generic cell rate algorithm (ITU-T I.371): steady at `per_minute`, and `burst` at once after a rest.

    It keeps one number a key. Of more than `remembered` keys the one that was not heard of for longest is forgotten,
    so that strangers cannot fill the memory; it begins anew when it comes again.
    """

    def __init__(
        self,
        per_minute: float,
        burst: int,
        *,
        remembered: int = REMEMBERED,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises `ValueError` unless all three are above 0."""
        if per_minute <= 0 or burst < 1 or remembered < 1:
            raise ValueError("a rate limit needs per_minute > 0, burst >= 1 and remembered >= 1")
        self._gap_s = 60.0 / per_minute
        self._burst_s = self._gap_s * (burst - 1)
        self._remembered = remembered
        self._clock = clock
        self._due: OrderedDict[Hashable, float] = OrderedDict()
        """By key: when the next one would come at the steady rate."""

    def __len__(self) -> int:
        """How many keys are remembered."""
        return len(self._due)

    def wait_s(self, key: Hashable) -> float:
        """How long `key` has to wait, s; 0: it may come now. Nothing is counted."""
        now = self._clock()
        early_s = self._due.get(key, now) - now - self._burst_s
        return early_s if early_s > 1e-9 else 0.0

    def take_s(self, key: Hashable) -> float:
        """Count one more of `key` and return 0; or return how long it has to wait, s, and count nothing."""
        if wait_s := self.wait_s(key):
            return wait_s
        now = self._clock()
        self._due[key] = max(now, self._due.get(key, now)) + self._gap_s
        self._due.move_to_end(key)
        if len(self._due) > self._remembered:
            self._due.popitem(last=False)
        return 0.0

    def forget(self, key: Hashable) -> None:
        """Begin anew with `key`."""
        self._due.pop(key, None)
