"""What the back office does each hour: it brings in calls that are missing, and lets go of old ones.

A call's document on the disk is the truth; `agent.office.keeper` brings it into the database at once, unless the
database is away, and then this does.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from agent.office.archive import CallArchive
from agent.office.models import utc_now
from agent.office.recordings import Recordings

log = logging.getLogger(__name__)

LOOK_S = 3600.0
LOOK_AGAIN_S = 60.0
"""After something could not be done, or not all of it."""
OVERWRITE_S = 86_400.0
SWEEP_S = 86_400.0
"""How often the bucket is gone through for what is to go; each thousand recordings are a request."""
OVERWRITE_SOON_S = 60.0
"""After a call was erased by hand: what else is erased until then is overwritten with it."""


class Housekeeping:
    """`run` until cancelled.

    `counters`: `imported` calls, `broken` documents, `expired` calls (erased after the retention period), `swept`
    recordings (out of the bucket), `troubles`.
    """

    def __init__(
        self,
        archive: CallArchive,
        *,
        records: Path,
        recordings: Path,
        retention_days: int,
        stored: Recordings | None = None,
    ) -> None:
        """`retention_days` of 0 keeps for ever; `stored` are the recordings where some are in a bucket."""
        self.counters: Counter[str] = Counter()
        self.retention_days = retention_days
        self._archive = archive
        self._records = records
        self._folders = (recordings, records) if stored is None else stored.folders
        self._stored = stored
        self._swept = float("-inf")
        self._named: set[str] = set()
        self._overwritten = time.monotonic()
        self._to_overwrite = False
        self._erased_by_hand = asyncio.Event()
        archive.on_erased = self._erased_by_hand.set

    async def run(self) -> None:
        """Look after documents and old calls, at once and then each hour; overwrite soon what was erased by hand."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._look_each_hour())
            tasks.create_task(self._overwrite_when_asked())

    async def _look_each_hour(self) -> None:
        while True:
            done = await self.look()
            await asyncio.sleep(LOOK_S if done else LOOK_AGAIN_S)

    async def _overwrite_when_asked(self) -> None:
        while True:
            await self._erased_by_hand.wait()
            await asyncio.sleep(OVERWRITE_SOON_S)
            self._erased_by_hand.clear()
            try:
                await self._archive.overwrite()
            except (SQLAlchemyError, OSError, TimeoutError) as error:
                self._trouble("overwrite what was erased", error)
                self._erased_by_hand.set()

    async def look(self) -> bool:
        """Do the hourly work now: import, expire; whether all of it could be done, and nothing was left over."""
        done = await self._import()
        if self.retention_days:
            done = await self._expire() and done
        return done

    async def _import(self) -> bool:
        try:
            found = await self._archive.import_missing(self._records)
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            self._trouble("look for calls that are missing in the database", error)
            return False
        self.counters["imported"] += found.kept
        if found.kept:
            log.info("%d calls were missing in the database, and are there now", found.kept)
        new = [name for name in found.broken if name not in self._named]
        self._named.update(new)
        self.counters["broken"] += len(new)
        for name in new:
            log.warning("%s is no record of a call: it is left where it is", self._records / name)
        return not found.left

    async def _expire(self) -> bool:
        before = utc_now() - timedelta(days=self.retention_days)
        try:
            expired = await self._archive.expire(before, *self._folders)
            self.counters["expired"] += expired
            self._to_overwrite = self._to_overwrite or bool(expired)
            if self._to_overwrite and time.monotonic() - self._overwritten > OVERWRITE_S:
                await self._archive.overwrite()
                self._overwritten, self._to_overwrite = time.monotonic(), False
            if self._stored is not None and time.monotonic() - self._swept > SWEEP_S:
                self.counters["swept"] += await self._stored.expire(self._archive, before)
                self._swept = time.monotonic()
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            self._trouble("erase what is older than RETENTION_DAYS", error)
            return False
        if expired:
            log.info(
                "%d calls are older than %d days: who called and what was said is erased", expired, self.retention_days
            )
        return True

    def _trouble(self, what: str, error: Exception) -> None:
        self.counters["troubles"] += 1
        log.warning("cannot %s: %s", what, name_of(error))


def name_of(error: Exception) -> str:
    """What failed, without what it was about: a database's errors repeat names and numbers."""
    cause = getattr(error, "orig", None)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error if cause is None else cause).__name__
