"""Records of calls for the tests of what is kept of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from agent.call.record import CallRecord, TurnRecord, TurnTimes
from agent.office.archive import CallPage
from agent.office.scope import Scope
from agent.office.seed import LONDON_PLUMBER, MANCHESTER_ELECTRICIAN

STARTED = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
LONDON, MANCHESTER = LONDON_PLUMBER.numbers[0], MANCHESTER_ELECTRICIAN.numbers[0]
EVERYTHING = Scope.all()


def a_turn(caller: str = "", agent: str = "", latency_ms: int | None = 600, start_ms: int = 0) -> TurnRecord:
    times = TurnTimes() if latency_ms is None else TurnTimes(speech_end=start_ms, first_frame=start_ms + latency_ms)
    return TurnRecord(caller=caller, agent=agent, heard=agent, start_ms=start_ms, times=times)


def a_call(number: int = 1, **fields: Any) -> CallRecord:
    """A call, each number one of its own, a minute after the one before."""
    values: dict[str, Any] = {
        "uuid": f"00000000-0000-4000-8000-{number:012d}",
        "did": LONDON,
        "caller_id": "+447700900123",
        "company": LONDON_PLUMBER.name,
        "started": (STARTED + timedelta(minutes=number)).isoformat(),
        "seconds": 61.5,
        "outcome": "no_booking",
        "turns": [a_turn("My kitchen tap is leaking", "We can be with you within the hour")],
    }
    return CallRecord(**(values | fields))


def uuids(page: CallPage) -> list[int]:
    return [int(row.uuid[-12:]) for row in page.rows]
