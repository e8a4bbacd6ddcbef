"""The way of a row through the outbox: each method is one transaction, durable when it returns. Blocking: for a thread
of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from agent.tools.outbox import owner
from agent.tools.outbox.alerts import OutboxAlerts
from agent.tools.outbox.entry import NOTICES, Entry, Kind, NewNotice, OutboxError, Pace, State, Target, Verdict
from agent.tools.outbox.ledger import TO_FORGET
from agent.tools.outbox.table import FIELDS, entry_of

MOST_OPEN: Final = 100_000
"""No more bookings than these may be open: far beyond what waits in a week without an API."""
MOST_NOTICES: Final = 20_000
"""No more notices than these may wait: what is not in the outbox yet waits in the office's database."""

_OPEN = "kind = 'booking' AND state IN ('waiting', 'sending', 'refused', 'uncertain')"
_NOTICES_THAT_WAIT = "kind IN ('webhook', 'mail') AND state IN ('waiting', 'sending')"


class OutboxStore(OutboxAlerts):
    """The file `outbox.sqlite3` of a directory. Every method raises `OutboxError` when the disk or the file fails.

    One thread at a time may use an instance. Times are s since the epoch.
    """

    def __init__(self, directory: Path, pace: Pace | None = None) -> None:
        """Open the file, which is made where there is none, mode 0600."""
        self._owner: owner.Owner | None = None
        super().__init__(directory, pace)

    def close(self) -> None:
        """Close the file. Rows that this store is still sending are anybody's then, and in doubt."""
        super().close()
        if self._owner is not None:
            self._owner.close()
            self._owner = None

    # -- in and out ----------------------------------------------------------------------------------------------------

    def keep(self, key: str, body: Mapping[str, str], *, did: str, call_uuid: str, now: float) -> tuple[Entry, bool]:
        """Write a booking down; return its row and whether it is new. One that is there already is left as it is."""
        with self._transaction():
            found = self._find(key)
            if found is not None:
                return found, False
            if self._db.execute(f"SELECT count(*) FROM rows WHERE {_OPEN}").fetchone()[0] >= MOST_OPEN:
                raise OutboxError(f"{self.path} holds {MOST_OPEN} open bookings: see voice-agent outbox")
            self._insert(key, "booking", body, now, did=did, call_uuid=call_uuid)
        return self.get(key), True

    def put(self, notices: Sequence[NewNotice], *, now: float) -> int:
        """Write notices down, all of them or none; return how many are new. A key that is there already is left as it
        is. Raises `OutboxError` when too many wait.
        """
        with self._transaction():
            new = [notice for notice in notices if self._find(notice.key) is None]
            if new and self._db.execute(f"SELECT count(*) FROM rows WHERE {_NOTICES_THAT_WAIT}").fetchone()[0] >= (
                MOST_NOTICES
            ):
                raise OutboxError(f"{self.path} holds {MOST_NOTICES} notices that wait: see voice-agent outbox")
            for notice in new:
                self._insert(
                    notice.key,
                    notice.kind,
                    notice.body,
                    now,
                    call_uuid=notice.call_uuid,
                    place=notice.place,
                    caller=notice.caller,
                )
        return len(new)

    def claim(
        self,
        targets: Mapping[Kind, Target],
        *,
        fresh: int,
        again: int,
        now: float,
        under_way: Iterable[str] = (),
    ) -> list[Entry]:
        """Take rows that are due, to be sent by this store: at most `fresh` that were never tried, and `again` that
        were. What is in doubt and cannot be asked about by its key becomes uncertain instead.

        `under_way` names the place of each row that is being sent: with a target's `each_at_once`, no place is given
        more.
        """
        name = self._own()
        busy = Counter(under_way)
        due: list[Entry] = []
        for first, room in ((True, fresh), (False, again)):
            found = self._due(targets, first, room, now, busy)
            busy.update(entry.place for entry in found)
            due += found
        if not due:
            return []
        claimed = []
        with self._transaction():
            for seen in due:
                entry = self._find(seen.key)
                if entry is None or entry.state != "waiting":
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
        if verdict.what in ("accepted", "refused", "dropped"):
            state = verdict.what
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
            if state in ("accepted", "dropped") and entry.kind in NOTICES:
                # Who was told knows; the key alone is kept, so that nobody is told twice.
                self._db.execute("UPDATE rows SET body = '{}', caller = '' WHERE key = ?", (entry.key,))
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

    def give_up(self, *, now: float) -> list[Entry]:
        """Refuse the notices that have waited for too long, whether anybody tried to send them or not; return them."""
        query = f"SELECT {FIELDS} FROM rows WHERE kind = ? AND state = 'waiting' AND made_at < ?"
        before = now - self.pace.give_up_s
        late = [entry_of(row) for kind in NOTICES for row in self._select(f"{query} LIMIT 100", (kind, before))]
        if late:
            with self._transaction():
                for entry in late:
                    self._db.execute(
                        "UPDATE rows SET state = 'refused', changed_at = ?, reason = 'given up: ' || "
                        "CASE reason WHEN '' THEN 'nobody sent it' ELSE reason END "
                        "WHERE key = ? AND state = 'waiting'",
                        (now, entry.key),
                    )
        return late

    def told(self, key: str) -> None:
        """The call goes on and knows of the refusal: nobody else needs to, if another booking comes of it."""
        with self._transaction():
            self._db.execute("UPDATE rows SET told = 1 WHERE key = ? AND state = 'refused'", (key,))

    def forget(self, *, now: float) -> int:
        """Delete what is done with and older than the retention; return how many rows."""
        self._overwrite_log()  # of the bodies of notices that were sent
        before = now - self.pace.retention_s
        query = f"{TO_FORGET} AND changed_at < ?"
        if not self._select(f"SELECT 1 FROM rows WHERE {query} LIMIT 1", (before,)):
            return 0
        with self._transaction():
            return self._db.execute(f"DELETE FROM rows WHERE {query}", (before,)).rowcount

    def next_due(self, kinds: Collection[Kind]) -> float | None:
        """Return when the next row of these kinds is due; None where none waits."""
        marks = ", ".join("?" * len(kinds))
        query = f"SELECT min(due_at) FROM rows WHERE state = 'waiting' AND kind IN ({marks})"
        due: float | None = self._select(query, tuple(kinds))[0][0]
        return due

    # -- inside --------------------------------------------------------------------------------------------------------

    def _own(self) -> str:
        """The store's name as an owner of rows; only one that sends needs it."""
        if self._owner is None:
            with self._told():
                owner.sweep(self.path)
                self._owner = owner.Owner(self.path)
        return self._owner.name

    def _due(
        self, targets: Mapping[Kind, Target], fresh: bool, room: int, now: float, busy: Mapping[str, int]
    ) -> list[Entry]:
        # A clock that was set back must not leave a row waiting for a day that is far ahead.
        absurd = now + 1.1 * max(self.pace.longest_pause_s, self.pace.longest_wish_s)
        found: list[Entry] = []
        for kind, target in targets.items():
            rows = self._due_of(kind, target.each_at_once, busy, (fresh, now, absurd, max(0, room)))
            taken = Counter(busy)
            for row in rows:
                entry = entry_of(row)
                taken[entry.place] += 1
                if not target.each_at_once or taken[entry.place] <= target.each_at_once:
                    found.append(entry)
        return sorted(found, key=lambda entry: entry.due_at)[: max(0, room)]

    def _due_of(
        self, kind: Kind, each: int, busy: Mapping[str, int], which: tuple[bool, float, float, int]
    ) -> list[tuple[Any, ...]]:
        fresh, now, absurd, room = which
        due = "state = 'waiting' AND (attempts = 0) = ? AND (due_at <= ? OR due_at > ?) AND kind = ?"
        if not each:
            query = f"SELECT {FIELDS} FROM rows WHERE {due} ORDER BY due_at LIMIT ?"
            return self._select(query, (fresh, now, absurd, kind, room))
        # Of each place the first few alone: one with ten thousand rows takes no other's turn.
        places = [place for place, number in busy.items() if number >= each]
        return self._select(
            f"SELECT {FIELDS} FROM rows WHERE key IN (SELECT key FROM (SELECT key, due_at, "
            f"row_number() OVER (PARTITION BY place ORDER BY due_at) AS position FROM rows WHERE {due} "
            f"AND place NOT IN ({', '.join('?' * len(places))})) WHERE position <= ? ORDER BY due_at LIMIT ?)",
            (fresh, now, absurd, kind, *places, each, room),
        )
