"""The agent in one process: its front and its calls, joined directly. What `voice-agent serve` runs with one worker."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any

import fastaudio
from agent.call.files import read_files
from agent.call.live import LiveCalls
from agent.call.record import CallRecord, TurnRecord
from agent.call.services import Preparations, Services
from agent.floor import Floor, OfficeAddress
from agent.front import Front
from agent.front_door import FrontDoor
from agent.host import Host
from agent.office.notices import Notices
from agent.office.running import BackOffice
from agent.ops.admission import Admission
from agent.ops.lag import LagMonitor
from agent.ops.live_page import Process
from agent.ops.reload import for_a_running_agent
from agent.ops.settings import Settings
from agent.ops.strangers import Strangers
from agent.providers.breaker import Breakers
from agent.telephony import CallInfo, Registry
from agent.tools.outbox import Outbox


class Agent(Host):
    """`async with Agent(settings) as agent: await agent.drain()`.

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
        self.strangers = Strangers()
        self.floor: Floor
        self._door: FrontDoor
        self._live = LiveCalls()
        self._on_record = on_record
        self._on_turn = on_turn
        self._serving = False
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Agent:
        settings = self.settings
        settings.require_keys()
        files = read_files(settings)
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        async with AsyncExitStack() as stack:
            enter = stack.enter_async_context
            self.front = Front(settings, self, self.strangers)
            self._door = self.front.door()
            await enter(self.front)
            office = self.front.office
            self.floor = Floor(
                settings,
                files,
                self._door,
                OfficeAddress(office.url, office.key),
                office.outbox,
                self.strangers,
                self._live,
                places=settings.max_calls,
                on_record=self._on_record,
                on_turn=self._on_turn,
            )
            await enter(self.floor)
            self.front.include_metrics(self.floor.metrics)
            await enter(self.front.open())
            await enter(self.floor.listening())
            self._serving = True
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def reload(self, settings: Settings) -> list[str]:
        """Give new calls these settings; those that run or are announced keep theirs.

        Returns the names of settings that have changed and hold from the next start on: until then they stay as they
        were. Raises `SettingsError` or `ConversationError`, and then all of them do.
        """
        settings, fixed = for_a_running_agent(self.settings, settings)
        await self.floor.reload(settings)
        self.settings = settings
        self.front.heed(settings)
        return fixed

    # -- where the calls are, for the front: agent.front.Floors --------------------------------------------------------

    @property
    def live(self) -> LiveCalls:
        """The calls that run, for people who look on."""
        return self._live

    @property
    def places(self) -> int:
        """Calls that can run at once."""
        return self.settings.max_calls if self._serving else 0

    @property
    def too_late(self) -> bool:
        """Whether one more call would make it worse for all."""
        return self.floor.lag.too_late

    @property
    def hung(self) -> bool:
        """Whether the media thread answers no more."""
        return self._serving and self.floor.pulse.hung

    def coming(self, info: CallInfo) -> None:
        """A call is announced: it is made ready while it still rings."""
        self.floor.preparations.begin(info)

    def dropped(self, info: CallInfo) -> None:
        """It will not come."""
        self.floor.preparations.drop(info)

    async def say(self, text: str, voice_id: str, language: str) -> bytes:
        """Speak a text for somebody at the console."""
        return await self.floor.rehearsal.say(text, voice_id, language)

    async def drain_calls(self, grace_s: float, goodbye_s: float) -> None:
        """Let the running calls end."""
        await self.floor.reception.drain(grace_s, goodbye_s)

    async def metrics(self) -> bytes:
        """The page for Prometheus."""
        return self.floor.metrics.page()

    async def health(self) -> dict[str, Any]:
        """What `/health` says of the calls' side."""
        return self.floor.health()

    async def responsive(self) -> bool:
        """Whether the media thread answers; the watchdog is fed for as long as it does."""
        return await self.engine.responsive()

    @property
    def ends(self) -> Mapping[str, int]:
        """The process has not ended."""
        return {}

    def processes(self) -> list[Process]:
        """What `/live` says of the process."""
        return [self.floor.process(stopping=self.stopping)]

    # -- its parts, for those who look closely -------------------------------------------------------------------------

    @property
    def audio_port(self) -> int:
        """AudioSocket's port."""
        return self.engine.port

    @property
    def calls(self) -> int:
        """Calls that are running."""
        return self.floor.reception.calls

    @property
    def stopping(self) -> bool:
        """Whether new calls are turned away, because the agent is to end."""
        return self.front.admission.stopping

    @property
    def office(self) -> BackOffice:
        """Who keeps house there."""
        return self.front.office.back

    @property
    def outbox(self) -> Outbox:
        """What waits to be sent."""
        return self.front.outbox

    @property
    def notices(self) -> Notices:
        """Who tells companies of their calls."""
        return self.front.office.notices

    @property
    def registry(self) -> Registry:
        """Announced calls and verdicts."""
        return self.front.registry

    @property
    def admission(self) -> Admission:
        """Which calls are taken."""
        return self.front.admission

    @property
    def engine(self) -> fastaudio.Engine:
        """The media core."""
        return self.floor.engine

    @property
    def services(self) -> Services:
        """What new calls get."""
        return self.floor.services

    @property
    def preparations(self) -> Preparations:
        """Calls that are announced, and made ready."""
        return self.floor.preparations

    @property
    def lag(self) -> LagMonitor:
        """How late the process is."""
        return self.floor.lag

    @property
    def breakers(self) -> Breakers:
        """What is known of the vendors."""
        return self.floor.breakers

    @property
    def counters(self) -> Counter[str]:
        """What happened in calls that should not happen."""
        return self.floor.counters

    @property
    def used(self) -> Mapping[tuple[str, str, str], float]:
        """What calls have used since the start, by vendor, model and unit."""
        return self.floor.used
