"""Each figure is a ratio to a named baseline, from rounds of both that alternate in one run on one machine."""

from __future__ import annotations

import ctypes
import gc
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))  # for `benchmarks.report` where pytest runs the installed wheel
from benchmarks.report import table, write

ROUNDS = 21
ROUND_S = 0.004
C_SOURCES = Path(__file__).parents[2] / "src" / "fastaudio" / "c"
Work = Callable[[], object]
Clock = Callable[[], float]


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


def _loops(work: Work, clock: Clock) -> int:
    loops = 1
    while _seconds(work, loops, clock) < ROUND_S:
        loops *= 2
    return loops


def _seconds(work: Work, loops: int, clock: Clock) -> float:
    started = clock()
    for _ in range(loops):
        work()
    return clock() - started


class Compare:
    """Times `ours` against `theirs` in rounds that alternate and keeps the ratio; made by the fixture `compare`."""

    def __init__(self, benchmark: Any) -> None:
        self._benchmark = benchmark

    def __call__(
        self,
        what: str,
        ours: Work,
        baseline: str,
        theirs: Work,
        of: int = 1,
        goal: float = 0,
        clock: Clock = time.perf_counter,
    ) -> Ratio:
        """Returns the ratio; `what` and `baseline` name the two in the table, `goal` is the ratio to reach.

        `of` is how many items one call works on. `clock` is `time.process_time` where a work waits for something: then
        its time is the processor's.
        """
        loops, other_loops = _loops(ours, clock), _loops(theirs, clock)
        gc.disable()
        try:
            pairs = [
                (_seconds(ours, loops, clock) / loops, _seconds(theirs, other_loops, clock) / other_loops)
                for _ in range(ROUNDS)
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
        self._benchmark.extra_info[baseline] = ratio.times
        if self._benchmark.stats is None:
            self._benchmark.pedantic(ours, rounds=10, iterations=max(1, loops // 4))
        return ratio


@pytest.fixture
def compare(benchmark: Any) -> Compare:
    """Alternates rounds of two works; pytest-benchmark's own table shows ours alone."""
    return Compare(benchmark)


@dataclass(frozen=True)
class DetectorCost:
    """What 20 ms of a call cost with a detector, in ns: the caller silent, speaking, on a noisy line."""

    detector: str
    quiet_ns: float
    speech_ns: float
    noise_ns: float


costs: list[DetectorCost] = []


@pytest.fixture
def detector_costs() -> list[DetectorCost]:
    """Where a benchmark puts what it measured."""
    return costs


@pytest.fixture
def cost_of() -> type[DetectorCost]:
    """Makes one."""
    return DetectorCost


@pytest.fixture(scope="session")
def c_loops(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The functions of loops.c; each returns a 64-bit number, 0 when something is wrong."""
    compiler = os.environ.get("CC") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    library = tmp_path_factory.mktemp("c") / "loops.so"
    sources = [
        Path(__file__).with_name("loops.c"),
        *(C_SOURCES / f"{unit}.c" for unit in ("frame", "playout", "rechunk")),
    ]
    command = [compiler, "-std=c11", "-D_GNU_SOURCE", "-O3", "-shared", "-fPIC", "-fvisibility=hidden"]
    subprocess.run([*command, f"-I{C_SOURCES}", *map(str, sources), "-o", str(library)], check=True)
    loaded = ctypes.CDLL(str(library))
    for name in ("parse_loop", "encode_loop", "ring_loop"):
        getattr(loaded, name).restype = ctypes.c_uint64
    return loaded


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints the tables and writes them to build/bench/micro.json."""
    if not ratios and not costs:
        return
    terminalreporter.write_line("")
    rows = [
        (
            ratio.what,
            f"{ratio.ns:.1f}",
            ratio.baseline,
            f"{ratio.baseline_ns:.1f}",
            f"{ratio.times:.1f}  ({ratio.low:.1f} .. {ratio.high:.1f})",
            "" if not ratio.goal else f"{ratio.goal:g}: {'reached' if ratio.times >= ratio.goal else 'MISSED'}",
        )
        for ratio in ratios
    ]
    print(table(("what", "ns each", "baseline", "ns each", "times faster (quartiles)", "goal"), rows))
    if costs:
        lines = [(c.detector, f"{c.quiet_ns:.0f}", f"{c.speech_ns:.0f}", f"{c.noise_ns:.0f}") for c in costs]
        print("\n20 ms of a call in which the agent speaks, by hand, in ns:")
        print(table(("detector", "silent caller", "speech", "noise"), lines))
    how = f"median and quartiles of {ROUNDS} pairs of alternating rounds of at least {ROUND_S * 1000:.0f} ms"
    write(
        "micro",
        how,
        ratios=[asdict(ratio) for ratio in ratios],
        detectors=[asdict(cost) for cost in costs],
    )
