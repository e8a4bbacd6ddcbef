"""Connections that are turned away, on every port: counted by reason, logged with their peer, but not each of them.

Ten thousand of them in a second make ten thousand of a counter and a few lines of a log.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable

log = logging.getLogger(__name__)

LINES = 10
"""So many lines in a row on one port, then one each `EVERY_S`."""
EVERY_S = 10.0


class Strangers:
    """One for all ports. `counters` has (port, reason); both are of few values, and no peer's to choose."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.counters: Counter[tuple[str, str]] = Counter()
        self._clock = clock
        self._ports: dict[str, _Port] = {}

    def turned_away(self, port: str, reason: str, peer: str, *, told: bool = True) -> None:
        """Note one, of this address. One that is not `told` is counted alone."""
        self.counters[port, reason] += 1
        if not told:
            return
        now = self._clock()
        state = self._ports.setdefault(port, _Port(now))
        state.lines = min(float(LINES), state.lines + (now - state.at) / EVERY_S)
        state.at = now
        if state.lines < 1:
            state.untold[reason] += 1
            state.last_peer = peer
            return
        self._tell(port, state)
        state.lines -= 1
        log.warning("%s: turned a connection from %s away: %s", port, peer or "a peer", reason)

    def tell(self) -> None:
        """Say how many were not logged one by one, if there are any: for one who asks now and then."""
        for port, state in self._ports.items():
            if self._clock() - state.at >= EVERY_S:
                self._tell(port, state)

    def _tell(self, port: str, state: _Port) -> None:
        if state.untold:
            reasons = ", ".join(f"{reason} {count}" for reason, count in state.untold.most_common())
            log.warning("%s: %d more were turned away (%s), the last from %s", port, state.untold.total(), reasons,
                        state.last_peer or "a peer")  # fmt: skip
            state.untold.clear()


class _Port:
    def __init__(self, now: float) -> None:
        self.lines = float(LINES)
        self.at = now
        self.untold: Counter[str] = Counter()
        self.last_peer = ""
