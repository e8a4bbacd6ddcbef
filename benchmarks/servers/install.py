"""Peers from their registries, into build/bench/peers: once, at run time, with no more than their transports need."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

PEERS = Path(__file__).parents[2] / "build" / "bench" / "peers"
LIMIT_S = 300
VOICE_AGENT = "asterisk-ai-voice-agent==0.1.6"
VOICE_AGENT_IMPORTS = ("websockets>=13", "webrtcvad-wheels>=2.0.10", "openai>=1.50", "setuptools<81")
"""What its transport and its voice activity path import; all it asks for is 314 MB with speech synthesis."""
AUDIOSOCKET = "asterisk-audiosocket@0.1.0"


class Unavailable(Exception):
    """A server cannot be had here; the message says why."""


def voice_agent() -> Path:
    """The Python in which asterisk-ai-voice-agent is installed. Raises `Unavailable`."""
    home = PEERS / VOICE_AGENT
    python = home / "bin" / "python"
    if not (home / "done").exists():
        shutil.rmtree(home, ignore_errors=True)
        _run([sys.executable, "-m", "venv", str(home)])
        _run([str(python), "-m", "pip", "install", "-q", "--no-deps", VOICE_AGENT])
        _run([str(python), "-m", "pip", "install", "-q", *VOICE_AGENT_IMPORTS])
        (home / "done").touch()
    return python


def audiosocket() -> tuple[Path, Path]:
    """The Node and the file that asterisk-audiosocket begins with. Raises `Unavailable`."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise Unavailable("there is no node and npm (apt-get install nodejs npm)")
    home = PEERS / AUDIOSOCKET
    if not (home / "done").exists():
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        _run([npm, "install", "--prefix", str(home), "--no-fund", "--no-audit", AUDIOSOCKET])
        (home / "done").touch()
    return Path(node), home / "node_modules" / "asterisk-audiosocket" / "dist" / "index.js"


def bare() -> Path:
    """The program of bare.c, compiled. Raises `Unavailable`."""
    compiler = os.environ.get("CC") or shutil.which("cc")
    if compiler is None:
        raise Unavailable("there is no C compiler (apt-get install gcc)")
    program = PEERS / "bare"
    source = Path(__file__).with_name("bare.c")
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        PEERS.mkdir(parents=True, exist_ok=True)
        _run([compiler, "-O2", "-std=gnu11", "-Wall", "-Wextra", "-Werror", str(source), "-o", str(program)])
    return program


def _run(command: Sequence[str]) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, env=environment)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{Path(command[0]).name} failed: {error}") from error
    if done.returncode != 0:
        said = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        told = next((line for line in said if "error" in line.lower()), said[-1] if said else "it said nothing")
        raise Unavailable(f"{Path(command[0]).name} failed: {told}")
