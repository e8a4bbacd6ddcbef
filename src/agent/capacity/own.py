"""An agent of the command's own, on emulated vendors that cost next to nothing: nobody's keys, nobody's data."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from agent.capacity.target import Target
from agent.ops.settings import Settings
from agent.sandbox import SandboxConfig
from agent.sandbox.profiles import profiled, without_limits

READY_S = 90.0
STOP_S = 15.0
_PORTS = re.compile(r"AudioSocket on [^ ]*:(\d+), FastAGI on [^ ]*:(\d+), HTTP on [^ ]*:(\d+)")


class OwnAgentFailed(RuntimeError):
    """The agent or its vendors do not start; the text has their last words."""


@contextlib.contextmanager
def own_agent(most_calls: int, workers: int = 1) -> Iterator[tuple[Target, int]]:
    """The agent, and the process of its vendors. Raises `OwnAgentFailed`.

    With two cores or more the agent has all but the last, which callers and vendors share.
    """
    cores = sorted(os.sched_getaffinity(0))
    theirs = {cores[-1]}
    mine = set(cores[:-1]) or theirs
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="voice-agent-load-")))
        stack.callback(os.sched_setaffinity, 0, set(cores))
        environment = _without_settings()
        config = folder / "sandbox.json"
        config.write_text(profiled(without_limits(SandboxConfig(engines="script")), "published").model_dump_json())
        os.sched_setaffinity(0, theirs)
        log = folder / "vendors.log"
        vendors = stack.enter_context(_part(log, environment, "sandbox", "--config", str(config), nice=5))
        settings = dict(line.split("=", 1) for line in _until(vendors, re.compile("^ready$"), log))
        settings |= {f"{name}_PORT": "0" for name in ("LISTEN", "FASTAGI", "HTTP")}
        settings |= {
            "CONSOLE": "false",
            "DATA_DIR": str(folder / "data"),
            "MAX_CALLS": str(most_calls + 16),
            "CALLS_PER_CALLER_HOUR": "0",
            # What the command looks for is where these would shut.
            "MAX_LOOP_LAG_MS": "0",
            "MAX_MEDIA_LATENESS_MS": "0",
            "STT_FALLBACKS": "none",
            "LOG_LEVEL": "warning",
        }
        if workers > 1:
            settings["WORKERS"] = str(workers)
        os.sched_setaffinity(0, mine)
        log = folder / "agent.log"
        agent = stack.enter_context(_part(log, environment | settings, "serve", "--seed"))
        os.sched_setaffinity(0, theirs)
        last = _until(agent, _PORTS, log)[-1]
        found = _PORTS.search(last)
        assert found is not None
        audio, fastagi, http = map(int, found.groups())
        yield Target("127.0.0.1", audio, fastagi, http, pids=(agent.pid, *_children(agent.pid))), vendors.pid


def _without_settings() -> dict[str, str]:
    """The process's environment without a user's settings of a real agent, their keys above all."""
    theirs = {name.upper() for name in Settings.model_fields} | {"VOICE_AGENT_ENV_FILE"}
    return {name: value for name, value in os.environ.items() if name.upper() not in theirs}


@contextlib.contextmanager
def _part(log: Path, environment: Mapping[str, str], *arguments: str, nice: int = 0) -> Iterator[subprocess.Popen[str]]:
    """`voice-agent ARGUMENTS` as a process in a session of its own: Ctrl-C is the command's to handle."""
    with log.open("w") as errors:
        process = subprocess.Popen(
            ["nice", "-n", str(nice), sys.executable, "-m", "agent", *arguments],
            stdout=subprocess.PIPE,
            stderr=errors,
            stdin=subprocess.DEVNULL,
            text=True,
            env=dict(environment),
            start_new_session=True,
            cwd=log.parent,  # an env file of the directory where the command runs is none of its business
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert process.stdout is not None
        process.stdout.close()


def _until(process: subprocess.Popen[str], ready: re.Pattern[str], log: Path) -> list[str]:
    """The lines that a process prints up to the one that says that it is ready; `ready` itself is left out."""
    assert process.stdout is not None
    lines: list[str] = []
    too_long = threading.Timer(READY_S, process.kill)
    too_long.start()
    try:
        for line in process.stdout:
            text = line.strip()
            if text != "ready":
                lines.append(text)
            if ready.search(text):
                return lines
    finally:
        too_long.cancel()
    last = (log.read_text(errors="replace").splitlines() or ["it said nothing"])[-1]
    raise OwnAgentFailed(f"{log.stem}: does not start: {last}")


def _children(pid: int) -> tuple[int, ...]:
    """Workers of an agent."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return tuple(map(int, path.read_text().split())) if path.exists() else ()
