"""What the outbox holds, for people: looking at rows, counting them, and taking one in hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Final

from agent.tools.outbox.entry import NOTICES, STATES, Entry, Kind, OutboxError
from agent.tools.outbox.table import FIELDS, OutboxTable, entry_of

_NO_BOOKING: Final = "kind IN ('alert', 'webhook', 'mail')"
DONE_WITH: Final = "(state IN ('accepted', 'dropped') OR (state = 'refused' AND (told OR kind = 'alert')))"
"""Nobody needs to look at these."""
TO_FORGET: Final = f"(state IN ('accepted', 'dropped') OR (state = 'refused' AND (told OR {_NO_BOOKING})))"
"""These go when the retention is over: who was to have a notice is not waiting for it any more."""


class OutboxLedger(OutboxTable):
    """The file, as people see it. Every method raises `OutboxError` when the disk or the file fails."""

    def retry(self, key: str, *, now: float) -> Entry:
        """Send a row again, whatever is known of it: now, without a doubt. Raises `OutboxError` when it is in a
        state in which that cannot be.
        """
        with self._transaction():
            entry = self._in_hand(key, "retried")
            self._db.execute(
                "UPDATE rows SET state = 'waiting', doubt = '', due_at = ?, changed_at = ?, held = 0, told = 0, "
                "alerted = '', made_at = CASE WHEN kind = 'booking' THEN made_at ELSE ? END WHERE key = ?",
                (now, now, now, entry.key),
            )
        return self.get(key)

    def drop(self, key: str, reason: str, *, now: float) -> Entry:
        """Give a row up, with a reason; what the caller said is erased. Raises `OutboxError` as `retry` does."""
        with self._transaction():
            entry = self._in_hand(key, "dropped")
            self._db.execute(
                "UPDATE rows SET state = 'dropped', body = '{}', did = '', caller = '', answer = '', reason = ?, "
                "changed_at = ? WHERE key = ?",
                (reason, now, entry.key),
            )
        self._overwrite_log()
        return self.get(key)

    def forget_caller(
        self, is_theirs: Callable[[str], bool], call_uuids: Collection[str], *, also_open: bool, dry_run: bool = False
    ) -> tuple[int, int]:
        """Delete every row that has to do with a caller; return how many, and how many such rows are left.

        They are those whose `caller`, or whose body's `caller_id` or `phone`, is the caller's number, and those of the
        calls. Rows that wait for something are left unless `also_open`; what is being sent in this moment is left in
        any case: ask again. `dry_run` only counts.
        """
        theirs: list[str] = []
        left = 0
        with self._transaction():
            for row in self._db.execute(f"SELECT {FIELDS} FROM rows"):
                entry = entry_of(row)
                numbers = (entry.caller, entry.body.get("caller_id"), entry.body.get("phone"))
                of_number = any(isinstance(number, str) and number and is_theirs(number) for number in numbers)
                if not of_number and (not entry.call_uuid or entry.call_uuid not in call_uuids):
                    continue
                done_with = entry.state in ("accepted", "dropped") or (
                    entry.state == "refused" and (entry.told or entry.kind != "booking")
                )
                if entry.state == "sending" or not (done_with or also_open):
                    left += 1
                else:
                    theirs.append(entry.key)
            if not dry_run:
                self._db.executemany("DELETE FROM rows WHERE key = ?", [(key,) for key in theirs])
        if not dry_run:
            self._overwrite_log()
        return len(theirs), left

    def named(self, beginning: str) -> Entry:
        """Return the row whose key begins so. Raises `OutboxError` unless there is exactly one."""
        found = self._select(
            f"SELECT {FIELDS} FROM rows WHERE substr(key, 1, ?) = ? ORDER BY length(key) LIMIT 2",
            (len(beginning), beginning),
        )
        if found and found[0][0] == beginning:
            return entry_of(found[0])
        if len(found) != 1 or not beginning:
            raise OutboxError(f"{'several bookings begin' if found else 'no booking begins'} with {beginning!r}")
        return entry_of(found[0])

    def entries(self, *, everything: bool, limit: int = 1000, kind: Kind | None = None) -> Sequence[Entry]:
        """Return the rows that are not done with, or all, the oldest first; of one kind where it is named."""
        where = "1" if everything else f"NOT {DONE_WITH}"
        rows = self._select(
            f"SELECT {FIELDS} FROM rows WHERE {where} AND kind = coalesce(?, kind) ORDER BY made_at LIMIT ?",
            (kind, limit),
        )
        return [entry_of(row) for row in rows]

    def counts(self) -> tuple[dict[str, int], float | None]:
        """Return bookings by state, and when the oldest one that waits was made. A refusal that its caller has heard of
        counts as `refused_told`, and alerts that wait as `alerts`.
        """
        counts = Counter(dict.fromkeys((*STATES, "refused_told", "alerts"), 0))
        oldest: float | None = None
        for kind, state, told, number, made_at in self._select(
            "SELECT kind, state, told, count(*), min(made_at) FROM rows WHERE kind IN ('booking', 'alert') "
            "GROUP BY kind, state, told"
        ):
            waits = state in ("waiting", "sending")
            if kind == "alert":
                counts["alerts"] += number if waits else 0
                continue
            counts["refused_told" if state == "refused" and told else state] += number
            if waits:
                oldest = made_at if oldest is None else min(oldest, made_at)
        return dict(counts), oldest

    def notices(self) -> dict[str, dict[str, int]]:
        """Return how many notices there are by kind, and by what became of them: `waiting`, `accepted`, `refused`
        (given up) and `dropped`.
        """
        states = ("waiting", "accepted", "refused", "dropped")
        found: dict[str, dict[str, int]] = {kind: dict.fromkeys(states, 0) for kind in NOTICES}
        for kind, state, number in self._select(
            "SELECT kind, state, count(*) FROM rows WHERE kind IN ('webhook', 'mail') GROUP BY kind, state"
        ):
            found[kind]["waiting" if state == "sending" else state] += number
        return found

    def oldest_notices(self) -> dict[str, float]:
        """Return when the oldest notice that waits was made, by kind; kinds of which none waits are left out."""
        return dict(
            (str(kind), float(made_at))
            for kind, made_at in self._select(
                "SELECT kind, min(made_at) FROM rows WHERE kind IN ('webhook', 'mail') "
                "AND state IN ('waiting', 'sending') GROUP BY kind"
            )
        )

    def _in_hand(self, key: str, what: str) -> Entry:
        """The row of a key, if a person may do something about it."""
        entry = self.get(key)
        if entry.state not in ("waiting", "refused", "uncertain"):
            raise OutboxError(f"{entry.short_key} is {entry.state}: only waiting, refused and uncertain can be {what}")
        return entry
