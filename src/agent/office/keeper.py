"""Brings the calls that end into the database, one after the other, beside the calls that run."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Final

from agent.call.record import CallRecord

log = logging.getLogger(__name__)

WAITING: Final = 1000
"""Records that may wait for the database. More are left to their documents, which are imported later."""
KEEP_S: Final = 30.0
"""A database that takes longer for one call is as good as away."""
CLOSE_S: Final = 5.0


class CallKeeper:
    """`async with CallKeeper(archive.keep) as keeper: keeper.put(record)`.

    A call's document on the disk is the truth, written before `put`: whatever the database does, nothing is lost that
    `CallArchive.import_missing` does not bring in.
    """

    def __init__(
        self, keep: Callable[[CallRecord], Awaitable[bool]], on_kept: Callable[[], None] = lambda: None
    ) -> None:
        """`keep` stores one record; `on_kept` is told of each that is there."""
        self.counters: Counter[str] = Counter()
        """`kept`, `known` (it was there already), `failed`, `left` (to the import, since too many wait)."""
        self._keep = keep
        self._on_kept = on_kept
        self._waiting: deque[CallRecord] = deque()
        self._wake = asyncio.Event()
        self._closing = False
        self._failing = False
        self._task: asyncio.Task[None]

    async def __aenter__(self) -> CallKeeper:
        self._task = asyncio.create_task(self._run(), name="keep calls")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give what waits a moment."""
        self._closing = True
        self._wake.set()
        await asyncio.wait({self._task}, timeout=CLOSE_S)
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self.counters["left"] += len(self._waiting)

    def put(self, record: CallRecord) -> None:
        """A call is over, and its document written."""
        if len(self._waiting) >= WAITING:
            self.counters["left"] += 1
            return
        self._waiting.append(record)
        self._wake.set()

    async def _run(self) -> None:
        while True:
            while self._waiting:
                record = self._waiting.popleft()
                try:
                    async with asyncio.timeout(KEEP_S):
                        new = await self._keep(record)
                except Exception as error:
                    self.counters["failed"] += 1
                    # Once for each time that it begins: a database may be away for hours.
                    log.log(
                        logging.DEBUG if self._failing else logging.ERROR,
                        "call %s is not in the database yet, its document is kept and imported later: %s",
                        *(record.uuid, type(error).__name__),
                    )
                    self._failing = True
                else:
                    self._failing = False
                    self.counters["kept" if new else "known"] += 1
                    self._on_kept()
            if self._closing:
                return
            self._wake.clear()
            await self._wake.wait()
