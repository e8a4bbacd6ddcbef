"""Each figure is a ratio to a named baseline, from rounds of both that alternate in one run on one machine."""

from __future__ import annotations

import gc
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest

ROUNDS = 21
ROUND_S = 0.004
RESULTS = Path(__file__).parents[2] / "build" / "bench" / "micro.json"
Work = Callable[[], object]


@dataclass(frozen=True)
class Ratio:
    """How many times faster `what` is than `baseline`: the median of the rounds' ratios, and their quartiles."""

    what: str
    baseline: str
    times: float
    low: float
    high: float
    ns: float
    baseline_ns: float
    goal: float
    """How many times faster it is meant to be, 0 for no goal."""


ratios: list[Ratio] = []


class Compare(Protocol):
    """Times `ours` against `theirs` and keeps the ratio; `of` is how many items one call works on."""

    def __call__(self, what: str, ours: Work, baseline: str, theirs: Work, of: int = 1, goal: float = 0) -> Ratio:
        """Returns the ratio; `what` and `baseline` name the two in the table, `goal` is the ratio to reach."""


def _loops(work: Work) -> int:
    loops = 1
    while _seconds(work, loops) < ROUND_S:
        loops *= 2
    return loops


def _seconds(work: Work, loops: int) -> float:
    started = time.perf_counter()
    for _ in range(loops):
        work()
    return time.perf_counter() - started


@pytest.fixture
def compare(benchmark: Any) -> Compare:
    """Alternates rounds of two works; pytest-benchmark's own table shows ours alone."""

    def measure(what: str, ours: Work, baseline: str, theirs: Work, of: int = 1, goal: float = 0) -> Ratio:
        loops, other_loops = _loops(ours), _loops(theirs)
        gc.disable()
        try:
            pairs = [
                (_seconds(ours, loops) / loops, _seconds(theirs, other_loops) / other_loops) for _ in range(ROUNDS)
            ]
        finally:
            gc.enable()
        low, middle, high = statistics.quantiles([b / a for a, b in pairs], n=4)
        ratio = Ratio(
            what=what,
            baseline=baseline,
            times=round(middle, 2),
            low=round(low, 2),
            high=round(high, 2),
            ns=round(statistics.median(a for a, _ in pairs) * 1e9 / of, 1),
            baseline_ns=round(statistics.median(b for _, b in pairs) * 1e9 / of, 1),
            goal=goal,
        )
        ratios.append(ratio)
        benchmark.extra_info[baseline] = ratio.times
        if benchmark.stats is None:
            benchmark.pedantic(ours, rounds=10, iterations=max(1, loops // 4))
        return ratio

    return measure


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints the ratios and writes them to build/bench/micro.json."""
    if not ratios:
        return
    line = terminalreporter.write_line
    line("")
    line(f"{'what':<32} {'ns each':>9} {'baseline':<30} {'ns each':>9} {'times faster (quartiles)':>26}")
    for ratio in ratios:
        spread = f"{ratio.times:>8.1f}  ({ratio.low:.1f} .. {ratio.high:.1f})"
        goal = (
            "" if not ratio.goal else f"  goal {ratio.goal:g}: {'reached' if ratio.times >= ratio.goal else 'MISSED'}"
        )
        line(f"{ratio.what:<32} {ratio.ns:>9.1f} {ratio.baseline:<30} {ratio.baseline_ns:>9.1f} {spread:>26}{goal}")
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    how = f"median and quartiles of {ROUNDS} pairs of alternating rounds of at least {ROUND_S * 1000:.0f} ms"
    RESULTS.write_text(json.dumps({"how": how, "ratios": [asdict(ratio) for ratio in ratios]}, indent=2) + "\n")
    line(f"{how}; written to {RESULTS}")
