"""What companies and operators are written: the words of each mail, as plain text and as HTML. Pure.

Names and words are a caller's: they stand in the text alone, escaped in the HTML, and on one line each.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from typing import Any, Final
from zoneinfo import ZoneInfo

LINE_CHARS: Final = 2000
SUBJECT_CHARS: Final = 150
MISSED: Final = {
    "NOANSWER": "nobody answered",
    "BUSY": "the line was busy",
    "CANCEL": "the caller gave up while it rang",
    "CHANUNAVAIL": "the phone could not be reached",
    "CONGESTION": "the phone could not be reached",
}
"""Asterisk's DIALSTATUS in words."""
STUCK: Final = {
    "booking_refused": "was refused",
    "booking_uncertain": "may or may not have been made",
    "booking_held_up": "is held up",
}


@dataclass(frozen=True, slots=True)
class Letter:
    """A mail's words: what has happened, the facts of it, and where to look."""

    subject: str
    opening: str
    facts: Sequence[tuple[str, str]]
    link: str = ""

    @property
    def text(self) -> str:
        """As plain text."""
        width = max((len(name) for name, _ in self.facts), default=0) + 2
        lines = [self.opening, "", *(f"{name + ':':<{width}}{value}" for name, value in self.facts)]
        return "\n".join([*lines, *(["", self.link] if self.link else [])]) + "\n"

    @property
    def html(self) -> str:
        """As HTML that needs nothing from anywhere."""
        rows = "".join(
            f'<tr><th scope="row" style="text-align:left;vertical-align:top;padding:4px 16px 4px 0;font-weight:600;'
            f'white-space:nowrap">{escape(name)}</th><td style="padding:4px 0">{escape(value)}</td></tr>'
            for name, value in self.facts
        )
        link = f'<p><a href="{escape(self.link)}">Open it in the console</a></p>' if self.link else ""
        return (
            '<!doctype html><html lang="en"><meta charset="utf-8"><body style="font:16px/1.5 system-ui,sans-serif">'
            f'<p>{escape(self.opening)}</p><table style="border-collapse:collapse">{rows}</table>{link}</body></html>\n'
        )


def letter_of(body: Mapping[str, Any], *, company: str, timezone: str, console_url: str) -> Letter:
    """Return the letter of a row's body, by its `about`: `booking`, `missed` or `stuck`. `company` is a name, empty for
    none; `console_url` the console's public address, empty for no links. Raises `ValueError` for another `about`.
    """
    about = body.get("about")
    zone = ZoneInfo(timezone)
    base = console_url.rstrip("/")
    if about == "booking":
        return _booking(body["booking"], company, zone, base)
    if about == "missed":
        return _missed(body["call"], company, zone, base)
    if about == "stuck":
        return _stuck(body, company, base)
    raise ValueError(f"there is no letter about {about!r}")


def one_line(text: object, limit: int = LINE_CHARS) -> str:
    """Return a text without line breaks or control characters, and no longer than that: fit for a header."""
    words = "".join(" " if unicodedata.category(char) in ("Cc", "Zl", "Zp") else char for char in str(text or ""))
    line = " ".join(words.encode("utf-8", "replace").decode().split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def _booking(booking: Mapping[str, Any], company: str, zone: ZoneInfo, base: str) -> Letter:
    booking_id = one_line(booking.get("booking_id"))
    return Letter(
        _subject(f"New booking {booking_id}, {booking.get('postcode', '')}"),
        f"A caller has booked a visit{_with(company)}.",
        _facts({"Booking": booking_id, **_visit(booking), "Booked": _moment(booking.get("created_at"), zone)}),
        f"{base}/bookings/{booking_id}" if base else "",
    )


def _missed(call: Mapping[str, Any], company: str, zone: ZoneInfo, base: str) -> Letter:
    who = call.get("caller_name") or call.get("caller_id") or "a caller who withheld the number"
    status = str(call.get("status", ""))
    return Letter(
        _subject(f"Missed: {who} wanted to talk to a person"),
        f"The agent put a caller through to a person{_with(company)}, and nobody took the call. Please ring back.",
        _facts(
            {
                "Caller": call.get("caller_id") or "withheld",
                "Name": call.get("caller_name"),
                "Dialled": call.get("did"),
                "Call began": _moment(call.get("started"), zone),
                "Put through to": call.get("target"),
                "What happened": MISSED.get(status, status.lower()),
            }
        ),
        f"{base}/calls/{one_line(call.get('uuid'))}" if base else "",
    )


def _stuck(body: Mapping[str, Any], company: str, base: str) -> Letter:
    alert, booking = body["alert"], body.get("booking")
    how = STUCK.get(str(alert.get("event")), "needs a person")
    uuid = one_line(alert.get("call_uuid"))
    link = f"{base}/calls/{uuid}" if base and uuid else ""
    technical = {"Reason": alert.get("reason"), "Attempts": alert.get("attempts"), "Key": str(alert.get("key"))[:12]}
    if booking is not None:
        return Letter(
            _subject(f"Booking not confirmed: {booking.get('customer_name', '')}, {booking.get('postcode', '')}"),
            f"A booking that a caller asked for{_with(company)} {how}: it is not confirmed. Please ring the caller.",
            _facts({**_visit(booking), **technical}),
            link,
        )
    return Letter(
        _subject(f"voice-agent: a booking {how}"),
        f"A booking{_with(company)} {how} and needs a person. See docs/bookings.md.",
        _facts(
            {
                "Company": company,
                "Dialled": alert.get("did_number"),
                "Call": uuid,
                **technical,
                "To look at it": alert.get("command"),
            }
        ),
        link,
    )


def _visit(booking: Mapping[str, Any]) -> dict[str, object]:
    return {
        "Name": booking.get("customer_name"),
        "Phone": booking.get("phone") or booking.get("caller_id") or "withheld",
        "Address": booking.get("address"),
        "Postcode": booking.get("postcode"),
        "Problem": booking.get("problem_description"),
    }


def _facts(facts: Mapping[str, object]) -> list[tuple[str, str]]:
    return [(name, line) for name, value in facts.items() if (line := one_line(value))]


def _subject(text: str) -> str:
    return one_line(text, SUBJECT_CHARS)


def _with(company: str) -> str:
    return f" with {one_line(company)}" if company else ""


def _moment(text: object, zone: ZoneInfo) -> str:
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return ""
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return f"{moment.astimezone(zone):%a %d %b %Y, %H:%M} ({zone.key})"
