"""What there is one of on a host, wherever its calls run: the dialplan's ports, the office and its outbox, the console,
the registry of announced calls, admission, and what a day may cost.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Any, Protocol
from uuid import UUID

import aiohttp
from aiohttp import web

from agent.call.company import CompanyContext, ContextClient
from agent.call.door import CLAIM_S, GOODBYE_S, Entry
from agent.call.running import RunningCalls
from agent.front_door import FrontDoor
from agent.office.console.parts import ConsoleParts
from agent.office.console.port import OpenConsole, console_port
from agent.ops import gauges, status
from agent.ops.admission import Admission, Refusal
from agent.ops.begun import adopt_begun
from agent.ops.live_page import Process
from agent.ops.metrics import Page
from agent.ops.office import OpenOffice, open_office
from agent.ops.outbox import of_outbox
from agent.ops.settings import Settings
from agent.ops.strangers import Strangers
from agent.ops.usage import Usage
from agent.telephony import CallInfo, Desk, DialplanHttp, FastAgiServer, MetadataDirectory
from agent.telephony.hosts import HostState
from agent.telephony.shared import make_registry
from agent.tools.outbox import Outbox

log = logging.getLogger(__name__)

SWEEP_S = 20.0
SECOND_S = 1.0
COMING_S = 3.0
"""How long a call that was announced is waited for once no other is taken."""
ASKED_S = 2.0
"""For the dialplan's last question, which comes within milliseconds of a call's end."""
STEP_S = 0.05


class Floors(Protocol):
    """Where the calls of a host run, as its front sees it: one floor in the same process, or those of workers."""

    @property
    def live(self) -> RunningCalls:
        """The calls that run, for people who look on."""

    @property
    def places(self) -> int:
        """Calls that can run at once on what is there."""

    @property
    def too_late(self) -> bool:
        """Whether one more call would make it worse for all, wherever it went."""

    @property
    def hung(self) -> bool:
        """Whether no media thread answers any more, so that only a restart helps."""

    def coming(self, info: CallInfo) -> None:
        """A call is announced, and there is room for it: what it needs may be made ready."""

    def dropped(self, info: CallInfo) -> None:
        """It will not come."""

    async def say(self, text: str, voice_id: str, language: str) -> bytes:
        """Speak a text, as `call.rehearsal.Rehearsal.say` does."""

    async def drain_calls(self, grace_s: float, goodbye_s: float) -> None:
        """Let the running calls end within the grace time, then by a spoken goodbye."""

    async def metrics(self) -> bytes:
        """The page for Prometheus, of the whole host."""

    async def health(self) -> dict[str, Any]:
        """What `/health` says of where the calls are."""

    def processes(self) -> list[Process]:
        """What `/live` says of each process with calls."""

    @property
    def ends(self) -> Mapping[str, int]:
        """Of such processes, by how they ended."""


class Front:
    """`async with Front(settings, floors, strangers) as front:` serves HTTP; `open` the rest, once calls can be taken.

    Entering raises what `open_office` does.
    """

    def __init__(self, settings: Settings, floors: Floors, strangers: Strangers) -> None:
        self.settings = settings
        self.strangers = strangers
        self.context_counters: Counter[str] = Counter()
        """How questions to the context API went (`ContextClient.counters`), over all settings."""
        self.console: OpenConsole | None = None
        """Where people look at the calls; None where the settings want none, and before `open`."""
        self.fastagi: FastAgiServer
        self.office: OpenOffice
        self._floors = floors
        self.doors: set[FrontDoor] = set()
        """Of the processes with calls."""
        self._ahead: dict[UUID, asyncio.Task[CompanyContext]] = {}
        self._stack = AsyncExitStack()
        self._metadata = MetadataDirectory(settings.metadata) if settings.metadata.is_dir() else None
        self.registry, self.hosts, self._sharing = make_registry(
            settings.redis_url.get_secret_value(),
            settings.redis_prefix,
            metadata=self._metadata,
            on_dropped=self._dropped,
        )
        self.admission = Admission(
            settings,
            occupied=self._occupied,
            places=lambda: floors.places,
            too_late=lambda: floors.too_late,
            usage=Usage(settings.data_dir / "usage.json", settings.zone),
            hosts=self.hosts,
        )
        self.dialplan_http = DialplanHttp(
            Desk(self.registry, self.admit, on_missed=self._missed),
            on_refused=lambda reason, peer: strangers.turned_away("HTTP", reason, peer),
        )

    async def __aenter__(self) -> Front:
        settings = self.settings
        async with AsyncExitStack() as stack:
            stack.callback(self.admission.usage.keep)
            await asyncio.to_thread(adopt_begun, settings.records, settings.recordings)
            # All calls share it: a cookie that one answer set is no business of another's.
            self._http = await stack.enter_async_context(aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()))
            self.office = await stack.enter_async_context(open_office(settings, self.strangers, self._add_pages))
            self._contexts = self._context_client()
            await stack.enter_async_context(self._sharing)
            for task in (
                asyncio.create_task(self._sweep(), name="sweep"),
                asyncio.create_task(self._count_seconds(), name="seconds"),
            ):
                stack.push_async_callback(_cancel, task)
            stack.push_async_callback(self._forget_contexts)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """While entered, the dialplan is answered and people may look. Raises OSError when a port is taken."""
        settings = self.settings
        async with AsyncExitStack() as stack:
            if settings.console:
                parts = ConsoleParts(
                    self.office.back.store, settings, self._floors.live, self.office.outbox, self._floors.say
                )
                self.console = await stack.enter_async_context(console_port(parts, self.strangers))
            self.fastagi = await stack.enter_async_context(
                FastAgiServer(
                    self.registry,
                    self.admit,
                    host=settings.listen_host,
                    port=settings.fastagi_port,
                    allowed_peers=settings.allowed_peers,
                    proxy_protocol=settings.proxy_protocol,
                    on_refused=lambda reason, peer: self.strangers.turned_away("FastAGI", reason, peer),
                    on_missed=self._missed,
                )
            )
            if self.hosts is not None:
                self.hosts.own = lambda: self.admission.state
                stack.callback(setattr, self.hosts, "own", HostState)
            yield

    @property
    def outbox(self) -> Outbox:
        """What waits to be sent."""
        return self.office.outbox

    @property
    def calls(self) -> int:
        """Calls whose audio is connected, in all processes."""
        return sum(len(door.calls) for door in self.doors)

    def _occupied(self) -> int:
        """Calls that run, and those that are announced where they can come to no other host."""
        shared = self.hosts is not None and self.hosts.there
        return self.calls + (0 if shared else self.registry.announced)

    def door(self) -> FrontDoor:
        """A way in for the calls of one more process; whoever has it closes it."""
        door = FrontDoor(self)
        self.doors.add(door)
        return door

    def heed(self, settings: Settings) -> None:
        """New settings: what of them the running front can take."""
        self.settings = settings
        self.admission.heed(settings)
        self.office.back.heed(settings)
        self._contexts = self._context_client()

    # -- calls that come ---------------------------------------------------------------------------------------------

    async def admit(self, info: CallInfo) -> bool:
        """The dialplan's `start`: is there room? Then the call is made ready while it still rings."""
        refusal = self.admission.may_begin(info)
        if refusal is None and not (self.hosts is not None and self.hosts.others):  # else it may come to any of them
            self._ahead[info.uuid] = asyncio.create_task(self._fetch(info), name="context ahead")
            self._floors.coming(info)
        if refusal is not None and not refusal.spoken:
            self._refused(f"call {info.uuid} is turned away before its answer", refusal)
            return False
        return True

    def _dropped(self, info: CallInfo) -> None:
        """An announced call will not come."""
        self.forget_context(info.uuid)
        self._floors.dropped(info)

    async def _fetch(self, info: CallInfo) -> CompanyContext:
        return await self._contexts.fetch(info.did, info.caller_id)

    async def context(self, info: CallInfo) -> CompanyContext:
        """What is asked for since the announcement, or now; kept until the call is over, for all who want it."""
        if (ahead := self._ahead.get(info.uuid)) is None:
            ahead = self._ahead[info.uuid] = asyncio.create_task(self._fetch(info), name="context ahead")
        return await asyncio.shield(ahead)

    def forget_context(self, uuid: UUID) -> None:
        """Nobody needs the company of this call any more."""
        ahead = self._ahead.pop(uuid, None)
        if ahead is not None:
            ahead.cancel()

    async def _forget_contexts(self) -> None:
        for uuid in list(self._ahead):
            self.forget_context(uuid)

    def _context_client(self) -> ContextClient:
        settings = self.settings
        return ContextClient(
            settings.context_api_url or f"{self.office.url}/did_context",
            settings.context_api_key.get_secret_value() or self.office.key,
            self._http,
            region=settings.default_region,
            timezone=settings.default_timezone,
            counters=self.context_counters,
        )

    def _refused(self, what: str, refusal: Refusal) -> None:
        self.admission.counters[refusal.reason] += 1
        log.warning("%s: %s", what, refusal.reason)

    async def who(self, uuid: UUID) -> Entry:
        """Whether a call that has connected is taken, and what is known of it."""
        refusal = self.admission.no_room()
        # Without room nobody waits: a call that was told that there is some is announced by now.
        info = await self.registry.claim(uuid, 0.0 if refusal else CLAIM_S)
        if refusal and (info is None or info.source == "file"):
            self._refused(f"call {uuid}, which was not announced, is hung up", refusal)
            return Entry(refused=refusal.reason)
        if info is None and self.settings.unknown_uuid == "refuse":
            return Entry(refused="unknown_uuid")
        info = info or CallInfo(uuid)
        if refusal := self.admission.over_a_limit(info):
            self.forget_context(uuid)
            self._refused(f"call {uuid} hears a goodbye", refusal)
            return Entry(info, refusal.reason)
        self.admission.begun(info)
        return Entry(info)

    # -- calls that are over -----------------------------------------------------------------------------------------

    def _missed(self, uuid: UUID, status: str) -> None:
        """The dialplan says that nobody answered a transfer."""
        log.info("call %s: nobody answered the transfer: %s", uuid, status)
        self.office.notices.transfer_missed(str(uuid), status)

    async def drain(self, grace_s: float, goodbye_s: float = GOODBYE_S) -> None:
        """Take no new calls; let the running ones end by themselves within the grace time, then by a spoken goodbye."""
        self.admission.stopping = True
        if self.hosts is not None:
            self.hosts.changed.set()
        if self.calls:
            log.info("waiting up to %.0f s for %d calls", grace_s, self.calls)
        until = time.monotonic() + grace_s
        await _unless(lambda: self.registry.announced, min(until, time.monotonic() + COMING_S))
        await self._floors.drain_calls(max(0.0, until - time.monotonic()), goodbye_s)
        await _unless(lambda: self.registry.unasked, time.monotonic() + ASKED_S)

    # -- as time goes by ---------------------------------------------------------------------------------------------

    async def _sweep(self) -> None:
        """Now and then: announcements that expired in a quiet hour, files that no call claimed, what was used today."""
        while True:
            await asyncio.sleep(SWEEP_S)
            self.registry.sweep()
            await asyncio.to_thread(self.admission.usage.keep)
            if self._metadata is not None:
                await asyncio.to_thread(self._metadata.sweep)

    async def _count_seconds(self) -> None:
        due = time.monotonic()
        while True:
            due = max(due + SECOND_S, time.monotonic())
            await asyncio.sleep(due - time.monotonic())
            self.admission.second(self.calls)
            self.strangers.tell()

    def _add_pages(self, app: web.Application) -> None:
        """What the HTTP port answers beside the office's APIs: how the host does, and what the dialplan asks."""
        status.add_pages(app, self, self._floors)
        self.dialplan_http.add_pages(app)

    def include_metrics(self, page: Page) -> None:
        """Show what is counted here."""
        include = page.include
        include(lambda: gauges.of_admission(self.admission, self.registry))
        include(lambda: gauges.of_hosts(self.hosts))
        include(lambda: gauges.of_ports(self.strangers, self.fastagi.counters, self.dialplan_http.counters))
        include(lambda: gauges.of_office(self.office.back))
        include(lambda: gauges.of_contexts(self.context_counters))
        include(lambda: of_outbox(self.outbox))
        include(lambda: gauges.of_workers(self._floors.processes(), self._floors.ends))


async def _unless(waits: Callable[[], object], until: float) -> None:
    """Wait as long as it says so, until a time (CLOCK_MONOTONIC, s) at most."""
    while waits() and time.monotonic() < until:  # noqa: ASYNC110 - nobody tells when it is over
        await asyncio.sleep(STEP_S)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
