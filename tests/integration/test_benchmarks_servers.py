"""The benchmarks that drive whole servers: that they run, tell what they measured, and say what they left out."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.servers import install, start

ROOT = Path(__file__).parents[2]
SHORT = ("--seconds=1", "--warmup=0.3")


def benchmark(name: str, *options: str) -> str:
    command = [sys.executable, "-m", f"benchmarks.{name}", "--quick", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return done.stdout


def results(name: str) -> dict[str, list[dict[str, object]]]:
    found: dict[str, list[dict[str, object]]] = json.loads(
        (ROOT / "build" / "bench" / f"{name}-quick.json").read_text()
    )
    return found


def test_density_measures_the_servers_beside_each_other() -> None:
    said = benchmark("density", *SHORT, "--calls", "3", "--servers", "bare", "core", "asyncio")
    assert "a quiet call of the core" in said
    assert "CPU of core at 3 calls:" in said
    points = {str(point["server"]): point for point in results("density")["points"]}
    assert list(points) == ["bare", "core", "asyncio"]
    for point in points.values():
        heard = point["heard"]
        assert isinstance(heard, dict)
        assert heard["silent"] == 0
        assert heard["ended"] == {}
        assert heard["frames"] == pytest.approx(3 * 50, abs=3 * 12)
        assert isinstance(point["cpu_percent"], float)
        assert 0 < point["cpu_percent"] < 100


def test_pacing_tells_the_rate_and_the_lateness_of_the_core() -> None:
    said = benchmark("pacing", *SHORT, "--calls=3", "--peer-calls=2", "--servers", "core, no lead", "asyncio")
    assert "core, no lead, lateness of" in said
    assert "every call within 100 ppm of 50 frames a second" in said
    found = json.loads((ROOT / "build" / "bench" / "pacing-quick.json").read_text())["servers"]
    assert found["core, no lead"]["heard"]["calls"] == 3
    assert found["asyncio"]["heard"]["calls"] == 2
    assert found["asyncio"]["heard"]["rate_ppm_median"] < -10_000  # sleep(0.02) never is 20 ms
    assert found["core, no lead"]["counted"]["ticks"] >= 3 * 40


def test_stalls_tells_what_is_left_of_the_speech() -> None:
    said = benchmark("stalls", "--servers", "core", "--disturbances", "200")
    assert "200 ms: core" in said
    (point,) = results("stalls")["points"]
    verdict, counted = point["verdict"], point["counted"]
    assert isinstance(verdict, dict)
    assert isinstance(counted, dict)
    assert (verdict["lost"], verdict["repeated"], verdict["misplaced"]) == (0, 0, 0)
    assert verdict["gap_ms"] >= 180
    assert counted["stalls"] >= 1
    assert counted["skipped"] >= 8


def test_a_peer_that_cannot_be_had_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(install, "PEERS", tmp_path)
    real = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name: None if name in ("node", "npm", "cc") else real(name))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(install.Unavailable, match="no node"):
        install.audiosocket()
    with pytest.raises(install.Unavailable, match="no C compiler"):
        install.bare()
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # no network
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(install.Unavailable, match="failed: ERROR"):
        install.voice_agent()
    assert not (tmp_path / install.VOICE_AGENT / "done").exists()


def test_a_server_that_does_not_start_is_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(start.COMMANDS, "bare", lambda: [sys.executable, "-c", "raise SystemExit('no such luck')"])
    core = max(os.sched_getaffinity(0))
    with pytest.raises(install.Unavailable, match="no such luck"), start.serving("bare", core):
        pass
