"""What a traffic needs, by formulas and by simulation: the two agree where the formulas hold."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from agent.capacity.costs import Use, cost_a_minute
from agent.capacity.erlang import blocking, busy_at_once, lines_for, waiting
from agent.capacity.plan import Fleet, Traffic, asterisk_bits_s, plan
from agent.capacity.simulation import Lengths, Scenario, simulate
from agent.ops.prices import load_prices


def test_erlang_b_as_it_is_defined() -> None:
    for erlangs, lines in ((0.5, 1), (2.0, 3), (10.0, 12), (40.0, 30)):
        terms = [erlangs**number / math.factorial(number) for number in range(lines + 1)]
        assert blocking(erlangs, lines) == pytest.approx(terms[-1] / sum(terms), rel=1e-12)


@pytest.mark.parametrize(
    # Lines and the traffic that they carry, from published tables of Erlang B.
    ("lines", "erlangs", "share"),
    [(10, 4.46, 0.01), (30, 20.3, 0.01), (100, 84.1, 0.01), (50, 40.3, 0.02)],
)
def test_erlang_b_by_the_tables(lines: int, erlangs: float, share: float) -> None:
    assert blocking(erlangs, lines) == pytest.approx(share, rel=0.03)
    assert lines_for(erlangs * 0.99, share) == lines


def test_large_fleets_and_the_edges_of_the_formulas() -> None:
    lines = lines_for(300_000.0, 0.01)
    assert blocking(300_000.0, lines) <= 0.01 < blocking(300_000.0, lines - 1)
    assert blocking(0.0, 5) == 0.0
    assert blocking(1.0, 100_000) == 0.0
    assert lines_for(0.0, 0.01) == 0
    assert waiting(5.0, 5) == 1.0
    assert waiting(2.0, 3) == pytest.approx(0.4444, abs=0.0001)
    for wrong in (0.0, 1.0):
        with pytest.raises(ValueError, match="between 0 and 1"):
            lines_for(1.0, wrong)


def test_contexts_are_those_of_calls_that_speak_at_once() -> None:
    exact = sum(math.comb(20, busy) * 0.4**busy * 0.6 ** (20 - busy) for busy in range(busy_at_once(20, 0.4, 0.01) + 1))
    assert exact >= 0.99
    assert busy_at_once(1000, 0.45, 0.001) == pytest.approx(450 + 3.09 * math.sqrt(1000 * 0.45 * 0.55), abs=3)
    assert busy_at_once(10, 1.0, 0.01) == 10
    assert busy_at_once(0, 0.5, 0.01) == 0


@pytest.mark.parametrize("lengths", ["exponential", "lognormal", "constant"])
def test_the_simulation_agrees_with_erlang_b_for_any_distribution_of_lengths(lengths: Lengths) -> None:
    # 18 erlangs on 5 hosts of 4 calls: hosts that share the calls are as good as one of 20 lines.
    scenario = Scenario(5, 4, calls_a_second=0.6, mean_s=30.0, seconds=150_000.0, warmup_s=2_000.0, lengths=lengths)
    outcome = simulate(scenario)
    expected = blocking(18.0, 20)
    assert outcome.blocked == pytest.approx(expected, abs=4 * outcome.error)
    assert 0.001 < outcome.error < 0.1 * expected  # close enough to tell
    assert outcome.carried_s / (150_000.0 - 2_000.0) == pytest.approx(18 * (1 - expected), rel=0.02)
    assert outcome.peak == 20
    assert not outcome.lost


def test_hosts_that_are_lost_take_their_calls_and_their_room_with_them() -> None:
    scenario = Scenario(10, 12, calls_a_second=0.6, mean_s=150.0, seconds=60_000.0, warmup_s=2_000.0)
    calm = simulate(scenario)
    rough = simulate(replace(scenario, mean_between_losses_s=5_000.0, repair_s=600.0))
    assert rough.losses > 50
    # A host has 9 calls on average, fewer after a loss.
    assert 0.5 * 9 < rough.lost / rough.losses < 9.5
    assert rough.blocked > 2 * calm.blocked
    # Each is gone for an eighth of the time at most: the formula with as many lines fewer is no better.
    assert rough.blocked > blocking(90.0, 118)


def test_a_drained_host_is_back_when_its_calls_are_over_or_its_grace_time_is() -> None:
    scenario = Scenario(
        4, 50, calls_a_second=0.5, mean_s=150.0, seconds=40_000.0, warmup_s=1_000.0, drain_every_s=2_000.0
    )
    patient = simulate(scenario)
    assert len(patient.drains_s) > 15
    assert not patient.ended_by_drain
    # The longest of about 19 exponential lengths: mean_s times the harmonic number.
    mean = sum(patient.drains_s) / len(patient.drains_s)
    assert mean == pytest.approx(150 * sum(1 / number for number in range(1, 20)), rel=0.35)
    hasty = simulate(replace(scenario, grace_s=100.0))
    assert max(hasty.drains_s) <= 100.0 + 1e-6
    assert hasty.ended_by_drain > 0


def test_a_vendor_with_too_few_streams_is_the_limit() -> None:
    scenario = Scenario(5, 100, calls_a_second=0.6, mean_s=150.0, seconds=60_000.0, warmup_s=2_000.0, streams=90)
    outcome = simulate(scenario)
    assert outcome.no_room == 0
    assert outcome.no_stream / outcome.offered == pytest.approx(blocking(90.0, 90), rel=0.15)


def test_the_same_seed_gives_the_same_run() -> None:
    scenario = Scenario(3, 10, calls_a_second=0.2, mean_s=100.0, seconds=5_000.0, seed=5)
    assert simulate(scenario) == simulate(scenario)
    assert simulate(scenario) != simulate(replace(scenario, seed=6))


def test_a_plan_of_three_thousand_calls_an_hour() -> None:
    need = plan(Traffic(3000, 2.5, 0.01), Fleet(calls_a_host=50, hosts_lost=1), load_prices())
    assert need.erlangs == 125.0
    assert need.lines == lines_for(125.0, 0.01) == need.streams
    assert need.hosts == math.ceil(need.lines / 50) + 1
    assert need.contexts < need.lines
    assert need.requests_a_minute == pytest.approx(need.lines * Use().requests)
    assert need.recordings_gb_an_hour == pytest.approx(125 * 0.99 * 32_000 * 3600 / 1e9)
    # 16 bits at 8 kHz are 128 kbit/s, and headers come on top.
    assert 128_000 < asterisk_bits_s() < 200_000
    assert need.cost_an_hour == pytest.approx(125 * 0.99 * 60 * sum(need.cost_a_minute.values()))
    assert plan(Traffic(0, 2.5), Fleet(), load_prices()).hosts == 0


def test_a_minute_costs_what_the_table_says() -> None:
    prices = load_prices()
    cost = cost_a_minute(prices, Use(heard_s=60, tokens_in=1e6, tokens_cached=0, tokens_out=0, characters=1e6))
    assert cost["stt"] == pytest.approx(prices.stt["nova-3"].minute)
    assert cost["llm"] == pytest.approx(prices.llm["openai/gpt-oss-120b"].million_in)
    assert cost["tts"] == pytest.approx(prices.tts["sonic-3"].million_characters)
