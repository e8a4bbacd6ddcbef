"""Who has rung which company: remembered behind the answer to whose call it is, many in one transaction."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime
from functools import cache
from typing import Final

from sqlalchemy import Insert
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from agent.office.database import insert_into
from agent.office.models import Caller

log = logging.getLogger(__name__)

WAITING: Final = 10_000
"""Callers that may wait to be remembered; those above are not, and are new again when they ring next."""
AT_ONCE: Final = 200

Visitor = tuple[int, str]
"""A company's ID and a number."""


class Visitors:
    """Writes down who was seen, and when, for the first time and the last."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._waiting: dict[Visitor, tuple[datetime, datetime]] = {}
        self._writing: asyncio.Task[None] | None = None

    def seen(self, company_id: int, number: str, moment: datetime) -> None:
        """Remember a caller soon. Nobody waits for it."""
        visitor = (company_id, number)
        if visitor not in self._waiting and len(self._waiting) >= WAITING:
            return
        first, last = self._waiting.get(visitor, (moment, moment))
        self._waiting[visitor] = (min(first, moment), max(last, moment))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write(), name="remember callers")

    async def settled(self) -> None:
        """Wait until everybody is remembered who was seen so far."""
        if self._writing is not None:
            await asyncio.wait({self._writing})

    async def _write(self) -> None:
        while self._waiting:
            some = {visitor: self._waiting.pop(visitor) for visitor in list(self._waiting)[:AT_ONCE]}
            try:
                await self._put(some)
            except IntegrityError:
                # A company was deleted meanwhile: the others' callers are remembered without its own.
                for visitor, times in some.items():
                    try:
                        await self._put({visitor: times})
                    except SQLAlchemyError:
                        log.info("a caller is not remembered: their company is gone")
            except (SQLAlchemyError, OSError) as error:
                log.warning("%d callers are not remembered: %s", len(some), type(error).__name__)

    async def _put(self, visitors: dict[Visitor, tuple[datetime, datetime]]) -> None:
        rows = [
            {"company_id": company_id, "number": number, "first_seen": first, "last_seen": last}
            for (company_id, number), (first, last) in visitors.items()
        ]
        async with self._engine.begin() as connection:
            await connection.execute(_remembering(connection.dialect.name), rows)


@cache
def _remembering(dialect: str) -> Insert:
    insert = insert_into(dialect, Caller)
    return insert.on_conflict_do_update(
        index_elements=[Caller.company_id, Caller.number], set_={"last_seen": insert.excluded.last_seen}
    )
