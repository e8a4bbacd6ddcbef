"""What a caller meant by a day, a date or a time of day."""

from __future__ import annotations

import re
from collections.abc import Sequence

_UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
)
_NUMBERS = {word: value for value, word in enumerate([*_UNITS.split(), "eighteen", "nineteen"])}
_TENS = {word: 20 + 10 * n for n, word in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split())}
_FIRST = "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth"
_ORDINALS = {
    word: value
    for value, word in enumerate(
        [*_FIRST.split(), *"fifteenth sixteenth seventeenth eighteenth nineteenth twentieth".split()], 1
    )
} | {"thirtieth": 30}
_MONTHS = "january february march april may june july august september october november december".split()
_DAYS = "monday tuesday wednesday thursday friday saturday sunday today tomorrow".split()
_DAY = re.compile(rf"\b(?:{'|'.join(_DAYS)})\b(?: (?:morning|afternoon|evening))?", re.IGNORECASE)
_HOURS = "|".join([r"\d{1,2}", *_UNITS.split()[1:13]])
_MINUTES = {"fifteen": 15, "thirty": 30, "forty five": 45}
_TIME = re.compile(rf"\b(half past )?({_HOURS})(?:[:. ](\d\d)\b| ({'|'.join(_MINUTES)})\b)?(?!\w)")


def find_day(text: str) -> str | None:
    """A day, "tuesday morning"; none when none is named."""
    match = _DAY.search(text)
    return match[0].lower() if match else None


def find_date(text: str) -> str | None:
    """A whole date as YYYY-MM-DD, in figures or words: "the third of May nineteen eighty five"; else none."""
    if figures := re.search(r"\b(\d{1,2})[./-](\d{1,2})[./-](\d{4})\b", text):
        return f"{figures[3]}-{int(figures[2]):02}-{int(figures[1]):02}"
    words = re.findall(r"[a-z]+|\d+", text.lower())
    month = next((word for word in words if word in _MONTHS), None)
    if month is None:
        return None
    place = words.index(month)
    before, after = _values(words[:place]), _values(words[place + 1 :])
    # "the third of May 1985", or "May the third 1985".
    day, rest = (before[-1], after) if before else (after[0] if after else 0, after[1:])
    year = _year(rest)
    if not 1 <= day <= 31 or year is None:
        return None
    return f"{year}-{_MONTHS.index(month) + 1:02}-{day:02}"


def find_time(text: str, offered: Sequence[str]) -> str | None:
    """The one of the times offered ("09:30") that the caller takes; none when it is none of them."""
    low = text.lower()
    for place, word in enumerate(("first|earlier|earliest|sooner", "second|later|last|other")):
        if place < len(offered) and re.search(rf"\b(?:{word})\b", low):
            return offered[place]
    said = {_minutes(match) for match in _TIME.finditer(low)}
    return next((time for time in offered if (int(time[:2]) % 12, int(time[3:])) in said), None)


def say_time(time: str) -> str:
    """A time as it is said: "half past 9", "10 o'clock"."""
    hour, minute = (int(part) for part in time.split(":"))
    hour = (hour - 1) % 12 + 1
    return {0: f"{hour} o'clock", 30: f"half past {hour}"}.get(minute, f"{hour}.{minute:02}")


def _minutes(match: re.Match[str]) -> tuple[int, int]:
    """A time that was said, as hour (of twelve) and minute."""
    half, hour, figures, words = match.groups()
    minute = 30 if half else int(figures) if figures else _MINUTES.get(words or "", 0)
    return (int(hour) if hour.isdigit() else _NUMBERS[hour]) % 12, minute


def _values(words: Sequence[str]) -> list[int]:
    """The numbers in some words: "twenty third" is 23, "nineteen eighty five" 19 and 85."""
    values: list[int] = []
    tens = False
    for word in words:
        word = re.sub(r"^(\d+)(?:st|nd|rd|th)$", r"\1", word)
        unit = _NUMBERS.get(word, _ORDINALS.get(word))
        if word in _TENS:
            values.append(_TENS[word])
            tens = True
            continue
        if word == "thousand" and values:
            values[-1] *= 1000
        elif word.isdigit():
            values.append(int(word))
        elif unit is not None and tens and unit < 10:
            values[-1] += unit
        elif unit is not None:
            values.append(unit)
        tens = False
    return values


def _year(values: Sequence[int]) -> int | None:
    match list(values):
        case [int(year)] if 1900 <= year <= 2100:
            return year
        case [int(century), int(rest)] if 19 <= century <= 20 and 0 <= rest <= 99:
            return 100 * century + rest
        case [2000, int(rest)] if rest < 100:
            return 2000 + rest
        case _:
            return None
