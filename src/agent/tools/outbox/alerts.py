"""Bookings that need a person: which they are, and what is written to those who are to know."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from agent.tools.outbox.entry import Entry, Kind
from agent.tools.outbox.ledger import OutboxLedger
from agent.tools.outbox.table import FIELDS, entry_of

_TO_ALERT: Final = f"""
SELECT {FIELDS}, CASE WHEN state = 'waiting' THEN 'held_up' ELSE state END AS event FROM rows
WHERE kind = 'booking' AND (
    (state = 'refused' AND alerted != 'refused' AND NOT told AND changed_at < :untold_since)
    OR (state = 'refused' AND alerted != 'refused' AND told AND changed_at < :told_since AND NOT EXISTS (
        SELECT 1 FROM rows AS later WHERE later.call_uuid = rows.call_uuid AND later.made_at > rows.made_at
        AND later.kind = 'booking'))
    OR (state = 'uncertain' AND alerted != 'uncertain')
    OR (state = 'waiting' AND alerted = '' AND attempts > 0 AND (held OR made_at < :overdue_since))
) LIMIT 100
"""
MAIL_TO: Final = ("company", "operator")


class OutboxAlerts(OutboxLedger):
    """The file, and what is stuck in it."""

    def raise_alerts(self, kinds: Collection[Kind], *, now: float) -> list[tuple[str, Entry]]:
        """Find what somebody must hear of, once each: return (`refused`, `uncertain` or `held_up`) and the row. What is
        to be sent of it is written in the same transaction: an `alert` and two of `mail`, where `kinds` has them.
        """
        times = {
            "untold_since": now - self.pace.tell_after_s,
            "told_since": now - self.pace.correct_s,
            "overdue_since": now - self.pace.overdue_s,
        }
        if not self._select(_TO_ALERT, times):
            return []
        with self._transaction():
            found = [(str(row[-1]), entry_of(row[:-1])) for row in self._db.execute(_TO_ALERT, times).fetchall()]
            for event, entry in found:
                self._db.execute("UPDATE rows SET alerted = ?, told = 0 WHERE key = ?", (event, entry.key))
                key = f"{event}-{entry.attempts}-{entry.key}"
                if "alert" in kinds:
                    self._once(f"alert-{key}", "alert", alert_body(event, entry, now), entry, now)
                if "mail" in kinds:
                    for to in MAIL_TO:
                        self._once(f"stuck-{key}:{to}", "mail", stuck_body(event, entry, to, now), entry, now)
        return found

    def _once(self, key: str, kind: Kind, body: dict[str, Any], entry: Entry, now: float) -> None:
        if self._find(key) is not None:
            return
        # An alert tells of nobody; of a mail to the company, `forget_caller` must know whom it tells of.
        caller = str(entry.body.get("caller_id") or entry.body.get("phone") or "") if "booking" in body else ""
        self._insert(key, kind, body, now, did=entry.did, call_uuid=entry.call_uuid, place=kind, caller=caller)


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


def stuck_body(event: str, entry: Entry, to: str, now: float) -> dict[str, Any]:
    """What is mailed: to the operator as an alert is, to the company with the booking, so that they can ring back."""
    body = {"about": "stuck", "to": to, "alert": alert_body(event, entry, now)}
    return body if to == "operator" else body | {"booking": dict(entry.body)}
