"""What is left of speech when the server stands still in the middle of it, or has to share its core.

    python -m benchmarks.stalls [--quick] [--servers core-0 core-2 asyncio] [--disturbances 50 200 1000 hog]

A server plays speech in which no two samples are alike to one caller. One and a half seconds into it the server's
process is stopped (SIGSTOP) for so many milliseconds, or four programs that do nothing but spin run on its core for
two seconds. The caller, on another core, notes when each sample came. A point at which the caller itself was late is
taken again.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.stalls.caller import Caller, numbered
from benchmarks.stalls.judge import RATE, Verdict, judge
from benchmarks.stalls.serve import SERVERS

BEFORE_S = 1.5
AFTER_S = 5.0
QUICK_AFTER_S = 1.5
SPARE_S = 1.0
"""Speech behind what is judged, for servers that play slowly."""
HOG_S = 2.0
HOGS = 4
OWN_LATE_MS = 10.0
"""A caller that was later than this has measured itself."""
TRIES = 3
HOW = (
    "lost, repeated: samples of the speech, of which no two are alike; gap: longest time in which none came, ms; "
    "silence: the longest that is heard of it where all is played as it comes, ms; slip: how much later than before "
    "the disturbance speech is, {after:g} s behind it, ms; burst: most frames of 20 ms that came within 20 ms, from it "
    "on; own: how late the caller was itself, ms (a point beyond {own:g} ms is taken again, {tries} times "
    "at the most)"
)


@dataclass(frozen=True)
class Point:
    """One server through one disturbance."""

    disturbance: str
    server: str
    verdict: Verdict
    counted: dict[str, Any]
    own_late_ms: float


def command(server: str, speech: Path) -> list[str]:
    """The command that starts a server; it prints its port first."""
    return [sys.executable, "-m", "benchmarks.stalls.serve", server, str(speech)]


@contextlib.contextmanager
def running(arguments: list[str], core: int) -> Iterator[subprocess.Popen[str]]:
    """A process pinned to a core, gone afterwards."""
    with subprocess.Popen(["taskset", "-c", str(core), *arguments], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@contextlib.contextmanager
def disturbed(disturbance: str, process: subprocess.Popen[str], core: int) -> Iterator[None]:
    """Does to the server what is to be done; it is over when the block is entered."""
    if disturbance == "hog":
        with contextlib.ExitStack() as hogs:
            for _ in range(HOGS):
                hogs.enter_context(running([sys.executable, "-c", "while True: pass"], core))
            time.sleep(HOG_S)
    else:
        process.send_signal(signal.SIGSTOP)
        time.sleep(int(disturbance) / 1000)
        process.send_signal(signal.SIGCONT)
    yield


def measure(disturbance: str, server: str, after_s: float, cores: tuple[int, int]) -> Point:
    """One point, taken once. Raises SystemExit when the server does not start."""
    samples = round((BEFORE_S + after_s + SPARE_S + (HOG_S if disturbance == "hog" else 0)) * RATE)
    with tempfile.TemporaryDirectory() as folder:
        speech = Path(folder) / "speech.raw"
        speech.write_bytes(numbered(samples))
        with running(command(server, speech), cores[1]) as process:
            assert process.stdout is not None
            port = process.stdout.readline().strip()
            if not port:
                raise SystemExit(f"stalls: {server} does not start: {' '.join(command(server, speech))}")
            with Caller(int(port)) as caller:
                wait_for_speech(caller)
                time.sleep(BEFORE_S)
                start = time.monotonic()
                with disturbed(disturbance, process, cores[1]):
                    end = time.monotonic()
                wait_for_silence(caller, end + after_s)
            told = process.stdout.readline()
    return Point(
        disturbance,
        server,
        judge(caller.heard.speech(), samples, start, end, after_s),
        json.loads(told or "{}"),
        round(1000 * caller.latest_s(), 1),
    )


def wait_for_speech(caller: Caller) -> None:
    """Until the server says something; it has had its time when ten seconds have passed."""
    for _ in range(100):
        if caller.has_heard_speech:
            return
        time.sleep(0.1)
    raise ValueError("no speech within ten seconds")


def wait_for_silence(caller: Caller, earliest: float) -> None:
    """Until nothing but silence, or nothing at all, has come for half a second."""
    while time.monotonic() < earliest or caller.speaking_s_ago() < 0.5:
        time.sleep(0.1)


def measure_fairly(disturbance: str, server: str, after_s: float, cores: tuple[int, int]) -> Point:
    """One point, from the try in which the caller itself was least late; one is enough when it was in time.

    Raises SystemExit when no try could be judged.
    """
    tries: list[Point] = []
    for left in reversed(range(TRIES)):
        try:
            tries.append(measure(disturbance, server, after_s, cores))
        except ValueError as error:
            if not left and not tries:
                raise SystemExit(f"stalls: {server}, {disturbance}: {error}") from error
            continue
        if tries[-1].own_late_ms <= OWN_LATE_MS:
            break
    return min(tries, key=lambda point: point.own_late_ms)


def row(point: Point) -> list[str]:
    """A line of the table."""
    verdict, counted = point.verdict, dict(point.counted)
    if "late_max_ns" in counted:
        counted["late_ms"] = round(counted.pop("late_max_ns") / 1e6)
    told = ", ".join(f"{name} {value}" for name, value in counted.items()) or "nothing"
    return [
        f"{point.disturbance} {point.server}",
        str(verdict.lost),
        str(verdict.repeated + verdict.misplaced),
        f"{verdict.gap_ms:.0f}",
        f"{verdict.silence_ms:.0f}",
        f"{round(verdict.slip_ms):+d}",
        f"{verdict.burst:g}",
        f"{point.own_late_ms:.0f}" + ("!" if point.own_late_ms > OWN_LATE_MS else ""),
        told,
    ]


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.stalls", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="slip after 1.5 s instead of 5: about a minute less a server"
    )
    parser.add_argument("--servers", nargs="+", default=list(SERVERS), choices=list(SERVERS))
    parser.add_argument("--disturbances", nargs="+", default=["50", "200", "1000", "hog"], metavar="MS|hog")
    options = parser.parse_args()
    available = sorted(os.sched_getaffinity(0))
    cores = (available[0], available[-1])
    os.sched_setaffinity(0, {cores[0]})
    after_s = QUICK_AFTER_S if options.quick else AFTER_S
    points = []
    for disturbance in options.disturbances:
        for server in options.servers:  # one after the other, so that what the host does meets them alike
            points.append(measure_fairly(disturbance, server, after_s, cores))
            print(f"{disturbance} {server}: {points[-1].verdict}", file=sys.stderr)
    headings = ["disturbance, server", "lost", "repeated", "gap", "silence", "slip", "burst", "own", "counted"]
    print(report.table(headings, [row(point) for point in points]))
    how = HOW.format(after=after_s, own=OWN_LATE_MS, tries=TRIES)
    report.write("stalls", how, after_s=after_s, points=[asdict(point) for point in points])
    return 0


if __name__ == "__main__":
    sys.exit(main())
