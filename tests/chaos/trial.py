"""One trial: an agent, its vendors, its back office, and callers, while something fails as a row says."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.call.record import CallRecord, RecordError, read_record
from agent.sandbox import Sandbox, SandboxConfig
from agent.sandbox.caller import CallPlan, CallResult, SimulatedCaller, parse_script
from agent.sandbox.config import CartesiaConfig, DeepgramConfig, GroqConfig
from agent.sandbox.control import Control
from agent.speech_engines.tones import ToneRecogniser, ToneVoice
from agent.tools.outbox import OutboxStore
from agent.tools.outbox.table import FILE
from tests.chaos import conversation
from tests.chaos.conversation import WITH_TARGET, WITHOUT_TARGET
from tests.chaos.desk import KEY, Desk
from tests.chaos.process import AgentProcess
from tests.chaos.row import Act, Row

CALLERS_WITHIN_S = 1.5
LONGEST_CALL_S = 60.0
DELIVERY_S = 45.0
"""How long a booking may take to reach an office that is well again."""
POLL_S = 0.01


@dataclass(slots=True)
class Called:
    """One caller's call, as the caller had it and as the agent recorded it."""

    name: str
    result: CallResult
    recording: Path
    record: CallRecord | None = None


@dataclass(slots=True)
class Evidence:
    """What is known of a trial that is over."""

    row: Row
    seed: int
    calls: list[Called] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    """Whose booking the LLM has ordered."""
    booked: list[str] = field(default_factory=list)
    """The rows of the office's database, by caller's name."""
    kept: dict[str, str] = field(default_factory=dict)
    """The agent's outbox when all is over: the caller's name, and the booking's state."""
    metrics: dict[str, float] = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=dict)
    """Of the emulated vendors and the office."""
    log: str = ""
    stalled_ms: float = 0.0
    """How late this program was itself, at most, while the calls ran."""


class Trial:
    """Runs one row once. `folder`, empty, gets everything that is kept of it."""

    def __init__(self, row: Row, *, seed: int, callers: int, folder: Path) -> None:
        self._row = row
        self._callers = row.callers or callers
        self._folder = folder
        self._dice = random.Random(seed)
        self._evidence = Evidence(row, seed)
        self._ears = ToneRecogniser()
        self._voice = ToneVoice()
        self._vendors: dict[str, Control[Any]] = {}

    async def run(self) -> Evidence:
        """Make the calls and gather what came of them."""
        self._folder.mkdir(parents=True)
        row, found = self._row, self._evidence
        async with AsyncExitStack() as stack:
            sandbox = await stack.enter_async_context(self._sandbox())
            self._vendors = {"deepgram": sandbox.deepgram, "groq": sandbox.groq, "cartesia": sandbox.cartesia}
            foreign = ""
            if any("{foreign}" in value for value in row.settings.values()):
                other = await stack.enter_async_context(self._sandbox())
                self._vendors["foreign"] = other.groq
                foreign = other.groq_url
            desk = await stack.enter_async_context(Desk(self._folder / "office.sqlite3", row.moods))
            settings = self._settings(sandbox, desk, foreign)
            agent = await stack.enter_async_context(AgentProcess(self._folder, settings))
            for fault in row.faults:
                self._vendors[fault.vendor].schedule(fault.steps(self._callers, self._dice))
            acting = asyncio.create_task(self._act(agent, desk), name="chaos acts")
            clock = asyncio.create_task(self._watch(), name="chaos clock")
            async with asyncio.TaskGroup() as group:
                calls = [group.create_task(self._call(agent, number)) for number in range(self._callers)]
            found.calls = [call.result() for call in calls]
            async with asyncio.timeout(60):
                await acting
            clock.cancel()
            await self._deliver(agent, desk)
            found.metrics = await agent.metrics()
            found.counters = self._counters(desk)
            found.booked = await desk.booked()
        found.log = agent.complaints()
        for call in found.calls:
            call.record = self._record(agent, call.result)
        return found

    # -- around the calls ----------------------------------------------------------------------------------------------

    def _sandbox(self) -> Sandbox:
        config = SandboxConfig(
            engines="tones",
            seed=self._dice.randrange(1 << 30),
            deepgram=DeepgramConfig(final_latency=80.0, interim_latency=60.0),
            groq=GroqConfig(queue=40.0),
            cartesia=CartesiaConfig(first_audio=80.0),
        )
        return Sandbox(config, recogniser=self._ears, voice=self._voice, think=self._think)

    def _think(self, messages: Any, tools: Any) -> Any:
        answer = conversation.answer(messages, tools)
        self._evidence.asked += [c.arguments["customer_name"] for c in answer.calls if c.name == "create_booking"]
        return answer

    def _settings(self, sandbox: Sandbox, desk: Desk, foreign: str) -> dict[str, str]:
        settings = {
            "DEEPGRAM_URL": sandbox.deepgram_url,
            "GROQ_URL": sandbox.groq_url,
            "CARTESIA_URL": sandbox.cartesia_url,
            **{f"{name}_API_KEY": "chaos-vendor-key" for name in ("DEEPGRAM", "GROQ", "CARTESIA")},
            **{f"{name}_PORT": "0" for name in ("LISTEN", "FASTAGI", "HTTP", "CONSOLE")},
            "DATA_DIR": str(self._folder / "data"),
            "CONTEXT_API_URL": desk.url("did_context"),
            "BOOKING_API_URL": desk.url("create_booking"),
            "AVAILABILITY_API_URL": desk.url("check_availability"),
            "BOOKING_API_KEY": KEY,
            "BOOKING_API_IDEMPOTENT": "true",
            "STT_FALLBACKS": "flux-general-en",  # the callers speak in tones: no real recogniser knows them
            "MAX_LOOP_LAG_MS": "0",  # a test machine has more to do
            "MAX_MEDIA_LATENESS_MS": "0",
        }
        return settings | {name: value.replace("{foreign}", foreign) for name, value in self._row.settings.items()}

    async def _watch(self) -> None:
        """Notice how late this program is itself."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + 0.02
            await asyncio.sleep(0.02)
            self._evidence.stalled_ms = max(self._evidence.stalled_ms, (loop.time() - due) * 1000)

    def _counters(self, desk: Desk) -> dict[str, int]:
        sources: dict[str, Counter[str]] = {name: control.counters for name, control in self._vendors.items()}
        sources["desk"] = desk.counters
        return {f"{who}.{name}": value for who, counters in sources.items() for name, value in counters.items()}

    async def _act(self, agent: AgentProcess, desk: Desk) -> None:
        for act in self._row.acts:
            await self._moment(act, desk)
            match act.what:
                case "kill":
                    await agent.kill()
                case "terminate":
                    agent.terminate()
                case "start":
                    await agent.start()

    async def _moment(self, act: Act, desk: Desk) -> None:
        count = self._dice.randint(*act.count)
        if act.when:
            async with asyncio.timeout(LONGEST_CALL_S):
                while self._counters(desk).get(act.when, 0) < count:  # noqa: ASYNC110 - counters have no events
                    await asyncio.sleep(POLL_S)
        await asyncio.sleep(self._dice.uniform(*act.after_ms) / 1000)

    async def _deliver(self, agent: AgentProcess, desk: Desk) -> None:
        """All is well again: what the agent keeps has time to get there."""
        found = self._evidence
        desk.mend()
        loop = asyncio.get_running_loop()
        limit = loop.time() + DELIVERY_S
        while True:
            found.kept = await asyncio.to_thread(kept, agent.data)
            under_way = {"waiting", "sending"} & set(found.kept.values())
            if not under_way or loop.time() > limit or not agent.running:
                return
            await asyncio.sleep(0.25)

    # -- the calls -----------------------------------------------------------------------------------------------------

    async def _call(self, agent: AgentProcess, number: int) -> Called:
        await asyncio.sleep(number and self._dice.uniform(0, CALLERS_WITHIN_S))
        company = WITH_TARGET if self._row.target else WITHOUT_TARGET
        plan = CallPlan(
            port=agent.audio_port,
            fastagi_port=agent.fastagi_port,
            did=company.numbers[0],
            caller_id=f"+447700900{100 + number * (not self._row.one_number)}",
            patience_s=8.0,
            linger_s=3.0,
            longest_s=LONGEST_CALL_S,
        )
        script = parse_script(conversation.script_of(number))
        result = await SimulatedCaller(plan, script, self._voice, self._ears).run()
        recording, _ = await asyncio.to_thread(result.save, self._folder)
        self._evidence.stalled_ms = max(self._evidence.stalled_ms, result.wire.late_ms)
        return Called(conversation.name_of(number), result, recording)

    def _record(self, agent: AgentProcess, result: CallResult) -> CallRecord | None:
        try:
            return read_record(agent.data / "calls" / f"{result.call}.json")
        except RecordError:
            return None


def kept(data_dir: Path) -> dict[str, str]:
    """The agent's outbox: each caller's name, and the state of the booking."""
    if not (data_dir / FILE).is_file():
        return {}
    with closing(OutboxStore(data_dir)) as store:
        return {str(entry.body["customer_name"]): entry.state for entry in store.entries(everything=True, limit=1000)}
