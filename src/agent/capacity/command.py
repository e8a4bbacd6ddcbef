"""`voice-agent load`: rings an agent with more and more calls at once until it does not keep up."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from agent.capacity.announce import Announcer
from agent.capacity.own import own_agent
from agent.capacity.ramp import HEADINGS, Ramp, Step, row, state
from agent.capacity.target import Target, cpu_s
from fastaudio import load

WARMUP_S = 8.0
"""From the last call to the measurement: greetings are over, and calls are at different places of their turns."""
TURN_MS = 1600
REST_S = 20.0
"""The longest that is waited for the calls of one step to be over."""
VENDORS_PERCENT = 90.0
"""Emulated vendors that use more than this of a core were the bottleneck."""
LOOK_S = 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How a step is measured."""

    seconds: float = 15.0
    calls_a_second: int = 10
    did: str = "+442079460123"


def minutes_of(ramp: Ramp, plan: Plan) -> float:
    """Minutes of calls that a whole ramp makes at most, if nothing breaks."""
    calls, minutes = ramp.first, 0.0
    while True:
        minutes += calls * (calls / plan.calls_a_second / 2 + WARMUP_S + plan.seconds) / 60
        if calls >= ramp.most:
            return minutes
        calls = min(ramp.most, max(calls + 1, round(calls * 1.5)))


def climb(
    ramp: Ramp,
    target: Target,
    plan: Plan,
    console: Console,
    *,
    vendors: int = 0,
) -> bool:
    """Take the steps of a ramp; whether it came to its end. Ctrl-C ends it with what is known by then.

    `vendors`: process of emulated vendors, which may be the bottleneck.
    """
    try:
        while (calls := ramp.next()) is not None:
            with _bar(console, calls, plan) as show:
                step = measure(target, calls, plan, show, vendors)
            ramp.steps.append(step)
            console.print(f"[bold]{calls:5}[/] calls: {state(ramp, step)}", highlight=False)
            _rest(target)
    except KeyboardInterrupt:
        console.print("stopped")
        return False
    return True


def measure(target: Target, calls: int, plan: Plan, show: Callable[[load.Progress], None], vendors: int = 0) -> Step:
    """So many calls at once, for as long as the plan says."""
    looks = _Looks(target, vendors)

    def on_progress(progress: load.Progress) -> None:
        urge_callers()
        show(progress)
        looks.at(progress.phase)

    prefix = os.urandom(load.UUID_PREFIX_BYTES)
    announcer: contextlib.AbstractContextManager[Announcer | None] = contextlib.nullcontext()
    if target.fastagi_port:
        announcer = Announcer(target.host, target.fastagi_port, prefix, calls, plan.calls_a_second, plan.did)
    heard, trouble = None, ""
    with announcer as announced:
        try:
            heard = load.run(
                target.host,
                target.port,
                calls=calls,
                seconds=plan.seconds,
                warmup=WARMUP_S,
                turn_ms=TURN_MS,
                calls_a_second=plan.calls_a_second,
                uuid_prefix=prefix,
                on_progress=on_progress,
            )
        except load.LoadError as error:
            trouble = str(error)
    objections = list(heard.objections) if heard is not None else []
    if looks.vendors_percent > VENDORS_PERCENT:
        objections.append(f"the emulated vendors used {looks.vendors_percent:.0f} % of a core")
    if announced is not None and announced.trouble and not announced.refused:
        trouble = trouble or announced.trouble
    return Step(
        calls=calls,
        heard=heard,
        trouble=trouble,
        refused=announced.refused if announced is not None else 0,
        cpu_percent=looks.cpu_percent,
        memory_kib=looks.memory_kib,
        loop_lag_ms=1000 * looks.worst.get("voice_agent_loop_lag_seconds", 0.0),
        media_late_ms=1000 * looks.worst.get("voice_agent_media_lateness_seconds", 0.0),
        objections=tuple(objections),
    )


def urge_callers() -> None:
    """Let the callers go before others on their core: what they say must be in time. Needs root, else does nothing."""
    for thread in threading.enumerate():
        if thread.name == load.THREAD and thread.native_id is not None:
            with contextlib.suppress(PermissionError):
                os.sched_setscheduler(thread.native_id, os.SCHED_FIFO, os.sched_param(1))


class _Looks:
    """What the agent took within the measurement."""

    def __init__(self, target: Target, vendors: int) -> None:
        self._target, self._vendors = target, vendors
        self._since: float | None = None
        self._vendors_s = self._looked = 0.0
        self.cpu_percent: float | None = None
        self.memory_kib: int | None = None
        self.vendors_percent = 0.0
        self.worst: dict[str, float] = {}

    def at(self, phase: load.Phase) -> None:
        """Called some ten times a second."""
        now = time.monotonic()
        if phase != "measuring":
            return
        if self._since is None:
            self._since = self._looked = now
            self._target.mark()
            self._vendors_s = cpu_s((self._vendors,)) if self._vendors else 0.0
            return
        if now - self._looked < LOOK_S:
            return
        self._looked = now
        self.cpu_percent, self.memory_kib = self._target.cpu_percent(), self._target.memory_kib()
        if self._vendors:
            used = cpu_s((self._vendors,)) - self._vendors_s
            self.vendors_percent = 100 * used / (now - self._since)
        for name, value in self._target.metrics().items():
            self.worst[name] = max(self.worst.get(name, 0.0), value)


@contextlib.contextmanager
def _bar(console: Console, calls: int, plan: Plan) -> Iterator[Callable[[load.Progress], None]]:
    ramp_s = calls / plan.calls_a_second
    columns = TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(f"{calls} calls", total=ramp_s + WARMUP_S + plan.seconds)
        began = time.monotonic()

        def show(seen: load.Progress) -> None:
            text = f"{calls} calls: {seen.phase}, {seen.connected} on the line"
            progress.update(task, completed=time.monotonic() - began, description=text)

        yield show


def _rest(target: Target) -> None:
    """Until the agent has done with the calls of the step, as far as it tells."""
    until = time.monotonic() + REST_S
    time.sleep(1.0)
    while target.http_port and time.monotonic() < until:
        if not target.metrics().get("voice_agent_calls_running", 0.0):
            return
        time.sleep(0.5)


def tell(ramp: Ramp, console: Console, picture: Path | None, *, stopped: bool) -> None:
    """The table, the curve, and what is known."""
    table = Table(*HEADINGS, box=None, header_style="bold")
    for column in table.columns[:-1]:
        column.justify = "right"
    for step in ramp.steps:
        table.add_row(*row(ramp, step))
    if ramp.steps:
        console.print(table, highlight=False)
    for sentence in ramp.verdict(stopped=stopped):
        console.print(sentence, highlight=False)
    if picture is None:
        return
    try:
        from agent.capacity.picture import draw, worth_drawing

        if worth_drawing(ramp.steps):
            draw(picture, ramp)
            console.print(f"curve: {picture}", highlight=False)
    except ImportError as error:
        console.print(f"no curve: the package {error.name!r} is missing (the extra [plot])", highlight=False)


def load_own(ramp: Ramp, plan: Plan, console: Console, picture: Path | None, workers: int) -> int:
    """Ring an agent of the command's own. Raises `OwnAgentFailed`."""
    console.print("starting an agent and emulated vendors of its own", highlight=False)
    with own_agent(ramp.most, workers) as (target, vendors):
        ended = climb(ramp, target, plan, console, vendors=vendors)
        tell(ramp, console, picture, stopped=not ended)
    cores = len(os.sched_getaffinity(0))
    console.print(f"Emulated vendors and callers ran on the same host, of {cores} cores.", highlight=False)
    return 0 if ramp.carried else 1


def load_running(ramp: Ramp, target: Target, plan: Plan, console: Console, picture: Path | None) -> int:
    """Ring an agent that runs."""
    ended = climb(ramp, target, plan, console)
    tell(ramp, console, picture, stopped=not ended)
    return 0 if ramp.carried else 1
