"""When a company is open: read from what the context API answers, and told to the LLM in words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, time
from types import MappingProxyType
from typing import TypeAlias

DAYS = {
    "mon": "Monday",
    "tue": "Tuesday",
    "wed": "Wednesday",
    "thu": "Thursday",
    "fri": "Friday",
    "sat": "Saturday",
    "sun": "Sunday",
}
SPANS_A_DAY = 8
_CLOCK = re.compile(r"([01]?\d|2[0-4]):([0-5]\d)")

Span: TypeAlias = tuple[int, int]
"""From and to, in minutes of the local day; to may be 1440, midnight."""
OpeningHours: TypeAlias = Mapping[str, tuple[Span, ...]]
"""By day, "mon" to "sun", in the order of the week; a day on which nobody is there has no span."""

UNKNOWN: OpeningHours = MappingProxyType({})


def read_opening_hours(value: object) -> OpeningHours:
    """Read `{"mon": [["09:00", "12:30"], ["13:30", "18:00"]], ...}`; days that are left out are closed.

    Raises `TypeError` or `ValueError` for anything else, and for spans that overlap or end before they begin: one that
    passes midnight is two, of two days.
    """
    if not isinstance(value, dict):
        raise TypeError("opening hours are an object of days")
    if not value:
        return UNKNOWN
    if unknown := value.keys() - DAYS.keys():
        raise ValueError(f"{unknown.pop()!r} is no day; there are {', '.join(DAYS)}")
    return MappingProxyType({day: _spans(day, value.get(day, [])) for day in DAYS})


def _spans(day: str, value: object) -> tuple[Span, ...]:
    if not isinstance(value, list | tuple) or len(value) > SPANS_A_DAY:
        raise TypeError(f"{day}: a list of at most {SPANS_A_DAY} spans is meant, such as [['09:00', '17:30']]")
    spans = []
    for span in value:
        if not isinstance(span, list | tuple) or len(span) != 2:
            raise TypeError(f"{day}: a span is from and to, such as ['09:00', '17:30']")
        spans.append((_minute(day, span[0]), _minute(day, span[1])))
    spans.sort()
    before = 0
    for begin, end in spans:
        if not before <= begin < end:
            raise ValueError(f"{day}: spans end after they begin, and do not overlap")
        before = end
    return tuple(spans)


def _minute(day: str, value: object) -> int:
    match = _CLOCK.fullmatch(value) if isinstance(value, str) else None
    minute = 60 * int(match[1]) + int(match[2]) if match else 1441
    if minute > 1440:
        raise ValueError(f"{day}: a time is written as '09:00', at most '24:00'")
    return minute


def is_open(hours: OpeningHours, moment: datetime) -> bool:
    """Whether somebody is there at a moment of the company's own zone; False where the hours are not known."""
    minute = 60 * moment.hour + moment.minute
    return any(begin <= minute < end for begin, end in hours.get(_day(moment), ()))


def in_words(hours: OpeningHours, moment: datetime) -> str:
    """The hours for the LLM, and whether somebody is there at a moment of the company's own zone; empty when unknown.

    Days in a row with the same hours are told together.
    """
    if not hours:
        return ""
    runs: list[list[str]] = []
    for day in DAYS:
        if runs and hours.get(runs[-1][-1], ()) == hours.get(day, ()):
            runs[-1].append(day)
        else:
            runs.append([day])
    told = "; ".join(
        f"{DAYS[run[0]]}{f' to {DAYS[run[-1]]}' if len(run) > 1 else ''} "
        f"{', '.join(f'{_clock(begin)} to {_clock(end)}' for begin, end in hours.get(run[0], ())) or 'closed'}"
        for run in runs
    )
    now = f"{DAYS[_day(moment)]} {_clock(60 * moment.hour + moment.minute)}"
    return f"{told}. It is {now}: {'open' if is_open(hours, moment) else 'closed'} now."


def _day(moment: datetime) -> str:
    return tuple(DAYS)[moment.weekday()]


def _clock(minute: int) -> str:
    return "midnight" if minute == 1440 else time(minute // 60, minute % 60).strftime("%H:%M")
