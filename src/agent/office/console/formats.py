"""How the console writes things: money, times, durations, numbers of telephones. Templates have each as a filter."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

import phonenumbers
from markupsafe import Markup, escape

from agent.office.models import utc_now

_SIGNS: Final = {"GBP": "£", "EUR": "€", "USD": "$"}
_NOTHING = "–"


def money(amount: float | None, currency: str = "") -> str:
    """`money(0.0123, "GBP")` is "£0.012"; below one, three places, for a call costs pence."""
    if amount is None:
        return _NOTHING
    places = 2 if abs(amount) >= 1 or not amount else 3
    figure = f"{abs(amount):,.{places}f}"
    minus = "−" if amount < 0 else ""
    sign = _SIGNS.get(currency.upper())
    return f"{minus}{sign}{figure}" if sign else f"{minus}{figure} {currency}".strip()


def duration(seconds: float | None) -> str:
    """`duration(247)` is "4:07"; `duration(3727)` is "1:02:07"."""
    if seconds is None:
        return _NOTHING
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def long_duration(seconds: float | None) -> str:
    """`long_duration(12_600)` is "3 h 30 min": for sums."""
    if seconds is None:
        return _NOTHING
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minutes} min" if minutes else f"{hours:,} h"
    return f"{minutes} min" if minutes else f"{rest} s"


def milliseconds(value: float | None) -> str:
    """`milliseconds(870)` is "870 ms"; `milliseconds(1240)` is "1.24 s"."""
    if value is None:
        return _NOTHING
    return f"{round(value)} ms" if value < 999.5 else f"{value / 1000:.2f} s"


def place(value: float | None) -> str:
    """A place in a call: `place(83_400)` is "1:23.4"."""
    if value is None:
        return _NOTHING
    tenths = max(0, round(value / 100))
    return f"{tenths // 600}:{tenths % 600 // 10:02}.{tenths % 10}"


def number(value: float | None) -> str:
    """`number(12345)` is "12,345"."""
    return _NOTHING if value is None else f"{value:,.0f}"


def percent(part: float | None, whole: float | None) -> str:
    """`percent(1, 3)` is "33 %"; of nothing, a dash."""
    return f"{100 * part / whole:.0f} %" if whole and part is not None else _NOTHING


def phone(e164: str, region: str = "GB") -> str:
    """As people of `region` write it: "020 7946 0123", "+1 415-555-2671"; what is no number stays as it is."""
    if not e164:
        return "withheld"
    try:
        parsed = phonenumbers.parse(e164, region)
    except phonenumbers.NumberParseException:
        return e164
    if not phonenumbers.is_possible_number(parsed):
        return e164
    if not phonenumbers.is_valid_number(parsed) and len(e164) < 10:
        return e164  # shortened to a national form it would look like an extension
    at_home = phonenumbers.country_code_for_region(region) == parsed.country_code
    form = phonenumbers.PhoneNumberFormat.NATIONAL if at_home else phonenumbers.PhoneNumberFormat.INTERNATIONAL
    return phonenumbers.format_number(parsed, form)


def sentence(text: str) -> str:
    """`text` with a capital at its beginning; the rest stays as it is."""
    return text[:1].upper() + text[1:]


def local_time(moment: datetime | None, zone: ZoneInfo, how: str = "full", now: datetime | None = None) -> Markup:
    """A `<time>`: `full` "Mon 23 Nov, 15:04" (with the year if it is another), `date`, `time`, `seconds`, or `ago`.

    The other forms have the whole moment as their title.
    """
    if moment is None:
        return Markup(_NOTHING)
    there, today = moment.astimezone(zone), (now or utc_now()).astimezone(zone)
    year = "" if there.year == today.year else f" {there.year}"
    day = f"{there:%a} {there.day} {there:%b}{year}"
    texts = {
        "full": f"{day}, {there:%H:%M}",
        "date": day,
        "time": f"{there:%H:%M}",
        "seconds": f"{there:%H:%M:%S}",
        "ago": ago(moment, now),
    }
    whole = f"{there:%A} {there.day} {there:%B %Y}, {there:%H:%M:%S} ({there.tzname()})"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        moment.astimezone(UTC).isoformat(timespec="seconds"), whole, escape(texts[how])
    )


def ago(moment: datetime | None, now: datetime | None = None) -> str:
    """`ago(...)` is "just now", "5 min ago", "3 h ago", "yesterday", "12 days ago", "4 months ago"."""
    if moment is None:
        return "never"
    seconds = ((now or utc_now()) - moment).total_seconds()
    if seconds < 60:
        return "just now"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min ago"
    if seconds < 86400:
        return f"{seconds // 3600:.0f} h ago"
    days = int(seconds // 86400)
    if days == 1:
        return "yesterday"
    if days < 60:
        return f"{days} days ago"
    return f"{days // 30} months ago" if days < 730 else f"{days // 365} years ago"
