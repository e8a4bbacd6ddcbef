"""Calls that come at random to a fleet of hosts which fail and are drained: what the formulas leave out.

A simulation of events: each call that comes goes to the host with the fewest calls, as HAProxy's leastconn has it, if
any has room and the vendors' streams are not used up. A host that is lost takes its calls with it; one that drains
takes no more and is back when its last call is over, or when its grace time is.
"""

from __future__ import annotations

import heapq
import math
import random
from dataclasses import dataclass, field
from typing import Final, Literal

Lengths = Literal["exponential", "lognormal", "constant"]
PARTS: Final = 25
SIGMA: Final = 0.8
"""Of a log-normal distribution of lengths: many short calls and some long ones."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is simulated. Times in seconds."""

    hosts: int
    calls_a_host: int
    calls_a_second: float
    mean_s: float
    seconds: float
    warmup_s: float = 0.0
    """Not counted: the fleet begins empty."""
    lengths: Lengths = "exponential"
    streams: int = 0
    """Of the STT for all hosts; 0: as many as there are calls."""
    mean_between_losses_s: float = 0.0
    """Of one host; 0: none is lost."""
    repair_s: float = 120.0
    drain_every_s: float = 0.0
    """One host after the other is drained, so far apart; 0: none is."""
    grace_s: float = 1800.0
    requests_a_minute: float = 11.8
    """Of one call to the LLM."""
    seed: int = 0


@dataclass(slots=True)
class Outcome:
    """What came of it, the warm-up left out."""

    offered: int = 0
    no_room: int = 0
    no_stream: int = 0
    lost: int = 0
    """Calls that were cut off because their host was."""
    ended_by_drain: int = 0
    carried_s: float = 0.0
    peak: int = 0
    losses: int = 0
    drains_s: list[float] = field(default_factory=list)
    """How long each drain took."""
    peak_requests_a_minute: float = 0.0
    parts: list[tuple[int, int]] = field(default_factory=list)
    """Calls and those turned away in each of `PARTS` of the run."""

    @property
    def blocked(self) -> float:
        """Share of calls that were turned away."""
        return (self.no_room + self.no_stream) / max(1, self.offered)

    @property
    def error(self) -> float:
        """Standard error of that share: what is turned away comes in bursts, so by the shares of parts of the run."""
        shares = [refused / offered for offered, refused in self.parts if offered]
        if len(shares) < 2:
            return 0.0
        mean = sum(shares) / len(shares)
        return math.sqrt(sum((share - mean) ** 2 for share in shares) / (len(shares) - 1) / len(shares))


class Simulation:
    """One run of a scenario. `run` gives the outcome."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._dice = random.Random(scenario.seed)
        self._now = 0.0
        self._events: list[tuple[float, int, str, int, int]] = []
        self._number = 0
        self._calls = 0
        self._count = [0] * scenario.hosts
        self._open = [True] * scenario.hosts
        self._life = [0] * scenario.hosts  # how often a host was lost: what ends later belongs to an earlier life
        self._draining: dict[int, float] = {}
        self._by_load = [(0, host) for host in range(scenario.hosts)]
        self._outcome = Outcome(parts=[(0, 0)] * PARTS)

    def run(self) -> Outcome:
        """Simulate it all."""
        scenario, dice = self._scenario, self._dice
        self._at(dice.expovariate(scenario.calls_a_second), "call")
        if scenario.mean_between_losses_s:
            for host in range(scenario.hosts):
                self._at(dice.expovariate(1 / scenario.mean_between_losses_s), "lose", host)
        if scenario.drain_every_s:
            self._at(scenario.drain_every_s, "drain", 0)
        while self._events and self._events[0][0] <= scenario.seconds:
            now, _, what, host, life = heapq.heappop(self._events)
            self._pass(now)
            match what:
                case "call":
                    self._at(dice.expovariate(scenario.calls_a_second), "call")
                    self._comes()
                case "end":
                    if life == self._life[host]:
                        self._ends(host)
                case "lose":
                    self._at(dice.expovariate(1 / scenario.mean_between_losses_s), "lose", host)
                    self._lose(host)
                case "back":
                    if life == self._life[host]:
                        self._opens(host)
                case "drain":
                    self._at(scenario.drain_every_s, "drain", (host + 1) % scenario.hosts)
                    self._drain(host)
                case "grace":
                    if life == self._life[host] and host in self._draining:
                        self._note("ended_by_drain", self._count[host])
                        self._drop(host)
                        self._drained(host)
        self._pass(scenario.seconds)
        return self._outcome

    def _at(self, after_s: float, what: str, host: int = 0, life: int = 0) -> None:
        self._number += 1
        heapq.heappush(self._events, (self._now + after_s, self._number, what, host, life))

    def _pass(self, now: float) -> None:
        outcome, since = self._outcome, max(self._now, self._scenario.warmup_s)
        if now > since:
            outcome.carried_s += self._calls * (now - since)
            outcome.peak = max(outcome.peak, self._calls)
            outcome.peak_requests_a_minute = outcome.peak * self._scenario.requests_a_minute
        self._now = now

    def _note(self, what: str, by: int = 1) -> None:
        if self._now >= self._scenario.warmup_s:
            setattr(self._outcome, what, getattr(self._outcome, what) + by)

    def _comes(self) -> None:
        scenario = self._scenario
        full = scenario.streams and self._calls >= scenario.streams
        host = self._emptiest()
        self._note("offered")
        self._note("no_stream" if full else "no_room", by=bool(full or host is None))
        counted = self._now - scenario.warmup_s
        if counted >= 0:
            part = min(PARTS - 1, int(PARTS * counted / (scenario.seconds - scenario.warmup_s)))
            offered, refused = self._outcome.parts[part]
            self._outcome.parts[part] = offered + 1, refused + bool(full or host is None)
        if full or host is None:
            return
        self._calls += 1
        self._change(host, 1)
        self._at(self._length(), "end", host, self._life[host])

    def _emptiest(self) -> int | None:
        heap = self._by_load
        while heap:
            count, host = heap[0]
            if self._open[host] and count == self._count[host]:
                return host if count < self._scenario.calls_a_host else None
            heapq.heappop(heap)  # it has changed since, and stands elsewhere
        return None

    def _change(self, host: int, by: int) -> None:
        self._count[host] += by
        if self._open[host]:
            heapq.heappush(self._by_load, (self._count[host], host))

    def _ends(self, host: int) -> None:
        self._calls -= 1
        self._change(host, -1)
        if host in self._draining and not self._count[host]:
            self._drained(host)

    def _lose(self, host: int) -> None:
        self._note("losses")
        self._note("lost", self._count[host])
        self._drop(host)
        self._open[host] = False
        self._draining.pop(host, None)
        self._at(self._scenario.repair_s, "back", host, self._life[host])

    def _drop(self, host: int) -> None:
        """All its calls are over at once."""
        self._calls -= self._count[host]
        self._count[host] = 0
        self._life[host] += 1

    def _opens(self, host: int) -> None:
        self._open[host] = True
        heapq.heappush(self._by_load, (self._count[host], host))

    def _drain(self, host: int) -> None:
        if not self._open[host]:
            return
        self._open[host] = False
        self._draining[host] = self._now
        if not self._count[host]:
            self._drained(host)
            return
        self._at(self._scenario.grace_s, "grace", host, self._life[host])

    def _drained(self, host: int) -> None:
        began = self._draining.pop(host)
        if self._now >= self._scenario.warmup_s:
            self._outcome.drains_s.append(self._now - began)
        self._life[host] += 1
        self._opens(host)

    def _length(self) -> float:
        mean = self._scenario.mean_s
        match self._scenario.lengths:
            case "exponential":
                return self._dice.expovariate(1 / mean)
            case "lognormal":
                return self._dice.lognormvariate(math.log(mean) - SIGMA**2 / 2, SIGMA)
            case "constant":
                return mean


def simulate(scenario: Scenario) -> Outcome:
    """What comes of a scenario."""
    return Simulation(scenario).run()
