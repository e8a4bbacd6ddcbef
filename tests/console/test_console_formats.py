"""How the console writes numbers, times and telephone numbers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from agent.office.console import formats

LONDON, NEW_YORK = ZoneInfo("Europe/London"), ZoneInfo("America/New_York")
NOW = datetime(2026, 7, 23, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [(0.0834, "GBP", "£0.083"), (12.5, "usd", "$12.50"), (1234.5, "EUR", "€1,234.50"), (0, "GBP", "£0.00"),
     (-2.5, "GBP", "−£2.50"), (3, "CHF", "3.00 CHF"), (3, "", "3.00"), (None, "GBP", "–")],
)  # fmt: skip
def test_money(amount: float | None, currency: str, text: str) -> None:
    assert formats.money(amount, currency) == text


@pytest.mark.parametrize(
    ("seconds", "text", "long"),
    [(0, "0:00", "0 s"), (7.4, "0:07", "7 s"), (59.6, "1:00", "1 min"), (247, "4:07", "4 min"),
     (3727, "1:02:07", "1 h 2 min"), (7200, "2:00:00", "2 h"), (None, "–", "–"), (-3, "0:00", "0 s")],
)  # fmt: skip
def test_durations(seconds: float | None, text: str, long: str) -> None:
    assert formats.duration(seconds) == text
    assert formats.long_duration(seconds) == long


@pytest.mark.parametrize(
    ("value", "text", "at"),
    [(0, "0 ms", "0:00.0"), (870.4, "870 ms", "0:00.9"), (999.6, "1.00 s", "0:01.0"), (83_400, "83.40 s", "1:23.4"),
     (599_960, "599.96 s", "10:00.0"), (None, "–", "–")],
)  # fmt: skip
def test_milliseconds(value: float | None, text: str, at: str) -> None:
    assert formats.milliseconds(value) == text
    assert formats.place(value) == at


def test_numbers() -> None:
    assert [formats.number(value) for value in (1234567, 0, None)] == ["1,234,567", "0", "–"]
    assert [formats.percent(1, 3), formats.percent(0, 3), formats.percent(1, 0), formats.percent(None, 3)] == [
        "33 %", "0 %", "–", "–",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("e164", "region", "text"),
    [("+442079460123", "GB", "020 7946 0123"), ("+442079460123", "US", "+44 20 7946 0123"),
     ("+14155552671", "GB", "+1 415-555-2671"), ("", "GB", "withheld"), ("1001", "GB", "1001"),
     ("alice", "GB", "alice")],
)  # fmt: skip
def test_phone_numbers(e164: str, region: str, text: str) -> None:
    assert formats.phone(e164, region) == text


def test_local_times() -> None:
    moment = datetime(2026, 7, 23, 11, 4, 9, tzinfo=UTC)
    title = "Thursday 23 July 2026, 12:04:09 (BST)"
    for how, text in (
        ("full", "Thu 23 Jul, 12:04"), ("date", "Thu 23 Jul"), ("time", "12:04"), ("seconds", "12:04:09"),
        ("ago", "55 min ago"),
    ):  # fmt: skip
        shown = str(formats.local_time(moment, LONDON, how, NOW))
        assert shown == f'<time datetime="2026-07-23T11:04:09+00:00" title="{title}">{text}</time>'
    assert ">Thu 23 Jul, 07:04<" in formats.local_time(moment, NEW_YORK, "full", NOW)
    assert ">Wed 23 Jul 2025, 12:04<" in formats.local_time(moment - timedelta(days=365), LONDON, "full", NOW)
    assert formats.local_time(None, LONDON) == "–"


@pytest.mark.parametrize(
    ("before", "text"),
    [(timedelta(seconds=-5), "just now"), (timedelta(seconds=50), "just now"),
     (timedelta(minutes=5, seconds=50), "5 min ago"), (timedelta(hours=3, minutes=50), "3 h ago"),
     (timedelta(hours=25), "yesterday"), (timedelta(days=12), "12 days ago"),
     (timedelta(days=130), "4 months ago"), (timedelta(days=800), "2 years ago")],
)  # fmt: skip
def test_how_long_ago(before: timedelta, text: str) -> None:
    assert formats.ago(NOW - before, NOW) == text
    assert formats.ago(None) == "never"
