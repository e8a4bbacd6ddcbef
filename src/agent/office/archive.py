"""The calls that are over, in the database: kept, found, expired and forgotten.

The JSON document of a call on the disk is the truth; what is here is made of it and can be made again, but for what was
erased since.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from uuid import UUID

from sqlalchemy import and_, insert, select
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, async_sessionmaker

from agent.call.record import CallRecord, RecordError, read_record
from agent.office import call_rows, call_search, erasing
from agent.office.call_query import CallPage, CallQuery, CallRow, Snippet
from agent.office.call_rows import CallRows
from agent.office.database import insert_into, reading
from agent.office.erasing import Forgotten
from agent.office.figures import add_counts
from agent.office.models import Booking, Call, CallEvent, CallText, CallTurn, Company, Number
from agent.office.scope import Scope
from agent.office.word_index import place_of
from agent.office.zones import zone_of
from agent.telephony.numbers import normalise_number

__all__ = ["CallArchive", "CallPage", "CallQuery", "CallRow", "Forgotten", "Imported", "Snippet", "StoredCall"]

IMPORTED_AT_ONCE = 1000
ASKED_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class StoredCall:
    """One call, as its record told; what was erased since is empty in it."""

    record: CallRecord
    """`recording` is a file name in the recordings' directory."""
    started: datetime
    company_id: int | None
    erased_at: datetime | None


@dataclass(frozen=True, slots=True)
class Imported:
    """What `CallArchive.import_missing` came to."""

    kept: int
    broken: tuple[str, ...]
    """Names of files that are no records."""
    left: int
    """Files that are missing still: for the next time."""


class CallArchive:
    """The calls' tables. Every method raises `sqlalchemy.exc.SQLAlchemyError` when the database cannot be had."""

    def __init__(self, engine: AsyncEngine, *, region: str, timezone: str) -> None:
        self.on_erased: Callable[[], None] = lambda: None
        """Told when a call was erased by hand: `overwrite` is due, which takes a while."""
        self._engine = engine
        self._reading = reading(engine)
        self._sessions = async_sessionmaker(self._reading, expire_on_commit=False)
        self._region = region
        self._timezone = timezone

    async def keep(self, record: CallRecord) -> bool:
        """Keep a call whole, once; return whether it is new. One that is there already is left as it is.

        Raises `ValueError`, `TypeError` or `AttributeError` for a record whose fields are of other types.
        """
        rows = call_rows.rows_of(record, self._region)
        async with self._engine.begin() as connection:
            return await self._keep(connection, rows)

    async def _keep(self, connection: AsyncConnection, rows: CallRows) -> bool:
        did = rows.call["did"]
        company_id, timezone = await _company_of(connection, did)
        if company_id is not None and not rows.call["company_name"]:  # cut off before anybody knew
            rows.call["company_name"] = await connection.scalar(select(Company.name).where(Company.id == company_id))
        made = await connection.execute(
            insert_into(connection.dialect.name, Call).on_conflict_do_nothing(index_elements=["uuid"]),
            rows.call | {"company_id": company_id},
        )
        if made.rowcount == 0:
            return False
        if rows.turns:
            await connection.execute(insert(CallTurn), rows.turns)
        if rows.events:
            await connection.execute(insert(CallEvent), rows.events)
        words = [*rows.words, *await self._words_of_booking(connection, rows.call["booking_id"])]
        await self._make_findable(connection, rows, words, company_id)
        day = _day(rows.call["started"], timezone, self._timezone)
        await add_counts(connection, [(day, company_id, rows.counts)])
        return True

    async def keep_new(self, records: Sequence[CallRecord]) -> None:
        """Keep calls that are not there yet, all of them or none, much quicker than one by one.

        No two may have begun in one microsecond. Raises `IntegrityError` when one is there.
        """
        some = [call_rows.rows_of(record, self._region) for record in records]
        if not some:
            return
        async with self._engine.begin() as connection:
            companies = {did: await _company_of(connection, did) for did in {rows.call["did"] for rows in some}}
            texts, counts = [], []
            for rows in some:
                started = rows.call["started"]
                company_id, timezone = companies[rows.call["did"]]
                rows.call["company_id"] = company_id
                text = call_search.index_text(rows.words, company_id, rows.call["outcome"], rows.call["latency_ms"])
                place = place_of(started)
                texts.append({"id": place, "call_uuid": rows.call["uuid"], "words": text})
                counts.append((_day(started, timezone, self._timezone), company_id, rows.counts))
            await connection.execute(insert(Call), [rows.call for rows in some])
            for table, lines in (
                (CallTurn, [turn for rows in some for turn in rows.turns]),
                (CallEvent, [event for rows in some for event in rows.events]),
                (CallText, texts),
            ):
                if lines:
                    await connection.execute(insert(table), lines)
            await add_counts(connection, counts)

    @staticmethod
    async def _make_findable(
        connection: AsyncConnection, rows: CallRows, words: Iterable[str], company_id: int | None
    ) -> None:
        """Write what the call is found by at its place in time, or at the next one that is free."""
        text = call_search.index_text(words, company_id, rows.call["outcome"], rows.call["latency_ms"])
        place = place_of(rows.call["started"])
        statement = insert_into(connection.dialect.name, CallText).on_conflict_do_nothing(index_elements=["id"])
        while True:
            made = await connection.execute(statement, {"id": place, "call_uuid": rows.call["uuid"], "words": text})
            if made.rowcount:
                return
            place += 1

    @staticmethod
    async def _words_of_booking(connection: AsyncConnection, booking_id: str) -> list[str]:
        if not booking_id:
            return []
        found = (
            await connection.execute(select(Booking.customer_name, Booking.postcode).where(Booking.id == booking_id))
        ).one_or_none()
        return call_rows.words_of_booking(found.customer_name, found.postcode) if found is not None else []

    async def get(self, uuid: str, scope: Scope) -> StoredCall | None:
        """Return a call; None when there is none that may be seen."""
        async with self._sessions() as session:
            found = await call_rows.read_call(session, and_(Call.uuid == uuid, scope.where(Call.company_id)))
        if found is None:
            return None
        record, call = found
        return StoredCall(record, call.started, call.company_id, call.erased_at)

    async def find(self, query: CallQuery, scope: Scope) -> CallPage:
        """Return a page of calls, newest first. Raises `ValueError` for a cursor that is none."""
        return await call_search.find(self._reading, query, scope, region=self._region)

    async def import_missing(self, directory: Path, *, at_most: int = IMPORTED_AT_ONCE) -> Imported:
        """Keep the calls whose documents are in `directory` and that are not in the database, newest first.

        What is broken is named and left. A call that was erased is in the database, and does not come back.
        """
        paths = await asyncio.to_thread(_documents, directory)
        missing = []
        for begin in range(0, len(paths), ASKED_AT_ONCE):
            some = paths[begin : begin + ASKED_AT_ONCE]
            known = await erasing.known_calls(self._reading, [path.stem for path in some])
            missing += [path for path in some if path.stem not in known]
        kept, broken = 0, []
        for path in missing[:at_most]:
            try:
                record = await asyncio.to_thread(read_record, path)
                if record.uuid != path.stem:
                    raise RecordError(f"{path} is the record of another call")
                kept += await self.keep(record)
            except (OperationalError, InterfaceError):
                raise  # the database is away: no fault of the document's
            except (RecordError, ValueError, TypeError, AttributeError, OverflowError, SQLAlchemyError) as error:
                if isinstance(error, DBAPIError) and error.connection_invalidated:
                    raise
                broken.append(path.name)
        return Imported(kept, tuple(broken), max(0, len(missing) - at_most))

    async def expire(self, before: datetime, *directories: Path) -> int:
        """Erase words, numbers, names, recordings and documents of calls begun before; return how many calls.

        Callers not heard of since, and what bookings of before tell of people, go as well; figures stay. Files in these
        directories of calls that were erased in any way go too, and older ones that the database knows nothing of.
        Raises `OSError` when files cannot be taken away; the database has forgotten then all the same.
        """
        erased = await erasing.expire(self._engine, before)
        await erasing.remove_files(self._reading, directories, before)
        return erased

    async def forget(self, number: str, *, dry_run: bool = False, also: Iterable[str] = ()) -> Forgotten:
        """Erase from the database whatever tells of this caller; figures stay.

        That is: the number among the callers, their calls, bookings made under the number or in those calls, and calls
        in which the number was given for a booking. `also` are further calls, by UUID. `dry_run` only looks. Files are
        the business of `agent.office.forget`. Raises `ValueError` for a number that is none, or a company's own.
        """
        wanted = normalise_number(number, self._region)
        if not wanted:
            raise ValueError("this is no caller's number")
        async with self._reading.connect() as connection:
            if (await _company_of(connection, wanted))[0] is not None:
                raise ValueError("this number is a company's own: every call to it would be forgotten")
        return await erasing.forget(self._engine, wanted, dry_run=dry_run, also=also)

    async def erase(self, uuid: str, scope: Scope, directories: Iterable[Path] = ()) -> bool:
        """Erase one call whole, and its files in these directories; return whether it is there for this user.

        Figures stay, and so does its booking. What the database's files still hold of it, housekeeping has overwritten
        soon. Raises `OSError` when files cannot be taken away; the database has
        forgotten then all the same.
        """
        async with self._sessions() as session:
            there = await session.scalar(select(Call.uuid).where(Call.uuid == uuid, scope.where(Call.company_id)))
        if there is None:
            return False
        await erasing.erase_call(self._engine, uuid)
        self.on_erased()
        await erasing.remove_files_of(uuid, directories)
        return True

    async def erased_among(self, uuids: Iterable[str]) -> set[str]:
        """Return those of the calls that were erased."""
        return await erasing.erased_among(self._reading, uuids)

    async def overwrite(self) -> None:
        """Have the database's files overwritten where something was erased, as far as it can be told to."""
        await erasing.overwrite(self._engine)

    @property
    def file(self) -> Path | None:
        """The file of a SQLite database; None for another one."""
        url = self._engine.url
        return Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None

    async def rewrite(self) -> None:
        """Write a SQLite database's file anew, without what was erased; nobody else can write meanwhile."""
        await erasing.rewrite(self._engine)


async def _company_of(connection: AsyncConnection, did: str) -> tuple[int | None, str]:
    if not did:
        return None, ""
    query = select(Company.id, Company.timezone).join(Number).where(Number.e164 == did)
    found = (await connection.execute(query)).one_or_none()
    return (found.id, found.timezone) if found is not None else (None, "")


def _day(started: datetime, timezone: str, default: str) -> date:
    return started.astimezone(zone_of(timezone, default)).date()


def _documents(directory: Path) -> list[Path]:
    """The documents of calls, the newest first."""
    try:
        with os.scandir(directory) as entries:
            found = [(entry.stat().st_mtime, entry.name) for entry in entries if _is_document(entry.name)]
    except FileNotFoundError:
        return []
    return [directory / name for _, name in sorted(found, reverse=True)]


def _is_document(name: str) -> bool:
    stem, _, kind = name.partition(".")
    try:
        return kind == "json" and str(UUID(stem)) == stem
    except ValueError:
        return False
