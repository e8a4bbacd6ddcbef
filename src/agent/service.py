"""The agent as a service: everything that `voice-agent serve` runs, put together and taken apart in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable
from contextlib import AsyncExitStack
from types import TracebackType

import aiohttp

import fastaudio
from agent import vendors
from agent.call.caller_turn import TurnTaking
from agent.call.company import CompanyContext, ContextClient
from agent.call.current import CALL_UUID
from agent.call.greeting import Greetings
from agent.call.prompts import Prompts
from agent.call.record import CallRecord, TurnRecord, write_record
from agent.call.services import Preparations, Services
from agent.call.session import Session
from agent.conversations import Conversations
from agent.office.api import office_app
from agent.office.store import OfficeStore
from agent.ops import metrics, status
from agent.ops.http import http_port
from agent.ops.outbox import OutboxCollector, make_outbox
from agent.ops.settings import Settings
from agent.providers.base import SpeechToText
from agent.providers.breaker import Breakers
from agent.telephony import CallInfo, CallRegistry, Desk, DialplanHttp, FastAgiServer, MetadataDirectory
from agent.tools.registry import Endpoints

log = logging.getLogger(__name__)

GRACE_S = 30.0
LISTENING_STOP_MS = 80
"""Local silence after which the caller seems to have finished: time to ask the STT for the words, and to think."""
KEEP_ALIVE_S = 120.0  # a turn must not pay for a new connection to the LLM
SWEEP_S = 60.0


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
        self.store: OfficeStore | None = None
        self._on_record = on_record
        self._on_turn = on_turn
        self._metrics = metrics.Metrics(lambda: self.calls)
        self._stack = AsyncExitStack()
        self._sessions: set[asyncio.Task[None]] = set()
        self.stopping = False
        """Whether new calls are turned away, because the agent is to end."""

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
        return len(self._sessions)

    # -- start -------------------------------------------------------------------------------------------------------

    async def _start(self) -> None:
        settings = self.settings
        settings.require_keys()
        conversations = Conversations.load(
            settings.conversation,
            directory=settings.conversations_dir,
            prompt_file=settings.prompt_file,
            language=settings.language,
            environment=settings.environment,
        )
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        connector = aiohttp.TCPConnector(limit=2 * settings.max_calls, keepalive_timeout=KEEP_ALIVE_S)
        # All calls share it: a cookie that one call's tool was given is no business of another's.
        jar = aiohttp.DummyCookieJar()
        session = aiohttp.ClientSession(connector=connector, cookie_jar=jar)
        self.http = await self._stack.enter_async_context(session)
        metadata = MetadataDirectory(settings.metadata) if settings.metadata.is_dir() else None
        self.registry = CallRegistry(metadata=metadata, on_dropped=self._dropped)
        office_url, office_key = await self._start_http()
        self._stack.push_async_callback(_cancel, asyncio.create_task(_sweep(self.registry, metadata), name="sweep"))
        outbox = await self._stack.enter_async_context(make_outbox(settings, office_url, office_key))
        self._metrics.include(OutboxCollector(outbox))
        breakers = Breakers()
        tts = vendors.text_to_speech(settings, conversations.default.language, breakers)
        self._stack.push_async_callback(tts.close)
        prompts = Prompts(default_voice_id=settings.cartesia_voice_id)
        prompts.warm(settings.sample_rate)
        context_key = settings.context_api_key.get_secret_value() or office_key
        self.services = Services(
            settings=settings,
            registry=self.registry,
            contexts=ContextClient(
                settings.context_api_url or f"{office_url}/did_context",
                context_key,
                self.http,
                region=settings.default_region,
                timezone=settings.default_timezone,
            ),
            new_stt=self._new_stt,
            llm=vendors.language_model(settings, self.http),
            tts=tts,
            greetings=Greetings(tts),
            prompts=prompts,
            breakers=breakers,
            conversations=conversations,
            http=self.http,
            endpoints=Endpoints(
                settings.booking_api_url or f"{office_url}/create_booking",
                office_key,
                settings.availability_api_url or f"{office_url}/check_availability",
            ),
            outbox=outbox,
            turn_taking=TurnTaking(drafts=settings.early_answers, silence_ms=1000 * settings.silence_seconds).times(
                settings.turn_patience
            ),
            on_turn=self._turn_is_over,
        )
        self.preparations = Preparations(self.services)
        self._stack.push_async_callback(self.preparations.close)
        self.fastagi = await self._stack.enter_async_context(
            FastAgiServer(
                self.registry,
                self._admit,
                host=settings.listen_host,
                port=settings.fastagi_port,
                allowed_peers=settings.allowed_peers,
            )
        )
        self.engine = await self._stack.enter_async_context(
            fastaudio.Engine(
                settings.listen_host,
                settings.listen_port,
                options=self._call_options(),
                max_calls=settings.max_calls,
                allowed_peers=settings.allowed_peers,
            )
        )
        self._stack.push_async_callback(self._end_sessions)
        acceptor = asyncio.create_task(self._accept(), name="accept")
        self._stack.push_async_callback(_cancel, acceptor)

    async def _start_http(self) -> tuple[str, str]:
        """The back office and the health page; returns the office's base URL and its key."""
        settings = self.settings
        key = settings.booking_api_key.get_secret_value() or secrets.token_urlsafe(24)
        self.store = await self._stack.enter_async_context(
            await OfficeStore.open(
                settings.database, region=settings.default_region, timezone=settings.default_timezone
            )
        )
        app = office_app(self.store, api_key=key, context_api_key=settings.context_api_key.get_secret_value())
        status.add_pages(app, self, self._metrics)
        DialplanHttp(Desk(self.registry, self._admit)).add_pages(app)
        url, self.http_port = await self._stack.enter_async_context(http_port(app, settings))
        return url, key

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

    def _new_stt(self, company: CompanyContext) -> SpeechToText:
        conversations = self.services.conversations
        terms = (*conversations.of(company).boosted_terms, *company.keyterms)
        return vendors.speech_to_text(self.settings, conversations.language_of(company), terms)

    # -- calls -------------------------------------------------------------------------------------------------------

    async def _admit(self, info: CallInfo) -> bool:
        """FastAGI's `start`: is there room? Then the call is made ready while it still rings."""
        # The call that asks is among the announced ones already.
        if self.stopping or len(self._sessions) + self.registry.announced > self.settings.max_calls:
            return False
        self.preparations.begin(info)
        return True

    def _dropped(self, info: CallInfo) -> None:
        self.preparations.drop(info)

    async def _accept(self) -> None:
        async for call in self.engine:
            task = asyncio.create_task(self._serve(call), name=f"call {call.uuid}")
            self._sessions.add(task)
            task.add_done_callback(self._sessions.discard)

    async def _serve(self, call: fastaudio.Call) -> None:
        CALL_UUID.set(str(call.uuid))
        if not self.registry.opened(call.uuid):
            log.warning("call %s is running already: the second connection is hung up", call.uuid)
            call.hangup(0)
            return
        try:
            info = await self.registry.claim(call.uuid)
            if info is None and self.settings.unknown_uuid == "refuse":
                log.warning("call %s was not announced: hung up (UNKNOWN_UUID=refuse)", call.uuid)
                call.hangup(0)
                return
            info = info or CallInfo(call.uuid)
            preparation = self.preparations.take(info)
            session = Session(call, info, preparation, self.services)
            self._report(await session.run())
        except Exception:
            log.exception("call %s: its end could not be recorded", call.uuid)
        finally:
            self.registry.closed(call.uuid)

    def _turn_is_over(self, record: CallRecord, turn: TurnRecord) -> None:
        self._metrics.turn(record, turn)
        if self._on_turn is not None:
            self._on_turn(record, turn)

    def _report(self, record: CallRecord) -> None:
        self._metrics.call(record)
        log.info("%s", record.metrics_line())
        try:
            write_record(record, self.settings.records)
        except OSError as error:
            log.error("cannot write the record of call %s: %s", record.uuid, error.strerror)
        if self._on_record is not None:
            self._on_record(record)

    # -- end ---------------------------------------------------------------------------------------------------------

    async def drain(self, grace_s: float = GRACE_S) -> None:
        """Take no new calls, and let the running ones end by themselves within the grace time."""
        self.stopping = True
        self.engine.accepting(False)
        if self._sessions:
            log.info("waiting up to %.0f s for %d calls", grace_s, len(self._sessions))
            await asyncio.wait(list(self._sessions), timeout=grace_s)

    async def _end_sessions(self) -> None:
        for call in list(self.engine.calls.values()):
            call.hangup(0)
        if self._sessions:
            await asyncio.wait(list(self._sessions), timeout=2.0)
        for task in list(self._sessions):
            await _cancel(task)


async def _sweep(registry: CallRegistry, metadata: MetadataDirectory | None) -> None:
    """Now and then: announcements that expired in a quiet hour, and metadata files that no call has claimed."""
    while True:
        await asyncio.sleep(SWEEP_S)
        registry.sweep()
        if metadata is not None:
            await asyncio.to_thread(metadata.sweep)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
