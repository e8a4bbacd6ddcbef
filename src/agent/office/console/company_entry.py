"""A company as its page's form has it: rows of inputs, on the way from the database and back."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from multidict import MultiDictProxy

from agent.call.opening_hours import DAYS
from agent.office.company_form import MAX_NUMBERS, MAX_SPANS, MAX_TARGETS, BadCompanyError, CompanyForm, Problem

LINES = (
    "name",
    "trade_type",
    "trade_label",
    "callout_fee",
    "area",
    "crews",
    "timezone",
    "conversation",
    "language",
    "voice_id",
    "greeting",
    "instructions",
    "recording_notice",
    "notify_email",
    "webhook_url",
)
ADMINS = frozenset(
    {
        "name",
        "numbers",
        "conversation",
        "language",
        "voice_id",
        "transfer_targets",
        "recording",
        "notify_email",
        "webhook_url",
    }
)
"""What only an admin changes: what costs money, reaches the dialplan, or sends words elsewhere."""

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """What stands in the inputs, right or wrong."""

    lines: Mapping[str, str]
    numbers: tuple[str, ...] = ()
    areas: str = ""
    keyterms: str = ""
    recording: bool = True
    hours: Mapping[str, Pairs] = field(default_factory=dict)
    targets: Pairs = ()

    @classmethod
    def of(cls, form: CompanyForm) -> Entry:
        """The inputs for a company as it is stored."""
        return cls(
            {name: str(getattr(form, name)) for name in LINES},
            form.numbers,
            ", ".join(form.areas),
            "\n".join(form.keyterms),
            form.recording,
            # An input for a time of day knows no 24:00.
            {
                day: tuple((a, "00:00" if b == "24:00" else b) for a, b in form.opening_hours.get(day, ()))
                for day in DAYS
            },
            tuple(form.transfer_targets.items()),
        )

    @classmethod
    def sent(cls, form: MultiDictProxy[str], before: Entry, locked: frozenset[str]) -> Entry:
        """The inputs as they were sent; of what is `locked` for who sent them, those of `before`."""

        def take(name: str, new: Any, old: Any) -> Any:
            return old if name in locked else new

        return cls(
            {name: take(name, form.get(name, ""), before.lines[name]) for name in LINES},
            take("numbers", tuple(form.getall("numbers", ())[: MAX_NUMBERS + 1]), before.numbers),
            take("areas", form.get("areas", ""), before.areas),
            take("keyterms", form.get("keyterms", ""), before.keyterms),
            take("recording", "recording" in form, before.recording),
            {
                day: take(
                    "opening_hours", _pairs(form, f"{day}_from", f"{day}_until", MAX_SPANS + 1), before.hours[day]
                )
                for day in DAYS
            },
            take("transfer_targets", _pairs(form, "target_name", "target_extension", MAX_TARGETS + 1), before.targets),
        )

    def values(self) -> dict[str, Any]:
        """The fields of a `CompanyForm`, to be read by it: rows that are empty are left out."""
        return {
            **self.lines,
            "crews": self.lines["crews"] or "0",
            "numbers": [number for number in self.numbers if number],
            "areas": [area for area in re.split(r"[,;\s]+", self.areas) if area],
            "keyterms": [term.strip() for term in re.split(r"[\n,;]", self.keyterms) if term.strip()],
            "recording": self.recording,
            "opening_hours": {day: [list(span) for span in spans if any(span)] for day, spans in self.hours.items()},
            "transfer_targets": dict(pair for pair in self.targets if any(pair)),
        }

    def read(self, region: str) -> CompanyForm:
        """The form, checked. Raises `BadCompanyError`."""
        problems: list[Problem] = []
        names = [name for name, _ in self.targets if name]
        if twice := next((name for name in names if names.count(name) > 1), ""):
            problems.append(Problem("transfer_targets", f"“{twice}” is there twice"))
        try:
            form = CompanyForm.read(self.values(), region=region)
        except BadCompanyError as error:
            raise BadCompanyError([*error.problems, *problems]) from None
        if problems:
            raise BadCompanyError(problems)
        return form

    def with_row(self, where: str) -> Entry:
        """The same with another empty row for `numbers`, `targets` or a day."""
        if where == "numbers":
            return self._but(numbers=(*self.numbers, ""))
        if where == "targets":
            return self._but(targets=(*self.targets, ("", "")))
        if where in DAYS:
            return self._but(hours={**self.hours, where: (*self.hours[where], ("", ""))})
        return self

    def with_weekdays_as(self, day: str) -> Entry:
        """The same with the hours of one day on Monday to Friday."""
        if day not in DAYS:
            return self
        weekdays = dict.fromkeys(tuple(DAYS)[:5], self.hours[day])
        return self._but(hours={**self.hours, **weekdays})

    def _but(self, **changed: Any) -> Entry:
        values = {name: getattr(self, name) for name in self.__slots__}
        return Entry(**values | changed)


def problems_by_field(problems: Sequence[Problem]) -> dict[str, str]:
    """What is wrong with each field, and with each row under "field.row" or "field.day"."""
    told: dict[str, str] = {}
    for problem in problems:
        place = f"{problem.field}.{problem.day}" if problem.day else problem.field
        if problem.row is not None and not problem.day and problem.field == "numbers":
            place = f"numbers.{problem.row}"
        told[place] = f"{told[place]}; {problem.text}" if place in told else problem.text
    return told


def _pairs(form: MultiDictProxy[str], first: str, second: str, limit: int) -> Pairs:
    return tuple(zip(form.getall(first, ()), form.getall(second, ()), strict=False))[:limit]
