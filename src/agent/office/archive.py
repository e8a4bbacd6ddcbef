"""The calls that are over, in the database: kept, found, expired and forgotten."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncEngine

from agent.call.record import CallRecord
from agent.office.call_query import CallPage, CallQuery, CallRow, Snippet
from agent.office.scope import Scope

__all__ = ["CallArchive", "CallPage", "CallQuery", "CallRow", "Forgotten", "Imported", "Snippet", "StoredCall"]


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


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What `CallArchive.forget` took away, or would take away."""

    calls: int
    callers: int
    bookings: int
    call_uuids: tuple[str, ...]
    booking_ids: tuple[str, ...]


class CallArchive:
    """The calls' tables. Each method is one transaction, or a bounded number of them."""

    def __init__(self, engine: AsyncEngine, *, region: str, timezone: str) -> None:
        self._engine = engine
        self._region = region
        self._timezone = timezone

    async def keep(self, record: CallRecord) -> bool:
        """Keep a call whole, once; return whether it is new. One that is there already is left as it is."""
        raise NotImplementedError

    async def get(self, uuid: str, scope: Scope) -> StoredCall | None:
        """Return a call; None when there is none that may be seen."""
        raise NotImplementedError

    async def find(self, query: CallQuery, scope: Scope) -> CallPage:
        """Return a page of calls, newest first. Raises `ValueError` for a cursor that is none."""
        raise NotImplementedError

    async def import_missing(self, directory: Path, *, at_most: int = 1000) -> Imported:
        """Keep the calls whose documents are in `directory` and that are not in the database, newest first."""
        raise NotImplementedError

    async def expire(self, before: datetime, recordings_dir: Path, records_dir: Path) -> int:
        """Erase words, numbers, names, recordings and documents of calls begun before; return how many calls."""
        raise NotImplementedError

    async def forget(self, number: str, *, dry_run: bool = False, keep: Collection[str] = ()) -> Forgotten:
        """Erase from the database whatever tells of this caller."""
        raise NotImplementedError
