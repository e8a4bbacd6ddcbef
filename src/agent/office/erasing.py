"""What tells of people, taken out of the database and off the disk. The calls' figures stay.

Of a call that is erased there remain when and how long it was, which company's, what came of it, what it cost, and how
many turns it had; not who called, nor a word, nor a recording. Of a booking, its ID, its company, its state and when it
was made.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import and_, delete, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from agent.office.database import SEARCH_INDEXES, reading
from agent.office.models import Booking, BookingText, Call, Caller, CallEvent, CallText, CallTurn, utc_now

OPEN_BOOKINGS_STAY = timedelta(days=30)
"""A booking that is neither done nor cancelled keeps its name and address at least so long: somebody is to go there."""
AT_ONCE = 200
"""Calls erased in one transaction, so that no call that is kept meanwhile waits for long."""
MERGED_PAGES = 500
"""Pages of the search index that one transaction merges."""
CHECKPOINT_TRIES, CHECKPOINT_PAUSE_S = 20, 0.25

_OF_A_CALL = re.compile(r"([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})\..+")
"""Files of a call, whatever they hold: recording, document, report, picture."""
_ERASED_CALL: dict[str, Any] = {
    **dict.fromkeys(("caller_id", "caller_name", "unique_id", "linked_id", "recording"), ""),
    "vendors": {},
}
_ERASED_BOOKING: dict[str, Any] = dict.fromkeys(
    ("caller_id", "phone", "customer_name", "postcode", "address", "problem_description", "note", "fingerprint"), ""
)


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What `CallArchive.forget` took away, or would take away."""

    calls: int
    callers: int
    bookings: int
    call_uuids: tuple[str, ...]
    """Also of calls that were erased before: their files may be there yet."""
    booking_ids: tuple[str, ...]


async def expire(engine: AsyncEngine, before: datetime) -> int:
    """Erase calls begun before, callers not heard of since, and bookings made before; return how many calls."""
    erased = 0
    while True:
        async with engine.begin() as connection:
            old = select(Call.uuid).where(Call.erased_at.is_(None), Call.started < before).limit(AT_ONCE)
            uuids = list(await connection.scalars(old))
            await _erase_calls(connection, uuids)
        erased += len(uuids)
        if len(uuids) < AT_ONCE:
            break
    async with engine.begin() as connection:
        await connection.execute(delete(Caller).where(Caller.last_seen < before))
        still_open = and_(
            Booking.state.not_in(("done", "cancelled")), Booking.created_at >= utc_now() - OPEN_BOOKINGS_STAY
        )
        old_bookings = (Booking.created_at < before, Booking.customer_name != "", ~still_open)
        old_ids = select(Booking.id).where(*old_bookings)
        await connection.execute(delete(BookingText).where(BookingText.booking_id.in_(old_ids)))
        await connection.execute(update(Booking).where(*old_bookings).values(_ERASED_BOOKING))
    return erased


async def forget(engine: AsyncEngine, number: str, *, dry_run: bool, also: Iterable[str]) -> Forgotten:
    """Erase what tells of the caller with this number, in E.164, in one transaction."""
    async with (reading(engine) if dry_run else engine).begin() as connection:
        of_number = or_(Booking.caller_id == number, Booking.phone == number)
        calls = {*also, *await connection.scalars(select(Call.uuid).where(Call.caller_id == number))}
        calls |= set(await connection.scalars(select(Booking.call_uuid).where(of_number, Booking.call_uuid != "")))
        bookings = set(await connection.scalars(select(Booking.id).where(of_number)))
        for some in _batches(sorted(calls)):
            of_calls = select(Booking.id).where(Booking.call_uuid.in_(some), Booking.customer_name != "")
            bookings |= set(await connection.scalars(of_calls))
        whole = 0
        for some in _batches(sorted(calls)):
            query = select(Call.uuid).where(Call.uuid.in_(some), Call.erased_at.is_(None))
            uuids = list(await connection.scalars(query))
            whole += len(uuids)
            if not dry_run:
                await _erase_calls(connection, uuids)
        callers = len(list(await connection.scalars(select(Caller.id).where(Caller.number == number))))
        if not dry_run:
            await connection.execute(delete(Caller).where(Caller.number == number))
            for some in _batches(sorted(bookings)):
                await connection.execute(delete(BookingText).where(BookingText.booking_id.in_(some)))
                await connection.execute(update(Booking).where(Booking.id.in_(some)).values(_ERASED_BOOKING))
    return Forgotten(whole, callers, len(bookings), tuple(sorted(calls)), tuple(sorted(bookings)))


async def _erase_calls(connection: AsyncConnection, uuids: Sequence[str]) -> None:
    if not uuids:
        return
    for table in (CallTurn, CallEvent, CallText):
        await connection.execute(delete(table).where(table.call_uuid.in_(uuids)))
    now = utc_now()
    erased = _ERASED_CALL | {"erased_at": now}
    await connection.execute(update(Call).where(Call.uuid.in_(uuids)).values(erased))
    # Nobody is told any more of a call of which there is nothing to tell.
    await connection.execute(update(Call).where(Call.uuid.in_(uuids), Call.noticed_at.is_(None)).values(noticed_at=now))


async def erase_call(engine: AsyncEngine, uuid: str) -> None:
    """Erase one call, in one transaction. Its booking stays: it is a matter of its own."""
    async with engine.begin() as connection:
        erased = await connection.scalar(select(Call.uuid).where(Call.uuid == uuid, Call.erased_at.is_(None)))
        await _erase_calls(connection, [uuid] if erased is not None else [])


async def known_calls(engine: AsyncEngine, uuids: Sequence[str]) -> dict[str, bool]:
    """Return those of the calls that are in the database, and whether each was erased."""
    query = select(Call.uuid, Call.erased_at.is_not(None)).where(Call.uuid.in_(uuids))
    async with engine.connect() as connection:
        return {uuid: erased for uuid, erased in await connection.execute(query)}


async def erased_among(engine: AsyncEngine, uuids: Iterable[str]) -> set[str]:
    """Return those of the calls that were erased."""
    erased = set()
    for some in _batches(sorted(uuids)):
        erased |= {uuid for uuid, is_erased in (await known_calls(engine, some)).items() if is_erased}
    return erased


async def remove_files(engine: AsyncEngine, directories: Sequence[Path], before: datetime | None) -> int:
    """Take away files of calls that are erased, and those last written before; return how many. Raises `OSError`.

    A crash between database and disk is mended so, and so are the disks of other hosts with the same database.
    """
    found = await asyncio.to_thread(files_of_calls, directories)
    erased = await erased_among(engine, found)
    limit = before.timestamp() if before is not None else float("-inf")
    return await asyncio.to_thread(_unlink, found, erased, limit)


def uuid_of(name: str) -> str:
    """The UUID of the call that a file of this name belongs to; empty for none."""
    match = _OF_A_CALL.fullmatch(name)
    return match[1] if match is not None else ""


def files_of_calls(directories: Iterable[Path]) -> dict[str, list[Path]]:
    """Return the files whose names begin with a call's UUID, by UUID."""
    found: dict[str, list[Path]] = {}
    for directory in dict.fromkeys(directories):
        with contextlib.suppress(FileNotFoundError), os.scandir(directory) as entries:
            for entry in entries:
                uuid = uuid_of(entry.name)
                if uuid and not entry.is_dir(follow_symlinks=False):
                    found.setdefault(uuid, []).append(directory / entry.name)
    return found


async def remove_files_of(uuid: str, directories: Iterable[Path]) -> None:
    """Take away every file of one call. Raises `OSError`."""

    def remove() -> None:
        for directory in dict.fromkeys(directories):
            for path in directory.glob(f"{uuid}.*"):
                path.unlink(missing_ok=True)

    if uuid_of(f"{uuid}.wav"):
        await asyncio.to_thread(remove)


def _unlink(found: dict[str, list[Path]], erased: Collection[str], limit: float) -> int:
    removed = 0
    for uuid, paths in found.items():
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                if uuid in erased or path.stat().st_mtime < limit:
                    path.unlink()
                    removed += 1
    return removed


async def overwrite(engine: AsyncEngine) -> None:
    """Let go of what is erased and still in the database's files: each database in its way.

    SQLite overwrites what is deleted (`secure_delete`); the search indexes are merged, for they only mark what they
    are to leave out, and the write-ahead log is emptied. PostgreSQL vacuums its tables; its own log (WAL) and backups
    keep what they have until they are recycled.
    """
    if engine.dialect.name == "postgresql":
        async with engine.connect() as connection:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            await connection.execute(text("VACUUM calls, turns, events, call_texts, callers, bookings, booking_texts"))
        return
    for index in SEARCH_INDEXES:
        await _merge_search_index(engine, index)
    await _empty_log(engine)


async def rewrite(engine: AsyncEngine) -> None:
    """Write a SQLite database's file anew, without a trace of what was deleted."""
    await _outside_of_transactions(engine, "VACUUM")
    await _empty_log(engine)


async def _empty_log(engine: AsyncEngine) -> None:
    for _ in range(CHECKPOINT_TRIES):  # somebody who reads just now keeps the log from being emptied
        busy, *_ = await _outside_of_transactions(engine, "PRAGMA wal_checkpoint(TRUNCATE)")
        if not busy:
            return
        await asyncio.sleep(CHECKPOINT_PAUSE_S)


async def _outside_of_transactions(engine: AsyncEngine, statement: str) -> tuple[Any, ...]:
    """Run a statement of SQLite's that may not be in a transaction; return its first row."""
    async with engine.connect() as connection:
        raw = await connection.get_raw_connection()
        assert raw.driver_connection is not None
        async with raw.driver_connection.execute(statement) as cursor:
            return tuple(await cursor.fetchone() or ())


async def _merge_search_index(engine: AsyncEngine, index: str) -> None:
    """Bring the index into one piece, in steps between which others may write."""
    pages = -MERGED_PAGES  # negative once: begin with all that there is
    while True:
        async with engine.begin() as connection:
            before = (await connection.execute(text("SELECT total_changes()"))).scalar_one()
            await connection.execute(
                text(f"INSERT INTO {index} ({index}, rank) VALUES ('merge', :pages)"), {"pages": pages}
            )
            after = (await connection.execute(text("SELECT total_changes()"))).scalar_one()
        if after - before < 2:
            return
        pages = MERGED_PAGES


def _batches(items: Sequence[str]) -> Iterable[Sequence[str]]:
    return (items[begin : begin + AT_ONCE] for begin in range(0, len(items), AT_ONCE))
