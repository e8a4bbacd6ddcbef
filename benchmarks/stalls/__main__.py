"""What is left of speech when the server stands still in the middle of it, or has to share its core.

    python -m benchmarks.stalls [--quick] [--servers core asyncio ...] [--disturbances 50 200 1000 hog]

A server plays speech in which no two samples are alike to one caller. A second into it the server's process is stopped
(SIGSTOP) for so many milliseconds, or four programs that do nothing but spin run on its core for a second and a half.
The caller, on another core, notes when each sample came. A point at which the caller itself was late is taken again.
"""

from __future__ import annotations

import argparse
import contextlib
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
from benchmarks.servers.install import Unavailable
from benchmarks.servers.start import WHAT, Server, serving, take_cores
from benchmarks.stalls.caller import Caller, numbered
from benchmarks.stalls.judge import Verdict, judge

SERVERS = ["core, no lead", "core", "asyncio", "asterisk-ai-voice-agent", "asterisk-audiosocket"]
DISTURBANCES = ["50", "200", "1000", "hog"]
SAMPLES = 65440
"""8.18 s in whole frames: the most that no two samples of 16 bits need be alike in."""
BEFORE_S = 1.0
AFTER_S = 5.0
QUICK_AFTER_S = 1.0
HOG_S = 1.5
HOGS = 4
OWN_LATE_MS = 10.0
"""A caller that was later than this has measured itself."""
TRIES = 3
HOW = (
    "lost, repeated: samples of the speech, of which no two are alike; gap: longest time in which none came, ms; "
    "silence: the longest that is heard of it where all is played as it comes, ms; slip: how much later than before "
    "the disturbance speech is, {after:g} s behind it, ms; burst: most frames of 20 ms that came within 20 ms, from it "
    "on; own: how late the caller was itself, ms (a point beyond {own:g} ms is taken again, {tries} times "
    "at the most, and marked when it stays so)"
)


@dataclass(frozen=True)
class Point:
    """One server through one disturbance."""

    disturbance: str
    server: str
    verdict: Verdict
    counted: dict[str, Any]
    own_late_ms: float


def disturb(disturbance: str, server: Server, core: int) -> None:
    """Does to the server what is to be done, and returns when it is over."""
    if disturbance == "hog":
        spin = ["taskset", "-c", str(core), sys.executable, "-c", "while True: pass"]
        hogs = [subprocess.Popen(spin) for _ in range(HOGS)]
        try:
            time.sleep(HOG_S)
        finally:
            for hog in hogs:
                hog.kill()
                hog.wait()
    else:
        server.process.send_signal(signal.SIGSTOP)
        time.sleep(int(disturbance) / 1000)
        server.process.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def speech() -> Iterator[Path]:
    """A file with speech of which no two samples are alike."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.raw"
        path.write_bytes(numbered(SAMPLES))
        yield path


def measure(disturbance: str, name: str, after_s: float, core: int) -> Point:
    """One point, taken once. Raises `Unavailable`, and ValueError when there was nothing to judge."""
    with speech() as sound, serving(name, core, sound) as server:
        with Caller(server.port) as caller:
            wait_for_speech(caller)
            time.sleep(BEFORE_S)
            start = time.monotonic()
            disturb(disturbance, server, core)
            end = time.monotonic()
            time.sleep(after_s)
        counted = server.finish() if name.startswith("core") else {}
    verdict = judge(caller.heard.speech(), start, end, after_s)
    return Point(disturbance, name, verdict, counted, round(1000 * caller.latest_s(), 1))


def wait_for_speech(caller: Caller) -> None:
    """Until the server says something; it has had its time when ten seconds have passed."""
    for _ in range(100):
        if caller.has_heard_speech:
            return
        time.sleep(0.1)
    raise ValueError("no speech within ten seconds")


def measure_fairly(disturbance: str, name: str, after_s: float, core: int) -> Point:
    """One point, from the try in which the caller itself was least late; one is enough when it was in time.

    Raises `Unavailable`, also when no try could be judged.
    """
    tries: list[Point] = []
    why = ""
    while len(tries) < TRIES and not any(point.own_late_ms <= OWN_LATE_MS for point in tries):
        try:
            tries.append(measure(disturbance, name, after_s, core))
        except ValueError as error:
            if why:
                raise Unavailable(str(error)) from error
            why = str(error)
    return min(tries, key=lambda point: point.own_late_ms)


def row(point: Point) -> list[str]:
    """A line of the table."""
    verdict, counted = point.verdict, point.counted
    told = ", ".join(f"{name} {counted[name]}" for name in ("caught_up", "skipped", "stalls") if name in counted)
    if "late_us" in counted:
        told += f", late {counted['late_us']['1.0'] / 1000:.0f} ms"
    return [
        f"{'hog' if point.disturbance == 'hog' else point.disturbance + ' ms'}: {point.server}",
        str(verdict.lost),
        str(verdict.repeated + verdict.misplaced),
        f"{verdict.gap_ms:.0f}",
        f"{verdict.silence_ms:.0f}",
        f"{round(verdict.slip_ms):+d}",
        f"{verdict.burst:g}",
        f"{point.own_late_ms:.0f}" + ("!" if point.own_late_ms > OWN_LATE_MS else ""),
        told or "nothing",
    ]


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the slip after one second instead of five")
    parser.add_argument("--servers", nargs="+", default=SERVERS, choices=SERVERS)
    parser.add_argument("--disturbances", nargs="+", default=DISTURBANCES, choices=DISTURBANCES)
    options = parser.parse_args()
    after_s = QUICK_AFTER_S if options.quick else AFTER_S
    core = take_cores()
    points: list[Point] = []
    left_out: list[str] = []
    for disturbance in options.disturbances:
        for name in options.servers:  # in turns, so that what the host does meets them alike
            try:
                points.append(measure_fairly(disturbance, name, after_s, core))
            except Unavailable as reason:
                left_out.append(f"{disturbance}, {name}: skipped, because {reason}")
                continue
            print(f"{disturbance}, {name}: {points[-1].verdict}", file=sys.stderr)
    headings = ["disturbance: server", "lost", "repeated", "gap", "silence", "slip", "burst", "own", "counted"]
    print(report.table(headings, [row(point) for point in points]))
    for line in [*left_out, *(f"{name}: {what}" for name, what in WHAT.items() if name in options.servers)]:
        print(line)
    how = HOW.format(after=after_s, own=OWN_LATE_MS, tries=TRIES)
    report.write(
        "stalls-quick" if options.quick else "stalls",
        how,
        after_s=after_s,
        left_out=left_out,
        points=[asdict(point) for point in points],
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
