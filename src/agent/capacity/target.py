"""The agent that is rung: where it is, what its processes use if they are on this host, what its /metrics say."""

from __future__ import annotations

import os
import re
import socket
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

_SAMPLE = re.compile(r"^(voice_agent_\w+)(?:\{[^}]*\})? ([0-9.eE+-]+)$", re.MULTILINE)
METRICS_S = 2.0
PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024


@dataclass(slots=True)
class Target:
    """An agent at `host`. Ports of 0 are not asked."""

    host: str
    port: int
    fastagi_port: int = 0
    http_port: int = 0
    pids: tuple[int, ...] = ()
    """Its processes, when they are on this host and may be looked at."""
    _used: tuple[float, float] = field(default=(0.0, 0.0), repr=False)

    def mark(self) -> None:
        """CPU is counted from now on."""
        self._used = (time.monotonic(), cpu_s(self.pids))

    def cpu_percent(self) -> float | None:
        """CPU since the mark, % of a core, all processes; None when they cannot be looked at."""
        if not self.pids:
            return None
        then, used = self._used
        return 100 * (cpu_s(self.pids) - used) / max(0.001, time.monotonic() - then)

    def memory_kib(self) -> int | None:
        """Resident memory of all its processes."""
        return rss_kib(self.pids) if self.pids else None

    def metrics(self) -> dict[str, float]:
        """Its /metrics: of each name the largest sample; empty when nobody answers."""
        if not self.http_port:
            return {}
        host = f"[{self.host}]" if ":" in self.host else self.host
        try:
            with urllib.request.urlopen(f"http://{host}:{self.http_port}/metrics", timeout=METRICS_S) as answer:
                page = answer.read(8 * 2**20).decode("utf-8", "replace")
        except (OSError, ValueError, urllib.error.URLError):
            return {}
        found: dict[str, float] = {}
        for name, value in _SAMPLE.findall(page):
            found[name] = max(found.get(name, 0.0), float(value))
        return found


def processes_listening(port: int) -> tuple[int, ...]:
    """Processes of this host that listen on a TCP port, as far as this user may see them."""
    inodes = set()
    for name in ("tcp", "tcp6"):
        path = Path("/proc/net") / name
        for line in path.read_text().splitlines()[1:] if path.exists() else ():
            parts = line.split()
            if int(parts[1].rsplit(":", 1)[1], 16) == port and parts[3] == "0A":
                inodes.add(f"socket:[{parts[9]}]")
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            if any(os.readlink(entry) in inodes for entry in (process / "fd").iterdir()):
                found.append(int(process.name))
        except OSError:
            continue  # another user's, or gone
    return tuple(sorted(found))


def is_this_host(host: str) -> bool:
    """Whether an address is one of this machine's own."""
    try:
        address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(address[0], socket.SOCK_DGRAM) as probe:
            probe.bind(address[4])
    except OSError:
        return False
    return True


def cpu_s(pids: tuple[int, ...]) -> float:
    """CPU time of processes since they began, those that have gone left out."""
    ns = 0
    for pid in pids:
        try:
            tasks = list(Path(f"/proc/{pid}/task").iterdir())
        except OSError:
            continue
        for task in tasks:
            try:
                ns += int((task / "schedstat").read_text().split()[0])
            except OSError:
                continue
    return ns / 1e9


def rss_kib(pids: tuple[int, ...]) -> int:
    """Resident memory of processes."""
    pages = 0
    for pid in pids:
        try:
            pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        except OSError:
            continue
    return pages * PAGE_KIB
