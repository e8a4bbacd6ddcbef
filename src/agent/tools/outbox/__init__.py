"""Bookings and notices that outlive everything: written to the disk first, then sent until somebody has them.

One row of `DATA_DIR/outbox.sqlite3` is one booking, by its idempotency key. Its states:

```
                  +--- surely not done: refused connection, 429, 503, 401 ... ---+
                  v                                                              |
    keep --> waiting --claim--> sending --+--2xx--------------------------> accepted
                  ^                |      +--4xx, for good----------------> refused ----+
                  |                |      +--lost answer, API without keys-> uncertain -+--drop--> dropped
                  +-- lost answer, | API that honours keys; the process died            |
                  +------------------------------- retry -------------------------------+
```

The order that makes it so:

1. **keep**: the row is committed (`waiting`) before anybody hears that the booking is taken.
2. **claim**: `sending`, with who sends it and where to, is committed before the first byte of the request. A crash from
   here on leaves a row that says so.
3. The request, always with the row's key as `Idempotency-Key`.
4. **settle**: what came of it is committed. A crash before that leaves `sending`; whose owner is gone (`owner.py`)
   becomes `waiting` again, with a **doubt**: that place may have it already.
5. A row in doubt is sent again only to the same place, and only if that honours the key. Otherwise it is `uncertain`,
   is shown, and waits for a person.

So where the key is honoured a booking is made exactly once, and where it is not, at most once, and every lost answer
is seen. Alerts for `ALERT_WEBHOOK_URL` are rows of the same table, written in the transaction that finds the reason,
and sent at least once.

Notices (webhooks and mails, `agent.office.notices`) go the same way, at least once and by one ID, with places of their
own: a slow one holds up no booking. Their bodies are erased once they are delivered, and after three days they are
given up: `refused`. `OutboxStore.forget_caller` deletes what there is of a caller, by the column `caller` too.

| file | |
|---|---|
| `entry.py` | what the parts hand to each other |
| `table.py` | the file, its table, transactions |
| `ledger.py` | the rows as people see them |
| `alerts.py` | bookings that need a person |
| `store.py` | the way of a row |
| `owner.py` | who is sending a row |
| `verdict.py` | what an answer means |
| `outbox.py` | all of it in a running agent |
"""

from agent.tools.outbox.entry import Entry, Kind, NewNotice, OutboxError, Pace, Send, State, Target, Verdict
from agent.tools.outbox.outbox import Outbox
from agent.tools.outbox.store import OutboxStore

__all__ = [
    "Entry", "Kind", "NewNotice", "Outbox", "OutboxError", "OutboxStore", "Pace", "Send", "State", "Target", "Verdict",
]  # fmt: skip
