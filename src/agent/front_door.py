"""The way of calls into the front: one for each process that has calls, and it knows which they are."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from agent.call.company import CompanyContext
from agent.call.door import Beat, Entry
from agent.call.record import CallRecord
from agent.telephony import CallInfo, Verdict

if TYPE_CHECKING:
    from agent.front import Front


class FrontDoor:
    """The way in for the calls of one process: the `Door` of those in this one, and what a worker's bus leads to."""

    def __init__(self, front: Front) -> None:
        self.calls: set[UUID] = set()
        """Those that are in."""
        self.last = Beat()
        """What the process has told last."""
        self._front = front

    async def enter(self, uuid: UUID) -> Entry:
        """Take the call, or say why not."""
        if not await self._front.registry.opened(uuid):
            return Entry(refused="uuid_in_use")
        self.calls.add(uuid)
        entry = Entry()
        try:
            entry = await self._front.who(uuid)
        finally:
            if entry.info is None:
                await self.leave(uuid)
        return entry

    async def context(self, info: CallInfo) -> CompanyContext:
        """In whose name the call is answered."""
        return await self._front.context(info)

    async def decide(self, uuid: UUID, verdict: Verdict) -> None:
        """Leave word for the dialplan."""
        await self._front.registry.decide(uuid, verdict)

    async def leave(self, uuid: UUID) -> None:
        """The call is over."""
        if uuid in self.calls:
            self.calls.discard(uuid)
            self._front.forget_context(uuid)
            await self._front.registry.closed(uuid)

    def over(self, record: CallRecord) -> None:
        """Its record is written."""
        self._front.office.back.call_over(record)

    def spent(self, cost: float) -> None:
        """The day's sum is that of its calls."""
        self._front.admission.usage.add(cost=cost)

    def beat(self, beat: Beat) -> None:
        """A second has passed there."""
        self.last = beat
        self._front.admission.asked_llm(beat.llm_requests)

    async def close(self) -> None:
        """The process is gone, and so are its calls: who asks for their verdicts is told at once that there is none."""
        for uuid in list(self.calls):
            await self.leave(uuid)
        self._front.doors.discard(self)
