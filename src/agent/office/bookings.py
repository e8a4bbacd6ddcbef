"""Bookings as people at the company work with them: found, moved on, annotated, taken elsewhere as CSV."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, tzinfo

from sqlalchemy import ColumnElement, false, func, literal_column, or_, select, true, union_all
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from agent.office.booking_search import state_word
from agent.office.csv_text import csv_lines
from agent.office.database import BOOKING_WORDS, reading
from agent.office.models import BOOKING_STATES, Booking, BookingChange, BookingText, utc_now
from agent.office.scope import Scope
from agent.office.word_index import company_word, lookup, moment_of, place_of
from agent.office.words import Term, terms_of

MAX_NOTE_CHARS = 4000
MAX_PAGE = 500
MOST_LISTS = 20
"""With more companies than these, all bookings are gone through, the newest first."""
_NEWEST_FIRST = (Booking.created_at.desc(), Booking.id.desc())
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
    """Words that must all be in the booking; the last one may be the beginning of a word."""
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

    def __init__(self, engine: AsyncEngine, *, region: str = "GB") -> None:
        """`region` (ISO 3166) reads numbers without a country code that are looked for."""
        self._region = region
        self._sessions = async_sessionmaker(engine, expire_on_commit=False)
        self._reading = async_sessionmaker(reading(engine), expire_on_commit=False)

    async def find(self, query: BookingQuery, scope: Scope) -> BookingPage:
        """Return one page of the newest bookings first. Raises `ValueError` for a cursor that is none."""
        limit = max(1, min(query.limit, MAX_PAGE))
        if query.text:
            return await self._with_words(query, scope.narrowed(query.company_id), limit)
        conditions = _conditions(query)
        if query.before:
            moment, booking_id = _place(query.before)
            # The first half is for the index, which does not understand the second.
            conditions += [
                Booking.created_at <= moment,
                or_(Booking.created_at < moment, Booking.id < booking_id),
            ]
        newest = [
            select(Booking.id).where(place, *conditions).order_by(*_NEWEST_FIRST).limit(limit + 1)
            for place in _places(scope.narrowed(query.company_id))
        ]
        chosen = select(Booking).order_by(*_NEWEST_FIRST).limit(limit + 1)
        # Of each company the newest, by its own index: together they hold the newest of all.
        parts = [select(one.subquery().c.id) for one in newest]
        chosen = chosen.where(Booking.id.in_(union_all(*parts) if parts[1:] else newest[0]))
        async with self._reading() as session:
            rows = (await session.scalars(chosen)).all()
        more = len(rows) > limit
        rows = rows[:limit]
        return BookingPage(rows, _cursor(rows[-1]) if more else "")

    async def _with_words(self, query: BookingQuery, scope: Scope, limit: int) -> BookingPage:
        terms = terms_of(query.text, self._region)
        if not terms or scope.company_ids == frozenset():
            return BookingPage((), "")
        groups = [
            *terms,
            *([Term((state_word(query.state),))] if query.state else []),
            *([Term(tuple(company_word(one) for one in sorted(scope.company_ids)))] if scope.company_ids else []),
        ]
        async with self._reading() as session:
            found = lookup(await session.connection(), BOOKING_WORDS, BookingText, groups)
            place = found.place.element
            chosen = (
                select(Booking, found.place)
                .select_from(found.source)
                .join(Booking, Booking.id == BookingText.booking_id)
                .where(found.condition, *_conditions(query))
                .order_by(place.desc())
                .limit(limit + 1)
            )
            if query.before:
                chosen = chosen.where(place < place_of(_place(query.before)[0]))
            if query.since is not None:  # a booking may stand a little after its time, never before
                chosen = chosen.where(place >= place_of(query.since))
            rows = (await session.execute(chosen)).all()
        # The words name its company as it was when they were written.
        shown = [booking for booking, _ in rows[:limit] if scope.allows(booking.company_id)]
        if len(rows) <= limit:
            return BookingPage(shown, "")
        booking, at = rows[limit - 1]
        return BookingPage(shown, f"{moment_of(at).isoformat()}~{booking.id}")

    async def counts(self, query: BookingQuery, scope: Scope) -> dict[str, int]:
        """Return how many bookings there are of each state, whatever state, words and page `query` asks for."""
        conditions = _conditions(replace(query, state=""))
        counting = (
            select(Booking.state, func.count())
            .where(scope.narrowed(query.company_id).where(Booking.company_id), *conditions)
            .group_by(Booking.state)
        )
        async with self._reading() as session:
            counted = await session.execute(counting)
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


def _conditions(query: BookingQuery) -> list[ColumnElement[bool]]:
    """All of a query but its words, its company and its place in the list."""
    conditions: list[ColumnElement[bool]] = []
    if query.state:
        conditions.append(Booking.state == query.state)
    if query.since is not None:
        conditions.append(Booking.created_at >= query.since)
    if query.until is not None:
        conditions.append(Booking.created_at < query.until)
    return conditions


def _places(scope: Scope) -> list[ColumnElement[bool]]:
    """The scope as conditions for each of which an index gives the newest bookings in their order."""
    if scope.company_ids is None:
        return [true()]
    if len(scope.company_ids) > MOST_LISTS:
        return [scope.where(Booking.company_id + literal_column("0"))]  # by the index of times alone
    return [Booking.company_id == company_id for company_id in sorted(scope.company_ids)] or [false()]


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
