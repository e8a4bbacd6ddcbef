"""A SQLite file of our own: its owner's alone, in WAL mode, and there after a power cut."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from pathlib import Path


def make_sqlite_file(path: Path, wait_s: float) -> None:
    """Make the file with mode 0600 where there is none (it holds people's addresses), and put it into WAL mode, which
    it keeps. Made by root in another user's directory, it is that user's: a command of an administrator's that comes
    before the service's first start leaves a database that the service can use.

    SQLite's own waiting does not cover the change of mode: two processes that make it at once find the database locked,
    so it is tried again here for `wait_s`. Raises `OSError` and `sqlite3.Error`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _make(path)
    deadline = time.monotonic() + wait_s
    while True:
        try:
            with contextlib.closing(sqlite3.connect(path, timeout=wait_s)) as connection:
                connection.execute("PRAGMA journal_mode=WAL")
            break
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
    # The name of a new file is not on the disk before its directory is.
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _make(path: Path) -> None:
    with contextlib.suppress(FileExistsError):
        # A name that is new: nothing that lies there already is given away.
        file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            owner = path.parent.stat()
            if os.geteuid() == 0 and owner.st_uid != 0:
                os.fchown(file, owner.st_uid, owner.st_gid)
        finally:
            os.close(file)
        return
    os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))  # tells by its OSError what is not to be used
