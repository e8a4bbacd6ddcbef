"""The door of a worker's calls: what `call.door.Door` says, asked over the bus, and the supervisor's answers."""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from agent.call.company import BUDGET_SECONDS, CompanyContext, default_context
from agent.call.door import CLAIM_S, Beat, Entry
from agent.call.record import CallRecord, RecordError, record_from
from agent.telephony import CallInfo, Verdict
from agent.workers.bus import Bus, BusError
from agent.workers.wire import pack_context, pack_info, unpack_context, unpack_info

if TYPE_CHECKING:
    from agent.front_door import FrontDoor  # a worker has none, and need not load what belongs to it

log = logging.getLogger(__name__)

ENTER_S: Final = CLAIM_S + 2.0
DECIDE_S: Final = 1.0
"""Nobody waits for longer with a caller on the line: the dialplan then goes to its fallback."""


class BusDoor:
    """The worker's side: a `Door`. A supervisor that is gone or does not answer costs a call no more than it must:
    calls that run go on, and the dialplan goes to its fallback after them.
    """

    def __init__(self, bus: Bus, timezone: Callable[[], str]) -> None:
        """`timezone` is that of a company of which nothing is known."""
        self.counters: Counter[str] = Counter()
        """`enter`, `context` and `decide`: questions that had no answer."""
        self._bus = bus
        self._timezone = timezone
        self._cost = 0.0

    async def enter(self, uuid: UUID) -> Entry:
        """Ask whether the call is taken; without an answer it is hung up."""
        try:
            answer = await self._bus.ask("enter", ENTER_S, uuid=str(uuid))
        except BusError as error:
            self._failed("enter", uuid, error)
            self._bus.tell("leave", uuid=str(uuid))
            return Entry(refused="no_supervisor")
        info = unpack_info(answer["info"]) if answer["info"] is not None else None
        return Entry(info, answer["refused"])

    async def context(self, info: CallInfo) -> CompanyContext:
        """Ask for what is known of the company; without an answer, the defaults."""
        try:
            return unpack_context(await self._bus.ask("context", BUDGET_SECONDS + 1.0, info=pack_info(info)))
        except BusError as error:
            self._failed("context", info.uuid, error)
            return default_context(info.caller_id, timezone=self._timezone(), reason="connect")

    async def decide(self, uuid: UUID, verdict: Verdict) -> None:
        """Leave the verdict where the dialplan asks for it."""
        try:
            await self._bus.ask("decide", DECIDE_S, uuid=str(uuid), verdict=dataclasses.asdict(verdict))
        except BusError as error:
            self._failed("decide", uuid, error)

    async def leave(self, uuid: UUID) -> None:
        """Tell that the call is over."""
        self._bus.tell("leave", uuid=str(uuid))

    def over(self, record: CallRecord) -> None:
        """Hand the record on; one that is not taken is imported from its document later."""
        self._bus.tell("over", record=record.as_dict())

    def spent(self, cost: float) -> None:
        """Note it for the next beat."""
        self._cost += cost

    def beat(self, beat: Beat) -> None:
        """Tell how this worker does, and what its calls have cost since the last time."""
        if self._bus.tell("beat", beat=dataclasses.asdict(beat), cost=self._cost):
            self._cost = 0.0

    def close(self) -> None:
        """Tell what has not been told."""
        if self._cost:
            self._bus.tell("spent", cost=self._cost)

    def _failed(self, what: str, uuid: UUID, error: BusError) -> None:
        self.counters[what] += 1
        log.error("call %s: %s", uuid, error)


def answer_at(bus: Bus, door: FrontDoor, on_change: Callable[[], None], on_beat: Callable[[], None]) -> None:
    """The supervisor's side: let the worker at the other end of `bus` through `door`.

    `on_change` is told after each call that has come or gone, and after each beat.
    """

    async def enter(values: Mapping[str, Any]) -> dict[str, Any]:
        try:
            entry = await door.enter(UUID(values["uuid"]))
        finally:
            on_change()
        return {"info": pack_info(entry.info) if entry.info is not None else None, "refused": entry.refused}

    async def context(values: Mapping[str, Any]) -> dict[str, Any]:
        return pack_context(await door.context(unpack_info(values["info"])))

    async def decide(values: Mapping[str, Any]) -> None:
        await door.decide(UUID(values["uuid"]), Verdict(**values["verdict"]))

    async def leave(values: Mapping[str, Any]) -> None:
        await door.leave(UUID(values["uuid"]))
        on_change()

    def over(values: Mapping[str, Any]) -> None:
        try:
            door.over(record_from(values["record"]))
        except RecordError as error:
            log.error("a call's record is imported later: %s", error)

    def beat(values: Mapping[str, Any]) -> None:
        door.spent(values["cost"])
        door.beat(Beat(**values["beat"]))
        on_beat()
        on_change()

    bus.on("enter", enter)
    bus.on("context", context)
    bus.on("decide", decide)
    bus.on("leave", leave)
    bus.on("over", over)
    bus.on("beat", beat)
    bus.on("spent", lambda values: door.spent(values["cost"]))
