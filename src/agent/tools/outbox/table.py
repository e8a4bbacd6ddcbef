"""The outbox's file and its one table: opened, brought up to date, read and written in whole transactions. Blocking.

SQLite in WAL mode with `synchronous=FULL`: what is committed is there after a power cut. What is deleted is overwritten
(`secure_delete`), because rows hold names and addresses. Several processes may have it open at once.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from agent.ops.sqlite_file import make_sqlite_file
from agent.tools.outbox.entry import Entry, Kind, OutboxError, Pace

FILE: Final = "outbox.sqlite3"
VERSION: Final = 2

_SCHEMA = """
CREATE TABLE rows (
    key TEXT PRIMARY KEY NOT NULL,
    kind TEXT NOT NULL,
    body TEXT NOT NULL,
    did TEXT NOT NULL,
    call_uuid TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'sending', 'accepted', 'refused', 'uncertain', 'dropped')),
    made_at REAL NOT NULL,
    due_at REAL NOT NULL,
    changed_at REAL NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    owner TEXT NOT NULL DEFAULT '',
    target TEXT NOT NULL DEFAULT '',
    doubt TEXT NOT NULL DEFAULT '',
    status INTEGER NOT NULL DEFAULT 0,
    reason TEXT NOT NULL DEFAULT '',
    answer TEXT NOT NULL DEFAULT '',
    held INTEGER NOT NULL DEFAULT 0,
    told INTEGER NOT NULL DEFAULT 0,
    alerted TEXT NOT NULL DEFAULT '',
    place TEXT NOT NULL DEFAULT '',
    caller TEXT NOT NULL DEFAULT ''
)
"""
_INDEXES = (
    "CREATE INDEX rows_by_due ON rows (state, due_at)",
    "CREATE INDEX rows_by_state ON rows (kind, state, told, made_at)",
    "CREATE INDEX rows_by_call ON rows (call_uuid)",
    "CREATE INDEX rows_by_caller ON rows (caller) WHERE caller != ''",
)
_SINCE_1 = (
    "ALTER TABLE rows ADD COLUMN place TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE rows ADD COLUMN caller TEXT NOT NULL DEFAULT ''",
    _INDEXES[3],
)
FIELDS: Final = (
    "key, kind, body, did, call_uuid, state, made_at, due_at, changed_at, attempts, target, doubt, status, reason, "
    "answer, held, told, place, caller"
)


class OutboxTable:
    """The file `outbox.sqlite3` of a directory. Every method raises `OutboxError` when the disk or the file fails.

    One thread at a time may use an instance. Times are s since the epoch.
    """

    def __init__(self, directory: Path, pace: Pace | None = None) -> None:
        """Open the file, which is made where there is none, mode 0600."""
        self.path = directory / FILE
        self.pace = pace or Pace()
        with self._told():
            make_sqlite_file(self.path, self.pace.busy_s)
            # Transactions begin where they are written; an executor's one thread is not the one that opens.
            self._db = sqlite3.connect(
                self.path, timeout=self.pace.busy_s, isolation_level=None, check_same_thread=False
            )
        try:
            with self._told():
                self._db.execute("PRAGMA synchronous=FULL")
                self._db.execute("PRAGMA secure_delete=ON")
            self._make_schema()
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def get(self, key: str) -> Entry:
        """Return the row of a key. Raises `OutboxError` when there is none."""
        with self._told():
            entry = self._find(key)
        if entry is None:
            raise OutboxError("there is no such booking in the outbox")
        return entry

    def version(self) -> tuple[int, int]:
        """Return something that differs after every change, of this store or of another process."""
        ((others,),) = self._select("PRAGMA data_version")
        return others, self._db.total_changes

    # -- inside --------------------------------------------------------------------------------------------------------

    def _make_schema(self) -> None:
        with self._transaction():
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version > VERSION:
                raise OutboxError(f"{self.path} was written by a newer version of the agent")
            if version == VERSION:
                return
            for statement in (_SCHEMA, *_INDEXES) if version == 0 else _SINCE_1:
                self._db.execute(statement)
            self._db.execute(f"PRAGMA user_version = {VERSION}")

    def _find(self, key: str) -> Entry | None:
        row = self._db.execute(f"SELECT {FIELDS} FROM rows WHERE key = ?", (key,)).fetchone()
        return entry_of(row) if row is not None else None

    def _insert(
        self,
        key: str,
        kind: Kind,
        body: Mapping[str, Any],
        now: float,
        *,
        did: str = "",
        call_uuid: str = "",
        place: str = "",
        caller: str = "",
    ) -> None:
        self._db.execute(
            "INSERT INTO rows (key, kind, body, did, call_uuid, state, made_at, due_at, changed_at, place, caller) "
            "VALUES (?, ?, ?, ?, ?, 'waiting', ?, ?, ?, ?, ?)",
            (key, kind, json.dumps(body, ensure_ascii=False), did, call_uuid, now, now, now, place, caller),
        )

    def _select(self, query: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> list[tuple[Any, ...]]:
        with self._told():
            return self._db.execute(query, values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Commit at the end of the block, or leave everything as it was. It waits for the write lock at its beginning:
        one that reads first and writes later would fail when another process wrote in between.
        """
        with self._told():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def _overwrite_log(self) -> None:
        """What was erased stands in the write-ahead log, too."""
        self._select("PRAGMA wal_checkpoint(TRUNCATE)")

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Say in words what fails: a full disk, one that may not be written, a file that is none of ours."""
        try:
            yield
        except sqlite3.Error as error:
            raise OutboxError(f"{self.path}: {error}") from error
        except OSError as error:
            raise OutboxError(f"{self.path}: {error.strerror or error}") from error


def entry_of(row: Sequence[Any]) -> Entry:
    """Return what was read as `FIELDS`."""
    values = dict(zip(FIELDS.split(", "), row, strict=True))
    values |= {"body": json.loads(values["body"]), "held": bool(values["held"]), "told": bool(values["told"])}
    return Entry(**values)
