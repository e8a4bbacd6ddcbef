"""How punctual this host lets the media thread be."""

from __future__ import annotations

import asyncio
import ctypes
import socket
import uuid
from collections.abc import Sequence

import fastaudio
from agent.check.finding import Findings, ok, warning
from agent.check.subject import Host, Subject

CALLS = 20
"""One for each slot of the media thread."""
LOOK_S = 1.0
LATE_MS = 5.0
VERY_LATE_MS = 20.0
"""As long as a frame."""
STEAL = 0.02
PRIORITY = 1
TIMER_SLACK_NS = 1_000_000
_PR_GET_TIMERSLACK = 30


async def lateness(subject: Subject) -> Findings:
    """A second of twenty silent calls, and how late their ticks were; the time that other guests took meanwhile."""
    stolen = _cpu_times(subject.host)
    async with fastaudio.Engine(port=0, max_calls=CALLS, spare_calls=CALLS) as engine:
        callers = [socket.create_connection(("127.0.0.1", engine.port)) for _ in range(CALLS)]
        try:
            for caller in callers:
                caller.sendall(bytes((1, 0, 16)) + uuid.uuid4().bytes)
            for _ in callers:
                await engine.accept()
            first = engine.lateness()
            await asyncio.sleep(LOOK_S)
            seen = engine.lateness().since(first)
        finally:
            for caller in callers:
                caller.close()
    p99, most = seen.quantile_us(0.99) / 1000, seen.max_us / 1000
    told = f"frames of {CALLS} calls for {LOOK_S:g} s: 99 % within {p99:.1f} ms of their time, the latest {most:.1f} ms"
    if p99 > LATE_MS or most > VERY_LATE_MS:
        yield warning(
            "lateness",
            told,
            "see what else runs here (top), whether the host is a crowded virtual one, and MEDIA_PRIORITY",
        )
    else:
        yield ok("lateness", told)
    after = _cpu_times(subject.host)
    if stolen is not None and after is not None:
        total = sum(after) - sum(stolen)
        share = (after[7] - stolen[7]) / total if total else 0.0
        if share > STEAL:
            yield warning(
                "steal",
                f"other guests of this machine's host took {100 * share:.0f} % of the processor's time",
                "ask for dedicated processors: what is stolen is heard as gaps",
            )


def _cpu_times(host: Host) -> Sequence[int] | None:
    try:
        fields = (host.proc / "stat").read_text().split("\n", 1)[0].split()[1:]
        return [int(each) for each in fields[:8]] if len(fields) >= 8 else None
    except (OSError, ValueError):
        return None


async def scheduling(subject: Subject) -> Findings:
    """Whether SCHED_FIFO can be had, the timer slack, the governor of the processors."""
    wanted = subject.settings_.media_priority if subject.settings_ is not None else 0
    async with fastaudio.Engine(port=0, max_calls=1, spare_calls=1, priority=wanted or PRIORITY) as engine:
        await asyncio.sleep(0.05)  # the media thread asks for it when it starts
        granted = engine.counters()["fifo_priority"]
    if granted:
        yield ok("rtprio", f"the media thread can have SCHED_FIFO as this user, priority {granted}")
    elif wanted:
        yield warning(
            "rtprio",
            f"MEDIA_PRIORITY={wanted}, and this user may have no SCHED_FIFO",
            f"LimitRTPRIO={wanted} in the systemd unit, or the capability CAP_SYS_NICE; or MEDIA_PRIORITY=0",
        )
    else:
        yield ok("rtprio", "no SCHED_FIFO for this user, and none is asked for")
    slack = _timer_slack()
    if slack > TIMER_SLACK_NS:
        yield warning(
            "timer-slack",
            f"timers may be {slack / 1e6:.1f} ms late",
            "start the agent by systemd with TimerSlackNSec=50us",
        )
    governors = set()
    for file in subject.host.sys.glob("devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor"):
        try:
            governors.add(file.read_text().strip())
        except OSError:
            continue
    if "powersave" in governors and not (subject.host.sys / "devices/system/cpu/intel_pstate").exists():
        yield warning("governor", "the processors save power", "cpupower frequency-set -g performance")
    elif governors:
        yield ok("governor", f"processors: {', '.join(sorted(governors))}")


def _timer_slack() -> int:
    try:
        return int(ctypes.CDLL(None).prctl(_PR_GET_TIMERSLACK, 0, 0, 0, 0))
    except (OSError, AttributeError):
        return 0
