"""Where calls come in and go out: a session for each that the door lets in, and how all of them come to rest."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable

import fastaudio
from agent.call.current import CALL_UUID
from agent.call.door import Door
from agent.call.farewell import say_farewell
from agent.call.record import CallRecord
from agent.call.services import Preparations, Services
from agent.call.session import Session
from agent.ops.begun import BegunCall
from agent.ops.strangers import Strangers
from agent.telephony import CallInfo

log = logging.getLogger(__name__)

PORT = "AudioSocket"
NO_CALLS_OF_OURS = ("uuid_in_use", "unknown_uuid")
"""Reasons for which a connection is hung up that no dialplan of ours has made."""
STEP_S = 0.05


class Reception:
    """The calls of one process, from `open` on. `services` is what new ones get; those there are keep theirs."""

    def __init__(
        self,
        door: Door,
        strangers: Strangers,
        on_record: Callable[[CallRecord, Services], None],
    ) -> None:
        self.preparations: Preparations
        self._door = door
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

    async def accept(self, engine: fastaudio.Engine) -> None:
        """Serve each call that connects, until cancelled."""
        async for call in engine:
            task = asyncio.create_task(self._serve(call), name=f"call {call.uuid}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, call: fastaudio.Call) -> None:
        CALL_UUID.set(str(call.uuid))
        entry = await self._door.enter(call.uuid)
        if entry.info is None:
            if entry.refused in NO_CALLS_OF_OURS:
                self._strangers.turned_away(PORT, entry.refused, call.peer[0])
            call.hangup(0)
            return
        try:
            await self._converse(call, entry.info, entry.refused)
        except Exception:
            log.exception("call %s: its end could not be recorded", call.uuid)
        finally:
            await self._door.leave(call.uuid)

    async def _converse(self, call: fastaudio.Call, info: CallInfo, refused: str) -> None:
        if refused:
            self.preparations.drop(info)
            services = self.services
            self._on_record(await say_farewell(call, info, services, refused), services)
            return
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

    # -- out ---------------------------------------------------------------------------------------------------------

    async def drain(self, grace_s: float, goodbye_s: float) -> None:
        """Let the running calls end by themselves within the grace time, then by a spoken goodbye."""
        await self._at_rest(time.monotonic() + grace_s)
        if self._tasks:
            log.info("%d calls are still running: they hear a goodbye", self.calls)
            for session in self._sessions:
                session.stop_soon()
            await self._at_rest(time.monotonic() + goodbye_s)

    async def _at_rest(self, until: float) -> None:
        """Wait until no call runs, or the time (CLOCK_MONOTONIC, s) has come."""
        while self._tasks and time.monotonic() < until:  # noqa: ASYNC110 - with a limit of time
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
