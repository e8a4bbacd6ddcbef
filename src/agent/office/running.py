"""The back office while it runs: its database, and what goes on around it. `serve`, `office` and `console` share it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from contextlib import AsyncExitStack
from types import TracebackType

from agent.call.record import CallRecord
from agent.office.housekeeping import Housekeeping
from agent.office.keeper import CallKeeper
from agent.office.recordings import Recordings
from agent.office.store import OfficeStore
from agent.office.uploads import Uploads
from agent.ops.settings import Settings


class BackOffice:
    """`async with BackOffice(settings) as office:` opens the database, brings its schema up to date and keeps house.

    Entering raises `DatabaseError` when the database cannot be used. `erases`: whether what is older than the retention
    period is erased, and recordings move to the bucket; who only looks at an agent's data leaves that to the agent.
    """

    def __init__(self, settings: Settings, *, erases: bool = True) -> None:
        self.on_kept: Callable[[], None] = lambda: None
        """Told of each call that has come into the database."""
        self.store: OfficeStore
        self.keeper: CallKeeper
        self.housekeeping: Housekeeping
        self.recordings = Recordings(settings)
        self.uploads: Uploads | None = None
        """What moves recordings to the bucket; None without one, and for who only looks."""
        self._settings = settings
        self._erases = erases
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> BackOffice:
        settings = self._settings
        async with AsyncExitStack() as stack:
            self.store = await stack.enter_async_context(
                await OfficeStore.open(
                    settings.database, region=settings.default_region, timezone=settings.default_timezone
                )
            )
            archive = self.store.archive
            self.keeper = await stack.enter_async_context(CallKeeper(archive.keep, lambda: self.on_kept()))
            self.housekeeping = Housekeeping(
                archive,
                records=settings.records,
                recordings=settings.recordings,
                retention_days=settings.retention_days if self._erases else 0,
                stored=self.recordings,
            )
            works = [asyncio.create_task(self.housekeeping.run(), name="housekeeping")]
            if self.recordings.bucket is not None and self._erases:
                self.uploads = Uploads(self.recordings.bucket, settings.recordings, settings.records)
                works.append(asyncio.create_task(self.uploads.run(), name="uploads"))
            for work in works:
                stack.push_async_callback(_cancel, work)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def heed(self, settings: Settings) -> None:
        """New settings: what of them a running office can take."""
        if self._erases:
            self.housekeeping.retention_days = settings.retention_days

    def call_over(self, record: CallRecord) -> None:
        """A call has ended, and its document is written."""
        self.keeper.put(record)
        if self.uploads is not None:
            self.uploads.wake()


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
