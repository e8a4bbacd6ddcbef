"""Whether somebody can come to a postcode, and how soon: from the area that a company serves and what is booked."""

from __future__ import annotations

import heapq
import math
import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Literal, TypeAlias

Urgency: TypeAlias = Literal["emergency", "standard"]
VISIT = timedelta(hours=1)
"""How long a crew is busy with a visit, the way there included."""
LONGEST_WAIT = timedelta(hours=8)
"""A wait beyond this is no answer for somebody who rings today."""
SOONEST_MINUTES, SPAN_MINUTES = 30, 30

_NUMBERS = "no one two three four five six seven eight nine ten".split()


def answer(
    postcode: str, urgency: Urgency, *, areas: Iterable[str], crews: int, booked: Iterable[datetime], now: datetime
) -> dict[str, Any]:
    """Return what `check_availability` answers, ready for JSON.

    `areas` are postcode areas or districts ("SW", "M14"), none of them for everywhere; `crews` is how many visits can
    be made at once, 0 for no limit; `booked` are the moments at which the visits so far were booked. Each crew takes
    the visits in their order, an hour each; an emergency goes before what is booked.
    """
    if not serves(areas, postcode):
        return {"available": False, "reason": "the postcode is outside the area that is served"}
    wait = timedelta(0) if urgency == "emergency" or crews == 0 else _wait(crews, booked, now)
    if wait > LONGEST_WAIT:
        return {"available": False, "reason": "today is full"}
    earliest = SOONEST_MINUTES + 30 * math.ceil(wait / timedelta(minutes=30))
    latest = earliest + SPAN_MINUTES
    return {
        "available": True,
        "from_minutes": earliest,
        "to_minutes": latest,
        "arrival": f"within {_said(earliest)} to {_said(latest)}",
    }


def serves(areas: Iterable[str], postcode: str) -> bool:
    """Whether a postcode ("SW1A 2AA") lies in one of the areas: "SW", "SW1" or "SW1A", but not "S" or "SW11"."""
    outward = postcode.partition(" ")[0].upper()
    of_it = {outward, *(match[0] for pattern in ("[A-Z]+", "[A-Z]+[0-9]+") if (match := re.match(pattern, outward)))}
    wanted = {area.strip().upper() for area in areas}
    return not wanted or not wanted.isdisjoint(of_it)


def _wait(crews: int, booked: Iterable[datetime], now: datetime) -> timedelta:
    """How long until a crew is free, when each takes the next visit as soon as it is."""
    free = [datetime.min.replace(tzinfo=now.tzinfo)] * crews
    for moment in sorted(booked):
        heapq.heapreplace(free, max(moment, free[0]) + VISIT)
    return max(free[0] - now, timedelta(0))


def _said(minutes: int) -> str:
    """Minutes as a person says them; whole half hours."""
    hours, half = divmod(minutes, 60)
    if hours == 0:
        return "thirty minutes"
    if hours == 1:
        return "an hour and a half" if half else "an hour"
    return f"{_NUMBERS[hours]} and a half hours" if half else f"{_NUMBERS[hours]} hours"
