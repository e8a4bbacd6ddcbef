"""How many calls does a core carry, how evenly, and what does each cost: the media core beside others.

    python -m benchmarks.density [--calls 1 50 200 ...] [--seconds 10] [--servers ...] [--quick] [--memory]

At each number of calls the servers take turns, each anew, alone on one core; the load generator on another core calls
it, talks all the time and times what it hears. Absolute figures move with the host: compare within a run.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from benchmarks.density.point import OTHERS_PERCENT, Point, measure_fairly
from benchmarks.report import table, write
from benchmarks.servers.install import Unavailable
from benchmarks.servers.start import COMMANDS, WHAT, serving, take_cores
from fastaudio import load

CALLS = [1, 50, 200, 500, 1000, 2000]
SERVERS = [name for name in COMMANDS if name not in ("core, quiet", "core, no lead")]
QUIET_CALLS = 1000
QUIET_GOAL_KB = 64
GOALS = ((1000, "core", "bare", 1.3), (200, "core", "asyncio", 0.2))
"""CPU a call of one server, at so many calls, at most so much of the other's."""
HEADINGS = (
    *("server", "calls", "cpu % a call", "cpu %", "KB a call", "gap p50", "p99", "p99.9", "max ms", "> 40 ms"),
    *("rate ppm", "worst", "slip ms", "worst", "lag p99 ms", "others %", "valid"),
)
HOW = (
    "cpu: of one core, by the CPU clock of the server's process over the measurement; KB a call: resident memory with "
    "the calls less that without, by them; gap: between arrivals of the audio messages of a call, over all calls; "
    "rate: least-squares slope of arrivals over audio time, as an error of 50 frames a second (median, worst call); "
    "slip: audio that had not come at the end of the run; lag: how late the load generator itself sent; others: what "
    "anything but the server had of the server's core; valid: the generator was "
    f"late by at most {load.LAG_P99_MS:g} ms at P99 and used at most {load.CPU_PERCENT:g} % of its core, and others "
    f"than the server had at most {OTHERS_PERCENT:g} % of the server's"
)


def row(point: Point) -> list[str]:
    heard = point.heard
    if heard is None:
        return [point.server, str(point.calls), *["-"] * (len(HEADINGS) - 3), "not carried"]
    lost = heard.ended_early + heard.silent
    return [
        point.server,
        str(point.calls),
        f"{point.cpu_percent_a_call:.4f}",
        f"{point.cpu_percent:.1f}",
        f"{point.rss_kb_a_call:.0f}",
        f"{heard.gap_p50_ms:.2f}",
        f"{heard.gap_p99_ms:.2f}",
        f"{heard.gap_p999_ms:.2f}",
        f"{heard.gap_max_ms:.1f}",
        str(heard.gaps_over_40_ms),
        f"{heard.rate_ppm_median:+.0f}",
        f"{heard.rate_ppm_worst:+.0f}",
        f"{heard.slip_median_ms:.0f}",
        f"{heard.slip_worst_ms:.0f}",
        f"{heard.lag_p99_ms:.2f}",
        f"{point.others_percent:.1f}",
        "NO" if not point.valid else f"{lost} calls lost" if lost else "yes",
    ]


def ratios(points: Sequence[Point]) -> list[str]:
    """The core beside each other server at the same number of calls."""
    by = {(point.server, point.calls): point for point in points if point.heard is not None}
    lines = []
    for (server, calls), ours in by.items():
        others = [other for other in COMMANDS if not other.startswith("core") and (other, calls) in by]
        if not server.startswith("core") or not others:
            continue
        parts = []
        for other in others:
            theirs = by[other, calls]
            ratio = ours.cpu_percent_a_call / theirs.cpu_percent_a_call
            most = next((goal[3] for goal in GOALS if goal[:3] == (calls, server, other)), None)
            verdict = "" if most is None else f" (at most {most:g}: {'reached' if ratio <= most else 'MISSED'})"
            unsure = "" if ours.valid and theirs.valid else " (not valid)"
            parts.append(f"{ratio:.2f} x {other}{unsure}{verdict}")
        lines.append(f"CPU of {server} at {calls} calls: {', '.join(parts)}")
    return lines


def measure_all(
    servers: Sequence[str], numbers: Sequence[int], warmup_s: float, seconds: float, core: int
) -> tuple[list[Point], list[str]]:
    """The points, and what was left out, and why."""
    points: list[Point] = []
    left_out: dict[str, str] = {}
    for calls in numbers:
        for name in servers:
            if name in left_out:
                continue
            try:
                point = measure_fairly(name, calls, warmup_s, seconds, core)
            except Unavailable as reason:
                left_out[name] = f"{name}: skipped, because {reason}"
                continue
            points.append(point)
            told = point.why or f"{point.cpu_percent_a_call:.4f} % of a core a call"
            print(f"{name}, {calls} calls: {told}", file=sys.stderr)
            if point.saturated:
                why = point.why or f"{point.cpu_percent:.0f} % of a core"
                left_out[name] = f"{name}: not tried with more than {calls} calls, because it was saturated: {why}"
    return points, list(left_out.values())


def quiet_memory(calls: int, core: int) -> dict[str, float]:
    """Resident memory of calls to which nothing is played."""
    most = 0
    with serving("core, quiet", core) as server:
        before = server.resident_bytes()

        def look(progress: load.Progress) -> None:
            nonlocal most
            if progress.phase == "measuring":
                most = max(most, server.resident_bytes())

        load.run("127.0.0.1", server.port, calls=calls, seconds=2, warmup=2, on_progress=look)
    kb = (most - before) / 1024 / calls
    verdict = "reached" if kb < QUIET_GOAL_KB else "MISSED"
    print(f"a quiet call of the core: {kb:.1f} KB resident, over {calls} calls (below {QUIET_GOAL_KB}: {verdict})")
    return {"calls": calls, "kb_a_call": round(kb, 1)}


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, nargs="+", help=f"numbers of calls (default {CALLS})")
    parser.add_argument("--seconds", type=float, help="measured at each point (default 10)")
    parser.add_argument("--warmup", type=float, default=2, help="seconds before that (default %(default)s)")
    parser.add_argument("--servers", nargs="+", default=SERVERS, choices=SERVERS)
    parser.add_argument("--quick", action="store_true", help="1 and 20 calls for 2 s each: whether it works at all")
    parser.add_argument("--memory", action="store_true", help="only what a quiet call of the core holds in memory")
    options = parser.parse_args()
    calls = options.calls or ([1, 20] if options.quick else CALLS)
    seconds = options.seconds or (2 if options.quick else 10)
    core = take_cores()
    quiet = quiet_memory(100 if options.quick else QUIET_CALLS, core)
    if options.memory:
        return 0
    points, left_out = measure_all(options.servers, calls, options.warmup, seconds, core)
    print(table(HEADINGS, [row(point) for point in points]))
    print("\n".join([*left_out, *(f"{name}: {what}" for name, what in WHAT.items()), *ratios(points)]))
    plain = [point.as_json() for point in points]
    write(
        "density-quick" if options.quick else "density",
        HOW,
        seconds=seconds,
        points=plain,
        left_out=left_out,
        ratios=ratios(points),
        quiet=quiet,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
