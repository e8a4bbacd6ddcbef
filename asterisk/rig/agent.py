"""The whole agent as an administrator runs it, on emulated vendors: `voice-agent sandbox` and `voice-agent serve`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from agent.office.models import Booking
from agent.office.seed import seed_examples
from agent.office.store import OfficeStore
from agent.ops.settings import UNLIMITED

from .root import RigError

READY_S = 60.0
"""How long a process may take to be ready, s: the real speech engines' first load is the longest part."""

STOP_S = 20.0

_NICE = {"serve": -10, "sandbox": 10}
"""The emulated vendors' speech engines run elsewhere in earnest: here they must not take the agent's time."""

_LISTENS = re.compile(r"AudioSocket on \S+:(\d+), FastAGI on \S+:(\d+), HTTP on \S+:(\d+)")


class AgentStack:
    """Both processes, and the back office's database with the example companies in it.

    `directory` keeps what the agent writes; `metadata` is where the AGI script leaves its files. `settings` are further
    settings of the agent, by their names in the environment.
    """

    def __init__(
        self,
        directory: Path,
        metadata: Path,
        engines: Literal["real", "tones"] = "tones",
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.directory = directory
        self.audio_port = self.agi_port = self.http_port = 0
        self.database_url = f"sqlite+aiosqlite:///{directory / 'office.sqlite3'}"
        self._metadata = metadata
        self._engines = engines
        self._settings = dict(settings or {})
        self._processes: dict[str, asyncio.subprocess.Process] = {}

    async def __aenter__(self) -> AgentStack:
        """Start both. Raises `RigError` with what a process said when it does not become ready."""
        try:
            await self._start()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop both; on a failure their last words go to stderr."""
        await self._stop()
        if error is not None:
            print(self.output("serve")[-6000:], file=sys.stderr)

    def output(self, name: str) -> str:
        """What `serve` or `sandbox` has printed."""
        path = self.directory / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def kill(self) -> None:
        """Kill the agent, as the kernel would for want of memory."""
        self._processes["serve"].kill()

    @property
    def pid(self) -> int:
        """The agent's process."""
        return self._processes["serve"].pid

    def records(self) -> list[dict[str, Any]]:
        """The records of all calls that are over."""
        return [json.loads(path.read_text()) for path in (self.directory / "calls").rglob("*.json")]

    async def bookings(self) -> list[Booking]:
        """The bookings in the back office, the latest first."""
        async with await OfficeStore.open(self.database_url) as store:
            return await store.list_bookings()

    async def record_of(self, *numbers: str, timeout_s: float = 10.0) -> dict[str, Any]:
        """The latest record of a call to one of `numbers`, which is written when it is over. Raises `TimeoutError`."""
        async with asyncio.timeout(timeout_s):
            while True:
                files = sorted((self.directory / "calls").rglob("*.json"), key=lambda path: -path.stat().st_mtime)
                for record in (json.loads(path.read_text()) for path in files):
                    if isinstance(record, dict) and record["did"] in numbers:
                        return record
                await asyncio.sleep(0.1)

    async def _start(self) -> None:
        async with await OfficeStore.open(self.database_url) as store:
            await seed_examples(store)
        free = [f"--{vendor}-port=0" for vendor in ("deepgram", "groq", "cartesia")]
        await self._spawn("sandbox", [f"--engines={self._engines}", *free], {})
        await self._until("sandbox", lambda: self.output("sandbox").endswith("ready\n"))
        vendors = dict(line.split("=", 1) for line in self.output("sandbox").splitlines() if "=" in line)
        settings = {
            "LISTEN_PORT": "0",
            "FASTAGI_PORT": "0",
            "HTTP_PORT": "0",
            "CONSOLE": "false",
            "DATA_DIR": str(self.directory),
            "METADATA_DIR": str(self._metadata),
            "DATABASE_URL": self.database_url,
        } | {name.upper(): str(value) for name, value in UNLIMITED.items()}
        unlimited = {name.upper(): str(value) for name, value in UNLIMITED.items()}
        await self._spawn("serve", [], vendors | settings | unlimited | self._settings)
        await self._until("serve", lambda: _LISTENS.search(self.output("serve")) is not None)
        ports = _LISTENS.search(self.output("serve"))
        assert ports is not None
        self.audio_port, self.agi_port, self.http_port = (int(port) for port in ports.groups())

    async def _spawn(self, command: str, arguments: list[str], settings: dict[str, str]) -> None:
        keep = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "PYTHONPATH") if name in os.environ}
        with (self.directory / f"{command}.log").open("wb") as log:
            self._processes[command] = await asyncio.create_subprocess_exec(
                *("setpriv", "--pdeathsig", "SIGTERM"),
                *("nice", "-n", str(_NICE[command]), sys.executable, "-m", "agent", command, *arguments),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                env=keep | {"PYTHONUNBUFFERED": "1"} | settings,
            )

    async def _until(self, command: str, ready: Callable[[], bool]) -> None:
        try:
            async with asyncio.timeout(READY_S):
                while not ready():
                    if self._processes[command].returncode is not None:
                        raise RigError(f"voice-agent {command} ended:\n{self.output(command)}")
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise RigError(f"voice-agent {command} is not ready:\n{self.output(command)}") from None

    async def _stop(self) -> None:
        for process in reversed(self._processes.values()):
            if process.returncode is not None:
                continue
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                async with asyncio.timeout(STOP_S):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
