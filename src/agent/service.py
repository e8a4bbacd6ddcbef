"""The agent as a service: everything that `voice-agent serve` runs, put together and taken apart in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import TYPE_CHECKING
from uuid import UUID

import aiohttp
from aiohttp import web

import fastaudio
from agent import vendors
from agent.call.caller_turn import TurnTaking
from agent.call.company import CompanyContext, ContextClient
from agent.call.greeting import Greetings
from agent.call.greeting_folder import GreetingFolder
from agent.call.live import LiveCalls
from agent.call.prompts import Prompts
from agent.call.record import CallRecord, TurnRecord, write_record
from agent.call.rehearsal import Rehearsal
from agent.call.services import Preparations, Services
from agent.conversations import Conversations
from agent.office.console.parts import ConsoleParts
from agent.office.console.port import OpenConsole, console_port
from agent.office.notices import Notices
from agent.ops import gauges, metrics, status
from agent.ops.admission import Admission
from agent.ops.begun import adopt_begun
from agent.ops.journal import CALL_OVER
from agent.ops.lag import LagMonitor
from agent.ops.office import open_office
from agent.ops.outbox import of_outbox
from agent.ops.prices import PriceTable, Pricing, load_prices
from agent.ops.process import of_process
from agent.ops.pulse import Pulse
from agent.ops.reload import changed_for_a_start
from agent.ops.settings import Settings, SettingsError
from agent.ops.strangers import Strangers
from agent.ops.tracing import of_traces, open_tracing
from agent.ops.usage import Usage
from agent.providers.base import SpeechToText
from agent.providers.breaker import Breakers
from agent.providers.cartesia import CartesiaTts
from agent.reception import Reception
from agent.telephony import CallRegistry, Desk, DialplanHttp, FastAgiServer, Manager, MetadataDirectory
from agent.tools.registry import Endpoints

if TYPE_CHECKING:
    from agent.providers.stt_local import LocalEars

log = logging.getLogger(__name__)

LISTENING_STOP_MS = 80
"""Local silence after which the caller seems to have finished: time to ask the STT for the words, and to think."""
KEEP_ALIVE_S = 120.0  # a turn must not pay for a new connection to the LLM
SWEEP_S = 20.0
RETIRE_STEP_S = 1.0


class Agent:
    """`async with Agent(settings) as agent: await agent.run_until(stop)`.

    `on_record` is told of each call that is over, `on_turn` of each exchange. Ports of 0 pick free ones: `audio_port`,
    `fastagi_port` and `http_port` tell which.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        on_record: Callable[[CallRecord], None] | None = None,
        on_turn: Callable[[CallRecord, TurnRecord], None] | None = None,
    ) -> None:
        self.settings = settings
        self.notices: Notices | None = None
        """None until the office is open."""
        self._on_record = on_record
        self._on_turn = on_turn
        self._metrics = metrics.Metrics(lambda: self.calls)
        self.strangers = Strangers()
        self._stack = AsyncExitStack()
        self.breakers = Breakers()
        self.live = LiveCalls()
        """The calls that run, for people who look on."""
        self.console: OpenConsole | None = None
        """Where people look at the calls; None where the settings want none."""
        self.counters: Counter[str] = Counter()
        """What happened in calls that should not happen."""
        self.used: defaultdict[tuple[str, str, str], float] = defaultdict(float)
        """What calls have used since the start, by vendor, model and unit (`providers/metering.py`)."""
        self.spent: defaultdict[tuple[str, str], float] = defaultdict(float)
        """What that costs, by vendor and model."""
        self.vendor_counts = gauges.VendorCounts()
        self.pulse = Pulse(lambda: self.responsive())
        self._voices: dict[int, CartesiaTts] = {}  # by the services that have them
        self._ears: LocalEars | None = None
        self._retiring: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Agent:
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    @property
    def audio_port(self) -> int:
        """AudioSocket's port."""
        return self.engine.port

    @property
    def fastagi_port(self) -> int:
        """FastAGI's port."""
        return self.fastagi.port

    @property
    def calls(self) -> int:
        """Calls that are running."""
        return self.reception.calls

    @property
    def stopping(self) -> bool:
        """Whether new calls are turned away, because the agent is to end."""
        return self.admission.stopping

    @property
    def services(self) -> Services:
        """What new calls get."""
        return self.reception.services

    @property
    def preparations(self) -> Preparations:
        """Calls that are announced, and made ready."""
        return self.reception.preparations

    # -- start -------------------------------------------------------------------------------------------------------

    async def _start(self) -> None:
        settings = self.settings
        settings.require_keys()
        files = _read_files(settings)
        self.tracing = open_tracing(settings)
        if self.tracing is not None:
            self._stack.push_async_callback(self.tracing.close)
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        connector = aiohttp.TCPConnector(limit=2 * settings.max_calls, keepalive_timeout=KEEP_ALIVE_S)
        # All calls share it: a cookie that one call's tool was given is no business of another's.
        jar = aiohttp.DummyCookieJar()
        session = aiohttp.ClientSession(connector=connector, cookie_jar=jar)
        self.http = await self._stack.enter_async_context(session)
        metadata = MetadataDirectory(settings.metadata) if settings.metadata.is_dir() else None
        self.registry = CallRegistry(metadata=metadata, on_dropped=lambda info: self.reception.dropped(info))
        self.lag = LagMonitor(
            lambda: self.engine.lateness(),
            max_loop_lag_ms=settings.max_loop_lag_ms,
            max_media_lateness_ms=settings.max_media_lateness_ms,
            on_look=self._metrics.loop_was_late,
        )
        self.admission = Admission(
            settings,
            occupied=lambda: self.calls + self.registry.announced,
            lag=self.lag,
            usage=Usage(settings.data_dir / "usage.json", settings.zone),
            llm_counters=lambda: getattr(self.services.llm, "counters", {}),
        )
        self._stack.callback(self.admission.usage.keep)
        self.reception = Reception(self.registry, self.admission, self.strangers, self._report)
        await asyncio.to_thread(adopt_begun, settings.records, settings.recordings)
        opened = await self._stack.enter_async_context(open_office(settings, self.strangers, self._add_pages))
        self.office, self.outbox, self.notices = opened.back, opened.outbox, opened.notices
        self.store, self.http_port = opened.back.store, opened.port
        self._office_url, self._office_key = opened.url, opened.key
        self._stack.push_async_callback(
            _cancel, asyncio.create_task(_sweep(self.registry, metadata, self.admission.usage), name="sweep")
        )
        self._metrics.include(lambda: of_outbox(self.outbox))
        self._stack.push_async_callback(self._close_voices)
        self.reception.open(self._make_services(settings, *files))
        self._stack.push_async_callback(self.reception.preparations.close)
        if settings.console:
            parts = ConsoleParts(self.store, settings, self.live, self.outbox, lambda *text: self.rehearsal.say(*text))
            self.console = await self._stack.enter_async_context(console_port(parts, self.strangers))
        self.fastagi = await self._stack.enter_async_context(
            FastAgiServer(
                self.registry,
                self.reception.admit,
                host=settings.listen_host,
                port=settings.fastagi_port,
                allowed_peers=settings.allowed_peers,
                on_refused=lambda reason, peer: self.strangers.turned_away("FastAGI", reason, peer),
                on_missed=self._missed,
            )
        )
        self.engine = await self._stack.enter_async_context(
            fastaudio.Engine(
                settings.listen_host,
                settings.listen_port,
                options=self._call_options(),
                max_calls=settings.max_calls,
                allowed_peers=settings.allowed_peers,
                priority=settings.media_priority,
            )
        )
        self.engine.on_refused = lambda reason, peer: self.strangers.turned_away("AudioSocket", reason, peer)
        self._stack.push_async_callback(self.reception.end, self.engine)
        for task in (
            asyncio.create_task(self.reception.accept(self.engine), name="accept"),
            asyncio.create_task(self.lag.run(self._each_second), name="lag"),
            asyncio.create_task(self.pulse.run(), name="pulse"),
        ):
            self._stack.push_async_callback(_cancel, task)

    def _add_pages(self, app: web.Application) -> None:
        """What the HTTP port answers beside the office's APIs: how the agent does, and what the dialplan asks."""
        status.add_pages(app, self, self._metrics)
        self._include_metrics()
        self.dialplan_http = DialplanHttp(
            Desk(self.registry, lambda info: self.reception.admit(info), on_missed=self._missed),
            on_refused=lambda reason, peer: self.strangers.turned_away("HTTP", reason, peer),
        )
        self.dialplan_http.add_pages(app)

    def _include_metrics(self) -> None:
        """What the parts count beside calls and turns."""
        include = self._metrics.include
        include(lambda: gauges.of_admission(self.admission, self.registry))
        include(lambda: gauges.of_ports(self.strangers, self.fastagi.counters, self.dialplan_http.counters))
        include(lambda: gauges.of_office(self.office))
        include(lambda: gauges.of_media(self.engine))
        include(lambda: gauges.of_lag(self.lag))
        include(self.pulse.tell)
        include(lambda: gauges.of_vendors(self.breakers, self.vendor_counts))
        include(lambda: gauges.of_use(self.used, self.spent))
        include(lambda: gauges.of_calls(self.counters, self.live.counters["listened_lost_ms"]))
        include(of_process)
        include(lambda: of_traces(self.tracing))

    def _call_options(self) -> fastaudio.CallOptions:
        settings = self.settings
        return fastaudio.CallOptions(
            rate=settings.sample_rate,
            lead_frames=settings.playback_lead_frames,
            detector=settings.barge_in_detector,
            stop_ms=LISTENING_STOP_MS,
            barge_in=fastaudio.BargeInOptions(
                rms=settings.barge_in_rms,
                ms=settings.barge_in_ms,
                unbroken=settings.barge_in_detector == "rms",  # the classic rule goes with the classic detector
                rewind_ms=120,
            ),
        )

    def _make_services(
        self, settings: Settings, conversations: Conversations, prompts: Prompts, prices: PriceTable
    ) -> Services:
        """What calls get that begin with these settings."""

        def new_stt(company: CompanyContext) -> SpeechToText:
            terms = (*conversations.of(company).boosted_terms, *company.keyterms)
            return vendors.speech_to_text(settings, conversations.language_of(company), terms, self.breakers, ears)

        ears = self._ears = self._ears or vendors.local_ears(settings)
        tts = vendors.text_to_speech(settings, conversations.default.language, self.breakers)
        greetings = GreetingFolder(
            settings.greetings, settings.cartesia_model, settings.cartesia_voice_id, settings.sample_rate
        )
        services = Services(
            settings=settings,
            registry=self.registry,
            contexts=ContextClient(
                settings.context_api_url or f"{self._office_url}/did_context",
                settings.context_api_key.get_secret_value() or self._office_key,
                self.http,
                region=settings.default_region,
                timezone=settings.default_timezone,
            ),
            new_stt=new_stt,
            llm=vendors.language_model(settings, self.http, self.breakers),
            tts=tts,
            greetings=Greetings(tts, greetings),
            prompts=prompts,
            conversations=conversations,
            http=self.http,
            endpoints=Endpoints(
                settings.booking_api_url or f"{self._office_url}/create_booking",
                self._office_key,
                settings.availability_api_url or f"{self._office_url}/check_availability",
            ),
            outbox=self.outbox,
            turn_taking=TurnTaking(drafts=settings.early_answers, silence_ms=1000 * settings.silence_seconds).times(
                settings.turn_patience
            ),
            breakers=self.breakers,
            counters=self.counters,
            live=self.live,
            manager=_manager(settings),
            on_turn=self._turn_is_over,
            on_use=Pricing(prices, self._spent).used,
            prices=prices,
        )
        self._voices[id(services)] = tts
        self.vendor_counts.add(services)
        self.rehearsal = Rehearsal(tts, settings.sample_rate)
        return services

    async def responsive(self) -> bool:
        """Whether the media thread answers; the watchdog is fed for as long as it does."""
        return await self.engine.responsive()

    # -- new settings ------------------------------------------------------------------------------------------------

    async def reload(self, settings: Settings) -> list[str]:
        """Give new calls these settings; those that run or are announced keep theirs.

        Returns the names of settings that have changed and hold from the next start on: until then they stay as they
        were. Raises `SettingsError` or `ConversationError`, and then all of them do.
        """
        fixed = changed_for_a_start(self.settings, settings)
        settings = settings.model_copy(update={name: getattr(self.settings, name) for name in fixed})
        settings.require_keys()
        files = await asyncio.to_thread(_read_files, settings)
        old = self.services
        self.reception.services = self._make_services(settings, *files)
        self.settings = settings
        self.admission.heed(settings)
        self.office.heed(settings)
        retiring = asyncio.create_task(self._retire(old), name="retire")
        self._retiring.add(retiring)
        retiring.add_done_callback(self._retiring.discard)
        return fixed

    async def _retire(self, services: Services) -> None:
        """Close what only the calls need that began with earlier settings, once the last of them is over."""
        while self.reception.uses(services):  # noqa: ASYNC110 - nobody tells when that is
            await asyncio.sleep(RETIRE_STEP_S)
        await self._voices.pop(id(services)).close()

    async def _close_voices(self) -> None:
        for task in list(self._retiring):
            await _cancel(task)
        for tts in self._voices.values():
            await tts.close()
        if self._ears is not None:
            await self._ears.close()

    # -- what calls tell ---------------------------------------------------------------------------------------------

    def _turn_is_over(self, record: CallRecord, turn: TurnRecord) -> None:
        self._metrics.turn(record, turn)
        if self.tracing is not None:
            self.tracing.turn(record, turn)
        if self._on_turn is not None:
            self._on_turn(record, turn)

    def _spent(self, vendor: str, model: str, unit: str, amount: float, cost: float) -> None:
        """A call has used something of a vendor: the day's sum is that of its calls."""
        self.admission.usage.add(cost=cost)
        self.used[vendor, model, unit] += amount
        self.spent[vendor, model] += cost

    def _report(self, record: CallRecord, services: Services) -> None:
        self._metrics.call(record)
        if self.tracing is not None:
            self.tracing.call(record)
        log.info("%s", record.metrics_line(), extra={"CALL_UUID": record.uuid, "MESSAGE_ID": CALL_OVER})
        try:
            write_record(record, services.settings.records)
        except OSError as error:
            log.error("cannot write the record of call %s: %s", record.uuid, error.strerror)
        self.office.call_over(record)
        if self._on_record is not None:
            self._on_record(record)

    def _missed(self, uuid: UUID, status: str) -> None:
        """The dialplan says that nobody answered a transfer."""
        log.info("call %s: nobody answered the transfer: %s", uuid, status)
        if self.notices is not None:
            self.notices.transfer_missed(str(uuid), status)

    def _each_second(self) -> None:
        self.admission.second(self.calls)
        self.strangers.tell()

    async def drain(self, grace_s: float | None = None) -> None:
        """Take no new calls; the running ones end by themselves within the grace time, then hear a goodbye."""
        await self.reception.drain(self.settings.stop_grace_seconds if grace_s is None else grace_s)


def _read_files(settings: Settings) -> tuple[Conversations, Prompts, PriceTable]:
    """What calls need of the disk, in memory. Raises `ConversationError` with every mistake, and `SettingsError`."""
    conversations = Conversations.load(
        settings.conversation,
        directory=settings.conversations_dir,
        prompt_file=settings.prompt_file,
        language=settings.language,
        environment=settings.environment,
    )
    prompts = Prompts.load(settings.prompts, settings.cartesia_voice_id)
    prompts.warm(settings.sample_rate)
    try:
        return conversations, prompts, load_prices(settings.prices_file)
    except ValueError as error:
        raise SettingsError(f"PRICES_FILE: {error}") from error


def _manager(settings: Settings) -> Manager | None:
    if not settings.ami_host:
        return None
    return Manager(settings.ami_host, settings.ami_port, settings.ami_user, settings.ami_secret.get_secret_value())


async def _sweep(registry: CallRegistry, metadata: MetadataDirectory | None, usage: Usage) -> None:
    """Now and then: announcements that expired in a quiet hour, files that no call has claimed, what was used today."""
    while True:
        await asyncio.sleep(SWEEP_S)
        registry.sweep()
        await asyncio.to_thread(usage.keep)
        if metadata is not None:
            await asyncio.to_thread(metadata.sweep)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
