"""Where the CPU of the agent goes, by part and by function, with many calls talking.

    python -m benchmarks.agent.profile [--calls 100] [--seconds 20] [--tls]

A sampling profiler (py-spy) looks at the agent's process 200 times a second, from outside. A sample belongs to the
innermost function of this project on its stack: what a library does for it is its own cost. Samples are shares; the
threads' CPU clocks make them % of a core.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from benchmarks.agent.point import Point, measure, take_two_cores
from benchmarks.report import table, write

PARTS = (
    ("recordings", r"agent/ops/recording"),
    ("caller's audio to the STT", r"fastaudio/capture|agent/call/uplink"),
    ("STT client", r"agent/providers/(deepgram|flux|nova|timeline|bell)"),
    ("LLM client", r"agent/providers/openai_chat"),
    ("TTS client", r"agent/providers/cartesia"),
    ("WebSockets", r"agent/providers/websocket"),
    ("agent's speech to the media core", r"agent/call/(speech|clauses|spoken)|fastaudio/call.py"),
    ("media core's events", r"fastaudio/engine"),
    ("answers and their history", r"agent/call/(reply|answer|history|draft)"),
    ("session and turn machine", r"agent/call/"),
    ("tools and back office", r"agent/(tools|office|conversations)"),
    ("benchmark's own looks", r"benchmarks/|agent/(serve|lag|child)\.py"),
    ("other parts of the agent", r"agent/|fastaudio/"),
    ("databases' threads", r"aiosqlite|sqlalchemy"),
    ("waiting for sockets (epoll)", r"selectors\.py"),
)
REST = "event loop and libraries by themselves"
OWN = re.compile(r"\((?:agent|fastaudio)/")
FUNCTIONS = 25
HOW = (
    "% of a core a call: the loop thread's CPU by the scheduler's clock, shared out by samples of its stack; a sample "
    "belongs to the innermost function of this project, or to what the event loop does by itself"
)


def part_of(stack: list[str]) -> tuple[str, str]:
    """The part of a sample, and the function: the innermost of ours, else the innermost of all."""
    function = next(
        (frame for frame in reversed(stack) if OWN.search(frame) and "agent/serve.py" not in frame), stack[-1]
    )
    return next((name for name, pattern in PARTS if re.search(pattern, function)), REST), function


def read(samples: str) -> tuple[Counter[str], Counter[str]]:
    """Samples of the event loop's thread by part and by function."""
    parts: Counter[str] = Counter()
    functions: Counter[str] = Counter()
    for line in samples.splitlines():
        frames, _, count = line.rpartition(" ")
        stack = frames.split(";")
        if not any("run_forever" in frame for frame in stack):
            continue  # another thread: its CPU is told by its own clock
        part, function = part_of(stack)
        parts[part] += int(count)
        functions[function] += int(count)
    return parts, functions


def profile(calls: int, seconds: float, *, tls: bool) -> tuple[Point, str]:
    """A run, and the profiler's samples. Raises as `measure` does, and OSError without the command `py-spy`."""
    with tempfile.NamedTemporaryFile("r") as samples:
        profilers: list[subprocess.Popen[bytes]] = []

        def begin(pid: int) -> None:
            # Beside the vendors: on the agent's core it would be part of what it measures.
            options = [
                "-r",
                "200",
                "-d",
                str(round(seconds) - 2),
                "-F",
                "-f",
                "raw",
                "-o",
                samples.name,
                "-p",
                str(pid),
            ]
            profilers.append(
                subprocess.Popen(["py-spy", "record", *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            )

        point = measure(calls, seconds, tls=tls, accounts=False, cores=take_two_cores(), on_measuring=begin)
        for profiler in profilers:
            profiler.wait(timeout=60)
        return point, Path(samples.name).read_text()


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=100, help="default %(default)s")
    parser.add_argument("--seconds", type=float, default=20, help="measured (default %(default)s)")
    parser.add_argument("--tls", action="store_true", help="with TLS to the vendors")
    options = parser.parse_args()
    point, samples = profile(options.calls, options.seconds, tls=options.tls)
    parts, functions = read(samples)
    total = max(1, parts.total())
    each = {name: cpu / point.calls for name, cpu in point.cpu.items()}

    def line(name: str, count: int) -> list[str]:
        return [name, f"{each['loop'] * count / total:.4f}", f"{100 * count / total:.1f}"]

    rows = [line(name, count) for name, count in parts.most_common()]
    threads = [["media thread (C)", f"{each['media']:.4f}", ""], ["other threads", f"{each['others']:.4f}", ""]]
    print(table(("part", "% of a core a call", "% of the loop"), [*rows, *threads]))
    print()
    by_function = [line(name, count) for name, count in functions.most_common(FUNCTIONS)]
    print(table(("function, with what libraries do for it", "% of a core a call", "% of the loop"), by_function))
    for objection in point.objections:
        print(f"NOT VALID: {objection}")
    write("agent-profile", HOW, point=point.as_json(), parts=dict(parts), functions=dict(functions.most_common(200)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
