"""Regression gates: instructions a frame of each unit of the C core, counted by callgrind, against limits.json.

    python tests/gates/run.py             compare; status 1 when a unit costs more than its limit allows
    python tests/gates/run.py --renew     write limits.json from what is counted now
    python tests/gates/run.py tick        the units whose name has "tick" in it

Counts do not depend on how busy the machine is, but on the compiler and on WebRTC's library: limits.json names both.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fastaudio import _core

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CORE = ROOT / "src" / "fastaudio" / "c"
BUILD = ROOT / "build" / "gates"
LIMITS = HERE / "limits.json"
ALLOWED = 1.10
"""What a count may be, of its limit: less than a tenth more is no regression."""
PLAIN = ("parse", "header", "rechunk", "rms", "rules", "playout", "capture", "clock", "event", "command")
WITH_DETECTOR = ("detector", "tick-listening", "tick-speaking")
COMPILER = os.environ.get("CC", "gcc")
SAME_MEMCPY = {"GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX512VL,-AVX512F,-AVX2,-AVX,-ERMS,-FSRM"}
"""The C library would choose a `memcpy` by the processor; without these features every x86-64 has the same."""


@dataclass(frozen=True)
class Unit:
    """What is counted: a unit of the core, or a whole tick with one of the detectors."""

    work: str
    detector: str = ""

    @property
    def name(self) -> str:
        return f"{self.work} {self.detector}".strip()


def units() -> list[Unit]:
    """Every unit, and what depends on the detector once for each."""
    return [Unit(work) for work in PLAIN] + [Unit(work, name) for work in WITH_DETECTOR for name in _core.DETECTORS]


def toolchain() -> dict[str, str]:
    """What the counts depend on."""
    line = subprocess.run([COMPILER, "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]
    return {"compiler": line, "machine": platform.machine(), "webrtcvad-wheels": version("webrtcvad-wheels")}


def build() -> Path:
    """Compile the driver and the core as the wheel has them: -O3, no sanitizer."""
    BUILD.mkdir(parents=True, exist_ok=True)
    program = BUILD / "gate"
    command = [COMPILER, "-std=c11", "-D_GNU_SOURCE", "-DNDEBUG", "-O3", "-g", "-fvisibility=hidden", f"-I{CORE}"]
    warnings = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror"]
    sources = [str(HERE / "gate.c"), *sorted(map(str, CORE.glob("*.c")))]
    libraries = ["-rdynamic", "-lm", "-lpthread", "-ldl"]  # WebRTC's library must see the driver's Python symbols
    subprocess.run([*command, *warnings, *sources, *libraries, "-o", str(program)], check=True)
    return program


def count(program: Path, unit: Unit) -> float:
    """Instructions a frame."""
    arguments = [unit.work]
    if unit.detector:
        webrtc = find_spec("_webrtcvad")
        assert webrtc is not None
        assert webrtc.origin is not None
        arguments += [str(_core.DETECTORS[unit.detector]), webrtc.origin]
    callgrind = ["valgrind", "--tool=callgrind", "--toggle-collect=gate_work", "--callgrind-out-file=/dev/null"]
    command = [*callgrind, str(program), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=os.environ | SAME_MEMCPY)
    collected = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode != 0 or collected is None or int(collected[1]) == 0:
        raise SystemExit(f"{unit.name} could not be counted:\n{done.stderr[-2000:]}")
    return int(collected[1]) / int(done.stdout)


def compare(counts: dict[str, float], limits: dict[str, Any], *, partial: bool) -> list[str]:
    """Prints the table; returns what is wrong, each with what to do."""
    known: dict[str, float] = limits["instructions_a_frame"]
    renew = "python tests/gates/run.py --renew, and say in the commit why it may cost so much"
    wrong = []
    print(f"{'unit':<28} {'limit':>9} {'counted':>9} {'change':>8}")
    for name, counted in counts.items():
        limit = known.get(name)
        change = f"{100 * (counted / limit - 1):+.1f} %" if limit else "new"
        print(f"{name:<28} {limit or 0:>9.1f} {counted:>9.1f} {change:>8}")
        if limit is None:
            wrong.append(f"{name} has no limit yet ({counted:.1f} instructions a frame). Give it one: {renew}")
        elif counted > limit * ALLOWED:
            wrong.append(
                f"{name} costs {counted:.1f} instructions a frame; the limit is {limit:.1f} and {ALLOWED - 1:.0%}. "
                f"Make it cheaper, or renew the limit: {renew}"
            )
        elif counted * ALLOWED < limit:
            print(f"  {name} has become cheaper: keep it so: {renew}")
    gone = (
        []
        if partial
        else [f"{name} is in limits.json and is no unit any more: {renew}" for name in known if name not in counts]
    )
    return wrong + gone


def main() -> int:
    """Count, and compare or renew."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pattern", nargs="?", default="", help="only the units with this in their name")
    parser.add_argument("--renew", action="store_true", help="write limits.json")
    chosen = parser.parse_args()
    if shutil.which("valgrind") is None:
        print("valgrind is missing: apt-get install valgrind")
        return 2
    program = build()
    wanted = [unit for unit in units() if chosen.pattern in unit.name]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        counted = dict(
            zip([unit.name for unit in wanted], pool.map(lambda unit: count(program, unit), wanted), strict=True)
        )
    limits = json.loads(LIMITS.read_text()) if LIMITS.exists() else {"instructions_a_frame": {}}
    if chosen.renew:
        renewed = {name: round(value, 1) for name, value in counted.items()}
        kept = limits["instructions_a_frame"] if chosen.pattern else {}
        LIMITS.write_text(json.dumps({**toolchain(), "instructions_a_frame": kept | renewed}, indent=2) + "\n")
        print(f"wrote {LIMITS.relative_to(ROOT)}")
        return 0
    here = toolchain()
    other = [f"{what} is {here[what]}, not {limits.get(what)}" for what in here if here[what] != limits.get(what)]
    wrong = compare(counted, limits, partial=bool(chosen.pattern))
    for line in wrong:
        print(f"TOO MUCH: {line}" if not other else f"differs: {line}")
    if other:
        print(f"The limits were counted elsewhere, so nothing can be judged: {'; '.join(other)}")
        return int("CI" in os.environ)  # there the gates must hold: renew the limits with this compiler
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
