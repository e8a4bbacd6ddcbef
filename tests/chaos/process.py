"""The agent as a process of its own, that can be killed, told to stop, and started again where it was."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp

from agent.ops.settings import Settings
from agent.sandbox.process import ProcessError, part

READY_S = 60.0
_PORTS = re.compile(r"AudioSocket on [^ ]*:(\d+), FastAGI on [^ ]*:(\d+), HTTP on [^ ]*:(\d+)")
_SAMPLE = re.compile(r"^([a-z_]+)(?:\{(.*)\})? ([0-9.e+-]+)$", re.MULTILINE)


class AgentProcess:
    """`async with AgentProcess(folder, settings) as agent`: runs `voice-agent serve`; the ports change with a start."""

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        self.folder = folder
        self.log = folder / "agent.log"
        self.audio_port = self.fastagi_port = self.http_port = 0
        # What the user has set for a real agent must not leak in: everything else has its default.
        theirs = {name.upper() for name in Settings.model_fields}
        self._environment = {name: value for name, value in os.environ.items() if name not in theirs} | dict(settings)
        self._stack = AsyncExitStack()
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> AgentProcess:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    @property
    def data(self) -> Path:
        """Its DATA_DIR."""
        return Path(self._environment["DATA_DIR"])

    @property
    def running(self) -> bool:
        """Whether there is a process."""
        return self._process is not None and self._process.returncode is None

    @property
    def exit_status(self) -> int | None:
        """What it ended with; None while it runs."""
        return None if self._process is None else self._process.returncode

    async def start(self) -> None:
        """Start it, again where it was, and wait until it takes calls. Raises `ProcessError`."""
        self._process = await self._stack.enter_async_context(part(self.log, "serve", environment=self._environment))
        assert self._process.stdout is not None
        async with asyncio.timeout(READY_S):
            while line := (await self._process.stdout.readline()).decode():
                if match := _PORTS.match(line):
                    self.audio_port, self.fastagi_port, self.http_port = map(int, match.groups())
                    return
        raise ProcessError(f"the agent does not start: see {self.log}")

    async def kill(self) -> None:
        """End it as a crash does."""
        assert self._process is not None
        self._process.kill()
        await self._process.wait()

    def terminate(self) -> None:
        """Tell it to stop."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)

    async def ended(self, seconds: float) -> bool:
        """Wait until it has stopped by itself; whether it has, in so many seconds."""
        assert self._process is not None
        try:
            async with asyncio.timeout(seconds):
                await self._process.wait()
        except TimeoutError:
            return False
        return True

    async def metrics(self) -> dict[str, float]:
        """Its `/metrics`, each name's samples added up, and each sample by itself; none when nobody answers."""
        try:
            timeout = aiohttp.ClientTimeout(total=2)
            url = f"http://127.0.0.1:{self.http_port}/metrics"
            async with aiohttp.ClientSession(timeout=timeout) as http, http.get(url) as answer:
                page = await answer.text()
        except (aiohttp.ClientError, TimeoutError):
            return {}
        found: dict[str, float] = {}
        for name, labels, value in _SAMPLE.findall(page):
            found[name] = found.get(name, 0.0) + float(value)
            if labels:
                found[f"{name}{{{labels}}}"] = float(value)
        return found

    def complaints(self) -> str:
        """Everything that it wrote to its log."""
        return self.log.read_text("utf-8", errors="replace")
