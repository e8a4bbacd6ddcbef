"""What the host lets the agent have: files, threads, memory."""

from __future__ import annotations

import os
import resource
from pathlib import Path

from agent.check.finding import Findings, error, ok, skipped, warning
from agent.check.ports import owner_of
from agent.check.subject import Host, Subject
from agent.ops.files import FILES_A_CALL, FILES_BESIDES

MEGABYTES_A_CALL = 1.0
"""The most that docs/performance.md has measured of the whole agent, rounded up."""
MEGABYTES_A_PROCESS = 150.0
"""Without calls one takes 106 MB (VmRSS after the start, Python 3.11)."""
THREADS = 32
"""The media thread, the event loop, the thread pool, the outbox, recordings, passwords, the local STT."""
UNLIMITED = resource.RLIM_INFINITY


async def files(subject: Subject) -> Findings:
    """RLIMIT_NOFILE: of the agent that runs where that may be read, else of this process."""
    calls = subject.settings.max_calls
    needed = calls * FILES_A_CALL + FILES_BESIDES
    hard, whose = await _file_limit(subject)
    told = f"{whose} may open {'any number of' if hard == UNLIMITED else hard} files; {calls} calls need {needed}"
    if hard != UNLIMITED and hard < needed:
        yield error(
            "files", told, f"LimitNOFILE={needed} in the systemd unit, or ulimit -Hn {needed}; or lower MAX_CALLS"
        )
    else:
        yield ok("files", told)


async def _file_limit(subject: Subject) -> tuple[int, str]:
    if await subject.running() is not None:
        pid, _ = owner_of(subject.settings.http_port, subject.host.proc)
        try:
            for line in (subject.host.proc / str(pid) / "limits").read_text().splitlines():
                if line.startswith("Max open files"):
                    hard = line.split()[4]
                    return (UNLIMITED if hard == "unlimited" else int(hard)), "the running agent"
        except (OSError, ValueError, IndexError):
            pass
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1], "this user"


async def threads(subject: Subject) -> Findings:
    """RLIMIT_NPROC and the cgroup's pids.max."""
    limits = []
    soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    if soft != UNLIMITED:
        limits.append((soft, "LimitNPROC= in the unit, or ulimit -u"))
    most, used = _cgroup(subject.host, "pids.max"), _cgroup(subject.host, "pids.current")
    if most is not None:
        limits.append((most - (used or 0), "TasksMax= in the unit, or pids_limit of the container"))
    if not limits:
        yield ok("threads", "as many threads as it likes")
        return
    room, which = min(limits)
    needed = THREADS * processes(subject)
    told = f"room for {room} more threads; the agent may have {needed}"
    if room < needed:
        yield error("threads", told, f"raise {which}")
    else:
        yield ok("threads", told)


async def memory(subject: Subject) -> Findings:
    """What is available, by the host and by the cgroup, against MAX_CALLS."""
    host = subject.host
    available = None
    try:
        for line in (host.proc / "meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                available = int(line.split()[1]) / 1024
    except (OSError, ValueError, IndexError):
        pass
    most, used = _cgroup(host, "memory.max"), _cgroup(host, "memory.current")
    if most is not None:
        left = (most - (used or 0)) / (1 << 20)
        available = left if available is None else min(available, left)
    if available is None:
        yield skipped("memory", "this host does not tell how much memory there is")
        return
    calls = subject.settings.max_calls
    needed = processes(subject) * MEGABYTES_A_PROCESS + calls * MEGABYTES_A_CALL
    told = f"{available:.0f} MB are available; {calls} calls may take {needed:.0f}"
    if available < needed:
        yield warning("memory", told, "lower MAX_CALLS, or give the host or container more memory")
    else:
        yield ok("memory", told)


async def processors(subject: Subject) -> Findings:
    """A worker has a core to itself, or workers wait for each other."""
    workers = subject.settings.worker_count
    cores = len(os.sched_getaffinity(0))
    told = f"{workers} worker{'s' * (workers > 1)} on {cores} processors"
    if workers > cores:
        yield warning("processors", told, f"WORKERS={cores}, or auto: more of them wait for each other")
    else:
        yield ok("processors", told)


def processes(subject: Subject) -> int:
    """How many processes the agent is: one, or its workers and the one that looks after them."""
    workers = subject.settings.worker_count
    return workers + 1 if workers > 1 else 1


def _cgroup(host: Host, name: str) -> int | None:
    """A limit of this process's own cgroup or one above it: the tightest; None for none. Version 2 only."""
    root = host.sys / "fs/cgroup"
    try:
        own = next(line for line in (host.proc / "self/cgroup").read_text().splitlines() if line.startswith("0::"))
    except (OSError, StopIteration):
        return None
    path = own.removeprefix("0::").strip("/")
    found = []
    for place in [root / path, *(root / path).parents]:
        if not place.is_relative_to(root):
            break
        value = _number(place / name)
        if value is not None:
            if not name.endswith("max"):
                return value
            found.append(value)
    return min(found, default=None)


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):  # "max"
        return None
