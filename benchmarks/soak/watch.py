"""What a process has open and uses, looked at from outside, and the samples of a run."""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.agent.child import Child
from benchmarks.agent.point import threads_ns
from benchmarks.servers.start import core_idle_ns
from benchmarks.soak.judge import Inventory

PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024


def open_files(pid: int, local: Mapping[int, str], remote: Mapping[int, str]) -> dict[str, int]:
    """Open files of a process by kind. `local` and `remote` name connections by the port of that side."""
    ports = _sockets()
    kinds: Counter[str] = Counter()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(entry)
        except OSError:
            continue  # closed just now
        if target.startswith("socket:["):
            mine, theirs = ports.get(target[8:-1], (0, 0))
            kind = remote.get(theirs) or local.get(mine) or "other socket"
            kinds[f"{kind} (listening)" if not theirs and mine else kind] += 1
        elif target.startswith(("anon_inode:", "pipe:")):
            kinds[re.sub(r":\[\d+\]", "", target)] += 1
        elif re.search(r"\.sqlite3?(-\w+)?$|\.db(-\w+)?$", target):
            kinds["database pool"] += 1
        else:
            kinds["recording" if "/recordings/" in target else "file"] += 1
    return dict(kinds)


def _sockets() -> dict[str, tuple[int, int]]:
    """Local and remote port of TCP sockets, by inode."""
    found = {}
    for name in ("tcp", "tcp6"):
        path = Path("/proc/net") / name
        for line in path.read_text().splitlines()[1:] if path.exists() else ():
            fields = line.split()
            found[fields[9]] = int(fields[1].rsplit(":")[-1], 16), int(fields[2].rsplit(":")[-1], 16)
    return found


def rss_kib(pid: int) -> int:
    """Resident memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_KIB


class Watch:
    """Looks at the agent and asks all three, again and again. `take` makes one sample."""

    def __init__(self, agent: Child, vendors: Child, callers: Child, core: int) -> None:
        self._core = core  # the agent's
        self._idle = (time.monotonic_ns(), core_idle_ns(core))
        self._agent, self._vendors, self._callers = agent, vendors, callers
        self.began = time.monotonic()
        self.samples: list[dict[str, Any]] = []
        self.heard: list[dict[str, Any]] = []
        self.armed: dict[str, int] = {}
        self.counted: Counter[str] = Counter()
        self._cpu = (time.monotonic_ns(), {child.pid: self._used(child) for child in (agent, vendors, callers)})
        self._local: dict[int, str] = {agent.ready["audio_port"]: "call", agent.ready["fastagi_port"]: "dialplan"}
        self._local[agent.ready["http_port"]] = "office pool"
        self._remote = {agent.ready["http_port"]: "office pool"} | {
            int(re.findall(r":(\d+)", vendors.ready[name])[-1]): kind
            for name, kind in (("deepgram", "deepgram"), ("groq", "groq pool"), ("cartesia", "cartesia pool"))
        }

    def begin(self) -> None:
        """The run begins now; what was before is forgotten."""
        self._callers.ask("tell")
        self._agent.ask("mark")
        self._vendors.ask("mark")
        self.began = time.monotonic()

    @property
    def at_s(self) -> float:
        """Seconds of the run."""
        return time.monotonic() - self.began

    def inventory(self) -> Inventory:
        """What the agent has open now."""
        told = self._agent.ask("collect")
        files = open_files(self._agent.pid, self._local, self._remote)
        return Inventory(files, told["threads"], told["tasks"], told["malloc_kib"], told["python_blocks"])

    def take(self) -> dict[str, Any]:
        """One sample, kept and returned."""
        callers, vendors, agent = self._callers.ask("tell"), self._vendors.ask("tell"), self._agent.ask("mark")
        for call in callers["calls"]:
            call["began"] = round(call["began"] - self.began, 2)
            call["answers"] = [(round(at - self.began, 2), ms) for at, ms in call.get("answers", ())]
        self.heard += callers["calls"]
        self.armed = vendors["armed"]
        self.counted.update(agent["counters"])
        cpu = self._cpu_percent()
        now, idle = time.monotonic_ns(), core_idle_ns(self._core)
        idle_percent = 100 * (idle - self._idle[1]) / (now - self._idle[0])
        self._idle = now, idle
        sample = {
            "at_s": round(self.at_s, 2),
            "calls": agent["calls"],
            "ended": agent["records"].get("calls", 0),
            "ringing": callers["ringing"],
            "running": callers["running"],
            "rss_kib": rss_kib(self._agent.pid),
            "files": open_files(self._agent.pid, self._local, self._remote),
            "threads": len(os.listdir(f"/proc/{self._agent.pid}/task")),
            "tasks": sum(agent["tasks"].values()),
            "loop_lag_ms": round(agent["loop_lag_ms"], 2),
            "media_late_ms": round(agent["media_late_ms"], 2),
            "callers_late_ms": callers["late_p99_ms"],
            "vendors_late_ms": max(0.0, vendors["lag"]["p99_ms"]),
            "cpu": {name: cpu[child.pid] for name, child in self._named()},
            "others_percent": round(max(0.0, 100 - idle_percent - cpu[self._agent.pid]), 1),
            "media_cpu": cpu[-self._agent.pid],
            "faults": sum(self.armed.values()),
            "refused": agent["refused"],
        }
        self.samples.append(sample)
        return sample

    def _named(self) -> tuple[tuple[str, Child], ...]:
        return ("agent", self._agent), ("vendors", self._vendors), ("callers", self._callers)

    @staticmethod
    def _used(child: Child) -> dict[str, int]:
        return threads_ns(child.pid)

    def _cpu_percent(self) -> dict[int, float]:
        """CPU since the last sample, % of a core, by process; the media thread's by the negative ID of its process."""
        now, used = time.monotonic_ns(), {child.pid: self._used(child) for _, child in self._named()}
        then, before = self._cpu
        self._cpu = now, used
        percent = {
            pid: round(100 * (sum(threads.values()) - sum(before[pid].values())) / (now - then), 1)
            for pid, threads in used.items()
        }
        media = used[self._agent.pid]["media"] - before[self._agent.pid]["media"]
        return percent | {-self._agent.pid: round(100 * media / (now - then), 1)}
