"""A soak of half a minute with few calls: it passes, and what is planted in the agent is found."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.alone, pytest.mark.timeout(240)]

ROOT = Path(__file__).parents[2]
# Of so short a run trends tell little, and at first all calls are at their beginning.
LIMITS = ("leak_kib_a_call=300", "rated_s=10", "latency_ms=1500", "spare_files=4", "callers_late_ms=200")


def soak(name: str, *arguments: str) -> tuple[int, dict[str, str], dict[str, Any], str]:
    """The exit status, the findings, the report, and what was printed."""
    how = "--minutes 0.6 --calls 10 --mean-seconds 20 --warm-up 6 --faults 0.02".split()
    command = [sys.executable, "-m", "benchmarks.soak", "--name", name, *how, *arguments, "--limit", *LIMITS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200)
    told = done.stdout + done.stderr
    path = ROOT / "build" / "bench" / f"{name}.json"
    assert path.exists(), told
    report = json.loads(path.read_text())
    path.unlink()
    return done.returncode, {item["what"]: item["state"] for item in report["findings"]}, report, told


def busy(findings: dict[str, str]) -> bool:
    """Whether this host had so much else to do that nothing is told of time."""
    return any(findings[what] == "void" for what in ("callers in time", "vendors in time", "a core alone"))


def test_calls_that_come_and_go_leave_nothing_behind() -> None:
    status, findings, report, told = soak("soak-test")
    assert status in (0, 2), told  # 2: too short to tell of one thing or another
    assert "FAILED" not in findings.values(), told
    for what in ("open files", "tasks", "threads", "calls", "bookings"):
        assert findings[what] == "ok", told
    for what in ("frame rate", "log", "admission"):
        assert findings[what] == "ok" or busy(findings), told
    assert report["outcomes"]["booked"] > 0, told
    assert len(report["answers"]) > 20, told
    assert (ROOT / "build" / "bench" / "soak-test.png").stat().st_size > 10_000


def test_what_is_planted_is_found() -> None:
    status, findings, _, told = soak("soak-planted", "--plant", "leak,task,file,drift,booking,record")
    assert status == 1, told
    for what in ("memory", "tasks", "open files", "bookings", "calls"):
        assert findings[what] == "FAILED", f"{what}: {told}"
    assert findings["frame rate"] == "FAILED" or busy(findings), told
    assert findings["threads"] == "ok", told
