"""Moves recordings to the bucket once their call is over. RECORDINGS_DIR is the queue: what is there has not moved yet.

A recording leaves the disk when the storage has all of it, so that neither a storage that is away nor an agent that is
killed loses one.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from pathlib import Path

from agent.office.erasing import files_of_calls
from agent.ops.bucket import Bucket

log = logging.getLogger(__name__)

LOOK_S = 300.0
"""How often the directory is looked through without being told: for what others on this host have left there."""
AGAIN_S = (5.0, 15.0, 60.0, 300.0)
"""After the storage has failed once, twice, …"""
ORPHANED_S = 86_400.0
"""A recording without a document moves when nobody has written to it for so long."""


class Uploads:
    """`run` until cancelled; `wake` when a call is over. `counters`: `uploaded`, `uploaded_bytes`, `failed`."""

    def __init__(self, bucket: Bucket, recordings: Path, records: Path) -> None:
        self.counters: Counter[str] = Counter()
        self.waiting = 0
        """Recordings that were there at the last look, and have not moved yet."""
        self._bucket = bucket
        self._recordings = recordings
        self._records = records
        self._wake = asyncio.Event()
        self._failures = 0

    def wake(self) -> None:
        """A call is over."""
        self._wake.set()

    async def run(self) -> None:
        """Move what there is, then wait for more."""
        while True:
            self._wake.clear()
            if await self.look():
                self._failures = 0
                pause = LOOK_S
            else:
                pause = AGAIN_S[min(self._failures, len(AGAIN_S) - 1)]
                self._failures += 1
                await asyncio.sleep(pause)  # a call that ends does not make the storage come back
                continue
            try:
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def look(self) -> bool:
        """Move all that is ready now; False when the storage or the disk has failed."""
        ready = await asyncio.to_thread(self._ready)
        self.waiting = len(ready)
        for path in ready:
            try:
                self.counters["uploaded_bytes"] += await asyncio.to_thread(self._move, path)
            except FileNotFoundError:
                pass  # erased meanwhile
            except OSError as error:
                self.counters["failed"] += 1
                if not self._failures:
                    log.error("recordings stay in %s for now: %s", self._recordings, error.strerror)
                return False
            else:
                self.counters["uploaded"] += 1
            self.waiting -= 1
        if self._failures:
            log.info("recordings move to %s again", self._bucket.where)
        return True

    def _ready(self) -> list[Path]:
        """Recordings of calls that are over, the oldest first."""
        long_ago = time.time() - ORPHANED_S
        found = []
        for uuid, paths in files_of_calls([self._recordings]).items():
            over = (self._records / f"{uuid}.json").exists()
            for path in paths:
                try:
                    written = path.stat().st_mtime
                except FileNotFoundError:
                    continue
                if over or written < long_ago:
                    found.append((written, over, path))
        return [path for *_, path in sorted(found)]

    def _move(self, path: Path) -> int:
        document = self._records / f"{path.name.partition('.')[0]}.json"
        known, size = document.exists(), path.stat().st_size
        self._bucket.put(path)
        if known and not document.exists():
            # Its caller was forgotten while it was on its way: whoever did that has not found it in the bucket.
            self._bucket.remove([path.name])
        path.unlink(missing_ok=True)
        return size
