"""`voice-agent serve` as a process of its own: what it tells systemd, and what signals do to it and its calls."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import aiohttp
import pytest

from agent.ops import notify
from agent.sandbox.caller.agi import AgiFailed, Dialplan
from agent.sandbox.caller.wire import AudioSocketCaller
from tests.frozen_thread import frozen, thread_named

if TYPE_CHECKING:
    from agent.ops.settings import Settings
    from agent.sandbox import Sandbox

NUMBER = "+442079460123"


class Process:
    """The agent, its log, and the words that it sends to the service manager."""

    def __init__(self, folder: Path, vendors: Sandbox, **settings: str) -> None:
        self.env_file = folder / "agent.env"
        self.settings = {
            "DEEPGRAM_URL": vendors.deepgram_url, "DEEPGRAM_API_KEY": "dg-secret-key",
            "GROQ_URL": vendors.groq_url, "GROQ_API_KEY": "groq-secret-key",
            "CARTESIA_URL": vendors.cartesia_url, "CARTESIA_API_KEY": "car-secret-key",
            "DATA_DIR": str(folder), "LISTEN_PORT": "0", "FASTAGI_PORT": "0", "HTTP_PORT": "0", "CONSOLE_PORT": "0",
            "MAX_LOOP_LAG_MS": "0", "MAX_MEDIA_LATENESS_MS": "0", "STOP_GRACE_SECONDS": "1", **settings,
        }  # fmt: skip
        self._folder = folder
        self._manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._manager.bind(str(folder / "notify"))
        self._manager.setblocking(False)
        self.told: list[str] = []
        self.watchdog: dict[str, str] = {}
        self.audio_port = self.fastagi_port = 0

    def write(self, **settings: str) -> None:
        self.settings |= settings
        self.env_file.touch(0o600)
        self.env_file.write_text("".join(f"{name}={value}\n" for name, value in self.settings.items()))

    @property
    def log(self) -> str:
        return (self._folder / "log").read_text()

    @property
    def pid(self) -> int:
        return self._process.pid

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def __aenter__(self) -> Process:
        self.write()
        keep = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "HOME") if name in os.environ}
        with (self._folder / "log").open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "agent", "serve", "--seed", "--env-file", str(self.env_file)),
                stdout=log, stderr=log, env=keep | self.watchdog | {"NOTIFY_SOCKET": str(self._folder / "notify")},
            )  # fmt: skip
        await self.until("READY=1")
        found = re.search(r"AudioSocket on \S+:(\d+), FastAGI on \S+:(\d+)", self.log)
        assert found is not None
        self.audio_port, self.fastagi_port = int(found[1]), int(found[2])
        found = re.search(r"HTTP on \S+:(\d+)", self.log)
        assert found is not None
        self.url = f"http://127.0.0.1:{found[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        self._manager.close()

    async def until(self, word: str, seconds: float = 20.0) -> None:
        """Wait until the service manager is told this once more."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    message = (await asyncio.get_running_loop().sock_recv(self._manager, 4096)).decode()
                    self.told += message.split("\n")
                    if word in message.split("\n"):
                        return
        except TimeoutError:
            raise AssertionError(f"{word} was not told; the log: {self.log}") from None

    def hear(self) -> list[str]:
        """What the service manager was told since."""
        heard: list[str] = []
        with contextlib.suppress(BlockingIOError):
            while True:
                heard += self._manager.recv(4096).decode().split("\n")
        return heard

    async def ended(self, seconds: float = 20.0) -> int:
        async with asyncio.timeout(seconds):
            return await self._process.wait()

    @property
    def dialplan(self) -> Dialplan:
        return Dialplan("127.0.0.1", self.fastagi_port, did=NUMBER, caller_id="+447700900123")

    async def start(self, call: UUID) -> str:
        try:
            answer = await self.dialplan.start(call)
        except AgiFailed:
            return "nobody there"
        return answer["VOICE_AGENT_STATUS"]

    @contextlib.asynccontextmanager
    async def a_call(self, call: UUID | None = None) -> AsyncIterator[AudioSocketCaller]:
        """A caller who says nothing; the call is announced."""
        call = call or uuid4()
        assert await self.start(call) == "OK"
        silence = bytes(320)
        wire = AudioSocketCaller(call, lambda tick: silence, lambda at, samples, rate: None)
        await wire.connect("127.0.0.1", self.audio_port)
        wire.start()
        try:
            yield wire
        finally:
            await wire.close()


Processes = Callable[..., Process]


@pytest.fixture
def a_process(tmp_path: Path, vendors: Sandbox, agent_settings: Callable[..., Settings]) -> Processes:
    return lambda **settings: Process(tmp_path, vendors, **settings)


async def test_the_first_signal_ends_calls_with_a_goodbye(a_process: Processes) -> None:
    call = uuid4()
    async with a_process() as agent, agent.a_call(call) as wire:
        await asyncio.sleep(1.0)
        agent.signal(signal.SIGTERM)
        await agent.until("STOPPING=1")
        assert "EXTEND_TIMEOUT_USEC=26000000" in agent.told, "1 s of grace, 15 for goodbyes, 10 for the rest"
        assert await agent.start(uuid4()) == "FULL"
        async with asyncio.timeout(15):
            assert await wire.ended == "agent"
        assert wire.now > 2.0 + 4.0, "the goodbye was heard"
        await asyncio.sleep(0.3)  # a dialplan has more to do than to ask
        assert (await agent.dialplan.next(call))["VOICE_AGENT_NEXT"] == "hangup"
        assert await agent.ended() == 0
        assert "1 calls are still running: they hear a goodbye" in agent.log
        assert "Traceback" not in agent.log


async def test_a_media_thread_that_hangs_starves_the_watchdog(a_process: Processes) -> None:
    process = a_process()
    process.watchdog = {"WATCHDOG_USEC": "3000000"}
    async with process as agent:
        await agent.until("WATCHDOG=1", 5.0)
        with frozen(thread_named(agent.pid, "fa-media")):
            await asyncio.sleep(1.0)  # an answer of before may be under way
            agent.hear()
            await asyncio.sleep(3.5)
            assert "WATCHDOG=1" not in agent.hear(), "longer than systemd waits"
            assert "the media thread does not answer" in agent.log
            assert await agent.start(uuid4()) == "OK", "the event loop goes on, and would have fed it"
        await agent.until("WATCHDOG=1", 5.0)
        agent.signal(signal.SIGTERM)
        await agent.until("STOPPING=1")
        assert await agent.ended() == 0


async def test_a_media_thread_that_hangs_is_told_to_probes(a_process: Processes, http: aiohttp.ClientSession) -> None:
    """Liveness and readiness fail, by an event loop that goes on; both are well again with the thread."""

    async def asked(page: str) -> tuple[int, str]:
        async with http.get(f"{agent.url}{page}", timeout=aiohttp.ClientTimeout(2)) as answer:
            return answer.status, await answer.text()

    async def until(page: str, status: int) -> str:
        async with asyncio.timeout(15):
            while (told := await asked(page))[0] != status:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.1)
        return told[1]

    async with a_process() as agent:
        assert '"status": "ok"' in await until("/health", 200)
        await until("/ready", 200)
        with frozen(thread_named(agent.pid, "fa-media")):
            assert '"status": "hung"' in await until("/health", 503)
            assert await asked("/ready") == (503, '{"ready": false, "why": "media"}')
            assert "\nvoice_agent_media_responsive 0.0\n" in (await asked("/metrics"))[1]
        await until("/health", 200)
        await until("/ready", 200)
        assert "\nvoice_agent_media_responsive 1.0\n" in (await asked("/metrics"))[1]


async def test_the_second_signal_ends_at_once(a_process: Processes) -> None:
    async with a_process(STOP_GRACE_SECONDS="60") as agent, agent.a_call() as wire:
        agent.signal(signal.SIGINT)
        await agent.until("STOPPING=1")
        agent.signal(signal.SIGTERM)
        assert await agent.ended(8) == 0
        # A process that ends with frames unread resets the connection.
        assert re.fullmatch("agent|failure: .* reset by peer", await wire.ended)
        assert "Traceback" not in agent.log


async def test_settings_are_read_again_and_wrong_ones_are_refused_whole(a_process: Processes) -> None:
    async with a_process(MAX_CALLS="5", CALLS_PER_CALLER_HOUR="0") as agent:
        agent.write(CONVERSATION="dentist", HTTP_PORT="1")
        agent.signal(signal.SIGHUP)
        await agent.until("RELOADING=1")
        await agent.until("READY=1")
        assert "HTTP_PORT has changed and holds from the next start on" in agent.log
        assert "reloaded: new calls have the settings" in agent.log
        agent.write(CONVERSATION="nowhere", DEFAULT_TIMEZONE="Mars/Olympus")
        agent.signal(signal.SIGHUP)
        await agent.until("READY=1")
        assert "not reloaded: DEFAULT_TIMEZONE" in agent.log
        agent.write(DEFAULT_TIMEZONE="Europe/London", GROQ_API_KEY="")
        agent.signal(signal.SIGHUP)
        await agent.until("READY=1")
        assert "not reloaded: GROQ_API_KEY is missing" in agent.log
        assert await agent.start(uuid4()) == "OK", "it goes on as it was"
        agent.signal(signal.SIGTERM)
        assert await agent.ended() == 0
        assert "Traceback" not in agent.log


def test_nobody_is_told_where_nobody_listens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for path in ("", "relative", str(tmp_path / "nobody"), "@no-such-name"):
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        notify.ready()
    monkeypatch.delenv("NOTIFY_SOCKET")
    notify.stopping(1)
