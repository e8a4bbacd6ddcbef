"""`voice-agent outbox`: what is kept and not accepted, and what a person does about it. The agent may run beside."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from agent.tools.outbox.entry import OutboxError
from agent.tools.outbox.store import OutboxStore
from agent.tools.outbox.table import FILE

MIN_KEY_CHARS = 6
LISTED = 1000


def list_bookings(data_dir: Path, *, everything: bool, say: Callable[[str], None]) -> None:
    """Say one line a row, without anything that a caller said. Raises `OutboxError`."""
    with closing(_open(data_dir)) as store:
        entries = store.entries(everything=everything, limit=LISTED)
        counts, _ = store.counts()
        notices = store.notices()
    say(
        ", ".join(f"{state.replace('_', ' ')} {number}" for state, number in counts.items() if number) or "nothing kept"
    )
    for kind, states in notices.items():
        if any(states.values()):
            named = {"accepted": "delivered", "refused": "given up"}
            numbers = (f"{named.get(state, state)} {number}" for state, number in states.items() if number)
            say(f"{kind}s: {', '.join(numbers)}")
    if not entries:
        return
    now = time.time()
    say(f"\n{'key':<14}{'state':<11}{'age':>6}{'tries':>7}{'next':>7}  reason")
    for entry in entries:
        due = _span(entry.due_at - now) if entry.state == "waiting" else "-"
        kind = "" if entry.kind == "booking" else f" ({entry.kind})"
        line = f"{entry.short_key:<14}{entry.state:<11}{_span(now - entry.made_at):>6}{entry.attempts:>7}{due:>7}"
        say(f"{line}  {entry.reason or '-'}{kind}")
    if len(entries) == LISTED:
        say(f"... and perhaps more than these {LISTED}")


def show_booking(data_dir: Path, key: str, *, say: Callable[[str], None]) -> None:
    """Say everything about one row, names and addresses included. Raises `OutboxError`."""
    with closing(_open(data_dir)) as store:
        entry = store.named(_long_enough(key))
    facts = {
        "key": entry.key,
        "state": entry.state,
        "age": _span(time.time() - entry.made_at),
        "attempts": entry.attempts,
        "status": entry.status or "-",
        "reason": entry.reason or "-",
        "answer": entry.answer or "-",
        "call": entry.call_uuid or "-",
        "may be made already": "yes" if entry.doubt or entry.state in ("sending", "uncertain") else "no",
    }
    for name, value in facts.items():
        say(f"{name}: {value}")
    say(json.dumps(entry.body, indent=2, ensure_ascii=False))


def retry_booking(data_dir: Path, key: str, *, say: Callable[[str], None]) -> None:
    """Have a booking sent again. Raises `OutboxError`."""
    with closing(_open(data_dir)) as store:
        entry = store.retry(store.named(_long_enough(key)).key, now=time.time())
    say(f"{entry.short_key} is waiting again: a running agent sends it within seconds")


def drop_booking(data_dir: Path, key: str, reason: str, *, say: Callable[[str], None]) -> None:
    """Give a booking up. Raises `OutboxError`."""
    if not reason.strip():
        raise OutboxError("say why it is dropped: voice-agent outbox drop KEY REASON")
    with closing(_open(data_dir)) as store:
        entry = store.drop(store.named(_long_enough(key)).key, reason.strip()[:200], now=time.time())
    say(f"{entry.short_key} is dropped, and what the caller said is erased")


def _open(data_dir: Path) -> OutboxStore:
    if not (data_dir / FILE).is_file():
        raise OutboxError(f"there is no {data_dir / FILE}: nothing was ever kept there, or DATA_DIR is another")
    return OutboxStore(data_dir)


def _long_enough(key: str) -> str:
    if len(key) < MIN_KEY_CHARS:
        raise OutboxError(f"give at least {MIN_KEY_CHARS} characters of the key")
    return key


def _span(seconds: float) -> str:
    """A length of time in few letters: 40s, 12m, 7h, 3d."""
    left = max(0.0, seconds)
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if left >= size:
            return f"{left / size:.0f}{unit}"
    return f"{left:.0f}s"
