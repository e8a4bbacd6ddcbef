"""Circuit breakers: what one call finds out of an endpoint that fails, no other call of the process finds out anew.

Closed: all may call. Failures in a row, a limit or a wrong key open it: nobody calls, for a rest. Then one call tries:
if that works it is closed again, and if not the next rest is longer.
"""

from __future__ import annotations

import enum
import time
from collections import Counter
from collections.abc import Callable

from agent.providers.base import ProviderError

FAILURES = 3
"""So many in a row, and the endpoint is left alone for a while."""
REST_S = 5.0
"""The first rest; each further one without a success between is twice as long."""
LONGEST_S = 60.0
TRIAL_S = 10.0
"""A trial that says nothing for so long counts no more: the next call may try."""


KINDS = ("limit", "refused", "server", "closed", "no_answer")
"""Of failures, for metrics."""


def kind_of(error: ProviderError) -> str:
    """One of `KINDS`: a limit that will pass, a refusal that will not, a fault of the vendor's, a WebSocket that was
    closed, or nothing that could be called an answer.
    """
    if error.status == 429 or error.retry_after_s > 0:
        return "limit"
    if error.hopeless:
        return "refused"
    if 500 <= error.status < 600:
        return "server"
    return "closed" if error.status >= 1000 else "no_answer"


class BreakerState(enum.Enum):
    """What a call may do with the endpoint."""

    CLOSED = "closed"
    OPEN = "open"
    TRYING = "trying"


class Breaker:
    """Of one endpoint, for all calls of a process; one event loop owns it. Times are s on any one monotonic scale."""

    def __init__(self, name: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.name = name
        """For logs and metrics: "stt nova-3"."""
        self.counters: Counter[str] = Counter()
        """`succeeded`, `failed`, `opened`, `turned_away`."""
        self.errors: Counter[str] = Counter()
        """Failures by `KINDS`."""
        self._clock = clock
        self.told = False
        """Whether the endpoint itself asks to be left alone, by a limit or a refusal: trying anyway is in vain."""
        self._in_a_row = 0
        self._rests = 0  # in a row
        self._open_until: float | None = None
        self._trial_until = 0.0

    @property
    def state(self) -> BreakerState:
        """As it stands now."""
        if self._open_until is None:
            return BreakerState.CLOSED
        return BreakerState.TRYING if self._clock() < self._trial_until else BreakerState.OPEN

    @property
    def rest_s(self) -> float:
        """For how long nobody will try, s."""
        return 0.0 if self._open_until is None else max(0.0, self._open_until - self._clock())

    def allows(self) -> bool:
        """Whether this call may try; who may is to say how it went. After a rest one call may, until it has said so."""
        if self._open_until is None:
            return True
        now = self._clock()
        if now < self._open_until or now < self._trial_until:
            self.counters["turned_away"] += 1
            return False
        self._trial_until = now + TRIAL_S
        return True

    def succeeded(self) -> None:
        """The endpoint did its work."""
        self.counters["succeeded"] += 1
        self._in_a_row = self._rests = 0
        self._open_until = None
        self._trial_until = 0.0
        self.told = False

    def accepted(self) -> None:
        """It takes connections again, and has not done its work yet: all may call, and one failure opens it again."""
        if self._open_until is not None and self._clock() >= self._open_until:
            self._open_until = None
            self._trial_until = 0.0
            self._in_a_row = FAILURES - 1

    def failed(self, error: ProviderError) -> None:
        """The endpoint failed. A limit with a time, or a refusal that will not be otherwise, opens it at once."""
        self.counters["failed"] += 1
        self.errors[kind_of(error)] += 1
        self._in_a_row += 1
        tried = self._open_until is not None
        self._trial_until = 0.0
        self.told = error.hopeless or error.retry_after_s > 0
        if tried or error.hopeless or error.retry_after_s > 0 or self._in_a_row >= FAILURES:
            self._open(error.retry_after_s)

    def _open(self, retry_after_s: float) -> None:
        rest_s = min(LONGEST_S, REST_S * 2**self._rests)
        until = self._clock() + (retry_after_s or rest_s)
        if self._open_until is None:
            self.counters["opened"] += 1
        self._open_until = max(until, self._open_until or until)
        self._rests += 1


class Breakers:
    """The breakers of a process by name; there are as many as the settings name endpoints."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._by_name: dict[str, Breaker] = {}

    def of(self, name: str) -> Breaker:
        """The one of this endpoint, made when it is first asked for."""
        if name not in self._by_name:
            self._by_name[name] = Breaker(name, clock=self._clock)
        return self._by_name[name]

    def all(self) -> list[Breaker]:
        """Each of them, for metrics and health."""
        return list(self._by_name.values())
