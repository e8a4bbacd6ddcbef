"""Where calls run: the media engine, the clients of the vendors, and a session for each call. One in each process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

import aiohttp

import fastaudio
from agent import vendors
from agent.call.caller_turn import TurnTaking
from agent.call.company import CompanyContext
from agent.call.door import Beat, Door
from agent.call.files import CallFiles, read_files
from agent.call.greeting import Greetings
from agent.call.greeting_folder import GreetingFolder
from agent.call.live import LiveCalls
from agent.call.record import CallRecord, TurnRecord, write_record
from agent.call.rehearsal import Rehearsal
from agent.call.services import Preparations, Services
from agent.ops import gauges
from agent.ops.journal import CALL_OVER
from agent.ops.lag import LagMonitor
from agent.ops.live_page import Process, vendors_of
from agent.ops.metrics import Metrics
from agent.ops.prices import Pricing
from agent.ops.process import of_process
from agent.ops.pulse import Pulse
from agent.ops.scheduling import tell_priority
from agent.ops.settings import Settings
from agent.ops.strangers import Strangers
from agent.ops.tracing import of_traces, open_tracing
from agent.providers.base import ProviderError, SpeechToText
from agent.providers.breaker import Breakers
from agent.providers.cartesia import CartesiaTts
from agent.providers.metering import METER, Meter
from agent.reception import Reception
from agent.telephony import CallInfo, Manager
from agent.tools.outbox import Outbox
from agent.tools.registry import Endpoints

if TYPE_CHECKING:
    from agent.ops.spans import Tracing
    from agent.providers.stt_local import LocalEars

log = logging.getLogger(__name__)

LISTENING_STOP_MS = 80
"""Local silence after which the caller seems to have finished: time to ask the STT for the words, and to think."""
KEEP_ALIVE_S = 120.0  # a turn must not pay for a new connection to the LLM
RETIRE_STEP_S = 1.0
STEP_S = 0.02


@dataclass(frozen=True, slots=True)
class OfficeAddress:
    """Where calls ask the host's own office."""

    url: str
    key: str


class Floor:
    """`async with Floor(settings, door, …) as floor: async with floor.listening(): ...`

    `live` is where the calls are for people who look on, `places` how many may run at once. `on_record` is told of each
    that is over, `on_turn` of each exchange.
    """

    def __init__(
        self,
        settings: Settings,
        files: CallFiles,
        door: Door,
        office: OfficeAddress,
        outbox: Outbox,
        strangers: Strangers,
        live: LiveCalls,
        *,
        places: int,
        on_record: Callable[[CallRecord], None] | None = None,
        on_turn: Callable[[CallRecord, TurnRecord], None] | None = None,
    ) -> None:
        self.settings = settings
        self.engine: fastaudio.Engine
        self.live = live
        self.breakers = Breakers()
        self.counters: Counter[str] = Counter()
        """What happened in calls that should not happen."""
        self.used: defaultdict[tuple[str, str, str], float] = defaultdict(float)
        """What calls have used since the start, by vendor, model and unit (`providers/metering.py`)."""
        self.spent: defaultdict[tuple[str, str], float] = defaultdict(float)
        """What that costs, by vendor and model."""
        self.pulse = Pulse(lambda: self.engine.responsive())
        self.tracing: Tracing | None = None
        self.vendor_counts = gauges.VendorCounts()
        self.reception = Reception(door, strangers, self._report)
        self.metrics = Metrics(lambda: self.reception.calls)
        self.lag = LagMonitor(
            lambda: self.engine.lateness(),
            max_loop_lag_ms=settings.max_loop_lag_ms,
            max_media_lateness_ms=settings.max_media_lateness_ms,
            on_look=self.metrics.loop_was_late,
        )
        self.places = places
        self._files = files
        self._door = door
        self._office = office
        self._outbox = outbox
        self._strangers = strangers
        self._on_record = on_record
        self._on_turn = on_turn
        self._voices: dict[int, CartesiaTts] = {}  # by the services that have them
        self._ears: LocalEars | None = None
        self._retiring: set[asyncio.Task[None]] = set()
        self._llm_requests = Growth()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Floor:
        connector = aiohttp.TCPConnector(limit=2 * self.places, keepalive_timeout=KEEP_ALIVE_S)
        # All calls share it: a cookie that one call's tool was given is no business of another's.
        session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        async with AsyncExitStack() as stack:
            self.tracing = open_tracing(self.settings)
            if self.tracing is not None:
                stack.push_async_callback(self.tracing.close)
            self.http = await stack.enter_async_context(session)
            stack.push_async_callback(self._close_voices)
            self.reception.open(self._make_services(self.settings, self._files))
            stack.push_async_callback(self.reception.preparations.close)
            self._include_metrics()
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    @asynccontextmanager
    async def listening(self, sock: socket.socket | None = None, *, shared: bool = False) -> AsyncIterator[None]:
        """Take calls while entered: on a socket that listens already, or on one of the settings' address.

        `shared`: other processes take calls from it too.

        Raises OSError when that is taken.
        """
        settings = self.settings
        async with AsyncExitStack() as stack:
            self.engine = await stack.enter_async_context(
                fastaudio.Engine(
                    settings.listen_host,
                    settings.listen_port,
                    sock=sock,
                    shared=shared,
                    options=_call_options(settings),
                    max_calls=self.places,
                    allowed_peers=settings.allowed_peers,
                    proxy_protocol=settings.proxy_protocol,
                    priority=settings.media_priority,
                )
            )
            self.engine.on_refused = lambda reason, peer: self._strangers.turned_away("AudioSocket", reason, peer)
            await tell_priority(self.engine, settings.media_priority)
            stack.push_async_callback(self.reception.end, self.engine)
            for task in (
                asyncio.create_task(self.reception.accept(self.engine), name="accept"),
                asyncio.create_task(self.lag.run(self._each_second), name="lag"),
                asyncio.create_task(self.pulse.run(), name="pulse"),
            ):
                stack.push_async_callback(_cancel, task)
            yield

    def _include_metrics(self) -> None:
        """What the parts count beside calls and turns."""
        include = self.metrics.include
        include(lambda: gauges.of_media(self.engine))
        include(lambda: gauges.of_lag(self.lag))
        include(self.pulse.tell)
        include(lambda: gauges.of_vendors(self.breakers, self.vendor_counts))
        include(lambda: gauges.of_use(self.used, self.spent))
        include(lambda: gauges.of_calls(self.counters, self.live.counters["listened_lost_ms"]))
        include(of_process)
        include(lambda: of_traces(self.tracing))

    @property
    def services(self) -> Services:
        """What new calls get."""
        return self.reception.services

    @property
    def preparations(self) -> Preparations:
        """Calls that are announced, and made ready."""
        return self.reception.preparations

    def _make_services(self, settings: Settings, files: CallFiles) -> Services:
        """What calls get that begin with these settings."""
        conversations = files.conversations

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
            door=self._door,
            new_stt=new_stt,
            llm=vendors.language_model(settings, self.http, self.breakers),
            tts=tts,
            greetings=Greetings(tts, greetings),
            prompts=files.prompts,
            conversations=conversations,
            http=self.http,
            endpoints=Endpoints(
                settings.booking_api_url or f"{self._office.url}/create_booking",
                self._office.key,
                settings.availability_api_url or f"{self._office.url}/check_availability",
            ),
            outbox=self._outbox,
            turn_taking=TurnTaking(drafts=settings.early_answers, silence_ms=1000 * settings.silence_seconds).times(
                settings.turn_patience
            ),
            breakers=self.breakers,
            counters=self.counters,
            live=self.live,
            manager=_manager(settings),
            on_turn=self._turn_is_over,
            on_hold=self.metrics.held,
            on_use=Pricing(files.prices, self._spent).used,
            prices=files.prices,
        )
        self._voices[id(services)] = tts
        self.vendor_counts.add(services)
        self.rehearsal = Rehearsal(tts, settings.sample_rate)
        return services

    # -- for those who ask how it does -------------------------------------------------------------------------------

    def health(self) -> dict[str, Any]:
        """What `/health` says of it."""
        return {
            "loop_lag_ms": round(self.lag.loop_lag_ms, 1),
            "media_lateness_ms": round(self.lag.media_lateness_ms, 1),
            "vendors": vendors_of(self.breakers.all()),
            "media": {key: value for key, value in self.engine.counters().items() if key != "lateness_us"},
        }

    def process(self, number: int = 0, *, stopping: bool = False) -> Process:
        """What `/live` says of it."""
        return Process(
            number,
            os.getpid(),
            "draining" if stopping else "serving",
            self.reception.calls,
            self.lag.loop_lag_ms,
            self.lag.media_lateness_ms,
            vendors_of(self.breakers.all()),
        )

    # -- new settings ------------------------------------------------------------------------------------------------

    async def reload(self, settings: Settings) -> None:
        """Give new calls these settings; those that run or are announced keep theirs.

        Raises `SettingsError` or `ConversationError`, and then all of them do.
        """
        files = await asyncio.to_thread(read_files, settings)
        old = self.services
        self.reception.services = self._make_services(settings, files)
        self.settings = settings
        self.lag.heed(settings.max_loop_lag_ms, settings.max_media_lateness_ms)
        retiring = asyncio.create_task(self._retire(old), name="retire")
        self._retiring.add(retiring)
        retiring.add_done_callback(self._retiring.discard)

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

    # -- beside other floors -----------------------------------------------------------------------------------------

    async def hand_over(self, within_s: float) -> None:
        """Leave new calls to others; what has connected here already is taken, for which this waits so long at most."""
        self.engine.accepting = False
        await self.engine.responsive()  # obeyed: a connection that came before is among the pending ones
        until = time.monotonic() + within_s
        while self.engine.counters()["pending"] and time.monotonic() < until:  # noqa: ASYNC110 - the media thread tells nobody
            await asyncio.sleep(STEP_S)
        await asyncio.sleep(STEP_S)  # the events of the last ones

    async def greet_ahead(self, info: CallInfo) -> None:
        """A call is announced that any floor may get: have its greeting made, where all of them find it."""
        services = self.services
        METER.set(Meter(services.on_use))
        company = await self._door.context(info)
        with contextlib.suppress(ProviderError):
            await services.greetings.prepare(services.greeting_of(company), services.conversations.voice_of(company))

    # -- what calls tell ---------------------------------------------------------------------------------------------

    def _turn_is_over(self, record: CallRecord, turn: TurnRecord) -> None:
        self.metrics.turn(record, turn)
        if self.tracing is not None:
            self.tracing.turn(record, turn)
        if self._on_turn is not None:
            self._on_turn(record, turn)

    def _spent(self, vendor: str, model: str, unit: str, amount: float, cost: float) -> None:
        """A call has used something of a vendor: the day's sum is that of its calls."""
        self._door.spent(cost)
        self.used[vendor, model, unit] += amount
        self.spent[vendor, model] += cost

    def _report(self, record: CallRecord, services: Services) -> None:
        self.metrics.call(record)
        if self.tracing is not None:
            self.tracing.call(record)
        log.info("%s", record.metrics_line(), extra={"CALL_UUID": record.uuid, "MESSAGE_ID": CALL_OVER})
        try:
            write_record(record, services.settings.records)
        except OSError as error:
            log.error("cannot write the record of call %s: %s", record.uuid, error.strerror)
        self._door.over(record)
        if self._on_record is not None:
            self._on_record(record)

    def _each_second(self) -> None:
        requests = getattr(self.services.llm, "counters", {}).get("requests", 0)
        self._door.beat(
            Beat(
                self.lag.loop_lag_ms,
                self.lag.media_lateness_ms,
                self.lag.too_late,
                self.pulse.hung,
                self._llm_requests.since(requests),
            )
        )


class Growth:
    """How much a counter has grown since it was last looked at; one that is smaller than it was has begun anew."""

    def __init__(self) -> None:
        self._last = 0

    def since(self, count: int) -> int:
        """Look at it."""
        grown = count - self._last
        self._last = count
        return max(0, grown)


def _call_options(settings: Settings) -> fastaudio.CallOptions:
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


def _manager(settings: Settings) -> Manager | None:
    if not settings.ami_host:
        return None
    return Manager(settings.ami_host, settings.ami_port, settings.ami_user, settings.ami_secret.get_secret_value())


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
