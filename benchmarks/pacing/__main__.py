"""Does each caller get 50 frames a second, to how many parts in a million: the media core beside others.

    python -m benchmarks.pacing [--calls 500] [--seconds 60] [--peer-calls 100] [--servers ...] [--quick]

The core sends without a lead, so that nothing hides its clock. The peers get a number of calls that each of them can
carry. The callers are those of the load generator, on a core of their own.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from typing import Any

from benchmarks.report import table, write
from benchmarks.servers.install import Unavailable
from benchmarks.servers.start import Server, serving, take_cores
from fastaudio import load

CORE = "core, no lead"
OURS = (CORE, "bare")
PEERS = ("asyncio", "asterisk-ai-voice-agent", "asterisk-audiosocket")
GOAL_PPM = 100
HEADINGS = (
    *("server", "calls", "rate ppm median", "worst call", "gap p50", "p99", "p99.9", "max ms", "> 40 ms"),
    *("slip ms", "worst", "lag p99 ms", "valid"),
)
HOW = (
    "rate: least-squares slope of the arrivals of each call over its audio time, as an error of 50 frames a second "
    "(median call, worst call); gap: between arrivals of a call; slip: audio that had not come at the end of the run; "
    "lag: how late the load generator itself sent; lateness: how late ticks of calls were, counted by the core itself"
)


def measure(name: str, calls: int, warmup_s: float, seconds: float, core: int) -> tuple[load.Report, dict[str, Any]]:
    """What the callers heard, and what the server counted itself. Raises `Unavailable` and `load.LoadError`."""
    with serving(name, core) as server:
        marked = False

        def begin(progress: load.Progress) -> None:
            nonlocal marked
            if progress.phase == "measuring" and not marked and name == CORE:
                server.mark()
                marked = True

        heard = load.run("127.0.0.1", server.port, calls=calls, seconds=seconds, warmup=warmup_s, on_progress=begin)
        return heard, finish(server) if marked else {}


def finish(server: Server) -> dict[str, Any]:
    counted = server.finish()
    late = ", ".join(f"{float(share) * 100:g} % {us / 1000:.2f} ms" for share, us in counted["late_us"].items())
    print(f"{server.name}, lateness of {counted['ticks']} ticks: {late}")
    return counted


def row(name: str, heard: load.Report) -> list[str]:
    return [
        name,
        str(heard.calls),
        f"{heard.rate_ppm_median:+.1f}",
        f"{heard.rate_ppm_worst:+.1f}",
        f"{heard.gap_p50_ms:.2f}",
        f"{heard.gap_p99_ms:.2f}",
        f"{heard.gap_p999_ms:.2f}",
        f"{heard.gap_max_ms:.1f}",
        str(heard.gaps_over_40_ms),
        f"{heard.slip_median_ms:.0f}",
        f"{heard.slip_worst_ms:.0f}",
        f"{heard.lag_p99_ms:.2f}",
        "yes" if heard.valid else "NO",
    ]


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, help="of the core and the bare loop (default 500)")
    parser.add_argument("--peer-calls", type=int, help="of the others (default 100)")
    parser.add_argument("--seconds", type=float, help="measured (default 60)")
    parser.add_argument("--warmup", type=float, default=2, help="seconds before that (default %(default)s)")
    parser.add_argument("--servers", nargs="+", default=[*OURS, *PEERS], choices=[*OURS, *PEERS])
    parser.add_argument("--quick", action="store_true", help="20 calls for 3 s: whether it works at all")
    options = parser.parse_args()
    calls = options.calls or (20 if options.quick else 500)
    peer_calls = options.peer_calls or (20 if options.quick else 100)
    seconds = options.seconds or (3 if options.quick else 60)
    core = take_cores()
    results: dict[str, dict[str, Any]] = {}
    rows, notes = [], []
    for name in options.servers:
        number = calls if name in OURS else peer_calls
        try:
            heard, counted = measure(name, number, options.warmup, seconds, core)
            if not heard.valid:  # the callers were late themselves
                heard, counted = measure(name, number, options.warmup, seconds, core)
        except (Unavailable, load.LoadError) as reason:
            notes.append(f"{name}: skipped, because {reason}")
            continue
        results[name] = {"heard": asdict(heard), "valid": heard.valid, "counted": counted}
        rows.append(row(name, heard))
        if name == CORE:
            verdict = "reached" if abs(heard.rate_ppm_worst) <= GOAL_PPM and heard.carried else "MISSED"
            note = "" if heard.valid else " (not valid: the callers were late)"
            notes.append(f"{name}: every call within {GOAL_PPM} ppm of 50 frames a second: {verdict}{note}")
    print(table(HEADINGS, rows))
    print("\n".join(notes))
    write("pacing-quick" if options.quick else "pacing", HOW, seconds=seconds, servers=results, notes=notes)
    return 0


if __name__ == "__main__":
    sys.exit(main())
