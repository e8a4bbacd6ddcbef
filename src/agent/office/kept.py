"""Bookings that the outbox keeps and nobody has accepted yet, as people at the company see them.

Read from the outbox's file itself, beside the agent that sends them: so the console works alone, too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from agent.office.companies import Companies
from agent.office.scope import Scope
from agent.telephony.numbers import normalise_number
from agent.tools.outbox import Entry, OutboxStore
from agent.tools.outbox.table import FILE

T = TypeVar("T")

SHOWN = 200
ADVICE = {
    "waiting": "It is tried again by itself, more and more seldom. Nothing needs to be done unless it stays.",
    "sending": "It is being sent just now.",
    "held": "The booking service turns everybody away. Mend what the reason names; then it is sent by itself.",
    "refused": "The booking service will not have it as it is. Ring the customer, book it by hand, then set it aside.",
    "uncertain": "No answer came, so it may be booked already. Look there first: then set it aside, or send it again.",
}


@dataclass(frozen=True, slots=True)
class KeptBooking:
    """A booking on its way. `state` is a key of `ADVICE`."""

    key: str = field(repr=False)
    state: str
    made_at: datetime
    due_at: datetime
    attempts: int
    reason: str
    """Why it stands as it does; nothing that a caller said."""
    answer: str = field(repr=False)
    """The booking service's own words where it refused."""
    company_id: int | None
    company_name: str
    call_uuid: str
    body: Mapping[str, Any] = field(repr=False)
    """What was asked for: `customer_name`, `postcode`, `address` and so on."""

    @property
    def advice(self) -> str:
        """What to do about it."""
        return ADVICE[self.state]

    @property
    def movable(self) -> bool:
        """Whether a person may send it again or set it aside now."""
        return self.state != "sending"


class KeptBookings:
    """What waits in `outbox.sqlite3` of a directory. Methods raise `OutboxError` when the file cannot be used."""

    def __init__(self, directory: Path, companies: Companies) -> None:
        """`companies` says whose a dialled number is."""
        self._directory = directory
        self._companies = companies

    async def open(self, scope: Scope) -> Sequence[KeptBooking]:
        """Return what nobody has accepted yet, the oldest first, at most `SHOWN`. None for want of a file is none."""
        entries = await self._entries(1000)
        return (await self._of(scope, entries))[:SHOWN]

    async def retry(self, key: str, scope: Scope) -> bool:
        """Have a booking sent again; a running agent does so within seconds. Return whether there is one."""
        return await self._do(key, scope, lambda store: store.retry(key, now=time.time()))

    async def drop(self, key: str, scope: Scope, reason: str) -> bool:
        """Set a booking aside, with a reason: what the caller said is erased. Return whether there is one."""
        return await self._do(key, scope, lambda store: store.drop(key, reason[:200], now=time.time()))

    async def _entries(self, limit: int) -> Sequence[Entry]:
        return await self._with_store(lambda store: store.entries(everything=False, limit=limit, kind="booking")) or ()

    async def _do(self, key: str, scope: Scope, deed: Callable[[OutboxStore], Entry]) -> bool:
        entries = await self._entries(-1)
        if not await self._of(scope, [entry for entry in entries if entry.key == key]):
            return False
        await self._with_store(deed)
        return True

    async def _of(self, scope: Scope, entries: Sequence[Entry]) -> list[KeptBooking]:
        region = self._companies.region
        dids = {entry.key: normalise_number(entry.did, region) for entry in entries}
        owners = await self._companies.owners(dids.values())
        names = await self._companies.names(scope)
        named = {name: company_id for company_id, name in names.items()}
        kept = []
        for entry in entries:
            # As the back office itself does: by the dialled number, else by the name that was given.
            company_id = owners.get(dids[entry.key])
            if company_id is None:
                company_id = named.get(str(entry.body.get("company_name", "")))
            if not scope.allows(company_id):
                continue
            kept.append(
                KeptBooking(
                    entry.key,
                    "held" if entry.held and entry.state == "waiting" else entry.state,
                    datetime.fromtimestamp(entry.made_at, UTC),
                    datetime.fromtimestamp(entry.due_at, UTC),
                    entry.attempts,
                    entry.reason,
                    entry.answer if entry.state == "refused" else "",
                    company_id,
                    names.get(company_id or 0, str(entry.body.get("company_name", ""))),
                    entry.call_uuid,
                    entry.body,
                )
            )
        return kept

    async def _with_store(self, work: Callable[[OutboxStore], T]) -> T | None:
        def run() -> T | None:
            if not (self._directory / FILE).is_file():
                return None
            with closing(OutboxStore(self._directory)) as store:
                return work(store)

        return await asyncio.to_thread(run)
