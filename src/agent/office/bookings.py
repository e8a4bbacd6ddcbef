"""Bookings as people at the company work with them: found, moved on, annotated, taken elsewhere as CSV."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, tzinfo

from sqlalchemy import ColumnElement, Select, and_, func, or_, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from agent.office.csv_text import csv_lines
from agent.office.database import reading
from agent.office.models import BOOKING_STATES, Booking, BookingChange, utc_now
from agent.office.scope import Scope

MAX_NOTE_CHARS = 4000
MAX_PAGE = 500
_SEARCHED = (
    Booking.id,
    Booking.customer_name,
    Booking.postcode,
    Booking.address,
    Booking.problem_description,
    Booking.phone,
    Booking.caller_id,
    Booking.note,
)
COLUMNS = (
    "booking_id",
    "created_at",
    "company",
    "state",
    "customer_name",
    "postcode",
    "address",
    "problem_description",
    "phone",
    "caller_id",
    "note",
    "call_uuid",
)


@dataclass(frozen=True, slots=True)
class BookingQuery:
    """Which bookings are wanted, the newest first. Empty and None leave a filter out."""

    text: str = ""
    """Each of its words must occur somewhere in the booking."""
    state: str = ""
    company_id: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    """Made before it."""
    before: str = ""
    """`BookingPage.next` of the page before."""
    limit: int = 50


@dataclass(frozen=True, slots=True)
class BookingPage:
    """Some bookings; `next` is the cursor of those after them, empty at the end."""

    rows: Sequence[Booking]
    next: str


class Bookings:
    """The bookings of a database. What `scope` does not let a user see is not there for them."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._sessions = async_sessionmaker(engine, expire_on_commit=False)
        self._reading = async_sessionmaker(reading(engine), expire_on_commit=False)

    async def find(self, query: BookingQuery, scope: Scope) -> BookingPage:
        """Return one page of the newest bookings first. Raises `ValueError` for a cursor that is none."""
        limit = max(1, min(query.limit, MAX_PAGE))
        chosen = _chosen(query, scope).order_by(Booking.created_at.desc(), Booking.id.desc()).limit(limit + 1)
        if query.before:
            moment, booking_id = _place(query.before)
            chosen = chosen.where(
                or_(
                    Booking.created_at < moment,
                    and_(Booking.created_at == moment, Booking.id < booking_id),
                )
            )
        async with self._reading() as session:
            rows = (await session.scalars(chosen)).all()
        more = len(rows) > limit
        rows = rows[:limit]
        return BookingPage(rows, _cursor(rows[-1]) if more else "")

    async def counts(self, query: BookingQuery, scope: Scope) -> dict[str, int]:
        """Return how many bookings there are of each state, whatever state and page `query` asks for."""
        chosen = _chosen(replace(query, state=""), scope).subquery()
        async with self._reading() as session:
            counted = await session.execute(select(chosen.c.state, func.count()).group_by(chosen.c.state))
            return dict.fromkeys(BOOKING_STATES, 0) | {state: count for state, count in counted}

    async def get(self, booking_id: str, scope: Scope) -> Booking | None:
        """Return the booking of that ID (in either case), or None."""
        async with self._reading() as session:
            return await self._find(session, booking_id, scope)

    async def changes(self, booking_id: str, scope: Scope) -> Sequence[BookingChange]:
        """Return who changed a booking, the latest first."""
        query = (
            select(BookingChange)
            .join(Booking, Booking.id == BookingChange.booking_id)
            .where(Booking.id == booking_id.strip().upper(), scope.where(Booking.company_id))
            .order_by(BookingChange.id.desc())
            .limit(MAX_PAGE)
        )
        async with self._reading() as session:
            return (await session.scalars(query)).all()

    async def change(
        self, booking_id: str, scope: Scope, *, who: str, state: str | None = None, note: str | None = None
    ) -> Booking | None:
        """Give a booking another state or note, None for the one that it has; return it, None when there is none.

        Who did it and when is kept. Raises `ValueError` for a state that is none and for a note that is too long.
        """
        if state is not None and state not in BOOKING_STATES:
            raise ValueError(f"the state must be one of {', '.join(BOOKING_STATES)}")
        if note is not None:
            note = "\n".join(line.rstrip() for line in note.splitlines()).strip()
            if len(note) > MAX_NOTE_CHARS:
                raise ValueError(f"the note has {len(note)} characters, and may have {MAX_NOTE_CHARS}")
            if any(ord(char) < 32 and char not in "\n\t" for char in note):
                raise ValueError("the note holds control characters")
        async with self._sessions.begin() as session:
            booking = await self._find(session, booking_id, scope, lock=True)
            if booking is None:
                return None
            done = []
            if state is not None and state != booking.state:
                done.append(f"{booking.state} → {state}")
                booking.state = state
            if note is not None and note != booking.note:
                # What it says may be about a person: it is kept in one place, from which it can be erased.
                done.append("note changed" if booking.note and note else "note written" if note else "note removed")
                booking.note = note
            if done:
                change = BookingChange(booking_id=booking.id, at=utc_now(), who=who[:64], what=", ".join(done))
                session.add(change)
            return booking

    async def csv(self, query: BookingQuery, scope: Scope, *, zone: tzinfo = UTC) -> AsyncIterator[str]:
        """Give the bookings as CSV (RFC 4180), a page at a time, times in `zone`.

        A cell that a spreadsheet would take for a formula gets an apostrophe before it.
        """
        yield csv_lines([COLUMNS])
        query = replace(query, limit=MAX_PAGE, before="")
        while True:
            page = await self.find(query, scope)
            yield csv_lines([_cells(booking, zone) for booking in page.rows])
            if not page.next:
                return
            query = replace(query, before=page.next)

    @staticmethod
    async def _find(session: AsyncSession, booking_id: str, scope: Scope, *, lock: bool = False) -> Booking | None:
        query = select(Booking).where(Booking.id == booking_id.strip().upper(), scope.where(Booking.company_id))
        return await session.scalar(query.with_for_update() if lock else query)


def _chosen(query: BookingQuery, scope: Scope) -> Select[Booking]:
    conditions: list[ColumnElement[bool]] = [scope.where(Booking.company_id)]
    if query.state:
        conditions.append(Booking.state == query.state)
    if query.company_id is not None:
        conditions.append(Booking.company_id == query.company_id)
    if query.since is not None:
        conditions.append(Booking.created_at >= query.since)
    if query.until is not None:
        conditions.append(Booking.created_at < query.until)
    conditions += [
        or_(*(column.icontains(word, autoescape=True) for column in _SEARCHED)) for word in query.text.split()[:10]
    ]
    return select(Booking).where(*conditions)


def _cursor(booking: Booking) -> str:
    return f"{booking.created_at.isoformat()}~{booking.id}"


def _place(cursor: str) -> tuple[datetime, str]:
    moment, _, booking_id = cursor.partition("~")
    try:
        at = datetime.fromisoformat(moment)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None or not booking_id:
        raise ValueError("the page's place in the list cannot be read")
    return at, booking_id


def _cells(booking: Booking, zone: tzinfo) -> list[str]:
    values = booking.as_dict() | {
        "created_at": booking.created_at.astimezone(zone).isoformat(timespec="seconds"),
        "company": booking.company_name,
        "note": booking.note,
    }
    return [values[name] for name in COLUMNS]
