"""No booking is lost and none is made twice, and no word of one is lost, whoever is killed when: real processes, real
files, SIGKILL.

`make crash` does the same with a thousand crash points for each API.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
POINTS = int(os.environ.get("CRASH_POINTS", "30"))
SEED = int(os.environ.get("CRASH_SEED", "20261123"))


def run(*arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.crash.schedule", "--seed", str(SEED), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=100 + POINTS,
    )
    assert done.stdout, done.stderr[-2000:]
    (report,) = json.loads(done.stdout)["reports"]
    assert report["wrong"] == [], f"CRASH_SEED={SEED} runs it again: {report}"
    print(f"\n{json.dumps(report)}")
    return dict(report)


@pytest.mark.timeout(200 + POINTS)
@pytest.mark.parametrize("api", ["honours", "office", "forgets"])
def test_crash_points_by_chance(api: str) -> None:
    report = run("--api", api, "--points", str(POINTS))
    assert report["crash_points"] >= POINTS
    assert report["killed"]["sender"] > POINTS / 2
    assert report["states"]["accepted"] > 5
    if api == "forgets":
        assert report["states"]["uncertain"] > 0, "some answers must have been lost"


@pytest.mark.parametrize("api", ["honours", "forgets"])
def test_a_crash_in_front_of_every_step(api: str) -> None:
    report = run("--api", api, "--every-step")
    assert report["crash_points"] > 30
    if api == "forgets":
        # Those that were killed between the claim's commit and that of the answer.
        assert 3 < report["states"]["uncertain"] < report["crash_points"]


def test_several_processes_share_the_outbox_and_none_sends_what_another_does() -> None:
    """With an API that knows no keys, so that one request too many is one booking too many."""
    report = run("--api", "forgets", "--in-peace")
    assert report["crash_points"] == 0
    assert report["states"] == {"accepted": 189, "refused": 11}


def test_whoever_dies_while_telling_is_followed_by_one_who_tells_the_rest() -> None:
    """Webhooks and mails: each at least once, and by the same ID when twice."""
    points = max(8, POINTS // 5)
    done = subprocess.run(
        [sys.executable, "-m", "tests.crash.notices", "--seed", str(SEED), "--points", str(points)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=100 + 10 * points,
    )
    assert done.stdout, done.stderr[-2000:]
    report = json.loads(done.stdout)
    assert report["wrong"] == [], f"CRASH_SEED={SEED} runs it again: {report}"
    assert report["crash_points"] == points
    print(f"\n{report}")
