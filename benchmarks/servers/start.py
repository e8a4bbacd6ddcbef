"""Starting a server on a core of its own, and reading what it costs."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fastaudio
from benchmarks.servers import install
from benchmarks.servers.install import Unavailable

ROOT = Path(__file__).parents[2]
START_S = 30.0
CLASSIC_DETECTOR = "rms+webrtc"


def _core(*options: str) -> list[str]:
    return [sys.executable, "-m", "benchmarks.servers.core", *options]


def _core_classic(*options: str) -> list[str]:
    if fastaudio.CallOptions().detector == CLASSIC_DETECTOR:
        raise Unavailable(f"{CLASSIC_DETECTOR} is the default detector: this is the server core")
    return _core("--detector", CLASSIC_DETECTOR, *options)


def _audiosocket() -> list[str]:
    node, package = install.audiosocket()
    return [str(node), str(Path(__file__).with_name("audiosocket.mjs")), str(package)]


def _voice_agent(*options: str) -> list[str]:
    return [str(install.voice_agent()), "-m", "benchmarks.servers.voice_agent", *options]


COMMANDS: dict[str, Callable[[], list[str]]] = {
    "bare": lambda: [str(install.bare())],
    "core": _core,
    f"core, {CLASSIC_DETECTOR}": _core_classic,
    "core, no lead": lambda: _core("--lead", "0"),
    "core, quiet": lambda: _core("--quiet"),
    "asyncio": lambda: [sys.executable, "-m", "benchmarks.servers.tutorial"],
    "asterisk-ai-voice-agent": _voice_agent,
    "asterisk-ai-voice-agent, VAD": lambda: _voice_agent("--vad"),
    "asterisk-audiosocket": _audiosocket,
}
"""Each server's command line by its name in the tables; making it installs or compiles what is missing."""

WHAT = {
    "bare": "a C loop that moves the bytes and looks at none (benchmarks/servers/bare.c)",
    "core": f"fastaudio with its default detector, {fastaudio.CallOptions().detector}",
    "asyncio": "asyncio streams and sleep(0.02), as tutorials have it",
    "asterisk-ai-voice-agent": "PyPI 0.1.6, its AudioSocketTransport; VAD: and its voice activity path",
    "asterisk-audiosocket": "npm 0.1.0, its server and paced play()",
}


@dataclass
class Server:
    """A server that runs."""

    name: str
    port: int
    process: subprocess.Popen[str]
    core: int

    def cpu_ns(self) -> int:
        """CPU time of the process; /proc/<pid>/stat counts in 10 ms, which is more than one call uses in a while."""
        return time.clock_gettime_ns((~self.process.pid << 3) | 2)  # the number that clock_getcpuclockid(3) makes

    def core_idle_ns(self) -> int:
        """Time in which the server's core had nothing to do, of anyone; counted in 10 ms."""
        return core_idle_ns(self.core)

    def resident_bytes(self) -> int:
        """Memory of the process that is in RAM."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def mark(self) -> None:
        """Let the core count its lateness from now on."""
        self.process.send_signal(signal.SIGUSR1)

    def finish(self) -> dict[str, Any]:
        """End the core, and return what it counted."""
        self.process.terminate()
        out, _ = self.process.communicate(timeout=START_S)
        counted: dict[str, Any] = json.loads(out)
        return counted


def core_idle_ns(core: int) -> int:
    """Time in which a core had nothing to do, of anyone; counted in 10 ms."""
    lines = Path("/proc/stat").read_text().splitlines()
    fields = next(line.split() for line in lines if line.startswith(f"cpu{core} "))
    return (int(fields[4]) + int(fields[5])) * 1_000_000_000 // os.sysconf("SC_CLK_TCK")  # idle, waiting for a disk


@contextlib.contextmanager
def serving(name: str, core: int, sound: Path | None = None) -> Iterator[Server]:
    """A server that runs on `core` and nowhere else. Raises `Unavailable`.

    `sound`: a file with PCM that it plays again and again, in place of the tone.
    """
    command = ["taskset", "-c", str(core), *COMMANDS[name]()]
    environment = os.environ if sound is None else {**os.environ, "BENCH_SOUND": str(sound)}
    with tempfile.TemporaryFile("w+") as complaints:  # not a pipe, which a server that complains much would fill
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=complaints, text=True, cwd=ROOT, env=environment
        )
        try:
            assert process.stdout is not None
            ready, _, _ = select.select([process.stdout], [], [], START_S)
            line = process.stdout.readline().strip() if ready else ""
            if not line.isdecimal():
                complaints.seek(0)
                said = complaints.read().strip().splitlines() or ["it said nothing"]
                raise Unavailable(f"it did not start: {' '.join(command)}: {said[-1]}")
            yield Server(name, int(line), process, core)
        finally:
            process.kill()
            process.communicate()


def take_cores() -> int:
    """Leave one core to the servers, and keep this process, with its callers, on another. Returns the servers' core.

    On a single core both share it, and the callers will say that they were late.
    """
    available = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {available[0]})
    return available[-1]
