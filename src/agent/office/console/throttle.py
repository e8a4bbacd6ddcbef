"""Failed log-ins: after a few, a name or an address waits."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable


class Throttle:
    """Lets each key try `burst` times, then once in `every_s`. At most `size` keys are remembered, the latest ones."""

    def __init__(
        self, burst: int, every_s: float, *, size: int = 4096, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._burst = burst
        self._every_s = every_s
        self._size = size
        self._clock = clock
        self._keys: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """What a key may still try, and when that was so."""

    def __len__(self) -> int:
        return len(self._keys)

    def wait_s(self, key: str) -> float:
        """How long `key` must wait before it may try again; 0: it may now."""
        left = self._left(key)
        return 0.0 if left >= 1 else (1 - left) * self._every_s

    def tries(self, key: str) -> None:
        """It tries: counted at once, so that trying all at the same time does not help."""
        self._keys[key] = (self._left(key) - 1, self._clock())
        self._keys.move_to_end(key)
        while len(self._keys) > self._size:
            self._keys.popitem(last=False)

    def succeeded(self, key: str) -> None:
        """It was right: it begins anew."""
        self._keys.pop(key, None)

    def _left(self, key: str) -> float:
        left, at = self._keys.get(key, (float(self._burst), 0.0))
        return min(float(self._burst), left + (self._clock() - at) / self._every_s)
