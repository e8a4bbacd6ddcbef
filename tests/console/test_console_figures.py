"""Numbers that matter: what is told of a span of days, beside which, of which companies; and each plot's own table."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from agent.call.record import CallRecord, Mark, TurnRecord, TurnTimes
from agent.office.console.figures import MOST_BARS, plots, stats, together
from agent.office.figures import DayNumbers

if TYPE_CHECKING:
    from tests.console.conftest import Office

NONE = DayNumbers(0, {}, 0.0, 0, 0, {}, {}, {})


def day(calls: int, **changed: object) -> DayNumbers:
    values: dict[str, object] = {
        "calls": calls,
        "outcomes": {"booked": calls // 2, "failed": calls // 10},
        "seconds": 60.0 * calls,
        "turns": 5 * calls,
        "barge_ins": calls,
        "errors": {"llm": 1},
        "costs": {"GBP": 0.04 * calls},
        "latencies": {45: calls},
    }
    return DayNumbers(**values | changed)  # type: ignore[arg-type]


async def keep(office: Office, did: str, started: datetime, outcome: str = "booked", wait_ms: int = 500) -> None:
    turn = TurnRecord("hello", 0, times=TurnTimes(speech_end=1000, first_frame=1000 + wait_ms))
    await office.store.archive.keep(
        CallRecord(
            uuid=str(uuid4()),
            did=did,
            started=started.isoformat(),
            seconds=90.0,
            outcome=outcome,
            turns=[turn],
            marks=[Mark(1, "barge_in")],
            costs={"llm": 0.05},
            currency="GBP",
            vendor_errors={"tts": 2},
        )
    )


def figures(page: str) -> dict[str, str]:
    found = re.findall(r'class="stat-name">([^<]+)</p>\s*<p class="stat-figure">([^<]+)</p>', page)
    return dict(found)


ACME, BRIGHT = "020 7946 0123", "0161 496 0456"


async def test_a_span_of_days_beside_the_one_before(office: Office) -> None:
    now = datetime.now(UTC)
    for _ in range(3):
        await keep(office, ACME, now)
    await keep(office, ACME, now, "failed", 2000)
    for _ in range(2):
        await keep(office, ACME, now - timedelta(days=8))
    page = await (await office.browser("admin")).page("/figures?days=7")
    told = figures(page)
    assert told["Calls"] == "4"
    assert told["Answered"] == "75 %"
    assert told["Booked"] == "100 %"
    assert told["Talking"] == "6 min"
    assert told["Interruptions"] == "4"
    assert told["Cost"] == "£0.200"
    assert told["Cost a call"] == "£0.050"
    assert told["Errors"] == "8"
    assert 450 <= int(told["Wait"].removesuffix(" ms")) <= 550
    changes = re.findall(r'stat-change ([a-z]*)">([^<]+)<', page)
    assert ("", "+100 %") in changes, "twice the calls of the days before"
    assert ("bad", "−25 %") in changes, "fewer of them answered"
    assert page.count('<svg class="plot') == 5
    assert page.count("As a table") == 5
    assert "style=" not in page


async def test_each_sees_the_numbers_of_their_companies(office: Office) -> None:
    now = datetime.now(UTC)
    await keep(office, ACME, now)
    for _ in range(4):
        await keep(office, BRIGHT, now)
    await keep(office, "1", now)
    admin, viewer = await office.browser("admin"), await office.browser("viewer")
    assert figures(await admin.page("/figures"))["Calls"] == "6"
    assert figures(await admin.page(f"/figures?company={office.bright}"))["Calls"] == "4"
    assert figures(await viewer.page("/figures"))["Calls"] == "1"
    page = await viewer.page(f"/figures?company={office.bright}")
    assert figures(page) == {}
    assert "No calls in these days" in page
    assert "Bright" not in page


async def test_nothing_to_count_yet(office: Office) -> None:
    page = await (await office.browser("admin")).page("/figures")
    assert "Nothing to count yet" in page
    assert '<svg class="plot' not in page


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("from=2026-03-01&to=2026-03-31", "1 March to 31 March 2026, beside the 31 days before"),
        ("from=2026-03-31&to=2026-03-01", "1 March to 1 March 2026"),
        ("from=2020-01-01&to=2026-03-31", "beside the 400 days before"),
        ("days=12&from=never", "beside the 30 days before"),
        ("days=90", "beside the 90 days before"),
    ],
)
async def test_the_days_that_are_asked_for(office: Office, query: str, told: str) -> None:
    assert told in await (await office.browser("admin")).page(f"/figures?{query}")


def test_no_change_is_told_of_nothing_and_of_another_currency() -> None:
    told = {stat.name: stat for stat in stats(day(10), NONE)}
    assert all(not stat.change for stat in told.values())
    told = {stat.name: stat for stat in stats(day(10), day(10, costs={"USD": 3.0}))}
    assert told["Cost"].change == ""
    assert told["Calls"].change == "±0 %"
    empty = {stat.name: stat.figure for stat in stats(NONE, NONE)}
    assert empty["Calls"] == "0"
    assert {empty[name] for name in ("Answered", "Booked", "Wait", "Cost", "Cost a call")} == {"–"}


def test_less_of_some_things_is_better() -> None:
    slow, quick = day(10, latencies={60: 10}), day(10, latencies={40: 10}, errors={})
    told = {stat.name: stat.kind for stat in stats(quick, slow)}
    assert (told["Wait"], told["Errors"], told["Calls"]) == ("good", "good", "")
    assert {stat.name: stat.kind for stat in stats(slow, quick)}["Wait"] == "bad"


def test_days_are_summed_with_all_that_was_counted() -> None:
    both = together([day(10), day(30, latencies={45: 5, 60: 25}, costs={"GBP": 1.0, "USD": 2.0})])
    assert (both.calls, both.turns, both.barge_ins, both.seconds) == (40, 200, 40, 2400.0)
    assert both.outcomes == {"booked": 20, "failed": 4}
    assert both.latencies == {45: 15, 60: 25}
    assert both.costs == {"GBP": pytest.approx(1.4), "USD": 2.0}
    assert both.errors == {"llm": 2}


def test_many_days_are_drawn_by_weeks() -> None:
    first = date(2026, 1, 1)
    few = {first + timedelta(days=n): day(10) for n in range(MOST_BARS)}
    assert len(plots(few, "GBP")[0].days) == MOST_BARS
    many = {first + timedelta(days=n): day(10) for n in range(MOST_BARS + 1)}
    calls = plots(many, "GBP")[0]
    assert calls.title == "Calls a week"
    assert len(calls.days) == 15
    assert calls.rows()[-1] == ("Week of 5 April", ["35", "0", "28", "7"])
    assert calls.rows()[0][1] == ["15", "0", "12", "3"], "the first week is shorter"


def test_the_parts_of_a_bar_are_all_calls() -> None:
    numbers = day(
        20,
        outcomes={
            "booked": 3,
            "booking_kept": 2,
            "transferred": 4,
            "no_booking": 5,
            "silent": 1,
            "failed": 2,
            "refused": 3,
        },
    )
    (calls, *_) = plots({date(2026, 1, 1): numbers}, "GBP")
    assert [series.values for series in calls.series] == [[5], [4], [6], [5]]
