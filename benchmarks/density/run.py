"""How many calls does a core carry, and how evenly: the media core beside a bare C loop and plain asyncio.

    python benchmarks/density/run.py [--calls 1 50 200] [--seconds 10] [--servers bare core asyncio]

For each point a server is started and pinned to one core; callers in C (load.c) on another core open the calls, send
speech-like audio and measure what comes back. CPU is what the CPU clock of the server's process (all its threads, user
and system, clock_getcpuclockid(3)) moved on while it was measured. Absolute figures move with the host: compare within
a table. Needs a C compiler.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
BUILD = HERE.parents[1] / "build" / "bench"
LAG_MS = 5.0
"""Callers that are later than this at P99 measured themselves: the point is taken again, and marked when it stays."""
TRIES = 3
HOW = (
    "cpu: percent of one core a call, by the CPU clock of the server's process, over the measurement; gap: between "
    "arrivals of the audio messages of one call, over all calls; rate: least-squares slope of arrivals over the frame "
    "number of each call, as an error in ppm of 50 a second (median, and the worst call); lag: how late the callers "
    "themselves were"
)


@dataclass(frozen=True)
class Point:
    """One server with so many calls."""

    server: str
    calls: int
    cpu_percent_a_call: float
    gap_p50_ms: float
    gap_p99_ms: float
    gap_max_ms: float
    rate_ppm: float
    rate_ppm_worst: float
    lag_p99_ms: float
    ended_early: int
    frames: int


def build(name: str) -> Path:
    """Compiles one of the C programs beside this file.

    Raises SystemExit when there is no compiler, or it objects.
    """
    compiler = os.environ.get("CC") or shutil.which("cc")
    if compiler is None:
        raise SystemExit("density: a C compiler is needed: apt install gcc")
    BUILD.mkdir(parents=True, exist_ok=True)
    program = BUILD / name
    command = [compiler, "-O2", "-std=gnu11", "-Wall", "-Wextra", "-Werror", str(HERE / f"{name}.c"), "-lm", "-o"]
    if subprocess.run([*command, str(program)]).returncode != 0:
        raise SystemExit(f"density: {name}.c does not compile")
    return program


def cpu_ns(pid: int) -> int:
    """CPU time of a process; /proc/<pid>/stat counts in 10 ms, which is more than one call uses in a while."""
    return time.clock_gettime_ns((~pid << 3) | 2)  # the clock's number as clock_getcpuclockid(3) makes it


@contextlib.contextmanager
def server(name: str, core: int) -> Iterator[tuple[int, int]]:
    """Starts a server pinned to `core`; gives its pid and port."""
    pin = ["taskset", "-c", str(core)]
    process: subprocess.Popen[str]
    if name == "bare":
        port_file = BUILD / "bare.port"
        port_file.unlink(missing_ok=True)
        process = subprocess.Popen([*pin, str(build("bare")), str(port_file)], text=True)
        for _ in range(100):
            if port_file.exists() and port_file.read_text().strip():
                break
            time.sleep(0.05)
        port = int(port_file.read_text())
    else:
        command = [*pin, sys.executable, str(HERE / "serve.py"), name]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line.strip():
            raise SystemExit(f"density: the server {name!r} does not start: {' '.join(command)}")
        port = int(line)
    try:
        yield process.pid, port
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def measure(name: str, calls: int, warmup_s: float, seconds: float, cores: tuple[int, int]) -> Point:
    """One point of the table, taken once."""
    load = build("load")
    with server(name, cores[1]) as (pid, port):
        command = ["taskset", "-c", str(cores[0]), str(load), "127.0.0.1", str(port), str(calls)]
        command += [str(warmup_s), str(seconds)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as callers:
            assert callers.stdout is not None
            if callers.stdout.readline().strip() != "measuring":
                raise SystemExit(f"density: the callers could not reach {name!r}")
            before, started = cpu_ns(pid), time.monotonic()
            line = callers.stdout.readline()
            spent, took = cpu_ns(pid) - before, time.monotonic() - started
        got: dict[str, Any] = json.loads(line)
    return Point(
        server=name,
        calls=calls,
        cpu_percent_a_call=round(100 * spent / 1e9 / took / calls, 4),
        gap_p50_ms=got["gap_p50_ms"],
        gap_p99_ms=got["gap_p99_ms"],
        gap_max_ms=got["gap_max_ms"],
        rate_ppm=got["rate_ppm_median"],
        rate_ppm_worst=max(got["rate_ppm_low"], got["rate_ppm_high"], key=abs),
        lag_p99_ms=got["own_lag_p99_ms"],
        ended_early=got["ended_early"],
        frames=got["frames"],
    )


def measure_fairly(name: str, calls: int, warmup_s: float, seconds: float, cores: tuple[int, int]) -> Point:
    """One point of the table, from a try in which the callers themselves were in time if there is one."""
    tries: list[Point] = []
    while len(tries) < TRIES and not any(point.lag_p99_ms <= LAG_MS for point in tries):
        tries.append(measure(name, calls, warmup_s, seconds, cores))
    return min(tries, key=lambda point: point.lag_p99_ms)


def show(points: list[Point]) -> None:
    """Prints the table, and how the core compares with the others at the same number of calls."""
    print(f"{'server':<9}{'calls':>6}{'cpu % a call':>14}{'gap p50':>9}{'p99':>8}{'max ms':>8}", end="")
    print(f"{'rate ppm':>10}{'worst':>9}{'lag p99 ms':>12}{'lost calls':>12}")
    for p in points:
        print(
            f"{p.server:<9}{p.calls:>6}{p.cpu_percent_a_call:>14.4f}{p.gap_p50_ms:>9.2f}{p.gap_p99_ms:>8.2f}"
            f"{p.gap_max_ms:>8.1f}{p.rate_ppm:>10.0f}{p.rate_ppm_worst:>9.0f}{p.lag_p99_ms:>12.2f}{p.ended_early:>12}"
            + ("  the callers were late themselves: no measurement" if p.lag_p99_ms > LAG_MS else "")
        )
    by = {(p.server, p.calls): p for p in points}
    for p in points:
        others = [by[other, p.calls] for other in ("bare", "asyncio") if (other, p.calls) in by]
        if p.server == "core" and others:
            ratios = [f"{p.cpu_percent_a_call / other.cpu_percent_a_call:.2f} x {other.server}" for other in others]
            print(f"core at {p.calls} calls: CPU {', '.join(ratios)}")


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, nargs="+", default=[1, 50, 200], help="numbers of calls")
    parser.add_argument("--seconds", type=float, default=10, help="measured at each point (default %(default)s)")
    parser.add_argument("--warmup", type=float, default=2, help="seconds before that (default %(default)s)")
    parser.add_argument(
        "--servers", nargs="+", default=["bare", "core", "asyncio"], choices=["bare", "core", "asyncio"]
    )
    parser.add_argument("--out", type=Path, default=BUILD / "density.json", help="where the JSON goes")
    options = parser.parse_args()
    available = sorted(os.sched_getaffinity(0))
    cores = (available[0], available[-1])
    # The servers alternate at each number of calls, so that what the host does meets them alike.
    points = []
    for calls in options.calls:
        for name in options.servers:
            points.append(measure_fairly(name, calls, options.warmup, options.seconds, cores))
            print(f"{name}, {calls} calls: {points[-1].cpu_percent_a_call:.4f} % a call", file=sys.stderr)
    show(points)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    host = {"cores": len(available), "kernel": os.uname().release, "python": sys.version.split()[0]}
    result = {"how": HOW, "host": host, "seconds": options.seconds, "points": [asdict(p) for p in points]}
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    print(f"{HOW}; written to {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
