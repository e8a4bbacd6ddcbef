"""Lets calls come and go for half an hour or longer, and judges what they left behind (make soak).

    python -m benchmarks.soak [--minutes 30] [--calls 150] [--faults 0.01] [--plant leak,drift,...]

The agent runs alone on one core; callers and emulated vendors are processes on the other. Exit status: 0 when all is
as it must be, 1 when something is not, 2 when the run cannot tell.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from benchmarks.agent.child import Child, ChildFailed, child
from benchmarks.agent.lag import quantile
from benchmarks.agent.point import take_two_cores
from benchmarks.report import write
from benchmarks.soak import judge
from benchmarks.soak.watch import Watch

PLANTS = ("leak", "task", "file", "drift", "booking", "record")
INSIDE = ("leak", "task", "file")
"""Those that the agent's process does itself."""
LIMITS = tuple(each.name for each in fields(judge.Limits))
CLOCK = 1.0005
"""A planted drift: the callers' clock runs by so much faster."""
SETTLE_S = 3.0
ENDING_S = 40.0
SAMPLES = 360
"""At most about so many in a run, and none closer than a second."""
HOW = (
    "calls ring, talk, interrupt, press keys and hang up; memory and open files: of the agent's process, as the kernel "
    "tells; lag of the event loop: P95 of 5 s, lateness of the media thread: P99 of 5 s, both by the agent; answers: "
    "from the end of a caller's speech to the first sound of the agent, by the callers and the kernel's receive time; "
    "CPU: the scheduler's clock of the threads"
)


@dataclass(frozen=True)
class Soak:
    """What a run is to be."""

    minutes: float
    calls: int
    faults: float
    seed: int = 0
    plant: frozenset[str] = frozenset()
    limits: judge.Limits = field(default_factory=judge.Limits)
    mean_s: float = 75.0
    warmup_s: float = 12.0


@contextlib.contextmanager
def running(soak: Soak, folder: Path, cores: tuple[int, int]) -> Iterator[tuple[Child, Child, Child]]:
    """The agent on one core; vendors and callers on the other."""
    mine, theirs = cores
    with ExitStack() as stack:
        served = ["-m", "benchmarks.soak.vendors", str(soak.faults), str(soak.seed)]
        vendors = stack.enter_context(child("the vendors", served, theirs, nice=2))
        settings = {
            **{f"{name.upper()}_URL": url for name, url in vendors.ready.items()},
            **{f"{name}_API_KEY": "soak" for name in ("DEEPGRAM", "GROQ", "CARTESIA")},
            **{f"{name}_PORT": "0" for name in ("LISTEN", "FASTAGI", "HTTP", "CONSOLE")},
            "STT_FALLBACKS": "flux-general-en",
            "DATA_DIR": str(folder),
            "MAX_CALLS": str(soak.calls + 16),
            "CALLS_PER_CALLER_HOUR": "0",
            "LOG_LEVEL": "warning",
        }
        planted = [",".join(sorted(soak.plant & set(INSIDE)))] if soak.plant & set(INSIDE) else []
        told = ["-m", "benchmarks.soak.serve", *planted]
        agent = stack.enter_context(child("the agent", told, mine, environment=settings))
        orders = {
            "audio_port": agent.ready["audio_port"],
            "fastagi_port": agent.ready["fastagi_port"],
            "seed": soak.seed,
            "clock": CLOCK if "drift" in soak.plant else 1.0,
            "habits": {"mean_s": soak.mean_s},
        }
        called = ["-m", "benchmarks.soak.callers", json.dumps(orders)]
        yield agent, vendors, stack.enter_context(child("the callers", called, theirs))


def run(soak: Soak, say: Callable[[str], None]) -> tuple[judge.Evidence, Watch]:
    """One run, and what it left. Raises `ChildFailed`."""
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        folder = Path(name)
        cores = take_two_cores()
        with running(soak, folder, cores) as (agent, vendors, callers):
            watch = Watch(agent, vendors, callers, cores[0])
            callers.ask(f"call {max(2, soak.calls // 3)} {soak.warmup_s}")
            _let_end(agent, callers, soak.warmup_s + ENDING_S)
            _forget(folder)
            before = watch.inventory()
            first = agent.ask("tell")["records"].get("calls", 0)
            watch.begin()
            vendors.ask("faults")
            seconds = 60 * soak.minutes
            callers.ask(f"call {soak.calls} {seconds}")
            _watch(watch, seconds, folder, say)
            vendors.ask("no faults")
            left = _let_end(agent, callers, ENDING_S)
            watch.take()
            watch.samples.pop()  # for what callers still had to tell
            after = watch.inventory()
            _plant_afterwards(soak.plant, folder)
            refused = agent.ask("tell")["refused"]
            evidence = judge.Evidence(
                samples=[sample | {"ended": sample["ended"] - first} for sample in watch.samples],
                before=before,
                after=after,
                heard=watch.heard,
                records=_records(folder),
                bookings=_bookings(folder),
                left_open=left,
                log=agent.complaints(),
                refused=refused,
                seconds=seconds,
                wanted=soak.calls,
            )
        return evidence, watch


def _watch(watch: Watch, seconds: float, folder: Path, say: Callable[[str], None]) -> None:
    every = max(1.0, seconds / SAMPLES)
    due = watch.began
    told = 0.0
    while (due := due + every) < watch.began + seconds:
        time.sleep(max(0.0, due - time.monotonic()))
        sample = watch.take()
        for recording in (folder / "recordings").glob("*"):  # an hour of 150 calls would be 17 GB
            with contextlib.suppress(OSError):
                if time.time() - recording.stat().st_mtime > 5:
                    recording.unlink()
        if sample["at_s"] - told >= 15:
            told = sample["at_s"]
            say(
                f"{told / 60:6.1f} min  {sample['calls']} calls, {sample['ended']} ended, {sample['faults']} faults, "
                f"{sample['rss_kib'] / 1024:.0f} MiB, {sum(sample['files'].values())} files; agent "
                f"{sample['cpu']['agent']:.0f} % of a core, vendors {sample['cpu']['vendors']:.0f}, callers "
                f"{sample['cpu']['callers']:.0f}; loop {sample['loop_lag_ms']:.0f} ms, media "
                f"{sample['media_late_ms']:.0f} ms late"
            )


def _let_end(agent: Child, callers: Child, seconds: float) -> int:
    """Until nobody rings and the agent has no call; how many it still has then."""
    until = time.monotonic() + seconds
    told: dict[str, Any] = {}
    ringing = True
    while time.monotonic() < until:
        time.sleep(0.5)
        if ringing:
            # What it tells of calls is wanted by `Watch.take`, so only the end is asked for.
            ringing = bool(callers.ask("ringing")["ringing"])
        told = agent.ask("tell")  # a collection would make calls late that still run
        if not ringing and not told["calls"]:
            break
    time.sleep(SETTLE_S)
    return int(told.get("calls", 0)) + ringing


def _forget(folder: Path) -> None:
    """What the first round left."""
    for record in (folder / "calls").glob("*.json"):
        record.unlink()
    with contextlib.closing(sqlite3.connect(_database(folder), timeout=30)) as database, database:
        database.execute("DELETE FROM bookings")


def _plant_afterwards(plant: frozenset[str], folder: Path) -> None:
    if "booking" in plant:
        with contextlib.closing(sqlite3.connect(_database(folder), timeout=30)) as database, database:
            database.execute("DELETE FROM bookings WHERE id = (SELECT id FROM bookings LIMIT 1)")
    if "record" in plant:
        # Of a call without a booking, which another plant may have taken.
        paths = (folder / "calls").glob("*.json")
        next(path for path in paths if not json.loads(path.read_text())["booking_id"]).unlink()


def _database(folder: Path) -> Path:
    return folder / "office.sqlite3"


def _records(folder: Path) -> dict[str, dict[str, Any]]:
    found = {}
    for path in (folder / "calls").glob("*.json"):
        document = json.loads(path.read_text())
        wanted = ("outcome", "booking_id", "ended_by", "seconds", "media", "vendor_errors", "verdict", "usage")
        found[document["uuid"]] = {name: document[name] for name in wanted}
    return found


def _bookings(folder: Path) -> list[tuple[str, str]]:
    with contextlib.closing(sqlite3.connect(f"file:{_database(folder)}?mode=ro", uri=True, timeout=30)) as database:
        return [(row[0], row[1]) for row in database.execute("SELECT id, call_uuid FROM bookings")]


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0, help="default %(default)g; at most 480")
    parser.add_argument(
        "--calls", type=int, default=150, help="callers, each of whom rings again (default %(default)s)"
    )
    parser.add_argument("--faults", type=float, default=0.01, help="share of what vendors are asked (default 0.01)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plant", default="", help=f"faults that the judge must find: {', '.join(PLANTS)}")
    parser.add_argument("--name", default="soak", help="of the files in build/bench (default %(default)s)")
    parser.add_argument(
        "--limit", nargs="+", default=[], metavar="NAME=VALUE", help=f"of the judge: {', '.join(LIMITS)}"
    )
    parser.add_argument("--warm-up", type=float, default=12.0, help="seconds of calls before (default %(default)g)")
    parser.add_argument("--mean-seconds", type=float, default=75.0, help="of a call (default %(default)g)")
    options = parser.parse_args()
    plant = frozenset(filter(None, options.plant.split(",")))
    if not 0.5 <= options.minutes <= 480 or not 1 <= options.calls <= 1000 or not plant <= set(PLANTS):
        parser.error("minutes are 0.5 to 480, calls 1 to 1000, and plants those that --help names")
    try:
        given: dict[str, Any] = {name: float(value) for name, value in map(_assignment, options.limit)}
        limits = replace(judge.Limits(), **given)
    except (ValueError, TypeError):
        parser.error(f"a limit is NAME=VALUE, with a number, and one of {', '.join(LIMITS)}")
    soak = Soak(
        minutes=options.minutes,
        calls=options.calls,
        faults=options.faults,
        seed=options.seed,
        plant=plant,
        limits=limits,
        mean_s=options.mean_seconds,
        warmup_s=options.warm_up,
    )

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    try:
        evidence, watch = run(soak, say)
    except ChildFailed as error:
        say(f"the run broke off: {error}")
        return 1
    findings = judge.judge(evidence, limits)
    lines = [f"{finding.what:16} {finding.state:7} {finding.text}" for finding in findings]
    print("\n".join([summary(soak, evidence, watch), *lines]))
    path = write(
        options.name,
        HOW,
        minutes=soak.minutes,
        callers=soak.calls,
        faults=watch.armed,
        findings=[{"what": f.what, "state": f.state, "text": f.text} for f in findings],
        counters=dict(watch.counted),
        outcomes=_outcomes(evidence),
        usage_a_minute=usage_a_minute(evidence),
        odd_calls=odd_calls(evidence)[:100],
        samples=evidence.samples,
        answers=judge.answers(evidence),
        log=list(evidence.log)[-200:],
    )
    try:
        from benchmarks.soak.picture import draw

        draw(path.with_suffix(".png"), evidence.samples, judge.answers(evidence))
        print(f"curves: {path.with_suffix('.png')}")
    except ImportError as error:
        print(f"no picture: {error}")
    status = judge.status(findings)
    print({0: "PASSED", 1: "FAILED", 2: "VOID: the run cannot tell"}[status])
    return status


def _assignment(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value


def summary(soak: Soak, evidence: judge.Evidence, watch: Watch) -> str:
    """What the run was."""
    timed = [ms for _, ms in judge.answers(evidence)]
    turns = sum(call.get("turns", 0) for call in evidence.heard)
    interruptions = sum(call.get("interruptions", 0) for call in evidence.heard)
    unanswered = sum(call.get("unanswered", 0) for call in evidence.heard)
    faults = ", ".join(f"{what} {count}" for what, count in sorted(watch.armed.items()))
    return (
        f"{soak.minutes:g} minutes, {soak.calls} callers: {len(evidence.heard)} calls, {turns} turns, {interruptions} "
        f"interruptions, {unanswered} turns unanswered for 8 s; {sum(watch.armed.values())} faults ({faults})\n"
        f"answers: P50 {quantile(timed, 0.5):.0f}, P90 {quantile(timed, 0.9):.0f}, P99 {quantile(timed, 0.99):.0f} ms, "
        f"of {len(timed)}; outcomes: " + ", ".join(f"{what} {count}" for what, count in _outcomes(evidence).items())
    )


def odd_calls(evidence: judge.Evidence) -> list[dict[str, Any]]:
    """Calls that were turned away, broke off, or had no verdict, each with what its record says."""
    found = []
    for call in evidence.heard:
        wrong = str(call.get("ended", "")).startswith("failure") or (
            call.get("ended") == "agent" and call.get("verdict") in ("", "UNKNOWN")
        )
        if call["status"] != "OK" or wrong or ("seconds" in call and call["uuid"] not in evidence.records):
            record = evidence.records.get(call["uuid"], {})
            kept = {name: record.get(name) for name in ("outcome", "ended_by", "verdict", "vendor_errors")}
            found.append({name: value for name, value in call.items() if name != "answers"} | {"record": kept})
    return found


def usage_a_minute(evidence: judge.Evidence) -> dict[str, float]:
    """What calls used of the vendors in a minute of a call, by vendor and unit, on average."""
    used: Counter[str] = Counter()
    minutes = sum(record["seconds"] for record in evidence.records.values()) / 60
    for record in evidence.records.values():
        for vendor, models in record["usage"].items():
            for units in models.values():
                used.update({f"{vendor} {unit}": amount for unit, amount in units.items()})
    return {name: round(amount / max(minutes, 1e-9), 2) for name, amount in used.items()}


def _outcomes(evidence: judge.Evidence) -> dict[str, int]:
    found: dict[str, int] = {}
    for record in evidence.records.values():
        found[record["outcome"]] = found.get(record["outcome"], 0) + 1
    return found


if __name__ == "__main__":
    sys.exit(main())
