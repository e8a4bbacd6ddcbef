"""Which calls are taken: the rules by themselves, in a time of their own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import orjson
import pytest

from agent.floor import Growth
from agent.ops.admission import CALLERS_KEPT, Admission, Callers, Refusal
from agent.ops.lag import ENOUGH_LOOKS, Gate, LagMonitor
from agent.ops.settings import Settings, load_settings
from agent.ops.usage import Usage
from agent.telephony import CallInfo
from fastaudio._core import HISTOGRAM_BOUNDS_US as BOUNDS_US
from fastaudio.lateness import Lateness

CALLER = "+447700900123"


class Bench:
    """An admission whose surroundings are set by hand."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.now = 1000.0
        self.calls = 1  # the one that asks
        self.lag = LagMonitor(lambda: Lateness((0,) * len(BOUNDS_US), 0.0))
        self.settings: Settings = load_settings(**settings)
        self.usage = Usage(folder / "usage.json", ZoneInfo("UTC"))
        self.admission = Admission(
            self.settings,
            occupied=lambda: self.calls,
            too_late=lambda: self.lag.too_late,
            usage=self.usage,
            clock=lambda: self.now,
        )

    def why(self, caller: str = CALLER) -> str:
        """The reason for which a call of this number is refused; empty when it is taken."""
        refusal = self.admission.may_begin(CallInfo(uuid4(), caller_id=caller))
        return refusal.reason if refusal is not None else ""


Benches = Callable[..., Bench]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Benches:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    return lambda **settings: Bench(tmp_path, **settings)


@pytest.mark.parametrize(
    ("settings", "taken", "reason"),
    [
        ({"max_calls": 3}, 3, "calls"),
        ({"deepgram_max_streams": 2}, 2, "stt_streams"),
        ({"cartesia_max_contexts": 2}, 8, "tts_contexts"),
    ],
)
def test_so_many_at_once_and_no_more(bench: Benches, settings: dict[str, int], taken: int, reason: str) -> None:
    a = bench(**settings)
    a.calls = taken
    assert a.why() == ""
    assert a.admission.no_room(more=1) == Refusal(reason), "what /ready asks"  # type: ignore[arg-type]
    a.calls = taken + 1
    assert a.why() == reason
    assert a.admission.may_begin(CallInfo(uuid4())) == Refusal(reason, spoken=False)  # type: ignore[arg-type]


def test_requests_to_the_llm_are_kept_for_the_calls_that_run(bench: Benches) -> None:
    a = bench(groq_max_rpm=100)
    for _ in range(30):
        a.admission.asked_llm(1)
        a.admission.asked_llm(2)
        a.admission.second(1)
    assert a.why() == "llm_requests", "90 of 100 were used within the minute"
    for _ in range(31):
        a.admission.second(1)
    assert (a.admission.requests_a_minute, a.why()) == (87, ""), "the first of them are a minute old"
    growth = Growth()
    assert [growth.since(count) for count in (3, 3, 7, 2, 4)] == [3, 0, 4, 0, 2], "another client begins anew"


def test_nobody_is_taken_while_the_agent_stops(bench: Benches) -> None:
    a = bench()
    a.admission.stopping = True
    assert a.why() == "stopping"


def test_one_caller_has_so_many_calls_an_hour(bench: Benches) -> None:
    a = bench(calls_per_caller_hour=3)
    for _ in range(3):
        assert a.why() == ""
        a.admission.begun(CallInfo(uuid4(), caller_id=CALLER))
        a.now += 600
    assert a.admission.may_begin(CallInfo(uuid4(), caller_id=CALLER)) == Refusal("abuse_caller", spoken=True)
    assert a.why("07700 900123") == "abuse_caller", "the same number, written otherwise"
    assert a.why("+447700900124") == ""
    a.now += 1801  # the first of them is more than an hour ago
    assert a.why() == ""


def test_withheld_numbers_are_not_one_caller(bench: Benches) -> None:
    a = bench(calls_per_caller_hour=1)
    for _ in range(5):
        assert a.why("") == ""
        a.admission.begun(CallInfo(uuid4(), caller_id=""))


def test_callers_are_forgotten_in_the_end() -> None:
    callers = Callers(lambda: 0.0)
    for number in range(CALLERS_KEPT + 5):
        callers.note(str(number), 3)
    assert (callers.calls("4"), callers.calls("5")) == (0, 1)
    for _ in range(9):
        callers.note("5", 3)
    assert callers.calls("5") == 3


def test_a_day_has_so_many_minutes(bench: Benches) -> None:
    a = bench(max_minutes_per_day=10)
    for _ in range(299):
        a.admission.second(2)
    assert a.why() == ""
    a.admission.second(2)
    a.admission.second(2)
    assert a.admission.may_begin(CallInfo(uuid4())) == Refusal("minutes", spoken=True)


def test_a_day_may_cost_so_much(bench: Benches) -> None:
    a = bench(max_spending_per_day=1.0)
    a.usage.add(cost=0.98)
    assert a.why() == ""
    a.usage.add(cost=0.02)
    assert a.admission.may_begin(CallInfo(uuid4())) == Refusal("spending", spoken=True)


def test_a_day_is_kept_over_a_restart_and_ends_at_midnight(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock = [datetime(2026, 11, 23, 22, 0, tzinfo=UTC)]
    path = tmp_path / "usage.json"

    def usage() -> Usage:
        return Usage(path, ZoneInfo("Europe/Paris"), now=lambda zone: clock[0].astimezone(zone))

    first = usage()
    first.add(minutes=30, cost=0.3)
    first.keep()
    assert path.stat().st_mode & 0o777 == 0o600
    assert orjson.loads(path.read_bytes()) == {"day": "2026-11-23", "minutes": 30.0, "cost": 0.3}
    assert usage().minutes == 30
    clock[0] += timedelta(hours=1, minutes=1)  # midnight in Paris
    assert (first.minutes, first.cost, usage().minutes) == (0, 0, 0)
    path.write_text("{")
    assert usage().minutes == 0
    assert "what was used today is not known" in caplog.text
    (tmp_path / "usage.tmp").mkdir()
    first.add(minutes=1)
    first.keep()
    assert "cannot keep what was used today" in caplog.text


# ---- lag ------------------------------------------------------------------------------------------------------------


def test_a_gate_opens_well_below_where_it_shut() -> None:
    gate = Gate(100)
    assert [gate.judge(value) for value in (100, 101, 60, 51, 50, 99)] == [False, True, True, True, False, False]
    assert not Gate(0).judge(1e9)


def lateness(*ticks_ms: float) -> Lateness:
    counts = [0] * len(BOUNDS_US)
    for tick in ticks_ms:
        counts[next(i for i, bound in enumerate(BOUNDS_US) if bound >= tick * 1000)] += 1
    return Lateness(tuple(counts), max(ticks_ms, default=0.0) * 1000)


def test_one_stall_of_the_host_is_no_load_and_many_are() -> None:
    monitor = LagMonitor(lambda: lateness())
    for late_ms in [0.1] * 47 + [900.0, 800.0]:
        monitor.looked(late_ms)
    monitor.judge()
    assert not monitor.too_late
    monitor.looked(700.0)
    monitor.judge()
    assert monitor.too_late
    assert monitor.loop_lag_ms == 700.0
    for _ in range(50):
        monitor.looked(1.0)
    monitor.judge()
    assert not monitor.too_late


def test_a_few_looks_tell_nothing() -> None:
    monitor = LagMonitor(lambda: lateness())
    for _ in range(ENOUGH_LOOKS - 1):
        monitor.looked(500.0)
    monitor.judge()
    assert not monitor.too_late
    monitor.looked(500.0)
    monitor.judge()
    assert monitor.too_late


def test_late_frames_turn_new_calls_away_until_they_are_on_time_again(bench: Benches) -> None:
    a = bench()
    ticks: list[float] = []
    a.lag._lateness = lambda: lateness(*ticks)
    a.lag.judge()
    ticks += [0.1] * 985 + [80.0] * 15
    a.lag.judge()
    assert a.lag.media_lateness_ms > 60
    assert a.why() == "lag"
    for _ in range(6):  # five seconds later those ticks are not counted any more
        ticks += [0.1] * 250
        a.lag.judge()
    assert a.why() == ""


def test_a_number_that_forwards_to_itself_is_not_one_caller(bench: Benches) -> None:
    a = bench(calls_per_caller_hour=1)
    for _ in range(3):
        info = CallInfo(uuid4(), did="020 7946 0123", caller_id="+442079460123")
        assert a.admission.may_begin(info) is None
        a.admission.begun(info)


async def test_the_monitor_counts_a_stall_once() -> None:
    monitor = LagMonitor(lambda: lateness())
    task = asyncio.create_task(monitor.run())
    await asyncio.sleep(0.25)
    time.sleep(0.7)  # noqa: ASYNC251 - the event loop is to stand still
    await asyncio.sleep(0.3)
    task.cancel()
    assert sum(late > 350 for late in monitor._looks) == 1
