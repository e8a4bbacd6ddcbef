"""Whether the process that was sending a row still lives: exactly, and without a clock.

Each open outbox holds a lock (flock) on a file of its own beside the database. The kernel lets go of it when the
process ends, however it ends, and not before: one that is only stopped or slow keeps its rows, which a lease with an
expiry would give away. The files must lie on a local disk, as the database must.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from pathlib import Path


class Owner:
    """A sender of rows, by a name that is never used again. Raises `OSError` when its file cannot be made."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self.name = secrets.token_hex(8)
        path = _file_of(database, self.name)
        while True:
            self._descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.stat(path), os.fstat(self._descriptor)):
                    return
            # Somebody took the file for a dead owner's before the lock was ours.
            os.close(self._descriptor)

    def close(self) -> None:
        """Let go: what this owner was sending is anybody's."""
        with contextlib.suppress(OSError):
            _file_of(self._database, self.name).unlink(missing_ok=True)
        os.close(self._descriptor)


def is_gone(database: Path, name: str) -> bool:
    """Whether the owner of that name has ended. Takes its file away then. Raises `OSError`."""
    path = _file_of(database, name)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        path.unlink(missing_ok=True)
        return True
    finally:
        os.close(descriptor)


def sweep(database: Path) -> None:
    """Take away the files of owners that have ended. Raises `OSError`."""
    for path in database.parent.glob(f"{database.stem}.*.owner"):
        is_gone(database, path.name.split(".")[-2])


def _file_of(database: Path, name: str) -> Path:
    return database.with_name(f"{database.stem}.{name}.owner")
