"""A supervisor of this process with workers of its own, on the emulated vendors, and callers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import aiohttp
import pytest

from agent.call.record import CallRecord, read_record
from agent.office.scope import Scope
from agent.office.seed import seed_examples
from agent.sandbox.caller import CallPlan, CallResult, SimulatedCaller, parse_script
from agent.sandbox.caller.agi import Dialplan
from agent.sandbox.caller.wire import AudioSocketCaller
from agent.speech_engines.tones import ToneVoice
from agent.workers.process import WorkerProcess
from agent.workers.supervisor import Supervisor
from tests.agent.conftest import CALLER, LONDON, agent_settings, vendors, voice

if TYPE_CHECKING:
    from agent.ops.settings import Settings

__all__ = ["agent_settings", "vendors", "voice"]  # fixtures


class Crew:
    """A supervisor with its workers, and those who call."""

    def __init__(self, agent: Supervisor) -> None:
        self.agent = agent
        self._calls = AsyncExitStack()

    @property
    def workers(self) -> list[WorkerProcess]:
        return self.agent.workers

    @property
    def dialplan(self) -> Dialplan:
        return Dialplan("127.0.0.1", self.agent.fastagi_port, did=LONDON, caller_id=CALLER)

    async def start(self, call: UUID) -> str:
        """What the dialplan is told before the answer."""
        return (await self.dialplan.start(call))["VOICE_AGENT_STATUS"]

    async def connect(self, call: UUID | None = None, *, announced: bool = True) -> Line:
        """A caller who says nothing, until `Line.hang_up` or the end of the test."""
        call = call or uuid4()
        if announced:
            assert await self.start(call) == "OK"
        return await self._calls.enter_async_context(line(call, self.agent.audio_port))

    async def ring(self, count: int) -> list[Line]:
        """So many one after the other, each in a conversation before the next: they go round among the workers."""
        return [(await self.ring_at_once(1))[0] for _ in range(count)]

    async def ring_at_once(self, count: int) -> list[Line]:
        """So many together, each announced and in a conversation when this returns; on a slow host unevenly shared."""
        lines = await asyncio.gather(*(self.connect() for _ in range(count)))
        await self.until(lambda: all(self.worker_of(each) is not None for each in lines), what=self.spread)
        return list(lines)

    def worker_of(self, line: Line) -> WorkerProcess | None:
        """Which worker has a call."""
        return next((worker for worker in self.workers if line.call in worker.door.calls), None)

    def spread(self) -> list[int]:
        """Calls by worker."""
        return [worker.calls for worker in self.workers]

    async def dial(self, script: str, **changes: Any) -> tuple[CallResult, UUID]:
        """A call with somebody who talks."""
        plan = CallPlan(
            port=self.agent.audio_port, fastagi_port=self.agent.fastagi_port, did=LONDON, caller_id=CALLER,
            quiet_s=0.2, patience_s=6.0, linger_s=3.0, longest_s=60.0, **changes,
        )  # fmt: skip
        return await SimulatedCaller(plan, parse_script(script), ToneVoice()).run(), plan.call

    async def record_of(self, call: UUID) -> CallRecord:
        """The call's document, and its row in the database."""
        path = self.agent.settings.records / f"{call}.json"
        await self.until(path.exists, what=lambda: f"no {path}")
        until = time.monotonic() + 5
        while await self.agent.store.archive.get(str(call), Scope.all()) is None:
            assert time.monotonic() < until, "the call is not in the database"
            await asyncio.sleep(0.02)
        return read_record(path)

    async def page(self, path: str) -> tuple[int, Any]:
        async with (
            aiohttp.ClientSession() as http,
            http.get(f"http://127.0.0.1:{self.agent.http_port}{path}") as answer,
        ):
            return answer.status, await (answer.text() if path == "/metrics" else answer.json())

    async def until(
        self, condition: Callable[[], object], seconds: float = 15.0, what: Callable[[], object] = lambda: "no"
    ) -> None:
        limit = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < limit, what()
            await asyncio.sleep(0.01)


class Line:
    """Somebody's call, as Asterisk has it."""

    def __init__(self, call: UUID, wire: AudioSocketCaller) -> None:
        self.call = call
        self.wire = wire
        self.frames = 0

    async def hang_up(self) -> None:
        await self.wire.close()

    async def goes_on(self, seconds: float = 0.5) -> None:
        """Insist that audio comes."""
        before = self.frames
        await asyncio.sleep(seconds)
        assert not self.wire.ended.done(), self.wire.ended.result()
        assert self.frames - before > seconds * 50 / 3


@asynccontextmanager
async def line(call: UUID, port: int) -> AsyncIterator[Line]:
    """A caller who says nothing."""
    silence = bytes(320)

    def heard(at: float, samples: bytes, rate: int) -> None:
        made.frames += 1

    wire = AudioSocketCaller(call, lambda tick: silence, heard)
    made = Line(call, wire)
    await wire.connect("127.0.0.1", port)
    wire.start()
    try:
        yield made
    finally:
        await wire.close()


Crews = Callable[..., AbstractAsyncContextManager[Crew]]


@pytest.fixture
def a_crew(agent_settings: Callable[..., Settings]) -> Crews:
    """Call it with settings: it makes a supervisor with two workers, as a context."""

    @asynccontextmanager
    async def make(**changes: Any) -> AsyncIterator[Crew]:
        # Who says nothing is asked whether they are there, and then hung up on: not before the test is over.
        values = {"workers": 2, "silence_seconds": 60, "log_level": "info"} | changes
        async with Supervisor(agent_settings(**values)) as agent:
            await seed_examples(agent.store)
            crew = Crew(agent)
            async with crew._calls:
                yield crew
            pids = [worker.pid for worker in crew.workers]
        assert not [pid for pid in pids if _runs(pid)], "a worker has outlived its supervisor"

    return make


def _runs(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def samples(page: str) -> Mapping[str, float]:
    """Values of a page of metrics by name and labels."""
    lines = (line.rpartition(" ") for line in page.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}
