"""One run: so many calls that talk, and what they cost the agent's process."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from agent.capacity.command import urge_callers
from benchmarks.agent.certificate import make_bundle, make_certificate
from benchmarks.agent.child import Child, ChildFailed, child
from benchmarks.servers.start import core_idle_ns
from fastaudio import load

TURN_MS = 1600
WARMUP_S = 10.0
"""So that the greetings are over, and calls are at different places of their turns."""
CALLS_A_SECOND = 10
ENDING_S = 15.0
VENDORS_LATE_MS = 30.0
"""Vendors that are later than this at P99 are not what vendors are like."""
OTHERS_PERCENT = 20.0
"""The same when others than the agent had more than this of its core,"""
LEAST_IDLE_PERCENT = 3.0
"""or when the core of callers and vendors had less than this left."""
MEDIA_THREAD = "fa-media"


@dataclass(frozen=True)
class Point:
    """What a run came to. CPU in % of a core over all calls, memory in KiB over all calls."""

    calls: int
    tls: bool
    accounts: bool
    objections: tuple[str, ...] = ()
    cpu: dict[str, float] = field(default_factory=dict)
    """By thread: `media`, `loop`, `others`."""
    others_percent: float = 0.0
    vendors_cpu_percent: float = 0.0
    vendors_core_idle_percent: float = 0.0
    memory: dict[str, int] = field(default_factory=dict)
    """Growth: `rss` and `pss` with the calls, `kept` when they are over."""
    agent: dict[str, Any] = field(default_factory=dict)
    vendors: dict[str, Any] = field(default_factory=dict)
    empty_loop: dict[str, float] = field(default_factory=dict)
    records: dict[str, int] = field(default_factory=dict)
    complaints: tuple[str, ...] = ()
    heard: load.Report | None = None

    @property
    def cpu_percent_a_call(self) -> float:
        """Of one core, all threads."""
        return sum(self.cpu.values()) / self.calls

    @property
    def kb_a_call(self) -> float:
        """Resident memory that came with the calls."""
        return self.memory.get("rss", 0) / self.calls

    @property
    def valid(self) -> bool:
        """The callers and vendors were in time and the agent had its core."""
        return not self.objections

    def as_json(self) -> dict[str, Any]:
        """All of it, plain, but for the lists of single turns."""
        plain = asdict(self)
        for name in ("exchange_ms", "answer_ms"):
            (plain["agent"].get("accounts") or {}).pop(name, None)
        return plain | {"cpu_percent_a_call": round(self.cpu_percent_a_call, 4), "valid": self.valid}


class _Meter:
    """Marks the beginning and the end of the measurement, from the callers' own progress."""

    def __init__(
        self,
        agent: Child,
        vendors: Child,
        empty: Child,
        cores: tuple[int, int],
        seconds: float,
        on_measuring: Callable[[int], None] | None,
    ) -> None:
        self._on_measuring = on_measuring
        self._urged = False
        self._children = {"agent": agent, "vendors": vendors, "empty": empty}
        self._cores = cores
        self._seconds = seconds
        self._first: tuple[int, dict[str, int], list[int], int] | None = None
        self.told: dict[str, dict[str, Any]] = {}
        self.memory: dict[str, int] = {}
        self.cpu: dict[str, float] = {}
        self.idle: list[float] = []
        self.vendors_cpu = 0.0

    def __call__(self, progress: load.Progress) -> None:
        if not self._urged:
            self._urged = True
            urge_callers()
        if progress.phase != "measuring" or self.told:
            return
        if self._first is None:
            for each in self._children.values():
                each.ask("mark")
            self._first = self._look()
            if self._on_measuring is not None:
                self._on_measuring(self._children["agent"].pid)
        elif time.monotonic_ns() - self._first[0] >= (self._seconds - 1.5) * 1e9:
            last = self._look()
            self.memory = memory_kib(self._children["agent"].pid)
            took = last[0] - self._first[0]
            self.cpu = {name: 100 * (used - self._first[1].get(name, 0)) / took for name, used in last[1].items()}
            self.idle = [100 * (now - then) / took for now, then in zip(last[2], self._first[2], strict=True)]
            self.vendors_cpu = 100 * (last[3] - self._first[3]) / took
            self.told = {name: each.ask("tell") for name, each in self._children.items()}

    def _look(self) -> tuple[int, dict[str, int], list[int], int]:
        mine, theirs = (threads_ns(self._children[name].pid) for name in ("agent", "vendors"))
        return time.monotonic_ns(), mine, [core_idle_ns(core) for core in self._cores], sum(theirs.values())


def threads_ns(pid: int) -> dict[str, int]:
    """CPU time of a process's threads: the media thread's, the event loop's (the main thread), all others'."""
    used = {"media": 0, "loop": 0, "others": 0}
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            name = (task / "comm").read_text().strip()
            ns = int((task / "schedstat").read_text().split()[0])
        except OSError:
            continue  # it has ended just now
        used["media" if name == MEDIA_THREAD else "loop" if int(task.name) == pid else "others"] += ns
    return used


def memory_kib(pid: int) -> dict[str, int]:
    """Resident memory of a process, and its share of it (PSS), KiB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    fields = {line.split(":")[0]: line.split()[1] for line in lines[1:]}
    return {"rss": int(fields["Rss"]), "pss": int(fields["Pss"])}


@contextmanager
def running(calls: int, *, tls: bool, accounts: bool, cores: tuple[int, int]) -> Iterator[tuple[Child, Child, Child]]:
    """The agent on one core with an empty event loop beside it, the vendors on the other."""
    mine, theirs = cores
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-agent-")))
        trust: dict[str, str] = {}
        certificate = scratch / "vendors.pem"
        if tls:
            make_certificate(certificate)
            make_bundle(certificate, scratch / "trusted.pem")
            trust = {"SSL_CERT_FILE": str(scratch / "trusted.pem")}
        served = ["-m", "benchmarks.agent.vendors", *([str(certificate)] if tls else [])]
        vendors = stack.enter_context(child("the vendors", served, theirs, nice=5))
        settings = {
            **{f"{name.upper()}_URL": url for name, url in vendors.ready.items()},
            **{f"{name}_API_KEY": "benchmark" for name in ("DEEPGRAM", "GROQ", "CARTESIA")},
            **{f"{name}_PORT": "0" for name in ("LISTEN", "FASTAGI", "HTTP", "CONSOLE")},
            **trust,
            "DATA_DIR": str(scratch / "data"),
            "MAX_CALLS": str(calls + 16),
            "UNKNOWN_UUID": "accept",
            "LOG_LEVEL": "warning",
        }
        told = ["-m", "benchmarks.agent.serve", *(["--accounts"] if accounts else [])]
        agent = stack.enter_context(child("the agent", told, mine, environment=settings))
        empty = stack.enter_context(child("the empty loop", ["-m", "benchmarks.agent.lag"], mine))
        yield agent, vendors, empty


def measure(
    calls: int,
    seconds: float,
    *,
    tls: bool,
    accounts: bool,
    cores: tuple[int, int],
    on_measuring: Callable[[int], None] | None = None,
) -> Point:
    """One run; `on_measuring` gets the agent's process when the measurement begins.

    Raises `ChildFailed`, and `load.LoadError` when the calls do not come about.
    """
    with running(calls, tls=tls, accounts=accounts, cores=cores) as (agent, vendors, empty):
        before = memory_kib(agent.pid)
        meter = _Meter(agent, vendors, empty, cores, seconds, on_measuring)
        try:
            heard = load.run(
                "127.0.0.1",
                int(agent.ready["port"]),
                calls=calls,
                seconds=seconds,
                warmup=WARMUP_S,
                turn_ms=TURN_MS,
                calls_a_second=CALLS_A_SECOND,
                on_progress=meter,
            )
        except load.LoadError as error:
            said = [*agent.complaints(), *vendors.complaints()] or ["nothing"]
            outcomes = [name for name in _wait_for_the_end(agent)["records"] if name.startswith("outcome")]
            raise load.LoadError(
                f"{error}; {', '.join(outcomes)}; the agent and the vendors said, at last: {said[-1]}"
            ) from error
        over = _wait_for_the_end(agent)
        kept = memory_kib(agent.pid)["rss"] - before["rss"]
        complaints = agent.complaints()
    told = meter.told
    if not told:
        raise ChildFailed(f"the agent or the vendors were too slow to be asked within {seconds:g} s")
    others = max(0.0, 100 - meter.idle[0] - sum(meter.cpu.values()))
    return Point(
        calls=calls,
        tls=tls,
        accounts=accounts,
        objections=_objections(heard, told["vendors"], others, meter.idle[1]),
        cpu={name: round(percent, 3) for name, percent in meter.cpu.items()},
        others_percent=round(others, 1),
        vendors_cpu_percent=round(meter.vendors_cpu, 1),
        vendors_core_idle_percent=round(meter.idle[1], 1),
        memory={**{name: meter.memory[name] - before[name] for name in before}, "kept": kept, "before": before["rss"]},
        agent=told["agent"],
        vendors=told["vendors"],
        empty_loop=told["empty"]["lag"],
        records=over["records"],
        complaints=tuple(complaints),
        heard=heard,
    )


def _wait_for_the_end(agent: Child) -> dict[str, Any]:
    """Until every call is over and recorded."""
    until = time.monotonic() + ENDING_S
    while (told := agent.ask("collect"))["calls"] and time.monotonic() < until:
        time.sleep(0.25)
    return told


def _objections(heard: load.Report, vendors: dict[str, Any], others: float, idle: float) -> tuple[str, ...]:
    """Why something else than the agent may be what was measured."""
    found = list(heard.objections)
    if vendors["lag"]["p99_ms"] > VENDORS_LATE_MS:
        found.append(f"the vendors were late themselves: {vendors['lag']['p99_ms']:.0f} ms at P99")
    if others > OTHERS_PERCENT:
        found.append(f"others had {others:.0f} % of the agent's core")
    if idle < LEAST_IDLE_PERCENT:
        found.append(f"the core of callers and vendors had {idle:.0f} % left")
    return tuple(found)


def take_two_cores() -> tuple[int, int]:
    """The agent's core, and that of callers and vendors, which this process keeps to."""
    available = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {available[-1]})
    return available[0], available[-1]
