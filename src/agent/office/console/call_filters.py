"""What of the past calls somebody wants to see: read from the page's address, and written into the next one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Final, Self
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from agent.office.call_query import CallQuery
from agent.office.console import call_words
from agent.office.models import utc_now

PERIODS: Final[Mapping[str, tuple[str, int]]] = {"today": ("Today", 1), "7d": ("7 days", 7), "30d": ("30 days", 30)}
"""Periods by name: what they are called, and how many days they are, today included."""
LONGEST: Final = {"q": 200, "number": 40, "before": 200}
_FIELDS: Final = ("q", "company", "outcome", "period", "from", "to", "number", "interrupted", "slow", "recorded")
_MOST_MS: Final = 60_000


@dataclass(frozen=True, slots=True)
class Filters:
    """The fields of the form, each empty where nothing is wanted; what cannot be read is in `problems`."""

    values: Mapping[str, str]
    before: str = ""
    problems: tuple[str, ...] = ()
    query: CallQuery = field(default_factory=CallQuery)

    @classmethod
    def of(cls, given: Mapping[str, str], zone: ZoneInfo, *, limit: int, now: datetime | None = None) -> Self:
        """Read the parameters of an address; `zone` says when days begin."""
        values = {name: given.get(name, "").strip()[: LONGEST.get(name, 40)] for name in _FIELDS}
        before, problems = given.get("before", "")[: LONGEST["before"]], []
        if values["from"] or values["to"]:
            values["period"] = "custom"
        elif values["period"] not in PERIODS:
            values["period"] = ""
        if values["outcome"] not in call_words.OUTCOMES:
            values["outcome"] = ""
        company_id = int(values["company"]) if _is_id(values["company"]) else None
        if company_id is None:
            values["company"] = ""
        slow = values["slow"]
        if slow and not (slow.isascii() and slow.isdigit() and 0 < int(slow) <= _MOST_MS):
            problems.append(f"“{slow}” is no number of milliseconds from 1 to {_MOST_MS}.")
            slow = values["slow"] = ""
        since, until = _period(values, zone, now or utc_now(), problems)
        query = CallQuery(
            text=values["q"], since=since, until=until, outcome=values["outcome"], company_id=company_id,
            number=values["number"], interrupted=_whether(values, "interrupted"),
            slower_than_ms=int(slow) if slow else None, with_recording=_whether(values, "recorded"),
            before=before, limit=limit,
        )  # fmt: skip
        return cls(values, before, tuple(problems), query)

    @property
    def active(self) -> bool:
        """Whether anything is left out."""
        return any(self.values.values())

    @property
    def hidden(self) -> int:
        """How many of those fields are set that the page shows only when asked."""
        return sum(bool(self.values[name]) for name in ("number", "interrupted", "slow", "recorded"))

    def address(self, path: str = "/calls", *, before: str = "", **changes: str) -> str:
        """The address of a list with these filters, but for `changes`; the first page of it unless `before` is given.

        A period and days of one's own take each other's place.
        """
        values = dict(self.values)
        if "period" in changes:
            values |= {"from": "", "to": ""}
        values |= changes
        if values["period"] == "custom":
            values["period"] = ""
        wanted = {name: value for name, value in values.items() if value} | ({"before": before} if before else {})
        return f"{path}?{urlencode(wanted)}" if wanted else path

    def chips(self, companies: Mapping[int, str]) -> list[tuple[str, str]]:
        """What is asked for, in words, and the address of the list without that."""
        values, chips = self.values, []
        if values["q"]:
            chips.append((f"“{values['q']}”", self.address(q="")))
        if values["company"]:
            chips.append((companies.get(int(values["company"]), "One company"), self.address(company="")))
        if values["outcome"]:
            chips.append((call_words.outcome(values["outcome"])[0], self.address(outcome="")))
        if values["period"] in PERIODS:
            name, _ = PERIODS[values["period"]]
            chips.append((name if values["period"] == "today" else f"Last {name}", self.address(period="")))
        if values["from"] or values["to"]:
            days = f"{values['from'] or 'the first'} to {values['to'] or 'today'}"
            chips.append((days, self.address(**{"period": "", "from": "", "to": ""})))
        if values["number"]:
            chips.append((f"Number {values['number']}", self.address(number="")))
        for name, yes, no in (
            ("interrupted", "Interrupted", "Not interrupted"),
            ("recorded", "Recorded", "Not recorded"),
        ):
            if values[name]:
                chips.append((yes if values[name] == "yes" else no, self.address(**{name: ""})))
        if values["slow"]:
            chips.append((f"Slower than {values['slow']} ms", self.address(slow="")))
        return chips


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10


def _whether(values: dict[str, str], name: str) -> bool | None:
    if values[name] not in ("yes", "no"):
        values[name] = ""
        return None
    return values[name] == "yes"


def _period(
    values: dict[str, str], zone: ZoneInfo, now: datetime, problems: list[str]
) -> tuple[datetime | None, datetime | None]:
    """From when until when, by whole days of the zone."""
    if values["period"] in PERIODS:
        _, days = PERIODS[values["period"]]
        return _midnight(now.astimezone(zone).date() - timedelta(days=days - 1), zone), None
    first, last = (_day(values, name, problems) for name in ("from", "to"))
    if first is not None and last is not None and last < first:
        problems.append("The period ends before it begins.")
    return (
        _midnight(first, zone) if first is not None else None,
        _midnight(last + timedelta(days=1), zone) if last is not None else None,
    )


def _day(values: dict[str, str], name: str, problems: list[str]) -> date | None:
    text = values[name]
    if not text:
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = None
    if day is None or not 1970 <= day.year <= 9000:
        problems.append(f"“{text}” is no day such as 2026-03-31.")
        values[name] = ""
        if not (values["from"] or values["to"]):
            values["period"] = ""
        return None
    return day


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time.min, zone)
