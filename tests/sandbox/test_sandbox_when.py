"""Days, dates and times as callers say them."""

from __future__ import annotations

import pytest

from agent.sandbox import when
from agent.sandbox.diary import Offer, read_offer


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("Tuesday, please", "tuesday"),
        ("Could I come tomorrow morning?", "tomorrow morning"),
        ("today if you can", "today"),
        ("as soon as possible", None),
    ],
)
def test_days(text: str, day: str | None) -> None:
    assert when.find_day(text) == day


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("the third of May nineteen eighty five", "1985-05-03"),
        ("It's the twenty third of June, two thousand and one.", "2001-06-23"),
        ("3rd of May 1985", "1985-05-03"),
        ("March the first nineteen ninety", "1990-03-01"),
        ("December 31 2010", "2010-12-31"),
        ("thirtieth of April twenty twelve", "2012-04-30"),
        ("03/05/1985", "1985-05-03"),
        ("the third of May", None),
        ("nineteen eighty five", None),
        ("the fortieth of May 1985", None),
        ("yes", None),
    ],
)
def test_dates(text: str, date: str | None) -> None:
    assert when.find_date(text) == date


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("half past nine, please", "09:30"),
        ("nine thirty is fine", "09:30"),
        ("9:30", "09:30"),
        ("9.30 please", "09:30"),
        ("two o'clock", "14:00"),
        ("I'll take the two", "14:00"),
        ("the first one", "09:30"),
        ("the later one", "14:00"),
        ("half past two", None),
        ("eleven", None),
        ("whatever", None),
    ],
)
def test_times(text: str, time: str | None) -> None:
    assert when.find_time(text, ("09:30", "14:00")) == time


def test_times_are_said_so_that_they_are_understood_again() -> None:
    for hour in range(8, 18):
        for minute in (0, 15, 30, 45):
            time = f"{hour:02}:{minute:02}"
            assert when.find_time(when.say_time(time), (time, "07:20")) == time


def test_an_offer_has_two_times_at_most() -> None:
    offer = read_offer({"date": "2026-11-26", "weekday": "Thursday", "free": ["09:30", "10:00", "10:30"]})
    assert offer is not None
    assert offer.question == "we have half past 9 or 10 o'clock on Thursday, which would suit?"
    assert (offer.taken("ten o'clock"), offer.taken("yes please"), offer.taken("hm")) == ("10:00", "09:30", None)
    assert offer.taken("half past ten") is None, "it was not offered"
    later = read_offer({"free": [], "next": "Monday 09:30", "date": "2026-11-30"})
    assert later == Offer("2026-11-30", "Monday", ("09:30",))
    assert read_offer({"free": [], "next": "not within two weeks"}) is None
