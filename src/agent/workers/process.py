"""A worker's process, as the supervisor sees it: started, asked, waited for, and ended."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from typing import Any, Final, Literal, TypeAlias

from agent.front_door import FrontDoor
from agent.workers.bus import Bus, BusError
from agent.workers.worker import IGNORED

log = logging.getLogger(__name__)

State: TypeAlias = Literal["starting", "serving", "draining", "gone"]
START_S: Final = 120.0
"""A worker that does not take calls by then has not started: it reads conversations and loads voices first."""
STOP_S: Final = 10.0
"""At most, between being told to stop and the end of the process."""
STEP_S: Final = 0.02
_NOT_FOR_WORKERS: Final = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
"""Systemd hears of the service from its main process alone."""


class WorkerError(RuntimeError):
    """A worker does not start; the text says why."""


class WorkerProcess:
    """`worker = await WorkerProcess.start(...)`, then `await worker.ready()`. Its end is `await worker.gone()`."""

    def __init__(self, number: int, process: subprocess.Popen[bytes], bus: Bus, door: FrontDoor) -> None:
        self.number = number
        """From 1; a worker that is started in another's place may have its number."""
        self.bus = bus
        self.door = door
        """Of its calls."""
        self.state: State = "starting"
        self.accepts = True
        """Whether it takes new calls, as far as it was told."""
        self.missed = 0
        """Seconds in a row without a beat of its."""
        self.state_before: State = "starting"
        """What it was when it ended."""
        self.calls_at_end = 0
        self.failure = ""
        """What it said before it ended."""
        self._process = process
        self._ready = asyncio.Event()
        bus.on("ready", lambda _: self._ready.set())
        bus.on("failed", self._failed)

    @classmethod
    async def start(cls, number: int, listener: socket.socket, door: FrontDoor) -> WorkerProcess:
        """Start one with this listening socket. Raises `WorkerError` when there can be no more processes."""
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-m", "agent.workers"]
        command += [str(number), str(theirs.fileno()), str(listener.fileno())]
        passed = (theirs.fileno(), listener.fileno())
        try:
            process = await asyncio.to_thread(_begin, command, passed)
        except OSError as error:
            ours.close()
            raise WorkerError(f"worker {number} cannot be started: {error.strerror}") from error
        finally:
            theirs.close()
        return cls(number, process, await Bus.open(ours, f"worker {number}"), door)

    @property
    def pid(self) -> int:
        """Of its process."""
        return self._process.pid

    @property
    def calls(self) -> int:
        """Calls that it has."""
        return len(self.door.calls)

    @property
    def ended_well(self) -> bool:
        """Whether the process has ended because it was told to."""
        return self._process.poll() == 0

    @property
    def how_it_ended(self) -> str:
        """In words, once it is gone."""
        status = self._process.poll()
        if status is None:
            return "it runs"
        if status < 0:
            return f"killed by {signal.Signals(-status).name}"
        return f"exit status {status}" + (f", {self.failure}" if self.failure else "")

    async def ready(self) -> None:
        """Wait until it takes calls. Raises `WorkerError` when it ends before, or takes too long."""
        told = asyncio.create_task(self._ready.wait(), name=f"worker {self.number} is ready")
        closed = asyncio.create_task(self.bus.wait_closed(), name=f"worker {self.number} closes")
        try:
            await asyncio.wait((told, closed), timeout=START_S, return_when=asyncio.FIRST_COMPLETED)
            if not told.done():
                slow = not closed.done()
                await self.end()
                why = f"it took no calls within {START_S:.0f} s" if slow else self.how_it_ended
                raise WorkerError(f"worker {self.number} does not start: {why}; its log says more")
        finally:
            for task in (told, closed):
                task.cancel()
            await asyncio.gather(told, closed, return_exceptions=True)
        self.state = "serving"

    async def gone(self) -> None:
        """Wait until the process has ended, whatever ends it; then its calls are gone as well."""
        await self.bus.wait_closed()
        await self._wait(STOP_S)
        if self._process.poll() is None:
            log.error("worker %d (process %d) does not end: it is killed", self.number, self.pid)
            await self._kill()
        if self.state != "gone":
            self.state_before, self.state = self.state, "gone"
            self.calls_at_end = self.calls
        await self.door.close()
        await self.bus.close()

    async def end(self) -> None:
        """Have it hang up what it has left and end; a process that does not is killed."""
        if self.state == "starting":
            self.kill()  # it has no calls, and heeds nobody before it has begun
        self.bus.tell("stop")
        await self._wait(STOP_S)
        if self._process.poll() is None:
            log.error("worker %d (process %d) does not stop: it is killed", self.number, self.pid)
            await self._kill()
        with suppress(TimeoutError):  # what it has told last is heard
            async with asyncio.timeout(STOP_S):
                await self.bus.wait_closed()
        await self.gone()

    def kill(self) -> None:
        """End it at once."""
        with suppress(ProcessLookupError):
            self._process.kill()

    async def ask(self, what: str, timeout_s: float, **values: Any) -> Any:
        """Its answer; None when there is none, which the log says."""
        try:
            return await self.bus.ask(what, timeout_s, **values)
        except BusError as error:
            log.warning("%s", error)
            return None

    def accept(self, on: bool) -> None:
        """Have it take new calls, or leave them to the others."""
        if on != self.accepts:
            self.accepts = on
            self.bus.tell("accepting", on=on)

    async def _kill(self) -> None:
        self.kill()
        await self._wait(STOP_S)

    async def _wait(self, seconds: float) -> None:
        until = asyncio.get_running_loop().time() + seconds
        while self._process.poll() is None and asyncio.get_running_loop().time() < until:  # noqa: ASYNC110 - with a limit
            await asyncio.sleep(STEP_S)

    def _failed(self, values: Any) -> None:
        self.failure = str(values["error"])


def _begin(command: list[str], passed: tuple[int, ...]) -> subprocess.Popen[bytes]:
    """On a thread of its own, whose mask the process inherits: no signal ends it before it can ignore it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, IGNORED)
    try:
        environment = {name: value for name, value in os.environ.items() if name not in _NOT_FOR_WORKERS}
        return subprocess.Popen(command, pass_fds=passed, stdin=subprocess.DEVNULL, env=environment)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, IGNORED)
