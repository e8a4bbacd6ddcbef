"""What every call shares, and what is made ready for one before it comes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from uuid import UUID

import aiohttp

from agent.call.caller_turn import TurnTaking
from agent.call.company import CompanyContext, default_context
from agent.call.door import Door
from agent.call.greeting import Greetings
from agent.call.live import LiveCalls
from agent.call.prompts import Prompts
from agent.call.record import CallRecord, TurnRecord
from agent.conversations import Conversations
from agent.ops.prices import PriceTable
from agent.ops.settings import Settings
from agent.providers.base import LanguageModel, ProviderError, SpeechToText, TextToSpeech
from agent.providers.breaker import Breakers
from agent.providers.metering import METER, Meter, Unit, Vendor
from agent.telephony import CallInfo, Manager
from agent.tools.outbox import Outbox
from agent.tools.registry import Endpoints

log = logging.getLogger(__name__)

CONTEXT_WAIT_S = 1.0  # no caller waits longer for it after the answer


@dataclass(slots=True)
class Services:
    """The parts of the agent that all calls use."""

    settings: Settings
    door: Door
    """To what there is one of on a host."""
    new_stt: Callable[[CompanyContext], SpeechToText]
    llm: LanguageModel
    tts: TextToSpeech
    greetings: Greetings
    conversations: Conversations
    http: aiohttp.ClientSession
    endpoints: Endpoints
    outbox: Outbox
    turn_taking: TurnTaking = field(default_factory=TurnTaking)
    breakers: Breakers = field(default_factory=Breakers)
    prompts: Prompts = field(default_factory=Prompts)
    counters: Counter[str] = field(default_factory=Counter)
    live: LiveCalls = field(default_factory=LiveCalls)
    """The calls that run, of all settings."""
    manager: Manager | None = None
    """Asks Asterisk by AMI for transfers during the call; None: the dialplan asks for them after it."""
    on_turn: Callable[[CallRecord, TurnRecord], None] | None = None
    """Told of each exchange that is over."""
    on_hold: Callable[[float], None] | None = None
    """Told how long after the caller's voice began the agent fell silent, s."""
    on_use: Callable[[Vendor, str, Unit, float], None] | None = None
    """Told what calls use of their vendors, at once: vendor, model, unit and how much."""
    prices: PriceTable = field(default_factory=PriceTable)

    def records(self, company: CompanyContext) -> bool:
        """Whether the calls of a company are recorded."""
        return self.settings.record_calls and company.recording

    def greeting_of(self, company: CompanyContext) -> str:
        """The first words to a caller of a company, now; a notice that the call is recorded comes before them."""
        company = replace(company, recording_notice=company.recording_notice or self.settings.recording_notice)
        return self.conversations.of(company).greeting(company, recorded=self.records(company))


class Preparation:
    """What is made ready for one call, in parallel: the company's context, then its STT and its greeting."""

    def __init__(self, services: Services, info: CallInfo) -> None:
        self.services = services
        self.meter = Meter(services.on_use)
        """What the call uses of its vendors; the session goes on with it."""
        self._info = info
        of_the_caller = METER.set(self.meter)
        self._context = asyncio.create_task(services.door.context(info), name="context")
        self._warm = asyncio.create_task(self._warm_tts(), name="warm tts")
        self._stt = asyncio.create_task(self._connect_stt(), name="connect stt")
        self._greeting = asyncio.create_task(self._prepare_greeting(), name="prepare greeting")
        METER.reset(of_the_caller)

    async def context(self, answered_ns: int) -> CompanyContext:
        """The context, or the defaults when it takes longer than a caller waits after the answer (CLOCK_MONOTONIC)."""
        waited_s = (time.monotonic_ns() - answered_ns) / 1e9
        done, _ = await asyncio.wait({self._context}, timeout=max(0.0, CONTEXT_WAIT_S - waited_s))
        if not done:
            self.services.counters["context_late"] += 1
            settings = self.services.settings
            return default_context(self._info.caller_id, timezone=settings.default_timezone, reason="late")
        return self._context.result()

    async def stt(self) -> SpeechToText:
        """The connected STT. Raises `ProviderError` when it cannot be had."""
        return await self._stt

    async def close(self) -> None:
        """The call is over, or will not come: let go of everything, the STT included."""
        for task in (self._context, self._warm, self._greeting, self._stt):
            task.cancel()
        await asyncio.wait((self._context, self._warm, self._greeting, self._stt))
        if not self._stt.cancelled() and self._stt.exception() is None:
            await self._stt.result().close()

    async def _connect_stt(self) -> SpeechToText:
        stt = self.services.new_stt(await self._context)
        await stt.connect()
        return stt

    async def _warm_tts(self) -> None:
        with contextlib.suppress(ProviderError):  # the greeting meets it again, and reports it
            await self.services.tts.warm()

    async def _prepare_greeting(self) -> None:
        company = await self._context
        try:
            voice = self.services.conversations.voice_of(company)
            await self.services.greetings.prepare(self.services.greeting_of(company), voice)
        except ProviderError as error:  # as it is when the greeting is to be said
            error.forget_where()


class Preparations:
    """The calls that were announced and have not come; the registry bounds how many there are."""

    def __init__(self, services: Services) -> None:
        self.services = services
        """What calls get that are announced from now on."""
        self._ready: dict[UUID, Preparation] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def begin(self, info: CallInfo) -> None:
        """Make a call ready that Asterisk has announced."""
        self.drop(info)
        self._ready[info.uuid] = Preparation(self.services, info)

    def take(self, info: CallInfo) -> Preparation:
        """What was made ready for this call; begun now if nothing was."""
        return self._ready.pop(info.uuid, None) or Preparation(self.services, info)

    def uses(self, services: Services) -> bool:
        """Whether these are those of new calls, or of one that was announced."""
        return self.services is services or any(ready.services is services for ready in self._ready.values())

    def drop(self, info: CallInfo) -> None:
        """The call will not come."""
        ready = self._ready.pop(info.uuid, None)
        if ready is not None:
            task = asyncio.get_running_loop().create_task(ready.close(), name="drop preparation")
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Let go of every call that has not come."""
        for ready in list(self._ready.values()):
            await ready.close()
        self._ready.clear()
