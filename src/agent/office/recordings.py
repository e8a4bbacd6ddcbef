"""Where the recordings of calls are: in RECORDINGS_DIR, and in a bucket once they have moved there.

Who wants to hear one asks for its path: one that has moved is fetched, and kept for a while.
"""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
from collections.abc import Collection
from datetime import datetime
from pathlib import Path
from typing import Final

from agent.office.archive import CallArchive
from agent.office.erasing import uuid_of
from agent.ops.bucket import Bucket, bucket_of
from agent.ops.private import make_private_directory
from agent.ops.settings import Settings

log = logging.getLogger(__name__)

FETCHED_BYTES: Final = 512 * 1024 * 1024
"""Of recordings that were fetched; beyond it those go that nobody has heard for longest."""


class Recordings:
    """The recordings of one agent's calls. One event loop; what blocks is on threads."""

    def __init__(self, settings: Settings) -> None:
        """Raises `SettingsError` where a bucket is named and the extra `s3` is missing."""
        self.bucket: Bucket | None = bucket_of(settings)
        self.folder = settings.recordings
        self.fetched = settings.data_dir / "fetched"
        """Copies of what is in the bucket."""
        self.folders = (settings.recordings, settings.records, self.fetched)
        """Where files of a call may be."""
        self._one_at_a_time = asyncio.Lock()

    def may_have(self, name: str) -> bool:
        """Whether a call's recording can be asked for: it is here, or there is a bucket that ought to have it."""
        return bool(_plain(name)) and (self.bucket is not None or self._here(name) is not None)

    async def path_of(self, name: str) -> Path | None:
        """The file of a recording, which is fetched if need be; None when there is none. Raises `BucketError`, OSError.

        `name` is what the call's record says: never a file from elsewhere, whatever that is.
        """
        if (here := self._here(name)) is not None or self.bucket is None or not _plain(name):
            return here
        async with self._one_at_a_time:
            return await asyncio.to_thread(self._fetch, self.bucket, _plain(name))

    async def remove(self, uuids: Collection[str], *, dry_run: bool = False) -> int:
        """Take the recordings of these calls out of the bucket; return how many there are. Raises `BucketError`."""
        bucket = self.bucket
        if bucket is None:
            return 0

        def work(bucket: Bucket) -> int:
            names = [each.name for uuid in sorted(uuids) for some in bucket.names(uuid) for each in some]
            bucket.remove([] if dry_run else names)
            return len(names)

        return await asyncio.to_thread(work, bucket)

    async def expire(self, archive: CallArchive, before: datetime) -> int:
        """Take out of the bucket what was stored before, and recordings of calls that are erased; return how many.

        What broke off between database and bucket is mended so. Raises `BucketError`, and what the database does.
        """
        if self.bucket is None:
            return 0
        pages, removed = self.bucket.names(), 0
        while (some := await asyncio.to_thread(next, pages, None)) is not None:
            named = {each: uuid for each in some if (uuid := uuid_of(each.name))}
            erased = await archive.erased_among(sorted(set(named.values())))
            names = [each.name for each, uuid in named.items() if uuid in erased or each.modified < before]
            await asyncio.to_thread(self.bucket.remove, names)
            removed += len(names)
        return removed

    def _here(self, name: str) -> Path | None:
        """The file in RECORDINGS_DIR, if it is there."""
        folder = self.folder.resolve()
        path = (folder / name).resolve()
        return path if path.parent == folder and path.is_file() else None

    def _fetch(self, bucket: Bucket, name: str) -> Path | None:
        path = self.fetched / name
        try:
            os.utime(path)
        except FileNotFoundError:
            pass
        else:
            return path
        make_private_directory(self.fetched)
        descriptor, temporary = tempfile.mkstemp(dir=self.fetched)  # its owner's alone
        try:
            with open(descriptor, "wb") as file:
                if not bucket.fetch(name, file):
                    return None
            os.replace(temporary, path)
        finally:
            Path(temporary).unlink(missing_ok=True)
        self._make_room(path)
        return path

    def _make_room(self, new: Path) -> None:
        files = sorted((path.stat().st_mtime, path.stat().st_size, path) for path in self.fetched.iterdir())
        too_much = sum(size for _, size, _ in files) - FETCHED_BYTES
        for _, size, path in files:
            if too_much > 0 and path != new:
                too_much -= size
                path.unlink(missing_ok=True)


def _plain(name: str) -> str:
    """The name of a file that belongs to a call; empty for anything else."""
    plain = Path(name).name
    return plain if uuid_of(plain) else ""
