"""The histogram of lateness: the compiled one and the reference agree, and what is read from it is right to 12.5 %."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastaudio
from fastaudio import _core, _reference

values = st.lists(st.one_of(st.integers(-5, 20_000), st.integers(0, 10**8), st.integers(0, 2**62)), max_size=80)
MOST_US = 2**32


def read(histogram: Any) -> fastaudio.Lateness:
    counts, max_ns = histogram.read()
    return fastaudio.Lateness(counts, max_ns / 1000)


@given(lateness=values)
def test_twins(lateness: list[int]) -> None:
    assert _core.HISTOGRAM_BOUNDS_US == _reference.HISTOGRAM_BOUNDS_US
    twins: list[Any] = [_core.Histogram(), _reference.Histogram()]
    for ns in lateness:
        for histogram in twins:
            histogram.add(ns)
    assert twins[0].read() == twins[1].read()


@given(before=values, lateness=values, share=st.floats(0, 1))
def test_quantiles_of_what_came_since(before: list[int], lateness: list[int], share: float) -> None:
    histogram = _core.Histogram()
    for ns in before:
        histogram.add(ns)
    earlier = read(histogram)
    for ns in lateness:
        histogram.add(ns)
    recent = read(histogram).since(earlier)
    assert recent.ticks == len(lateness)
    if not lateness:
        assert recent.max_us == recent.quantile_us(share) == 0.0
        return
    in_order = sorted(max(0, ns) / 1000 for ns in lateness)
    exact = in_order[max(1, math.ceil(share * len(lateness))) - 1]
    if exact < MOST_US:
        assert exact <= recent.quantile_us(share) <= max(exact * 1.125, exact + 1) + 1e-9
    top = in_order[-1]
    if top < MOST_US:
        assert top <= recent.max_us <= max(top * 1.125, top + 1) + 1e-9
    if top >= max((max(0, ns) / 1000 for ns in before), default=0.0) and top < MOST_US:
        assert recent.max_us == top  # a record is exact


def test_a_share_is_a_share() -> None:
    with pytest.raises(ValueError, match="not 1"):
        read(_core.Histogram()).quantile_us(1.5)
