"""Word of what has happened: from the office's database into the outbox, once for each booking and each call.

`bookings.noticed_at` and `calls.noticed_at` are empty until it is there. One transaction holds the rows (on PostgreSQL
`FOR UPDATE SKIP LOCKED`, on SQLite the one write lock), puts what is to be sent into the outbox, which is durable then,
and sets the column. Who dies in between has not set it: the next one does the same again, under the same keys, which
an outbox keeps once. Where two hosts have an outbox each, only that death makes a second message, by the same ID.

| key in the outbox | event | mail |
|---|---|---|
| `booking:<id>` | `booking.created` | yes |
| `call:<uuid>` | `call.ended` | |
| `missed:<uuid>` | `transfer.missed` | yes |

Behind the key stands where it goes: `:mail` and `:hook` to the company, `:global` to `CALL_WEBHOOK_URL`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Final, Self

from sqlalchemy import ColumnElement, Select, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from agent.office.archive import CallArchive
from agent.office.database import reading
from agent.office.models import Booking, Call, CallEvent, utc_now
from agent.office.recipients import Recipient, recipients_in
from agent.office.scope import Scope
from agent.tools.outbox import NewNotice, Outbox, OutboxError

log = logging.getLogger(__name__)

BOOKINGS_AT_ONCE: Final = 50
CALLS_AT_ONCE: Final = 20
OLD: Final = timedelta(days=3)
"""What is older is news to nobody: calls that were imported, a database that was put back."""
TRANSFER_MISSED: Final = "transfer_missed"
MISSED_TRIES, MISSED_TRY_S = 30, 1.0
"""The dialplan may tell before the call itself is in the database."""
MOST_MISSED: Final = 256


class Notices:
    """`async with Notices(...) as notices:` looks every `poll_s`, and when it is woken.

    `counters`: `bookings`, `calls`, `missed` of which word was put into the outbox; `unheard`, of which nobody wants
    any; `old`; `failed`, sweeps that came to nothing.
    """

    def __init__(
        self,
        sessions: async_sessionmaker[AsyncSession],
        archive: CallArchive,
        outbox: Outbox,
        *,
        to_everybody: bool = False,
        mail: bool = False,
        poll_s: float = 3.0,
    ) -> None:
        """`to_everybody`: whether there is a `CALL_WEBHOOK_URL`; `mail`: whether there is an SMTP server."""
        self.counters: Counter[str] = Counter()
        self._sessions = sessions
        self._reading = async_sessionmaker(reading(sessions.kw["bind"]), expire_on_commit=False)
        self._archive = archive
        self._outbox = outbox
        self._to_everybody = to_everybody
        self._mail = mail
        self._poll_s = poll_s
        self._news = asyncio.Event()
        self._failed = False
        self._missed: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None]

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="notices")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks = [self._task, *self._missed]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def wake(self) -> None:
        """There is news: look now."""
        self._news.set()

    def transfer_missed(self, uuid: str, status: str) -> None:
        """A caller was put through, and nobody took the call: to be kept with it, and told. `status` is Asterisk's."""
        if len(self._missed) >= MOST_MISSED:
            log.error("call %s: a missed transfer is not told: too many wait for their calls to be kept", uuid)
            return
        task = asyncio.create_task(self._keep_missed(uuid, status), name=f"missed {uuid}")
        self._missed.add(task)
        task.add_done_callback(self._missed.discard)

    # -- looking -------------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            self._news.clear()
            try:
                while await self.sweep():
                    pass
                self._failed = False
            except (OutboxError, SQLAlchemyError, OSError) as error:
                self.counters["failed"] += 1
                # Once for each time that it begins: it may last.
                log.log(logging.DEBUG if self._failed else logging.ERROR, "notices wait: %s", _in_short(error))
                self._failed = True
            try:
                async with asyncio.timeout(self._poll_s):
                    await self._news.wait()
            except TimeoutError:
                pass

    async def sweep(self) -> bool:
        """See to one batch of each; return whether there may be more. Raises `OutboxError` and `SQLAlchemyError`."""
        bookings = await self._sweep_bookings()
        calls = await self._sweep_calls()
        return bookings == BOOKINGS_AT_ONCE or calls == CALLS_AT_ONCE

    async def _sweep_bookings(self) -> int:
        query = select(Booking).where(Booking.noticed_at.is_(None)).order_by(Booking.created_at)
        async with self._reading() as session:  # most of the time there is none, and writers wait for each other
            if await session.scalar(select(Booking.id).where(Booking.noticed_at.is_(None)).limit(1)) is None:
                return 0
        async with self._sessions.begin() as session:
            bookings = (await session.scalars(_held(query, BOOKINGS_AT_ONCE))).all()
            if not bookings:
                return 0
            recipients = await recipients_in(session, (booking.company_id for booking in bookings))
            notices: list[NewNotice] = []
            for booking in bookings:
                of_this = self._of_booking(booking, recipients.get(booking.company_id))
                self._count("bookings", of_this, booking.created_at)
                notices += of_this
            await self._put_and_note(session, notices, Booking, Booking.id.in_([booking.id for booking in bookings]))
        return len(bookings)

    async def _sweep_calls(self) -> int:
        async with self._reading() as session:
            found = (
                await session.execute(
                    select(Call.uuid, Call.company_id, Call.started, Call.erased_at)
                    .where(Call.noticed_at.is_(None))
                    .order_by(Call.started)
                    .limit(CALLS_AT_ONCE)
                )
            ).all()
            recipients = await recipients_in(session, (row.company_id for row in found))
        if not found:
            return 0
        # The documents are read before the rows are held: that may take longer.
        notices: dict[str, list[NewNotice]] = {}
        for uuid, company_id, started, erased_at in found:
            places = [] if erased_at or _is_old(started) else self._hooks(recipients.get(company_id))
            stored = await self._archive.get(uuid, Scope.all()) if places else None
            notices[uuid] = []
            if stored is not None:
                record = stored.record
                event = _event("call.ended", started + timedelta(seconds=record.seconds), record.as_dict())
                notices[uuid] = [_hook(f"call:{uuid}", place, event, uuid, record.caller_id) for place in places]
        async with self._sessions.begin() as session:
            query = select(Call.uuid).where(Call.noticed_at.is_(None), Call.uuid.in_(notices))
            held = (await session.scalars(_held(query, CALLS_AT_ONCE))).all()
            for row in found:
                if row.uuid in held:
                    self._count("calls", notices[row.uuid], row.started)
            put = [notice for uuid in held for notice in notices[uuid]]
            await self._put_and_note(session, put, Call, Call.uuid.in_(held))
        return len(held)

    async def _put_and_note(
        self,
        session: AsyncSession,
        notices: Sequence[NewNotice],
        table: type[Booking | Call],
        which: ColumnElement[bool],
    ) -> None:
        if notices:
            await self._outbox.put(notices)
        await session.execute(update(table).where(which).values(noticed_at=utc_now()))

    # -- missed transfers ----------------------------------------------------------------------------------------------

    async def _keep_missed(self, uuid: str, status: str) -> None:
        for _ in range(MISSED_TRIES):
            try:
                if await self._keep_missed_once(uuid, status):
                    return
            except (OutboxError, SQLAlchemyError, OSError) as error:
                log.warning("call %s: a missed transfer cannot be told yet: %s", uuid, _in_short(error))
            await asyncio.sleep(MISSED_TRY_S)
        log.error("call %s: a missed transfer was not kept: the call is not in the database", uuid)

    async def _keep_missed_once(self, uuid: str, status: str) -> bool:
        """Add the event to the call and put word of it into the outbox; return whether the call is there."""
        async with self._sessions.begin() as session:
            call = await session.scalar(select(Call).where(Call.uuid == uuid).with_for_update())
            if call is None:
                return False
            action, _, target = call.verdict.partition(" ")
            known = select(CallEvent.id).where(CallEvent.call_uuid == uuid, CallEvent.what == TRANSFER_MISSED)
            if action != "transfer" or await session.scalar(known) is not None:
                return True
            # The agent's part of the call was over by then: it stands at its end.
            at_ms = round(call.seconds * 1000)
            session.add(CallEvent(call_uuid=uuid, at_ms=at_ms, what=TRANSFER_MISSED, detail=status))
            recipients = await recipients_in(session, (call.company_id,))
            notices = self._of_missed(call, target, status, recipients.get(call.company_id))
            self._count("missed", notices, utc_now())
            if notices:
                await self._outbox.put(notices)
        return True

    # -- what is said, and to whom -------------------------------------------------------------------------------------

    def _of_booking(self, booking: Booking, company: Recipient | None) -> list[NewNotice]:
        if _is_old(booking.created_at):
            return []
        data = booking.as_dict()
        caller = booking.caller_id or booking.phone
        event = _event("booking.created", booking.created_at, data)
        key = f"booking:{booking.id}"
        notices = [_hook(key, place, event, booking.call_uuid, caller) for place in self._hooks(company)]
        if self._mail and company is not None and company.email:
            body = {"about": "booking", "to": "company", "company_id": company.company_id, "booking": data}
            notices.append(NewNotice(f"{key}:mail", "mail", body, "mail", booking.call_uuid, caller))
        return notices

    def _of_missed(self, call: Call, target: str, status: str, company: Recipient | None) -> list[NewNotice]:
        data = {
            "uuid": call.uuid,
            "company": call.company_name,
            "did": call.did,
            "caller_id": call.caller_id,
            "caller_name": call.caller_name,
            "started": call.started.isoformat(),
            "target": target,
            "status": status,
        }
        key = f"missed:{call.uuid}"
        event = _event("transfer.missed", utc_now(), data)
        notices = [_hook(key, place, event, call.uuid, call.caller_id) for place in self._hooks(company)]
        if self._mail and company is not None and company.email:
            body = {"about": "missed", "to": "company", "company_id": company.company_id, "call": data}
            notices.append(NewNotice(f"{key}:mail", "mail", body, "mail", call.uuid, call.caller_id))
        return notices

    def _hooks(self, company: Recipient | None) -> list[int | None]:
        """The webhooks that want word: a company's by its ID, and None for the one of the settings."""
        own: list[int | None] = [company.company_id] if company is not None and company.webhook_url else []
        return own + [None] * self._to_everybody

    def _count(self, what: str, notices: Sequence[NewNotice], happened: datetime) -> None:
        self.counters[what if notices else "old" if _is_old(happened) else "unheard"] += 1


def _hook(key: str, company_id: int | None, event: Mapping[str, Any], call_uuid: str, caller: str) -> NewNotice:
    body = {"id": key, "company_id": company_id, "event": event}
    suffix, place = ("global", "everybody") if company_id is None else ("hook", f"company {company_id}")
    return NewNotice(f"{key}:{suffix}", "webhook", body, place, call_uuid, caller)


def _event(what: str, moment: datetime, data: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": what, "timestamp": moment.isoformat(timespec="milliseconds"), "data": data}


def _held(query: Select[Any], limit: int) -> Select[Any]:
    """Rows that are this transaction's alone until its end. SQLite knows no such thing: there, all rows are."""
    return query.limit(limit).with_for_update(skip_locked=True)


def _is_old(moment: datetime) -> bool:
    return utc_now() - moment > OLD


def _in_short(error: BaseException) -> str:
    """Without an SQL statement's values, which hold what callers said."""
    return str(error) if isinstance(error, OutboxError) else type(error).__name__
