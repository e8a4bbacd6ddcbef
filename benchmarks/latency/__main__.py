"""How long does a caller wait, and how often is the caller cut short: the tutorials' two ways, and ours.

    python -m benchmarks.latency [--profiles published practice] [--ways sequential streaming nova flux]
                                 [--calls 20] [--at-once 10] [--redraw SEED] [--texts] [--picture FILE]

Callers say the 120 turns of benchmarks/latency/turns.txt, in calls, to an agent on the emulated vendors. A wait counts
from the true end of what the caller said, known from the caller's own track, to the first sound of the answer on the
wire at the caller. A turn is answered too early when sound of the agent reaches the caller before that end, or when the
agent had decided before it that the turn was over; it has no wait, and is counted beside. Vendors, agent and callers
are a process each.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from agent.call.record import STAGES, CallRecord, TurnTimes, read_record
from agent.ops.settings import Settings
from agent.sandbox.profiles import PROFILES
from benchmarks.latency import corpus, picture
from benchmarks.latency.callers import LATE_MS, Heard, call_all
from benchmarks.latency.process import Unavailable, cpu_times, first_on_the_host, running
from benchmarks.report import table, write

WAYS = {
    "sequential": "waits for speech_final, then one thing after the other",
    "streaming": "waits for speech_final, then streams",
    "nova": "ours with Nova-3",
    "flux": "ours with Flux",
}
GOALS_MS = {"nova": 400, "flux": 300}
GOAL_EARLY = 0.02
MOST_VOID = 0.05
"""A cell with a larger share of turns in which the callers themselves were late is void."""
HOW = (
    "wait: from the end of the caller's speech on the caller's own track to the agent's first loud frame there; "
    "early: agent's sound before that end, or behind it and decided on before; stages: the agent's own times, from the "
    "caller's true end where they count from the end of speech; late: the callers' own frames, and a turn with one "
    f"more than {LATE_MS:g} ms late is void"
)
QUANTILES = (0.5, 0.9, 0.99)


def agent_of(way: str, directory: Path) -> tuple[list[str], dict[str, str]]:
    """The command line and the settings of an agent."""
    if way in ("sequential", "streaming"):
        return [sys.executable, "-m", "benchmarks.latency.chains", way, str(directory)], {}
    settings = {
        "DATA_DIR": str(directory), "RECORDS_DIR": str(directory), "LISTEN_PORT": "0", "FASTAGI_PORT": "0",
        "HTTP_PORT": "0", "CONSOLE": "false",
        "RECORD_CALLS": "false", "DEEPGRAM_MODEL": "flux-general-en" if way == "flux" else "nova-3",
    }  # fmt: skip
    return [sys.executable, "-m", "agent", "serve"], settings


def measure(way: str, profile: str, calls: Sequence[Sequence[corpus.Turn]], at_once: int) -> dict[str, Any]:
    """One cell of the table. Raises `Unavailable` when the agent or the vendors do not start."""
    clean = {name: value for name, value in os.environ.items() if name.lower() not in Settings.model_fields}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        vendors = stack.enter_context(
            running([sys.executable, "-m", "benchmarks.latency.vendors", profile], clean, until="ready")
        )
        urls = dict(line.split("=", 1) for line in vendors.lines if "=" in line)
        command, settings = agent_of(way, Path(folder))
        agent = stack.enter_context(running(command, clean | urls | settings))
        port = int(agent.lines[-1].removeprefix("AudioSocket on 127.0.0.1:").split(",")[0])
        before, begun = cpu_times(), time.monotonic()
        with first_on_the_host():
            heard, failed = asyncio.run(call_all(port, calls, at_once))
        after, seconds = cpu_times(), time.monotonic() - begun
        agent.process.send_signal(signal.SIGTERM)
        agent.process.wait(20)
        if failed:
            failed.append(f"the agent's last word: {agent.complaint() or 'none'}")
        records = [read_record(path) for path in Path(folder).glob("*.json")]
    busy = 1 - (after[0] - before[0]) / max(1, after[1] - before[1])
    return judge(heard, failed, records) | {"seconds": round(seconds, 1), "host_busy": round(busy, 3)}


def judge(heard: Sequence[Heard], failed: Sequence[str], records: Sequence[CallRecord]) -> dict[str, Any]:
    """What the turns of a cell come to."""
    times = {(record.uuid, answer.times.first_frame): answer.times for record in records for answer in record.turns}
    stages: dict[str, list[int]] = {name: [] for name in STAGES}
    for turn in heard:
        found = _times_of(turn, times)
        if found is not None and found.turn_end is not None and found.turn_end < turn.ended_ms:
            turn.early = True  # its sound came just behind the end, and was decided on before it
        if found is not None and turn.valid and not turn.early:
            for name, ms in found.stages_ms().items():
                stages[name].append(ms)
    valid = [turn for turn in heard if turn.valid]
    waits = sorted(wait for turn in valid if (wait := turn.latency_ms) is not None)
    early = [turn for turn in valid if turn.early]
    answers = [answer for record in records for answer in record.turns]
    return {
        "turns": len(heard),
        "void_turns": len(heard) - len(valid),
        "valid": bool(heard) and len(heard) - len(valid) <= MOST_VOID * len(heard) and not failed,
        "callers_late_ms": _quantiles([turn.late_ms for turn in heard]),
        "failed_calls": list(failed),
        "early": len(early),
        "early_share": round(len(early) / len(valid), 4) if valid else None,
        "early_by_kind": dict(Counter(turn.kind for turn in early)),
        "unanswered": sum(turn.answered_ms is None for turn in valid),
        "wait_ms": _quantiles(waits),
        "waits_ms": waits,
        "stages_ms": {name: _quantiles(values) for name, values in stages.items()},
        "drafts": sum(answer.drafts for answer in answers),
        "wasted": sum(answer.wasted for answer in answers),
        "heard": [asdict(turn) | {"latency_ms": turn.latency_ms, "valid": turn.valid} for turn in heard],
    }


def _times_of(turn: Heard, times: dict[tuple[str, int | None], TurnTimes]) -> TurnTimes | None:
    """The agent's own times of the answer that a caller heard, from the true end of speech."""
    if turn.answered_ms is None:
        return None
    near = [
        found
        for (call, first_ms), found in times.items()
        if call == turn.call and first_ms is not None and abs(first_ms - turn.answered_ms) <= 60
    ]
    if len(near) != 1:
        return None
    values = asdict(near[0]) | {"speech_end": round(turn.ended_ms)}
    return TurnTimes(**values)


def _quantiles(values: Sequence[float]) -> list[float] | None:
    """P50, P90 and P99 by nearest rank; None of nothing."""
    ordered = sorted(values)
    if not ordered:
        return None
    return [round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1) for share in QUANTILES]


def shown(quantiles: Sequence[float] | None) -> str:
    """As it stands in a table."""
    return "-" if quantiles is None else " / ".join(f"{ms:.0f}" for ms in quantiles)


def report(profile: str, cells: dict[str, dict[str, Any]], texts: bool) -> list[str]:
    """Print the tables of a profile; the verdicts on the goals."""
    rows = [
        [
            WAYS[way],
            str(cell["turns"]),
            shown(cell["wait_ms"]),
            f"{cell['early']} ({100 * (cell['early_share'] or 0):.1f} %)",
            str(cell["unanswered"]),
            f"{cell['drafts']}, {cell['wasted']}",
            shown(cell["callers_late_ms"]),
            f"{100 * cell['host_busy']:.0f} %",
            "yes" if cell["valid"] else "VOID",
        ]
        for way, cell in cells.items()
    ]
    headings = (
        "",
        "turns",
        "wait ms P50 / P90 / P99",
        "too early",
        "no answer",
        "drafts, wasted",
        "callers late",
        "host busy",
        "valid",
    )
    print(f"\nVendors: {profile}\n{table(headings, rows)}\n")
    rows = [[text, *(shown(cell["stages_ms"][name]) for cell in cells.values())] for name, text in STAGES.items()]
    print(table(["stage, ms P50 / P90 / P99", *cells], rows))
    if texts:
        for way, cell in cells.items():
            list_turns(WAYS[way], cell["heard"])
    verdicts = []
    for way, goal in GOALS_MS.items():
        if profile == "published" and way in cells and cells[way]["wait_ms"]:
            cell = cells[way]
            median, share = cell["wait_ms"][0], cell["early_share"]
            reached = "reached" if median <= goal and share <= GOAL_EARLY and cell["valid"] else "MISSED"
            verdicts.append(
                f"{WAYS[way]}: median {median:.0f} ms (goal {goal}) with {100 * share:.1f} % too early "
                f"(goal {100 * GOAL_EARLY:g} %): {reached}"
            )
    return verdicts


def list_turns(way: str, heard: Sequence[dict[str, Any]]) -> None:
    """Print the turns that were answered too early, and those that waited longest."""

    def line(turn: dict[str, Any]) -> str:
        void = "" if turn["valid"] else f"  (void: the caller was {turn['late_ms']:.0f} ms late)"
        return f"  {turn['answered_ms'] - turn['ended_ms']:7.0f} ms  {turn['kind']:15} {turn['text']}{void}"

    answered = sorted((turn for turn in heard if turn["latency_ms"]), key=lambda turn: float(turn["latency_ms"]))
    print(f"\n{way}: answered too early", *(line(turn) for turn in heard if turn["early"]), sep="\n")
    print(f"{way}: the longest waits", *(line(turn) for turn in answered[:-13:-1]), sep="\n")


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profiles", nargs="+", default=list(PROFILES), choices=PROFILES)
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    parser.add_argument("--calls", type=int, default=len(corpus.calls()), help="of the corpus (default: all)")
    parser.add_argument("--redraw", type=int, metavar="SEED", help="draw the lengths of the pauses inside turns anew")
    parser.add_argument("--at-once", type=int, default=10, help="calls at the same time (default %(default)s)")
    parser.add_argument("--texts", action="store_true", help="list the turns answered too early, and the slowest")
    parser.add_argument("--picture", type=Path, help="draw the distributions as a PNG file")
    options = parser.parse_args()
    whole = corpus.calls() if options.redraw is None else corpus.redrawn(options.redraw)
    calls = whole[: options.calls]
    results: dict[str, dict[str, Any]] = {}
    notes: list[str] = []
    for profile in options.profiles:
        cells: dict[str, dict[str, Any]] = {}
        for way in options.ways:
            try:
                cells[way] = measure(way, profile, calls, options.at_once)
            except Unavailable as reason:
                notes.append(f"{profile}, {WAYS[way]}: skipped, because {reason}")
                continue
            notes += [f"{profile}, {WAYS[way]}: call {why}" for why in cells[way]["failed_calls"]]
        notes += report(profile, cells, options.texts)
        results[profile] = cells
    print("\n" + "\n".join(notes))
    drawing = options.picture or Path("build/bench/latency.png")
    drawing.parent.mkdir(parents=True, exist_ok=True)
    picture.draw(drawing, {profile: {WAYS[w]: c for w, c in cells.items()} for profile, cells in results.items()})
    name = "latency" if calls == corpus.calls() else "latency-other"
    write(name, HOW, redraw=options.redraw, profiles=results, notes=notes)
    return 0


if __name__ == "__main__":
    sys.exit(main())
