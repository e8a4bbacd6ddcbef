"""`voice-agent load`: it rings nobody without leave, and an agent of its own until it is told to stop."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.alone, pytest.mark.timeout(180)]

COMMAND = (sys.executable, "-m", "agent", "load")


def test_without_yes_nobody_is_rung() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.2)
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        done = subprocess.run([*COMMAND, address, "--most", "60"], capture_output=True, text=True, timeout=60)
        with pytest.raises(TimeoutError):
            listening.accept()
    assert done.returncode == 2
    assert "up to 60 calls at once" in done.stderr
    assert "--yes" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ((), "say whom to ring"),
        (("--own", "127.0.0.1:9099"), "say whom to ring"),
        (("9099", "--yes"), "an address is HOST:PORT"),
        (("127.0.0.1:1", "--yes"), "nobody answers"),
        (("--own", "--from", "20", "--most", "10"), "more than"),
    ],
)
def test_mistakes_are_named(arguments: tuple[str, ...], what: str) -> None:
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert what in done.stderr


def test_an_agent_of_its_own_is_rung_until_somebody_stops_it(tmp_path: Path) -> None:
    picture = tmp_path / "load.png"
    # A key in the environment must not reach the agent: it would be spent.
    environment = {**os.environ, "GROQ_API_KEY": "a-real-one", "GROQ_URL": "http://127.0.0.1:1/", "COLUMNS": "200"}
    options = "--own --from 2 --most 50 --seconds 3 --calls-a-second 20".split()
    # The quality is not what is tried here: whatever else the machine does, the steps go on.
    loose = "--gap-ms 0 --answer-ms 0 --unanswered 0 --loop-lag-ms 0 --media-late-ms 0".split()
    process = subprocess.Popen(
        [*COMMAND, *options, *loose, "--png", str(picture)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        told = ""
        for line in process.stdout:
            told += line
            if re.search(r"^ +3 calls: ", line):  # the second step is over
                process.send_signal(signal.SIGINT)
                break
        told += process.stdout.read()
        status = process.wait(60)
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
    assert "stopped" in told, told
    assert "starting an agent and emulated vendors" in told
    if "not valid" in told:  # a busy machine: then it says that it was the callers
        assert "something else was the bottleneck" in told or "Nothing was measured" in told or "at least" in told, told
        return
    assert status == 0, told
    assert "The agent carries at least 3 calls: stopped before anything broke." in told, told
    assert "A call costs" in told
    assert picture.stat().st_size > 10_000
