"""Where calls come in and go out: who is let in, a session for each, and how all of them come to rest."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable

import fastaudio
from agent.call.current import CALL_UUID
from agent.call.farewell import say_farewell
from agent.call.record import CallRecord
from agent.call.services import Preparations, Services
from agent.call.session import Session
from agent.ops.admission import Admission, Refusal
from agent.ops.begun import BegunCall
from agent.ops.strangers import Strangers
from agent.telephony import CallInfo, Registry

log = logging.getLogger(__name__)

PORT = "AudioSocket"
COMING_S = 3.0
"""How long a call that was announced is waited for once no other is taken."""
GOODBYE_S = 15.0
"""For the goodbye of calls that are still running when the grace time is over."""
ASKED_S = 2.0
"""For the dialplan's last question, which comes within milliseconds of a call's end."""
CLAIM_S = 1.0
"""For the announcement of a call that has come, when there is room."""
STEP_S = 0.05


class Reception:
    """The calls of one agent, from `open` on. `services` is what new ones get; those there are keep theirs."""

    def __init__(
        self,
        registry: Registry,
        admission: Admission,
        strangers: Strangers,
        on_record: Callable[[CallRecord, Services], None],
    ) -> None:
        self.preparations: Preparations
        self._registry = registry
        self._admission = admission
        self._strangers = strangers
        self._on_record = on_record
        self._tasks: set[asyncio.Task[None]] = set()
        self._sessions: dict[Session, Services] = {}

    def open(self, services: Services) -> None:
        """From now on calls may come."""
        self.preparations = Preparations(services)

    @property
    def calls(self) -> int:
        """Calls that are running."""
        return len(self._tasks)

    @property
    def services(self) -> Services:
        """What new calls get."""
        return self.preparations.services

    @services.setter
    def services(self, services: Services) -> None:
        self.preparations.services = services

    def uses(self, services: Services) -> bool:
        """Whether these are those of new calls, or of one that runs or is announced."""
        return self.preparations.uses(services) or any(used is services for used in self._sessions.values())

    # -- in ----------------------------------------------------------------------------------------------------------

    async def admit(self, info: CallInfo) -> bool:
        """The dialplan's `start`: is there room? Then the call is made ready while it still rings."""
        refusal = self._admission.may_begin(info)
        if refusal is None:
            self.preparations.begin(info)
        elif not refusal.spoken:
            self._refused(f"call {info.uuid} is turned away before its answer", refusal)
            return False
        return True

    def dropped(self, info: CallInfo) -> None:
        """An announced call will not come."""
        self.preparations.drop(info)

    async def accept(self, engine: fastaudio.Engine) -> None:
        """Serve each call that connects, until cancelled."""
        async for call in engine:
            task = asyncio.create_task(self._serve(call), name=f"call {call.uuid}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, call: fastaudio.Call) -> None:
        CALL_UUID.set(str(call.uuid))
        if not await self._registry.opened(call.uuid):
            self._turn_away(call, "uuid_in_use")
            return
        try:
            info = await self._who(call)
            if info is not None:
                await self._converse(call, info)
        except Exception:
            log.exception("call %s: its end could not be recorded", call.uuid)
        finally:
            await self._registry.closed(call.uuid)

    async def _who(self, call: fastaudio.Call) -> CallInfo | None:
        """What is known of this call; None when it is not taken, and hung up already: the dialplan's fallback."""
        refusal = self._admission.no_room()
        # Without room nobody waits: a call that was told that there is some is announced by now.
        info = await self._registry.claim(call.uuid, 0.0 if refusal else CLAIM_S)
        if refusal and (info is None or info.source == "file"):
            self._refused(f"call {call.uuid}, which was not announced, is hung up", refusal)
            call.hangup(0)
            return None
        if info is None and self.services.settings.unknown_uuid == "refuse":
            self._turn_away(call, "unknown_uuid")
            return None
        return info or CallInfo(call.uuid)

    async def _converse(self, call: fastaudio.Call, info: CallInfo) -> None:
        if refusal := self._admission.over_a_limit(info):
            self.preparations.drop(info)
            self._refused(f"call {call.uuid} hears a goodbye", refusal)
            services = self.services
            self._on_record(await say_farewell(call, info, services, refusal.reason), services)
            return
        self._admission.begun(info)
        preparation = self.preparations.take(info)
        services = preparation.services
        session = Session(call, info, preparation, services)
        self._sessions[session] = services
        # On a thread of its own, and waited for at the end alone: a slow disk delays no call.
        begun = BegunCall(session.record, services.settings.records)
        note = asyncio.create_task(asyncio.to_thread(begun.write), name="note")
        try:
            self._on_record(await session.run(), services)
        finally:
            del self._sessions[session]
            await note
            await asyncio.to_thread(begun.over)

    def _turn_away(self, call: fastaudio.Call, reason: str) -> None:
        self._strangers.turned_away(PORT, reason, call.peer[0])
        call.hangup(0)

    def _refused(self, what: str, refusal: Refusal) -> None:
        self._admission.counters[refusal.reason] += 1
        log.warning("%s: %s", what, refusal.reason)

    # -- out ---------------------------------------------------------------------------------------------------------

    async def drain(self, grace_s: float, goodbye_s: float = GOODBYE_S) -> None:
        """Take no new calls; let the running ones end by themselves within the grace time, then by a spoken goodbye."""
        self._admission.stopping = True
        if self._tasks:
            log.info("waiting up to %.0f s for %d calls", grace_s, self.calls)
        grace_until = time.monotonic() + grace_s
        await self._at_rest(grace_until)
        if self._tasks:
            log.info("%d calls are still running: they hear a goodbye", self.calls)
            for session in self._sessions:
                session.stop_soon()
            await self._at_rest(time.monotonic() + goodbye_s)
        await self._asked(time.monotonic() + ASKED_S)

    async def _at_rest(self, until: float) -> None:
        """Wait until no call runs or is on its way, or the time (CLOCK_MONOTONIC, s) has come."""
        coming_until = min(until, time.monotonic() + COMING_S)
        while time.monotonic() < until:
            coming = self._registry.announced > 0 and time.monotonic() < coming_until
            if not self._tasks and not coming:
                return
            await asyncio.sleep(STEP_S)

    async def _asked(self, until: float) -> None:
        """Wait until the dialplan has asked for the last verdicts, which would be lost with the agent."""
        while self._registry.unasked:
            if time.monotonic() >= until:
                return
            await asyncio.sleep(STEP_S)

    async def end(self, engine: fastaudio.Engine) -> None:
        """Hang up whatever is left."""
        for call in list(engine.calls.values()):
            call.hangup(0)
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=2.0)
        for task in list(self._tasks):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
