"""The judge of the soak on series that are made up: what is planted is found, and nothing else is."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from benchmarks.soak.judge import Evidence, Finding, Inventory, Limits, judge, status, trend
from benchmarks.soak.line import TICK_S, Habits, Line, Rate, draw_plan

SECONDS = 1800.0
OPEN = Inventory(
    {"database pool": 4, "cartesia pool": 0, "other socket (listening)": 4},
    {"MainThread": 1, "asyncio_# pool": 2},
    {"lag": 1, "accept": 1},
    40_000,
    600_000,
)


def evidence(
    *, leak_kib: float = 0.0, files: float = 0.0, slower_ms: float = 0.0, noise_kib: float = 800.0
) -> Evidence:
    """Half an hour that went well, with what is planted: for each call that ended, and from beginning to end."""
    dice = random.Random(7)
    samples = []
    for second in range(5, round(SECONDS), 5):
        ended = second * 2
        samples.append(
            {
                "at_s": float(second),
                "calls": dice.randint(140, 150),
                "ended": ended,
                # Memory comes to a standstill after the first minutes.
                "rss_kib": 150_000 - 30_000 / (1 + second / 60) + leak_kib * ended + dice.gauss(0, noise_kib),
                "files": {"call": dice.randint(140, 150), "file": 20 + round(files * ended)},
                "loop_lag_ms": abs(dice.gauss(2, 1)),
                "media_late_ms": abs(dice.gauss(1, 1)),
                "callers_late_ms": 2.0,
                "vendors_late_ms": 3.0,
                "others_percent": 4.0,
            }
        )
    heard, records, bookings = [], {}, []
    for number in range(600):
        uuid = f"call-{number}"
        at = number * SECONDS / 600
        heard.append(
            {
                "uuid": uuid,
                "status": "OK",
                "ended": "caller",
                "seconds": 40.0,
                "rated_s": 40.0,
                "ppm": dice.gauss(0, 3),
                "slips": 0,
                "answers": [(at + 5, dice.gauss(420, 90) + slower_ms * at / SECONDS)] * 2,
            }
        )
        records[uuid] = {"booking_id": f"BK-{number}" if number % 3 == 0 else "", "media": {"late_max_ns": 900_000}}
        if number % 3 == 0:
            bookings.append((f"BK-{number}", uuid))
    return Evidence(samples, OPEN, OPEN, heard, records, bookings, seconds=SECONDS, wanted=150)


def wrong(findings: list[Finding]) -> dict[str, str]:
    return {finding.what: finding.state for finding in findings if finding.state != "ok"}


def test_half_an_hour_without_a_fault_passes() -> None:
    findings = judge(evidence())
    assert not wrong(findings), [finding.text for finding in findings]
    assert status(findings) == 0


@pytest.mark.parametrize("leak_kib", [6.0, 20.0])
def test_memory_that_every_call_leaves_is_a_leak(leak_kib: float) -> None:
    assert wrong(judge(evidence(leak_kib=leak_kib))) == {"memory": "FAILED"}


def test_a_leak_that_noise_may_hide_or_be_cannot_be_told() -> None:
    findings = judge(evidence(leak_kib=4.0, noise_kib=8000.0))
    assert wrong(findings) == {"memory": "void"}
    assert status(findings) == 2


def test_what_calls_leave_allocated_is_found_when_they_have_ended() -> None:
    found = evidence()
    found.after = replace(OPEN, malloc_kib=OPEN.malloc_kib + 4000, python_blocks=OPEN.python_blocks + 25_000)
    assert not wrong(judge(found)), "what is kept within limits"
    found.after = replace(OPEN, malloc_kib=OPEN.malloc_kib + 10_000)
    assert wrong(judge(found)) == {"memory at rest": "FAILED"}
    found.after = replace(OPEN, python_blocks=OPEN.python_blocks + 80_000)
    assert wrong(judge(found)) == {"memory at rest": "FAILED"}


def test_files_that_calls_leave_open_are_found_over_time_and_at_the_end() -> None:
    found = evidence(files=0.05)
    assert wrong(judge(found)) == {"files over time": "FAILED"}
    found = evidence()
    found.after = replace(OPEN, files={**OPEN.files, "deepgram": 5})
    assert wrong(judge(found)) == {"open files": "FAILED"}


def test_connections_kept_for_later_calls_are_no_leak_until_they_are_more_than_calls() -> None:
    found = evidence()
    found.after = replace(OPEN, files={**OPEN.files, "cartesia pool": 60})
    assert not wrong(judge(found))
    found.after = replace(OPEN, files={**OPEN.files, "cartesia pool": 300})
    assert wrong(judge(found)) == {"open files": "FAILED"}


def test_tasks_and_threads_that_are_left() -> None:
    found = evidence()
    found.after = replace(
        OPEN, threads={"MainThread": 1, "outbox": 4, "asyncio_# pool": 6}, tasks={**OPEN.tasks, "stt-#": 9}
    )
    assert wrong(judge(found)) == {"tasks": "FAILED", "threads": "FAILED"}


def test_one_call_whose_frames_drift() -> None:
    found = evidence()
    found.heard = [*found.heard[:-1], {**found.heard[-1], "ppm": 400.0}]
    assert wrong(judge(found)) == {"frame rate": "FAILED"}


def test_silence_that_is_left_out_needs_a_late_tick() -> None:
    found = evidence()
    found.heard = [*found.heard[:-1], {**found.heard[-1], "slips": 3}]
    assert wrong(judge(found)) == {"frame rate": "FAILED"}
    found.records = {**found.records, "call-599": {"booking_id": "", "media": {"late_max_ns": 61_000_000}}}
    assert not wrong(judge(found))


def test_answers_that_come_later_and_later() -> None:
    assert wrong(judge(evidence(slower_ms=200.0))) == {"latency": "FAILED"}
    assert not wrong(judge(evidence(slower_ms=-200.0)))  # sooner is no fault


def without_record(found: Evidence) -> None:
    found.records = {uuid: record for uuid, record in found.records.items() if uuid != "call-1"}


def without_booking(found: Evidence) -> None:
    found.bookings = found.bookings[1:]


def booked_twice(found: Evidence) -> None:
    found.bookings = [*found.bookings, ("BK-again", "call-0")]


def with_an_error(found: Evidence) -> None:
    found.log = ["2026-11-23 20:00:00,000 ERROR   agent.call.session: something is broken"]


def with_a_lost_exception(found: Evidence) -> None:
    found.log = ["Task exception was never retrieved"]


def turned_away(found: Evidence) -> None:
    found.heard = [*found.heard, {"uuid": "call-x", "status": "FULL"}]
    found.refused = {"lag": 1}


def cut_off(found: Evidence) -> None:
    found.heard = [{**found.heard[0], "ended": "failure: the agent does not read"}, *found.heard[1:]]


@pytest.mark.parametrize(
    ("plant", "what"),
    [
        (without_record, "calls"),
        (cut_off, "calls"),
        (without_booking, "bookings"),
        (booked_twice, "bookings"),
        (with_an_error, "log"),
        (with_a_lost_exception, "log"),
        (turned_away, "admission"),
    ],
)
def test_what_is_lost_twice_or_refused(plant: Callable[[Evidence], None], what: str) -> None:
    found = evidence()
    plant(found)
    assert wrong(judge(found)) == {what: "FAILED"}


def test_an_agent_that_was_late_has_not_kept_up_and_late_callers_make_a_run_void() -> None:
    def late(name: str) -> Evidence:
        found = evidence()
        found.samples = [{**sample, name: 150.0} if sample["at_s"] > 900 else sample for sample in found.samples]
        return found

    assert wrong(judge(late("media_late_ms"))) == {"kept up": "FAILED"}
    assert wrong(judge(late("callers_late_ms"))) == {"callers in time": "void"}
    assert wrong(judge(late("vendors_late_ms"))) == {"vendors in time": "void"}
    assert wrong(judge(late("others_percent"))) == {"a core alone": "void"}


def test_a_busy_host_is_not_blamed_on_the_agent_but_what_is_lost_is() -> None:
    found = evidence(slower_ms=500.0)
    found.samples = [{**sample, "others_percent": 60.0, "loop_lag_ms": 300.0} for sample in found.samples]
    assert wrong(judge(found)) == {"a core alone": "void", "kept up": "void", "latency": "void"}
    without_booking(found)
    assert status(judge(found)) == 1


def test_limits_are_heeded() -> None:
    assert not wrong(judge(evidence(leak_kib=20.0), replace(Limits(), leak_kib_a_call=40.0)))


def test_a_trend_needs_points_that_differ() -> None:
    assert trend([(1.0, 1.0)] * 100) is None
    assert trend([(1.0, 1.0), (2.0, 2.0)]) is None
    found = trend([(float(x), 3.0 * x) for x in range(100)])
    assert found is not None
    assert found.slope == pytest.approx(3.0)
    assert found.error == pytest.approx(0.0, abs=1e-9)


def test_a_clock_that_runs_faster_shows_in_the_rate() -> None:
    def ppm(factor: float, missing: int = 0) -> float:
        rate = Rate()
        for frame in range(3000):
            slipped = missing * TICK_S if frame > 1000 else 0.0
            rate.add(frame * TICK_S, 1000 + frame * TICK_S * factor + slipped)
        assert rate.ppm is not None
        assert rate.slips == missing
        return rate.ppm

    assert ppm(1.0) == pytest.approx(0.0, abs=0.1)
    assert ppm(1.0005) == pytest.approx(-500, abs=1)
    assert ppm(1.0005, missing=3) == pytest.approx(-500, abs=30)
    assert Rate().ppm is None


def line(**plan: Any) -> Line:
    given: dict[str, Any] = {"length_s": 60.0, "key": ""} | plan
    drawn = replace(draw_plan(random.Random(1), Habits(), 100.0), **given)
    return Line(drawn, [b"speech"] * 110, [b"noise"], 0.0, 0.0)


def test_a_caller_waits_for_the_agent_speaks_and_times_the_answer() -> None:
    caller = line()
    now, said = 0.0, []
    while now < 8.0:
        if now < 2.0:
            caller.hear(now, 1, silent=False)  # the greeting
        said.append((now, caller.next(now)))
        now += TICK_S
        if caller.heard.turns and said[-1][1] == b"noise":
            break
    spoken = [at for at, message in said if message == b"speech"]
    assert spoken[0] == pytest.approx(2.7, abs=0.05)
    ended = spoken[-1] + TICK_S
    caller.hear(ended + 0.4, 1, silent=False)
    [(at, ms)] = caller.heard.answers
    assert at == pytest.approx(ended, abs=0.001)
    assert ms == pytest.approx(400, abs=1)


def test_a_caller_presses_a_key_once_and_hangs_up_in_time() -> None:
    caller = line(key="5", key_at_s=1.0, length_s=3.0)
    keys = [number * TICK_S for number in range(100) if caller.next(number * TICK_S) == b"\x03\x00\x015"]
    assert keys == [pytest.approx(1.0)]
    assert not caller.over(2.9)
    assert caller.over(3.0)


def test_no_call_is_longer_than_what_is_left_of_the_run() -> None:
    dice = random.Random(3)
    plans = [draw_plan(dice, Habits(), 50.0) for _ in range(500)]
    assert max(plan.length_s for plan in plans) == 50.0
    assert {plan.key for plan in plans} >= {"", "0"}
