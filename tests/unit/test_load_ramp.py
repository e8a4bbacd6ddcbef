"""Which numbers of calls `voice-agent load` tries, what it takes for too many, and what it says at the end."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.capacity.ramp import Quality, Ramp, Step, per_call, row
from fastaudio import load

GOOD = load.Report(
    calls=10, seconds=10.0, rate=8000, packet_ms=20, frames_sent=5000, frames=5000, gap_p50_ms=20.0, gap_p99_ms=21.0,
    gap_p999_ms=60.0, gap_max_ms=61.0, gaps_over_40_ms=3, merged=0, untimed=0, rate_ppm_median=0.0, rate_ppm_worst=0.0,
    slip_median_ms=0.0, slip_worst_ms=0.0, ended_early=0, ended={}, silent=0, lag_p50_ms=0.1, lag_p99_ms=0.3,
    lag_max_ms=1.0, cpu_percent=5.0, turns=20, answers=20, unanswered=0, overlaps=0, answer_p50_ms=400.0,
    answer_p99_ms=900.0, answer_max_ms=950.0,
)  # fmt: skip


def climb(ramp: Ramp, carries: int, late_from: int = 10**9) -> list[int]:
    """Take the steps of an agent that carries so many, with callers who are late from some number on."""
    tried = []
    while (calls := ramp.next()) is not None:
        tried.append(calls)
        assert len(tried) < 50
        heard = replace(GOOD, gap_p99_ms=21.0 if calls <= carries else 140.0)
        objections = ("the generator was late itself",) if calls >= late_from else ()
        step = Step(calls, heard, cpu_percent=5 + 0.2 * calls, memory_kib=80_000 + 300 * calls, objections=objections)
        ramp.steps.append(step)
    return tried


@pytest.mark.parametrize("carries", [1, 7, 10, 55, 143, 199])
def test_the_number_that_is_carried_is_found_within_a_tenth(carries: int) -> None:
    ramp = Ramp(10, 200)
    climb(ramp, carries)
    assert ramp.carried <= carries
    assert carries - ramp.carried <= max(1, 0.1 * carries)
    assert ramp.broke_at is not None
    assert ramp.broke_at > carries
    assert f"carries {ramp.carried} calls; with {ramp.broke_at} it did not keep up: gaps of 140 ms" in ramp.verdict()[0]


def test_no_more_than_the_most_are_tried() -> None:
    ramp = Ramp(10, 40)
    assert climb(ramp, 1000) == [10, 15, 22, 33, 40]
    assert "at least 40 calls, the most that were asked for" in ramp.verdict()[0]


def test_an_agent_that_carries_nobody() -> None:
    ramp = Ramp(10, 40)
    climb(ramp, 0)
    assert ramp.carried == 0
    assert ramp.broke_at == 1


def test_late_callers_are_tried_again_and_then_blamed_and_not_the_agent() -> None:
    ramp = Ramp(10, 200)
    assert climb(ramp, 1000, late_from=30) == [10, 15, 22, 33, 33]
    assert ramp.carried == 22
    assert ramp.broke_at is None
    assert ramp.verdict()[0].startswith("The agent carries at least 22 calls. How many more cannot be told: with 33")
    assert row(ramp, ramp.steps[-1])[-1] == "not valid"


def test_what_a_call_costs_is_what_one_more_adds() -> None:
    ramp = Ramp(10, 40)
    climb(ramp, 1000)
    _, cpu, memory = ramp.verdict()
    assert cpu == "A call costs 0.200 % of a core; 350 calls take 70 % of a core."
    assert memory == "A call takes 0.29 MiB of memory."
    assert per_call([(10, 5.0)]) is None


@pytest.mark.parametrize(
    ("step", "what"),
    [
        (Step(10, GOOD), ""),
        (Step(10, replace(GOOD, ended_early=1, ended={"closed": 1})), "ended early"),
        (Step(10, replace(GOOD, silent=2)), "heard nothing"),
        (Step(10, replace(GOOD, answer_p50_ms=1600.0)), "1600 ms at the median"),
        (Step(10, replace(GOOD, unanswered=3)), "unanswered"),
        (Step(10, replace(GOOD, answers=0)), "nobody was answered"),
        (Step(10, GOOD, loop_lag_ms=120.0), "event loop 120 ms late"),
        (Step(10, GOOD, media_late_ms=61.0), "frames 61 ms late"),
        (Step(10, GOOD, refused=1), "1 calls were refused"),
        (Step(10, trouble="cannot reach 127.0.0.1:9"), "cannot reach"),
    ],
)
def test_what_counts_as_broken(step: Step, what: str) -> None:
    found = Quality().broken(step)
    assert what in ", ".join(found)
    assert bool(found) == bool(what)
    assert len(row(Ramp(1, 2), step)) == 10


def test_a_ramp_that_was_stopped_says_what_is_known() -> None:
    ramp = Ramp(10, 200)
    assert ramp.verdict(stopped=True) == ["Nothing was measured."]
    ramp.steps.append(Step(10, GOOD))
    assert ramp.verdict(stopped=True)[0] == "The agent carries at least 10 calls: stopped before anything broke."
