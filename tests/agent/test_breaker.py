"""Circuit breakers, in virtual time."""

from __future__ import annotations

import pytest

from agent.providers.base import ProviderError
from agent.providers.breaker import FAILURES, LONGEST_S, REST_S, TRIAL_S, Breaker, Breakers, BreakerState

DOWN = ProviderError("X", "down", status=503)


class Clock:
    """Time as the test wants it."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def opened(clock: Clock) -> Breaker:
    breaker = Breaker("llm a", clock=clock)
    for _ in range(FAILURES):
        assert breaker.allows()
        breaker.failed(DOWN)
    return breaker


def test_it_opens_after_failures_in_a_row_only(clock: Clock) -> None:
    breaker = Breaker("llm a", clock=clock)
    for _ in range(5):
        for _ in range(FAILURES - 1):
            breaker.failed(DOWN)
        breaker.succeeded()
    assert breaker.state == BreakerState.CLOSED
    for _ in range(FAILURES):
        breaker.failed(DOWN)
    assert breaker.state.value == "open"
    assert not breaker.allows()
    assert breaker.counters["turned_away"] == 1
    assert breaker.rest_s == REST_S


def test_who_accepts_a_connection_is_on_probation(clock: Clock) -> None:
    breaker = opened(clock)
    breaker.accepted()
    assert breaker.state == BreakerState.OPEN, "of an attempt that began before: the rest is the rest"
    clock.now += REST_S
    assert breaker.allows()
    breaker.accepted()
    assert breaker.allows()
    assert breaker.allows(), "all may call"
    breaker.failed(DOWN)
    assert breaker.state == BreakerState.OPEN
    assert breaker.rest_s == 2 * REST_S, "it has done nothing since the first rest"


def test_after_the_rest_one_call_tries(clock: Clock) -> None:
    breaker = opened(clock)
    clock.now += REST_S
    assert breaker.allows()
    assert breaker.state == BreakerState.TRYING
    assert not breaker.allows(), "one at a time"
    breaker.succeeded()
    assert breaker.state.value == "closed"
    assert breaker.allows()


def test_a_trial_that_fails_makes_the_rest_longer_up_to_a_limit(clock: Clock) -> None:
    breaker = opened(clock)
    rests = []
    for _ in range(6):
        clock.now += breaker.rest_s
        assert breaker.allows()
        breaker.failed(DOWN)
        rests.append(breaker.rest_s)
    assert rests == [2 * REST_S, 4 * REST_S, 8 * REST_S, LONGEST_S, LONGEST_S, LONGEST_S]
    assert breaker.counters["opened"] == 1


def test_a_trial_that_says_nothing_does_not_lock_it_for_ever(clock: Clock) -> None:
    breaker = opened(clock)
    clock.now += REST_S
    assert breaker.allows()
    clock.now += TRIAL_S
    assert breaker.allows()


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404])
def test_a_refusal_that_stays_opens_it_at_once(clock: Clock, status: int) -> None:
    breaker = Breaker("stt a", clock=clock)
    breaker.failed(ProviderError("X", "no", status=status))
    assert not breaker.allows()


def test_a_limit_is_rested_for_as_long_as_the_vendor_says(clock: Clock) -> None:
    breaker = Breaker("llm a", clock=clock)
    breaker.failed(ProviderError("X", "limit", status=429, retry_after_s=90.0))
    assert breaker.rest_s == 90.0
    breaker.failed(DOWN)
    assert breaker.rest_s == 90.0, "another call's failure does not shorten it"
    clock.now += 90.0
    assert breaker.allows()


def test_whether_it_asked_to_be_left_alone(clock: Clock) -> None:
    breaker = opened(clock)
    assert not breaker.told, "trying all the same may do"
    breaker.failed(ProviderError("X", "limit", status=429, retry_after_s=9))
    assert breaker.told
    breaker.succeeded()
    assert not breaker.told


def test_one_for_each_endpoint() -> None:
    breakers = Breakers()
    assert breakers.of("llm a") is breakers.of("llm a")
    assert breakers.of("llm a") is not breakers.of("llm b")
    assert [breaker.name for breaker in breakers.all()] == ["llm a", "llm b"]
