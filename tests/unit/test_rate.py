"""So many a minute, a burst, and memory for so many keys."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.ops.rate import RateLimit


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_and_then_the_steady_rate() -> None:
    clock = Clock()
    limit = RateLimit(60, 3, clock=clock)
    assert [limit.take_s("k") for _ in range(4)] == [0, 0, 0, pytest.approx(1.0)]
    clock.now += 0.5
    assert limit.take_s("k") == pytest.approx(0.5)
    clock.now += 0.5
    assert limit.take_s("k") == 0
    assert limit.take_s("k") > 0
    assert limit.take_s("other") == 0


def test_who_waits_counts_nothing_and_forgetting_begins_anew() -> None:
    clock = Clock()
    limit = RateLimit(60, 1, clock=clock)
    limit.take_s("k")
    assert limit.take_s("k") == limit.wait_s("k") == limit.wait_s("k") == pytest.approx(1.0)
    limit.forget("k")
    assert limit.wait_s("k") == limit.wait_s("k") == 0
    assert limit.take_s("k") == 0


def test_strangers_do_not_fill_the_memory() -> None:
    limit = RateLimit(60, 1, remembered=3, clock=Clock())
    for key in "abcd":
        assert limit.take_s(key) == 0
    assert len(limit) == 3
    assert limit.take_s("d") > 0
    assert limit.take_s("a") == 0  # it was forgotten


@pytest.mark.parametrize("bad", [(0, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_a_limit_of_nothing_is_refused(bad: tuple[float, int, int]) -> None:
    with pytest.raises(ValueError, match="rate limit"):
        RateLimit(bad[0], bad[1], remembered=bad[2])


@given(
    per_minute=st.integers(1, 1000),
    burst=st.integers(1, 20),
    pauses=st.lists(st.floats(0, 90, allow_nan=False), max_size=60),
)
def test_never_more_than_the_burst_and_the_rate(per_minute: int, burst: int, pauses: list[float]) -> None:
    clock = Clock()
    limit = RateLimit(per_minute, burst, clock=clock)
    let_in: list[float] = []
    for pause in pauses:
        clock.now += pause
        wait = limit.take_s("k")
        if not wait:
            let_in.append(clock.now)
    for i, first in enumerate(let_in):
        for j in range(i, len(let_in)):
            assert j - i + 1 <= burst + (let_in[j] - first) * per_minute / 60 + 1e-6
