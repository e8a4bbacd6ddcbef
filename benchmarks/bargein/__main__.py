"""Which detector lets a caller interrupt, and which is fooled by noise, coughs and the agent's own echo.

    python -m benchmarks.bargein [--quick] [--set DIRECTORY] [--detectors adaptive rms ...]

Without --set the sounds are made here, with the speech engines of the extra `local` (see sounds.py).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.bargein.sounds import Sounds, made, recorded
from benchmarks.bargein.trials import (
    FALSE,
    GOAL_DECIDED_MS,
    GOAL_HELD_MS,
    GOAL_HOLDS,
    GOALS_FALSE,
    GOALS_HIT,
    HITS,
    Fooled,
    Hits,
    Make,
    Scene,
    interrupt,
    leave_alone,
    trials,
)
from fastaudio import BargeInDetector, BargeInOptions, FastAudioError

CLASSIC = "rms, classic"
HOW = (
    "hits: percent of utterances that interrupt within 800 ms of their onset, and not before it; in brackets the "
    "median delay, ms. A minute: false barge-ins and, behind the stroke, holds, on 30 s without a caller. Cost: us a "
    "frame of 20 ms through the Python binding, on speech"
)


def detectors() -> dict[str, Make]:
    """What is compared: the classic rule, and each detector with its defaults."""
    classic = BargeInOptions(rms=800, ms=300, unbroken=True)
    return {
        CLASSIC: lambda: BargeInDetector("rms", options=classic).feed,
        "rms": lambda: BargeInDetector("rms").feed,
        "webrtc": lambda: BargeInDetector("webrtc").feed,
        "rms+webrtc": lambda: BargeInDetector("rms+webrtc").feed,
        "adaptive": lambda: BargeInDetector("adaptive").feed,
        "silero": lambda: BargeInDetector("silero").feed,
    }


def cost_us(sounds: Sounds, make: Make) -> float:
    """Of a frame of speech: the quickest of five rounds."""
    frames = [frame for trial in trials(sounds, Scene("line"), False, 1) for frame in trial[75:-30]]
    best = float("inf")
    for _ in range(5):
        feed = make()
        began = time.perf_counter()
        for caller, played in frames:
            feed(caller, played)
        best = min(best, time.perf_counter() - began)
    return 1e6 * best / len(frames)


def verdicts(hits: Mapping[str, Hits], false: Mapping[str, Fooled]) -> list[str]:
    """What is missed of the goals for `adaptive`; none when all are reached."""
    missed = [f"{name}: {hits[name].percent:.1f} % of hits, not {goal:g}" for name, goal in GOALS_HIT.items()
              if hits[name].percent < goal]  # fmt: skip
    for name in GOALS_HIT:
        decided, held = hits[name].median_decided_ms, hits[name].median_held_ms
        if decided is None or decided > GOAL_DECIDED_MS:
            missed.append(f"{name}: decided after {decided} ms, not {GOAL_DECIDED_MS:g}")
        if held is None or held > GOAL_HELD_MS:
            missed.append(f"{name}: held after {held} ms, not {GOAL_HELD_MS:g}")
    for name, goal in GOALS_FALSE.items():
        if false[name].barge_ins > goal:
            missed.append(f"{name}: {false[name].barge_ins:g} false barge-ins a minute, not {goal:g}")
        if false[name].holds > GOAL_HOLDS:
            missed.append(f"{name}: {false[name].holds:g} holds a minute, not {GOAL_HOLDS:g}")
    return missed


def worse(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """Columns in which one detector's results are worse than another's."""
    columns = [name for name, hits in ours["hits"].items() if hits.percent < theirs["hits"][name].percent]
    columns += [f"{name} (short words)" for name, hits in ours["short"].items()
                if hits.percent < theirs["short"][name].percent]  # fmt: skip
    columns += [f"{name} (false)" for name, false in ours["false"].items()
                if false.barge_ins > theirs["false"][name].barge_ins]  # fmt: skip
    return columns


def measure(sounds: Sounds, make: Make, rounds: int) -> dict[str, Any]:
    """Everything about one detector."""
    return {
        "hits": {scene.name: interrupt(sounds, scene, make, rounds=rounds) for scene in HITS},
        "short": {scene.name: interrupt(sounds, scene, make, short=True, rounds=rounds) for scene in HITS[:4]},
        "false": {scene.name: leave_alone(sounds, scene, make) for scene in FALSE},
        "cost_us": cost_us(sounds, make),
    }


def show(results: Mapping[str, dict[str, Any]]) -> None:
    """Prints the tables, a detector a column."""

    def hit(one: Hits) -> str:
        delay = one.median_decided_ms
        early = f", {100 * one.early / one.trials:.0f} % early" if one.early else ""
        return f"{one.percent:.0f}" + (f" ({delay:.0f}{early})" if delay is not None else f" (-{early})")

    names = list(results)
    rows = [[scene.name, *(hit(results[n]["hits"][scene.name]) for n in names)] for scene in HITS]
    rows += [[f"short words, {s.name}", *(hit(results[n]["short"][s.name]) for n in names)] for s in HITS[:4]]
    print(report.table(["hits, % (ms)", *names], rows), end="\n\n")
    held = [[s.name, *(str(results[n]["hits"][s.name].median_held_ms or "-") for n in names)] for s in HITS[:5]]
    print(report.table(["hold, median ms", *names], held), end="\n\n")
    false = [
        [s.name, *(f"{results[n]['false'][s.name].barge_ins:g} / {results[n]['false'][s.name].holds:g}" for n in names)]
        for s in FALSE
    ]
    print(report.table(["a minute", *names], false), end="\n\n")
    print(report.table(["cost", *names], [["us a frame", *(f"{results[n]['cost_us']:.2f}" for n in names)]]))


def as_json(result: dict[str, Any]) -> dict[str, Any]:
    """One detector's results as plain JSON."""

    def hits(one: Hits) -> dict[str, Any]:
        return {
            "percent": round(one.percent, 1),
            "early": one.early,
            "trials": one.trials,
            "decided_ms": one.median_decided_ms,
            "held_ms": one.median_held_ms,
        }

    return {
        "hits": {name: hits(one) for name, one in result["hits"].items()},
        "short": {name: hits(one) for name, one in result["short"].items()},
        "false": {name: {"barge_ins": one.barge_ins, "holds": one.holds} for name, one in result["false"].items()},
        "cost_us": round(result["cost_us"], 2),
    }


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="each utterance once")
    parser.add_argument("--set", type=Path, help="a directory with recordings (dev.npz, dev.json)")
    parser.add_argument("--detectors", nargs="+", choices=list(detectors()), default=list(detectors()))
    options = parser.parse_args()
    sounds = recorded(options.set) if options.set else made()
    results = {}
    for name in options.detectors:
        try:
            results[name] = measure(sounds, detectors()[name], 1 if options.quick else 3)
        except FastAudioError as error:
            print(f"{name}: skipped, because {error}", file=sys.stderr)
    show(results)
    missed: list[str] = []
    if "adaptive" in results:
        missed = verdicts(results["adaptive"]["hits"], results["adaptive"]["false"])
        print("adaptive: " + ("every goal reached" if not missed else "; ".join(missed)))
    behind = []
    if CLASSIC in results and "adaptive" in results:
        behind = worse(results["adaptive"], results[CLASSIC])
        print("adaptive is worse than the classic rule in: " + (", ".join(behind) or "no column"))
    report.write("bargein", HOW, sounds=sounds.name, missed=missed, behind_the_classic=behind,
                 detectors={name: as_json(result) for name, result in results.items()})  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
