"""The outbox's table: each method is one transaction, durable when it returns. Blocking: for a thread of its own.

SQLite in WAL mode with `synchronous=FULL`: what is committed is there after a power cut. What is deleted is overwritten
(`secure_delete`), because rows hold names and addresses. Several processes may have it open at once.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from agent.ops.sqlite_file import make_sqlite_file
from agent.tools.outbox import owner
from agent.tools.outbox.entry import STATES, Entry, Kind, OutboxError, Pace, State, Target, Verdict

FILE: Final = "outbox.sqlite3"
VERSION: Final = 1
MOST_OPEN: Final = 100_000
"""No more than these may be open: far beyond what waits in a week without an API."""

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
    alerted TEXT NOT NULL DEFAULT ''
)
"""
_INDEXES = (
    "CREATE INDEX rows_by_due ON rows (state, due_at)",
    "CREATE INDEX rows_by_state ON rows (kind, state, told, made_at)",
    "CREATE INDEX rows_by_call ON rows (call_uuid)",
)
_FIELDS = (
    "key, kind, body, did, call_uuid, state, made_at, due_at, changed_at, attempts, target, doubt, status, reason, "
    "answer, held, told"
)
_DONE_WITH = "(state IN ('accepted', 'dropped') OR (state = 'refused' AND (told OR kind = 'alert')))"
_OPEN = "kind = 'booking' AND state IN ('waiting', 'sending', 'refused', 'uncertain')"
_TO_ALERT = """
SELECT {fields}, CASE WHEN state = 'waiting' THEN 'held_up' ELSE state END AS event FROM rows
WHERE kind = 'booking' AND (
    (state = 'refused' AND alerted != 'refused' AND NOT told AND changed_at < :untold_since)
    OR (state = 'refused' AND alerted != 'refused' AND told AND changed_at < :told_since AND NOT EXISTS (
        SELECT 1 FROM rows AS later WHERE later.call_uuid = rows.call_uuid AND later.made_at > rows.made_at
        AND later.kind = 'booking'))
    OR (state = 'uncertain' AND alerted != 'uncertain')
    OR (state = 'waiting' AND alerted = '' AND attempts > 0 AND (held OR made_at < :overdue_since))
) LIMIT 100
"""


class OutboxStore:
    """The file `outbox.sqlite3` of a directory. Every method raises `OutboxError` when the disk or the file fails.

    One thread at a time may use an instance. Times are s since the epoch.
    """

    def __init__(self, directory: Path, pace: Pace | None = None) -> None:
        """Open the file, which is made where there is none, mode 0600."""
        self.path = directory / FILE
        self.pace = pace or Pace()
        self._owner: owner.Owner | None = None
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
        """Close the file. Rows that this store is still sending are anybody's then, and in doubt."""
        self._db.close()
        if self._owner is not None:
            self._owner.close()
            self._owner = None

    # -- the way of a row ----------------------------------------------------------------------------------------------

    def keep(self, key: str, body: Mapping[str, str], *, did: str, call_uuid: str, now: float) -> tuple[Entry, bool]:
        """Write a booking down; return its row and whether it is new. One that is there already is left as it is."""
        with self._transaction():
            found = self._find(key)
            if found is not None:
                return found, False
            if self._db.execute(f"SELECT count(*) FROM rows WHERE {_OPEN}").fetchone()[0] >= MOST_OPEN:
                raise OutboxError(f"{self.path} holds {MOST_OPEN} open bookings: see voice-agent outbox")
            self._insert(key, "booking", body, did, call_uuid, now)
        return self.get(key), True

    def claim(self, targets: Mapping[Kind, Target], *, fresh: int, again: int, now: float) -> list[Entry]:
        """Take rows that are due, to be sent by this store: at most `fresh` that were never tried, and `again` that
        were. What is in doubt and cannot be asked about by its key becomes uncertain instead.
        """
        name = self._own()
        due = [*self._due(targets, True, fresh, now), *self._due(targets, False, again, now)]
        if not due:
            return []
        claimed = []
        with self._transaction():
            for seen in due:
                entry = self.get(seen.key)
                if entry.state != "waiting":
                    continue  # another process was quicker
                target = targets[entry.kind]
                if entry.doubt and not (target.honours_keys and entry.doubt == target.name):
                    self._db.execute(
                        "UPDATE rows SET state = 'uncertain', changed_at = ? WHERE key = ?", (now, entry.key)
                    )
                    continue
                self._db.execute(
                    "UPDATE rows SET state = 'sending', owner = ?, target = ?, attempts = attempts + 1, changed_at = ? "
                    "WHERE key = ?",
                    (name, target.name, now, entry.key),
                )
                claimed.append(entry.key)
        return [self.get(key) for key in claimed]

    def settle(self, entry: Entry, verdict: Verdict, target: Target, *, due_at: float, now: float) -> Entry:
        """Write down what an attempt of this store came to; return the row as it stands then."""
        state: State = "waiting"
        doubt = entry.doubt
        if verdict.what in ("accepted", "refused"):
            state = "accepted" if verdict.what == "accepted" else "refused"
            doubt = ""
        elif verdict.what == "lost":
            doubt = target.name
            state = "waiting" if target.honours_keys else "uncertain"
        with self._transaction():
            self._db.execute(
                "UPDATE rows SET state = ?, doubt = ?, owner = '', due_at = ?, changed_at = ?, status = ?, reason = ?, "
                "answer = ?, held = ? WHERE key = ? AND state = 'sending' AND owner = ?",
                (
                    *(state, doubt, due_at, now, verdict.status, verdict.reason, verdict.answer, verdict.held),
                    *(entry.key, self._own()),
                ),
            )
        return self.get(entry.key)

    def recover(self, *, now: float) -> int:
        """Take back what processes were sending that are gone: it is waiting again, in doubt. Return how many."""
        others = self._select("SELECT DISTINCT owner FROM rows WHERE state = 'sending' AND owner != ?", (self._own(),))
        gone = []
        with self._told():
            gone = [name for (name,) in others if owner.is_gone(self.path, name)]
        recovered = 0
        for name in gone:
            with self._transaction():
                recovered += self._db.execute(
                    "UPDATE rows SET state = 'waiting', doubt = target, owner = '', due_at = ?, changed_at = ?, "
                    "reason = 'the agent stopped while it was being sent' WHERE state = 'sending' AND owner = ?",
                    (now, now, name),
                ).rowcount
        return recovered

    def told(self, key: str) -> None:
        """The call goes on and knows of the refusal: nobody else needs to, if another booking comes of it."""
        with self._transaction():
            self._db.execute("UPDATE rows SET told = 1 WHERE key = ? AND state = 'refused'", (key,))

    def raise_alerts(self, *, webhook: bool, now: float) -> list[tuple[str, Entry]]:
        """Find what somebody must hear of, once each: return (`refused`, `uncertain` or `held_up`) and the row. With
        `webhook`, an alert to be sent is written in the same transaction.
        """
        query = _TO_ALERT.format(fields=_FIELDS)
        times = {
            "untold_since": now - self.pace.tell_after_s,
            "told_since": now - self.pace.correct_s,
            "overdue_since": now - self.pace.overdue_s,
        }
        if not self._select(query, times):
            return []
        with self._transaction():
            found = [(str(row[-1]), _entry(row[:-1])) for row in self._db.execute(query, times).fetchall()]
            for event, entry in found:
                self._db.execute("UPDATE rows SET alerted = ?, told = 0 WHERE key = ?", (event, entry.key))
                if webhook:
                    alert_key = f"alert-{event}-{entry.attempts}-{entry.key}"
                    if self._find(alert_key) is None:
                        body = alert_body(event, entry, now)
                        self._insert(alert_key, "alert", body, entry.did, entry.call_uuid, now)
        return found

    def forget(self, *, now: float) -> int:
        """Delete what is done with and older than the retention; return how many rows."""
        before = now - self.pace.retention_s
        query = f"{_DONE_WITH} AND changed_at < ?"
        if not self._select(f"SELECT 1 FROM rows WHERE {query} LIMIT 1", (before,)):
            return 0
        with self._transaction():
            return self._db.execute(f"DELETE FROM rows WHERE {query}", (before,)).rowcount

    # -- for people ----------------------------------------------------------------------------------------------------

    def retry(self, key: str, *, now: float) -> Entry:
        """Send a booking again, whatever is known of it: now, without a doubt. Raises `OutboxError` when it is in a
        state in which that cannot be.
        """
        with self._transaction():
            entry = self._in_hand(key, "retried")
            self._db.execute(
                "UPDATE rows SET state = 'waiting', doubt = '', due_at = ?, changed_at = ?, held = 0, told = 0, "
                "alerted = '' WHERE key = ?",
                (now, now, entry.key),
            )
        return self.get(key)

    def drop(self, key: str, reason: str, *, now: float) -> Entry:
        """Give a booking up, with a reason; what the caller said is erased. Raises `OutboxError` as `retry` does."""
        with self._transaction():
            entry = self._in_hand(key, "dropped")
            self._db.execute(
                "UPDATE rows SET state = 'dropped', body = '{}', did = '', answer = '', reason = ?, changed_at = ? "
                "WHERE key = ?",
                (reason, now, entry.key),
            )
        self._select("PRAGMA wal_checkpoint(TRUNCATE)")  # the log held it, too
        return self.get(key)

    def get(self, key: str) -> Entry:
        """Return the row of a key. Raises `OutboxError` when there is none."""
        with self._told():
            entry = self._find(key)
        if entry is None:
            raise OutboxError("there is no such booking in the outbox")
        return entry

    def named(self, beginning: str) -> Entry:
        """Return the row whose key begins so. Raises `OutboxError` unless there is exactly one."""
        found = self._select(
            f"SELECT {_FIELDS} FROM rows WHERE substr(key, 1, ?) = ? LIMIT 2", (len(beginning), beginning)
        )
        if len(found) != 1 or not beginning:
            raise OutboxError(f"{'several bookings begin' if found else 'no booking begins'} with {beginning!r}")
        return _entry(found[0])

    def entries(self, *, everything: bool, limit: int = 1000) -> Sequence[Entry]:
        """Return the rows that are not done with, or all, the oldest first."""
        where = "1" if everything else f"NOT {_DONE_WITH}"
        rows = self._select(f"SELECT {_FIELDS} FROM rows WHERE {where} ORDER BY made_at LIMIT ?", (limit,))
        return [_entry(row) for row in rows]

    def counts(self) -> tuple[dict[str, int], float | None]:
        """Return bookings by state, and when the oldest one that waits was made. A refusal that its caller has heard of
        counts as `refused_told`, and alerts that wait as `alerts`.
        """
        counts = Counter(dict.fromkeys((*STATES, "refused_told", "alerts"), 0))
        oldest: float | None = None
        for kind, state, told, number, made_at in self._select(
            "SELECT kind, state, told, count(*), min(made_at) FROM rows GROUP BY kind, state, told"
        ):
            waits = state in ("waiting", "sending")
            if kind == "alert":
                counts["alerts"] += number if waits else 0
                continue
            counts["refused_told" if state == "refused" and told else state] += number
            if waits:
                oldest = made_at if oldest is None else min(oldest, made_at)
        return dict(counts), oldest

    def version(self) -> tuple[int, int]:
        """Return something that differs after every change, of this store or of another process."""
        ((others,),) = self._select("PRAGMA data_version")
        return others, self._db.total_changes

    def next_due(self, kinds: Collection[Kind]) -> float | None:
        """Return when the next row of these kinds is due; None where none waits."""
        marks = ", ".join("?" * len(kinds))
        query = f"SELECT min(due_at) FROM rows WHERE state = 'waiting' AND kind IN ({marks})"
        due: float | None = self._select(query, tuple(kinds))[0][0]
        return due

    # -- inside --------------------------------------------------------------------------------------------------------

    def _make_schema(self) -> None:
        with self._transaction():
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version > VERSION:
                raise OutboxError(f"{self.path} was written by a newer version of the agent")
            if version == 0:
                self._db.execute(_SCHEMA)
                for index in _INDEXES:
                    self._db.execute(index)
                self._db.execute(f"PRAGMA user_version = {VERSION}")

    def _in_hand(self, key: str, what: str) -> Entry:
        """The row of a key, if a person may do something about it."""
        entry = self.get(key)
        if entry.state not in ("waiting", "refused", "uncertain"):
            raise OutboxError(f"{entry.short_key} is {entry.state}: only waiting, refused and uncertain can be {what}")
        return entry

    def _own(self) -> str:
        """The store's name as an owner of rows; only one that sends needs it."""
        if self._owner is None:
            with self._told():
                owner.sweep(self.path)
                self._owner = owner.Owner(self.path)
        return self._owner.name

    def _due(self, targets: Mapping[Kind, Target], fresh: bool, room: int, now: float) -> list[Entry]:
        # A clock that was set back must not leave a row waiting for a day that is far ahead.
        absurd = now + 1.1 * max(self.pace.longest_pause_s, self.pace.longest_wish_s)
        kinds = tuple(targets)
        rows = self._select(
            f"SELECT {_FIELDS} FROM rows WHERE state = 'waiting' AND (attempts = 0) = ? "
            f"AND (due_at <= ? OR due_at > ?) AND kind IN ({', '.join('?' * len(kinds))}) ORDER BY due_at LIMIT ?",
            (fresh, now, absurd, *kinds, max(0, room)),
        )
        return [_entry(row) for row in rows]

    def _find(self, key: str) -> Entry | None:
        row = self._db.execute(f"SELECT {_FIELDS} FROM rows WHERE key = ?", (key,)).fetchone()
        return _entry(row) if row is not None else None

    def _insert(self, key: str, kind: Kind, body: Mapping[str, Any], did: str, call_uuid: str, now: float) -> None:
        self._db.execute(
            "INSERT INTO rows (key, kind, body, did, call_uuid, state, made_at, due_at, changed_at) "
            "VALUES (?, ?, ?, ?, ?, 'waiting', ?, ?, ?)",
            (key, kind, json.dumps(body, ensure_ascii=False), did, call_uuid, now, now, now),
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

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Say in words what fails: a full disk, one that may not be written, a file that is none of ours."""
        try:
            yield
        except sqlite3.Error as error:
            raise OutboxError(f"{self.path}: {error}") from error
        except OSError as error:
            raise OutboxError(f"{self.path}: {error.strerror or error}") from error


def alert_body(event: str, entry: Entry, now: float) -> dict[str, Any]:
    """What is posted to `ALERT_WEBHOOK_URL`: nothing of what the caller said, and no number but the company's."""
    return {
        "event": f"booking_{event}",
        "key": entry.key,
        "did_number": entry.did,
        "call_uuid": entry.call_uuid,
        "reason": entry.reason,
        "attempts": entry.attempts,
        "age_s": round(max(0.0, now - entry.made_at)),
        "command": f"voice-agent outbox --show {entry.short_key}",
    }


def _entry(row: Sequence[Any]) -> Entry:
    values = dict(zip(_FIELDS.split(", "), row, strict=True))
    values |= {"body": json.loads(values["body"]), "held": bool(values["held"]), "told": bool(values["told"])}
    return Entry(**values)
