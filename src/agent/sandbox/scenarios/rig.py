"""Runs scripted callers against an agent in this process, and judges what came of each call."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any, Literal

from agent.call.record import CallRecord
from agent.office.models import utc_now
from agent.office.seed import LONDON_PLUMBER, seed_examples
from agent.office.store import NewCompany, add_companies
from agent.ops.private import write_private
from agent.ops.report import write_report
from agent.ops.settings import UNLIMITED, Settings, load_settings
from agent.sandbox.caller import CallPlan, CallResult, ScriptError, SimulatedCaller
from agent.sandbox.process import sandbox_process
from agent.sandbox.scenarios.desk import BookingDesk
from agent.sandbox.scenarios.evidence import Evidence
from agent.sandbox.scenarios.listening import Asked, NotedModel
from agent.sandbox.scenarios.reading import Caller
from agent.service import Agent
from agent.speech_engines import Recogniser, Voice, load_recogniser, load_voice

RECORD_SECONDS = 10.0
"""How long a call's record may take after the call."""
LONGEST_SECONDS = 150.0
STALL_MS = 150.0
"""A caller who speaks so late, since this host stood still, is not understood, and that is nobody's fault."""
AGAIN = 2
"""So often a call is made again that failed on a host that stood still; it is told."""
FLUX = "flux-general-en"

NOBODY_THERE = NewCompany(
    name="Lone Star Plumbing",
    trade_type="plumbing",
    trade_label="plumber",
    callout_fee="£65",
    numbers=("+442079460199",),
    area="London",
)
"""A company without anybody to transfer to."""
DENTIST = NewCompany(
    name="Bright Smile Dental",
    trade_type="dental",
    trade_label="dentist",
    callout_fee="",
    numbers=("+442079460188",),
    area="London",
    transfer_targets={"reception": "2003"},
    conversation="dentist",
)
OWN = NewCompany(
    name="Example Ltd",
    trade_type="example",
    trade_label="colleague",
    callout_fee="",
    numbers=("+442079460177",),
    transfer_targets={"office": "2004"},
)
"""Whom the callers of a conversation of one's own ring; answered as CONVERSATION."""
COMPANIES = {"home_services": LONDON_PLUMBER, "dentist": DENTIST}
"""Whom the callers of each conversation ring, unless they say otherwise."""


@dataclass(frozen=True, slots=True)
class Options:
    """How the callers call. `folder`, empty, is for what the agent writes, and `save` for what is kept of each call."""

    folder: Path
    conversation: str = "home_services"
    directory: Path | None = None
    """Where a conversation of one's own is; None: it is a packaged one."""
    engines: Literal["real", "tones"] = "tones"
    stt: Literal["nova", "flux"] = "nova"
    live: bool = False
    env_file: Path | None = None
    at_once: int = 4
    save: Path | None = None


@dataclass(slots=True)
class Outcome:
    """What came of one caller's call."""

    caller: Caller
    faults: list[str] = field(default_factory=list)
    """What is wrong, in words; none: it passed."""
    record: CallRecord | None = None
    result: CallResult | None = None
    asked: Asked = field(default_factory=Asked)
    stalls_before_ms: list[float] = field(default_factory=list)
    """Of the calls that were made in vain before this one: how long this host stood still."""

    @property
    def stalled_ms(self) -> float:
        """How long this host kept the caller from speaking on time; 0 where it is too short to matter."""
        late_ms = self.result.wire.late_ms if self.result else 0.0
        return late_ms if late_ms >= STALL_MS else 0.0

    @property
    def passed(self) -> bool:
        """Whether everything came as it must."""
        return not self.faults

    @property
    def latency_ms(self) -> int | None:
        """The median of the agent's waits, as its record has them."""
        latencies = self.record.latencies_ms if self.record else []
        return round(median(latencies)) if latencies else None


async def fairly(call: Callable[[], Awaitable[Outcome]]) -> Outcome:
    """Make a call, and make it again if it failed while this host stood still, at most `AGAIN` times."""
    outcome = await call()
    for _ in range(AGAIN):
        if outcome.passed or not outcome.stalled_ms:
            break
        stalls_ms = [*outcome.stalls_before_ms, outcome.stalled_ms]
        outcome = await call()
        outcome.stalls_before_ms = stalls_ms
    return outcome


class CallersRig:
    """An agent with everything around it; made by `callers_rig`."""

    def __init__(self, options: Options, agent: Agent, desk: BookingDesk, voice: Voice, ears: Recogniser) -> None:
        self._options = options
        self._agent = agent
        self._desk = desk
        self._voice = voice
        self._ears = ears
        self._model = NotedModel(agent.services.llm)
        agent.services.llm = self._model
        self._records: dict[str, asyncio.Future[CallRecord]] = {}
        self._numbers: dict[str, str] = {}

    def over(self, record: CallRecord) -> None:
        """The agent is done with a call."""
        if (future := self._records.get(record.uuid)) is not None and not future.done():
            future.set_result(record)

    async def prepare(self) -> None:
        """Fill the back office."""
        store = self._agent.store
        await seed_examples(store)
        await add_companies(store, (NOBODY_THERE, DENTIST, OWN))
        self._numbers = {company.name: numbers[0] for company, numbers in await store.list_companies() if numbers}
        self._desk.office_url = f"http://127.0.0.1:{self._agent.http_port}/create_booking"

    async def run(
        self, callers: Iterable[Caller], on_outcome: Callable[[Outcome], None] | None = None
    ) -> list[Outcome]:
        """Make the calls, some at once; `on_outcome` hears of each as it is over. The outcomes are in their order."""
        room = asyncio.Semaphore(self._options.at_once)

        async def one(number: int, caller: Caller) -> Outcome:
            async with room:
                outcome = await fairly(lambda: self._call(number, caller))
            if on_outcome is not None:
                on_outcome(outcome)
            return outcome

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(*numbered), name="scripted caller") for numbered in enumerate(callers)]
        outcomes = [task.result() for task in tasks]
        if self._options.save is not None:
            # Not before the last call is over: drawing would keep the callers from speaking on time.
            for outcome in outcomes:
                await asyncio.to_thread(_save, outcome, self._options.save / outcome.caller.name)
        return outcomes

    async def _call(self, number: int, caller: Caller) -> Outcome:
        outcome = Outcome(caller)
        setup = caller.setup
        did = self._numbers.get(setup.company or COMPANIES.get(caller.conversation, OWN).name, "")
        if not did:
            outcome.faults.append(f"there is no company {setup.company!r} with a number")
            return outcome
        # Numbers that Ofcom keeps for drama: each caller is new to the company unless the file says otherwise.
        caller_id = setup.caller_id if setup.caller_id is not None else f"+447700900{100 + number:03}"
        store = self._agent.store
        if setup.called_before:
            await store.did_context(did, caller_id, now=utc_now() - timedelta(days=7))
        plan = CallPlan(
            port=self._agent.audio_port,
            fastagi_port=self._agent.fastagi_port,
            did=did,
            caller_id=caller_id,
            patience_s=setup.patience_s,
            longest_s=LONGEST_SECONDS,
        )
        uuid = str(plan.call)
        self._desk.expect(uuid, setup)
        future = self._records[uuid] = asyncio.get_running_loop().create_future()
        try:
            result = outcome.result = await SimulatedCaller(plan, caller.script, self._voice, self._ears).run()
        except ScriptError as error:
            outcome.faults.append(str(error))
            return outcome
        try:
            async with asyncio.timeout(RECORD_SECONDS):
                record = outcome.record = await future
        except TimeoutError:
            outcome.faults.append(f"the agent has no record of the call ({result.failure or 'it ended well'})")
            return outcome
        outcome.asked = self._model.by_call.get(uuid, outcome.asked)
        bookings = [booking.as_dict() for booking in await store.list_bookings(call_uuid=uuid)]
        evidence = Evidence(
            record=record,
            verdict=result.verdict,
            target=result.verdict_target,
            ended_by=result.ended_by,
            failure=result.failure,
            history=outcome.asked.history,
            bookings=bookings,
        )
        outcome.faults += caller.expect.failures(evidence)
        return outcome


@asynccontextmanager
async def callers_rig(options: Options) -> AsyncIterator[CallersRig]:
    """Start the emulated vendors (unless `live`), a back office and an agent; they stop with the block.

    Raises `ProcessError`, `SettingsError`, `EngineMissing`.
    """
    options.folder.mkdir(parents=True, exist_ok=True)
    real = options.live or options.engines == "real"
    voice = await asyncio.to_thread(load_voice, "hibari-low" if real else "tones")
    ears = await asyncio.to_thread(load_recogniser, "moonshine" if real else "tones")
    async with AsyncExitStack() as stack:
        vendors: dict[str, str] = {}
        if not options.live:
            log = (options.save or options.folder) / "sandbox.log"
            arguments = "--engines", options.engines, "--profile", "published"
            vendors = await stack.enter_async_context(sandbox_process(log, *arguments))
        desk = await stack.enter_async_context(BookingDesk())
        rigs: list[CallersRig] = []
        settings = _settings(options, vendors, desk.url)
        agent = await stack.enter_async_context(Agent(settings, on_record=lambda record: rigs[0].over(record)))
        rigs.append(CallersRig(options, agent, desk, voice, ears))
        await rigs[0].prepare()
        yield rigs[0]


def _settings(options: Options, vendors: dict[str, str], booking_url: str) -> Settings:
    values: dict[str, Any] = {name.lower(): value for name, value in vendors.items()}
    values |= {
        "data_dir": options.folder / "data",
        "listen_host": "127.0.0.1",
        # The dentist's company names its own; what the environment says is for `options` to have heeded.
        "conversation": str(options.directory) if options.directory else "home_services",
        "listen_port": 0,
        "fastagi_port": 0,
        "http_port": 0,
        "console": False,
        "context_api_url": "",
        "booking_api_url": booking_url,
        "record_calls": options.save is not None,
        **UNLIMITED,
    }
    if options.stt == "flux":
        values["deepgram_model"] = FLUX
    if options.live:
        return load_settings(options.env_file, **values)
    # What the user has set for a real agent must not leak in: everything else has its default.
    theirs = {name: os.environ.pop(name) for field in Settings.model_fields if (name := field.upper()) in os.environ}
    try:
        return load_settings(**values)
    finally:
        os.environ.update(theirs)


def _save(outcome: Outcome, folder: Path) -> None:
    """What is kept of a call: its sound and its account as the caller had it, the agent's report, and the judgement."""
    result, record = outcome.result, outcome.record
    if result is None or record is None:
        return
    sound, _ = result.save(folder)
    recording = Path(record.recording) if record.recording else sound
    write_report(record, folder / "report.html", sound=recording if recording.is_file() else sound)
    document = {"caller": outcome.caller.title, "faults": outcome.faults, "record": record.as_dict()}
    text = json.dumps(document | {"history": outcome.asked.history}, indent=2, ensure_ascii=False)
    write_private(folder / "call.json", text + "\n")
