"""How `voice-agent load` finds the number of calls: which number is tried next, and what is said at the end. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from fastaudio import load

GROWTH: Final = 1.5
CLOSE_ENOUGH: Final = 1.1
"""The search ends when the least number that broke is so near the most that was carried."""
HEADROOM: Final = 0.7
"""Of a core, when it is told what a core of this host carries: bursts need the rest."""


@dataclass(frozen=True, slots=True)
class Quality:
    """What every step must keep to. Times in ms; 0 does not look."""

    gap_ms: float = 60.0
    """Between two messages of audio of a call, P99. A frame comes every 20 ms; one gap of 60 ends each utterance."""
    answer_ms: float = 1500.0
    """From the end of a caller's speech to the agent's first sound, median."""
    unanswered_percent: float = 2.0
    loop_lag_ms: float = 100.0
    media_late_ms: float = 60.0

    def broken(self, step: Step) -> tuple[str, ...]:
        """What of a step was worse."""
        heard = step.heard
        found = [f"{step.refused} calls were refused"] if step.refused else []
        if heard is None:
            return (*found, step.trouble or "the calls did not come about")
        if heard.ended_early:
            found.append(f"{heard.ended_early} calls ended early")
        if heard.silent:
            found.append(f"{heard.silent} calls heard nothing")
        for value, limit, what in (
            (heard.gap_p99_ms, self.gap_ms, "gaps of {:.0f} ms at P99"),
            (heard.answer_p50_ms if heard.answers else 0.0, self.answer_ms, "answers after {:.0f} ms at the median"),
            (step.loop_lag_ms, self.loop_lag_ms, "its event loop {:.0f} ms late"),
            (step.media_late_ms, self.media_late_ms, "its frames {:.0f} ms late"),
        ):
            if 0 < limit < value:
                found.append(f"{what.format(value)} (limit {limit:g})")
        if heard.turns and not heard.answers:
            found.append("nobody was answered")
        share = 100 * heard.unanswered / max(1, heard.turns)
        if 0 < self.unanswered_percent < share:
            found.append(f"{share:.0f} % of turns unanswered (limit {self.unanswered_percent:g})")
        return tuple(found)


@dataclass(frozen=True, slots=True)
class Step:
    """So many calls at once, and what became of them."""

    calls: int
    heard: load.Report | None = None
    trouble: str = ""
    """Why there is no report."""
    refused: int = 0
    cpu_percent: float | None = None
    """Of a core, all processes and threads of the agent; None when it is not on this host."""
    memory_kib: int | None = None
    loop_lag_ms: float = 0.0
    media_late_ms: float = 0.0
    objections: tuple[str, ...] = ()
    """Why something else than the agent may have been the bottleneck."""


@dataclass(slots=True)
class Ramp:
    """Which number is tried next: more by half until the quality breaks, then between the two."""

    first: int
    most: int
    quality: Quality = field(default_factory=Quality)
    steps: list[Step] = field(default_factory=list)
    _retried: bool = False

    def next(self) -> int | None:
        """Calls of the next step; None when the number is found, or nothing more can be learnt."""
        if not self.steps:
            return self.first
        last = self.steps[-1]
        if last.objections and not self._retried:
            self._retried = True
            return last.calls
        if last.objections:
            return None  # with more calls the generator would be later still
        self._retried = False
        good, bad = self.carried, self.broke_at
        if bad is None:
            return None if good >= self.most else min(self.most, max(good + 1, round(good * GROWTH)))
        if bad <= 1 or bad <= good * CLOSE_ENOUGH or bad - good <= 1:
            return None
        return (good + bad) // 2 if good else max(1, bad // 2)

    @property
    def valid(self) -> list[Step]:
        """Steps in which the agent is what was measured."""
        return [step for step in self.steps if not step.objections]

    @property
    def carried(self) -> int:
        """The most calls at which nothing broke; 0 when none was."""
        bad = self.broke_at
        good = [step.calls for step in self.valid if not self.quality.broken(step)]
        return max((calls for calls in good if bad is None or calls < bad), default=0)

    @property
    def broke_at(self) -> int | None:
        """The fewest calls at which something broke."""
        return min((step.calls for step in self.valid if self.quality.broken(step)), default=None)

    def verdict(self, *, stopped: bool = False) -> list[str]:
        """What is known, in sentences."""
        carried, bad = self.carried, self.broke_at
        last = self.steps[-1] if self.steps else None
        if last is None:
            return ["Nothing was measured."]
        told = []
        if last.objections and bad is None:
            told.append(
                f"The agent carries at least {carried} calls. How many more cannot be told: with {last.calls} "
                f"something else was the bottleneck ({'; '.join(last.objections)})."
            )
        elif bad is not None:
            why = next(self.quality.broken(step) for step in self.valid if step.calls == bad and self.broken(step))
            told.append(f"The agent carries {carried} calls; with {bad} it did not keep up: {', '.join(why)}.")
        elif stopped:
            told.append(f"The agent carries at least {carried} calls: stopped before anything broke.")
        else:
            told.append(f"The agent carries at least {carried} calls, the most that were asked for.")
        cost = per_call([(step.calls, step.cpu_percent) for step in self._good() if step.cpu_percent is not None])
        memory = per_call([(step.calls, step.memory_kib) for step in self._good() if step.memory_kib is not None])
        if cost is not None:
            a_core = f"; {HEADROOM * 100 / cost:.0f} calls take {100 * HEADROOM:.0f} % of a core" if cost > 0 else ""
            told.append(f"A call costs {cost:.3f} % of a core{a_core}.")
        if memory is not None:
            told.append(f"A call takes {max(0.0, memory) / 1024:.2f} MiB of memory.")
        return told

    def broken(self, step: Step) -> tuple[str, ...]:
        """What of a step was worse than it must be."""
        return self.quality.broken(step)

    def _good(self) -> list[Step]:
        return [step for step in self.valid if not self.quality.broken(step)]


def per_call(points: Sequence[tuple[int, float]]) -> float | None:
    """What a call adds: slope by least squares over the numbers of calls; None with one number only."""
    count = len(points)
    if len({calls for calls, _ in points}) < 2:
        return None
    x, y = sum(calls for calls, _ in points) / count, sum(value for _, value in points) / count
    return sum((calls - x) * (value - y) for calls, value in points) / sum((calls - x) ** 2 for calls, _ in points)


def state(ramp: Ramp, step: Step) -> str:
    """What became of a step, in words."""
    if step.objections:
        return f"not valid: {'; '.join(step.objections)}"
    return ", ".join(ramp.quality.broken(step)) or "ok"


HEADINGS: Final = ("calls", "gap p99 ms", "answer p50", "p99", "turns/s", "CPU %", "MiB", "loop ms", "media ms", "")


def row(ramp: Ramp, step: Step) -> list[str]:
    """One line of the table."""
    heard = step.heard
    broken = ramp.quality.broken(step)
    state = "not valid" if step.objections else "broke" if broken else "ok"
    told: Mapping[str, float | None] = {
        "cpu": step.cpu_percent,
        "memory": None if step.memory_kib is None else step.memory_kib / 1024,
    }
    figures = [f"{value:.0f}" if value is not None else "-" for value in told.values()]
    if heard is None:
        return [str(step.calls), "-", "-", "-", "-", *figures, "-", "-", state]
    return [
        str(step.calls),
        f"{heard.gap_p99_ms:.0f}",
        *(f"{ms:.0f}" if heard.answers else "-" for ms in (heard.answer_p50_ms, heard.answer_p99_ms)),
        f"{heard.turns / max(0.001, heard.seconds):.1f}",
        *figures,
        f"{step.loop_lag_ms:.0f}",
        f"{step.media_late_ms:.0f}",
        state,
    ]
