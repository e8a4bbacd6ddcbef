"""What a person may enter about a company: checked field by field, and every mistake told in words."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, Self
from urllib.parse import urlsplit
from zoneinfo import available_timezones

import phonenumbers
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo

from agent.call.company import EXTENSION, LANGUAGE, MAX_INSTRUCTIONS
from agent.call.opening_hours import DAYS
from agent.telephony.numbers import is_withheld, normalise_number

LABELS = {
    "name": "Name",
    "numbers": "Numbers",
    "trade_type": "Kind of work",
    "trade_label": "Who comes",
    "callout_fee": "Call-out fee",
    "area": "Area in words",
    "areas": "Postcodes served",
    "crews": "Crews",
    "timezone": "Time zone",
    "opening_hours": "Opening hours",
    "conversation": "Conversation",
    "language": "Language",
    "voice_id": "Voice",
    "greeting": "Greeting",
    "keyterms": "Words to listen for",
    "instructions": "Instructions",
    "transfer_targets": "Transfer targets",
    "recording": "Record calls",
    "recording_notice": "Recording notice",
    "notify_email": "E-mail",
    "webhook_url": "Webhook",
}
"""How the fields are called where people see them."""
MAX_NUMBERS, MAX_TARGETS, MAX_TERMS, MAX_AREAS, MAX_SPANS = 200, 50, 100, 200, 6

_INTERNAL = re.compile(r"[0-9]{2,6}")
"""An extension of the own telephone system, which may be dialled like a number."""
_TIME = re.compile(r"([01]?[0-9]|2[0-4]):([0-5][0-9])")
_CONVERSATION = re.compile(r"[A-Za-z0-9_-]{1,64}")
_EMAIL = re.compile(r"[^@\s,;<>\"]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")
_AREA = re.compile(r"[A-Z]{1,2}([0-9][0-9A-Z]?)?")
_NUMBER_FAULTS = {
    phonenumbers.ValidationResult.TOO_SHORT: "is too short for a telephone number",
    phonenumbers.ValidationResult.TOO_LONG: "is too long for a telephone number",
    phonenumbers.ValidationResult.IS_POSSIBLE_LOCAL_ONLY: "lacks its area code",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake. `field` is one of `LABELS`, `row` the entry of a list (0 for the first), None for all of it."""

    field: str
    text: str
    row: int | None = None
    day: str = ""
    """One of `DAYS`, for opening hours."""

    def __str__(self) -> str:
        label = LABELS.get(self.field, self.field)
        place = f" on {DAYS[self.day]}" if self.day else f", row {self.row + 1}" if self.row is not None else ""
        return f"{label}{place}: {self.text}"


class BadCompanyError(ValueError):
    """What was entered cannot be kept; `problems` says why, field by field."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        """Tell of `problems`, at least one."""
        self.problems = tuple(problems)
        super().__init__("; ".join(map(str, self.problems)))


def _line(limit: int, *, required: bool = False) -> AfterValidator:
    """A text for one line: it stands in the prompt, and is spoken."""

    def check(text: str) -> str:
        text = text.strip()
        if required and not text:
            raise ValueError("must be filled in")
        if len(text) > limit:
            raise ValueError(f"has {len(text)} characters, and may have {limit}")
        if any(ord(char) < 32 for char in text):
            raise ValueError("must be one line")
        return text

    return AfterValidator(check)


def _matching(pattern: re.Pattern[str], fault: str) -> AfterValidator:
    """Nothing, or something of this form."""

    def check(text: str) -> str:
        if text.strip() and not pattern.fullmatch(text.strip()):
            raise ValueError(fault)
        return text.strip()

    return AfterValidator(check)


def _at_most(limit: int) -> AfterValidator:
    def check(rows: Any) -> Any:
        if len(rows) > limit:
            raise ValueError(f"has {len(rows)} entries, and may have {limit}")
        return rows

    return AfterValidator(check)


def _each_once(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(value for value in values if value))


def _number(text: str, info: ValidationInfo) -> str:
    """E.164, or an extension of the own telephone system as it is."""
    text = text.strip()
    region = (info.context or {}).get("region", "GB")
    if not text or _INTERNAL.fullmatch(text):
        return text
    if is_withheld(text):
        raise ValueError("is what stands for a withheld number, and can be no company's")
    shown = f"“{text[:40]}”"
    try:
        fault = phonenumbers.is_possible_number_with_reason(phonenumbers.parse(text, region))
    except phonenumbers.NumberParseException as error:
        if error.error_type == error.INVALID_COUNTRY_CODE:
            raise ValueError(f"{shown} has a country code that does not exist") from None
        raise ValueError(f"{shown} is no telephone number: write it as +442079460123 or as it is dialled") from None
    if fault != phonenumbers.ValidationResult.IS_POSSIBLE:
        raise ValueError(f"{shown} {_NUMBER_FAULTS.get(fault, 'is no telephone number that can be rung')}")
    return normalise_number(text, region)


def _zone(name: str) -> str:
    if name.strip() not in available_timezones():
        raise ValueError("is no time zone: write one such as Europe/London")
    return name.strip()


def _clock(text: str) -> str:
    match = _TIME.fullmatch(text.strip())
    if match is None or (match[1] == "24" and match[2] != "00"):
        raise ValueError("a time must be written as 09:00")
    return f"{int(match[1]):02}:{match[2]}"


def _spans(value: Any) -> Any:
    """The spans of a day in their order, each a pair of times; an end at midnight is 24:00."""
    if not isinstance(value, list | tuple) or len(value) > MAX_SPANS:
        raise ValueError(f"at most {MAX_SPANS} spans of time a day")
    spans = []
    for span in value:
        if not isinstance(span, list | tuple) or len(span) != 2:
            raise ValueError("each span has a time from which and a time until which it is open")
        if not all(str(time).strip() for time in span):
            raise ValueError("the time from which or until which it is open is missing")
        opens, closes = (_clock(str(time)) for time in span)
        closes = "24:00" if closes == "00:00" else closes
        if closes <= opens:
            raise ValueError(
                f"{closes} is not after {opens}: for a night, end at 00:00 and begin the next day at 00:00"
            )
        spans.append((opens, closes))
    spans.sort()
    for (_, closes), (opens, _) in pairwise(spans):
        if opens < closes:
            raise ValueError(f"the span that begins at {opens} begins before the one before it ends, at {closes}")
    return tuple(spans)


def _days(hours: Mapping[str, Any]) -> dict[str, Any]:
    for day in hours:
        if day not in DAYS:
            raise ValueError(f"{day!r} is no day: they are {', '.join(DAYS)}")
    return {day: hours[day] for day in DAYS if hours.get(day)}


def _targets(targets: Mapping[str, str]) -> dict[str, str]:
    checked: dict[str, str] = {}
    for name, extension in targets.items():
        name, extension = " ".join(name.split()), extension.strip()
        if not name and not extension:
            continue
        if not name or not extension:
            raise ValueError(f"“{name or extension}” needs both a name and an extension")
        if len(name) > 200:
            raise ValueError("a name may have 200 characters")
        if not EXTENSION.fullmatch(extension):
            raise ValueError(f"“{extension[:40]}” is no extension of a dialplan: digits, letters and *#+_.- only")
        checked[name] = extension
    return checked


def _instructions(text: str) -> str:
    text = "\n".join(line.rstrip() for line in text.splitlines()).strip()
    if len(text) > MAX_INSTRUCTIONS:
        raise ValueError(f"has {len(text)} characters, and may have {MAX_INSTRUCTIONS}")
    if any(ord(char) < 32 and char not in "\n\t" for char in text):
        raise ValueError("holds control characters")
    return text


def _web_address(url: str) -> str:
    url = url.strip()
    if not url:
        return ""
    try:
        parts = urlsplit(url)
        host = parts.hostname
        _ = parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https") or len(url) > 500 or not re.fullmatch(r"[!-~]+", url):
        raise ValueError("is no web address: write one such as https://example.org/calls")
    return url


def _area(text: str) -> str:
    text = text.strip().upper()
    if text and not _AREA.fullmatch(text):
        raise ValueError(f"“{text[:20]}” is no postcode area or district: write them as SW, M14 or SW1A")
    return text


def _read(check: Callable[[str], str]) -> AfterValidator:
    return AfterValidator(check)


Hours = tuple[tuple[str, str], ...]


class CompanyForm(BaseModel):
    """Everything about a company that people enter; what a company *is* told (its webhook's secret) is made for it.

    Made of plain values by `read`, which tells every mistake. The fields are those of `models.Company`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, _line(200, required=True)]
    numbers: Annotated[
        tuple[Annotated[str, AfterValidator(_number)], ...], AfterValidator(_each_once), _at_most(MAX_NUMBERS)
    ] = ()
    """That people dial: E.164, or an extension of the own telephone system."""
    trade_type: Annotated[str, _line(64, required=True)] = "general"
    trade_label: Annotated[str, _line(64, required=True)] = "tradesperson"
    callout_fee: Annotated[str, _line(64)] = ""
    area: Annotated[str, _line(200)] = ""
    areas: Annotated[tuple[Annotated[str, _read(_area)], ...], AfterValidator(_each_once), _at_most(MAX_AREAS)] = ()
    crews: Annotated[int, Field(ge=0, le=1000)] = 0
    timezone: Annotated[str, _read(_zone)] = "Europe/London"
    opening_hours: Annotated[dict[str, Annotated[Hours, BeforeValidator(_spans)]], AfterValidator(_days)] = {}
    conversation: Annotated[
        str, _matching(_CONVERSATION, "is no name of a conversation: letters, digits, - and _ only")
    ] = ""
    language: Annotated[str, _matching(LANGUAGE, "is no language: write one such as en-IE")] = ""
    voice_id: Annotated[str, _line(128)] = ""
    greeting: Annotated[str, _line(500)] = ""
    keyterms: Annotated[tuple[Annotated[str, _line(200)], ...], AfterValidator(_each_once), _at_most(MAX_TERMS)] = ()
    instructions: Annotated[str, _read(_instructions)] = ""
    transfer_targets: Annotated[dict[str, str], AfterValidator(_targets), _at_most(MAX_TARGETS)] = {}
    recording: bool = True
    recording_notice: Annotated[str, _line(500)] = ""
    notify_email: Annotated[
        str, _line(254), _matching(_EMAIL, "is no e-mail address: write one such as office@example.org")
    ] = ""
    webhook_url: Annotated[str, _read(_web_address)] = ""

    @classmethod
    def read(cls, values: Mapping[str, Any], *, region: str = "GB") -> Self:
        """Make a form of plain values; `region` reads numbers without a country code. Raises `BadCompanyError`."""
        try:
            return cls.model_validate(dict(values), context={"region": region})
        except ValidationError as error:
            raise BadCompanyError(_problems(error)) from None

    def digest(self) -> str:
        """Something that differs when anything does: tells who saves whether another has saved since."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:32]


def _problems(error: ValidationError) -> list[Problem]:
    problems = []
    for each in error.errors(include_url=False):
        field, *rest = each["loc"] or ("",)
        row = rest[0] if rest and isinstance(rest[0], int) else None
        day = str(rest[0]) if rest and rest[0] in DAYS else ""
        cause = each.get("ctx", {}).get("error")
        text = str(cause) if isinstance(cause, ValueError) else _WORDS.get(each["type"], each["msg"])
        problems.append(Problem(str(field), text, row, day))
    return problems


_WORDS = {
    "missing": "must be filled in",
    "extra_forbidden": "is no field of a company",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "greater_than_equal": "must be 0 or more",
    "less_than_equal": "may be 1000 at most",
    "string_type": "must be a text",
    "bool_type": "must be yes or no",
    "bool_parsing": "must be yes or no",
}
