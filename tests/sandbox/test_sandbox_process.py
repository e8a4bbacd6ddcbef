"""`voice-agent sandbox` as a process, and its settings."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from agent.sandbox.command import configure
from agent.sandbox.config import ConfigError, SandboxConfig
from agent.sandbox.latency import Dice, Percentiles

COMMAND = [sys.executable, "-m", "agent", "sandbox"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_tells_its_urls_and_stops_cleanly(number: signal.Signals) -> None:
    process = subprocess.Popen([*COMMAND, "--engines", "tones"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line.strip())
            if lines[-1] == "ready":
                break
        settings = dict(line.split("=", 1) for line in lines[:-1])
        assert re.fullmatch(r"ws://127\.0\.0\.1:\d+", settings["DEEPGRAM_URL"])
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/openai/v1", settings["GROQ_URL"])
        assert re.fullmatch(r"ws://127\.0\.0\.1:\d+", settings["CARTESIA_URL"])
        assert settings["GROQ_API_KEY"]
        request = urllib.request.Request(
            f"{settings['GROQ_URL']}/models", headers={"Authorization": f"Bearer {settings['GROQ_API_KEY']}"}
        )
        with urllib.request.urlopen(request, timeout=5) as answer:
            assert b"gpt-oss" in answer.read()
        process.send_signal(number)
        assert process.wait(timeout=10) == 0
    finally:
        process.kill()
        process.communicate()


def test_a_port_that_is_taken_and_a_wrong_setting_are_told() -> None:
    for options, says in (
        (["--engines", "wax"], "engines"),
        (["--engines", "tones", "--groq-port", "70000"], "groq.port"),
        (["--config", "/nowhere.json"], "/nowhere.json"),
    ):
        done = subprocess.run([*COMMAND, *options], capture_output=True, text=True, timeout=20, check=False)
        assert done.returncode == 2
        assert says in done.stderr
        assert "Traceback" not in done.stderr


def test_settings_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "sandbox.json"
    file.write_text('{"engines":"tones","groq":{"queue":{"p50":60,"p90":200,"p99":470}},"deepgram":{"port":4001}}')
    config = configure(file, ports=(None, 4002, None))
    assert config.engines == "tones"
    assert config.groq.queue == Percentiles(p50=60, p90=200, p99=470)
    assert (config.deepgram.port, config.groq.port, config.cartesia.port) == (4001, 4002, 0)
    file.write_text('{"groq":{"queue":{"p50":60,"p90":20,"p99":470}}}')
    with pytest.raises(ConfigError, match="must rise"):
        configure(file)


def test_published_latencies_are_distributions() -> None:
    plain, published = SandboxConfig(), configure(None, profile="published")
    assert plain.cartesia.first_audio == 0.0
    assert isinstance(published.cartesia.first_audio, Percentiles)
    assert published.deepgram.final_latency != plain.deepgram.final_latency


def test_draws_have_the_percentiles() -> None:
    dice = Dice(7)
    draws = sorted(dice.seconds(Percentiles(p50=100, p90=200, p99=500)) * 1000 for _ in range(20_000))
    assert draws[10_000] == pytest.approx(100, rel=0.02)
    assert draws[18_000] == pytest.approx(200, rel=0.03)
    assert draws[19_800] == pytest.approx(500, rel=0.06)
    assert draws[0] >= 69
    assert draws[-1] <= 601
    assert Dice(7).seconds(250.0) == 0.25
    assert Dice(7).seconds(Percentiles(p50=0, p90=0, p99=0)) == 0.0
