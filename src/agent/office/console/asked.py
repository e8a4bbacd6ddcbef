"""What the address of a page asks for: its filters, read leniently, for people change addresses by hand."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from aiohttp import web

MAX_TEXT = 200


def text_of(request: web.Request, name: str) -> str:
    """A text in the address; empty for none."""
    return " ".join(request.query.get(name, "").split())[:MAX_TEXT]


def whole_of(request: web.Request, name: str) -> int | None:
    """A number such as an ID; None for none, and for what is no number."""
    text = request.query.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def day_of(request: web.Request, name: str) -> date | None:
    """A day; None for none, for what is no day, and for what lies beyond every calendar of calls."""
    try:
        day = date.fromisoformat(request.query.get(name, ""))
    except ValueError:
        return None
    return day if 1990 <= day.year <= 2200 else None


def span_of(first: date | None, last: date | None, zone: ZoneInfo) -> tuple[datetime | None, datetime | None]:
    """The moments at which `first` begins and `last` is over in `zone`; None where a day is."""
    since = datetime.combine(first, time(), zone) if first else None
    until = datetime.combine(last + timedelta(days=1), time(), zone) if last else None
    return since, until


def address(path: str, query: Mapping[str, object]) -> str:
    """`path` with what of `query` is set: for links that keep the filters."""
    given = {name: str(value) for name, value in query.items() if value not in (None, "")}
    return f"{path}?{urlencode(given)}" if given else path
