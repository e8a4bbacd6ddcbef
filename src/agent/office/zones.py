"""Time zones of companies, as they are written in the database."""

from __future__ import annotations

from zoneinfo import ZoneInfo, ZoneInfoNotFoundError


def zone_of(name: str, default: str) -> ZoneInfo:
    """The zone of that name, else the default one: a name that no zone has must not keep a call from being kept."""
    try:
        return ZoneInfo(name or default)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return ZoneInfo(default)
