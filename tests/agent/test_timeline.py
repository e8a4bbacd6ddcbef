"""The map from a vendor's time to the call's, over pre-roll, gaps, replays and new streams."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.providers.timeline import Timeline


def test_one_run_is_an_offset() -> None:
    line = Timeline()
    for number in range(10):
        line.sent(3000 + 80 * number, 80)
    assert (line.call_ms(0), line.call_ms(400), line.call_ms(800)) == (3000, 3400, 3800)
    assert line.sent_ms == 800


def test_before_anything_was_sent() -> None:
    assert Timeline().call_ms(500) == 0


def test_a_gap_and_a_preroll() -> None:
    line = Timeline()
    line.sent(1000, 500)
    line.sent(9000, 500)  # the agent spoke meanwhile
    line.sent(8700, 200)  # and a pre-roll goes back
    assert [line.call_ms(at) for at in (499, 500, 700, 999, 1000, 1100)] == [1499, 9000, 9200, 9499, 8700, 8800]


def test_an_end_belongs_to_the_run_before_it() -> None:
    line = Timeline()
    assert line.call_end_ms(500) == 0
    line.sent(1000, 500)
    line.sent(9000, 500)
    assert [line.call_end_ms(at) for at in (0, 499, 500, 500.4, 501, 1000, 1040)] == [
        1000, 1499, 1500, 1500, 9001, 9500, 9540,
    ]  # fmt: skip


def test_a_new_stream_begins_at_nothing() -> None:
    line = Timeline()
    line.sent(1000, 500)
    line.restart()
    line.sent(1200, 300)
    assert (line.call_ms(0), line.call_ms(300), line.sent_ms) == (1200, 1500, 300)


def test_rounding_makes_no_new_run() -> None:
    line = Timeline(limit=2)
    for number in range(100):
        line.sent(20 * number + (0.3 if number % 2 else 0.0), 20)
    assert line.forgotten == 0


def test_old_runs_are_forgotten_and_counted() -> None:
    line = Timeline(limit=3)
    for number in range(10):
        line.sent(1000 * number, 100)
    assert line.forgotten == 7
    assert line.call_ms(950) == 9050
    assert line.call_ms(720) == 7020
    assert line.call_ms(0) == 7000 - 700, "before the oldest run that is known"


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 500)), min_size=1, max_size=60))
def test_each_moment_that_was_sent_is_found_again(runs: list[tuple[int, int]]) -> None:
    line, stream = Timeline(), 0
    places = []
    for call_ms, length in runs:
        line.sent(call_ms, length)
        # The last 0.5 ms of a run belong to the next: a word begins there, and does not end.
        places += [(stream + at, call_ms + at) for at in range(0, length, 37)]
        stream += length
    for stream_ms, call_ms in places:
        assert line.call_ms(stream_ms) == pytest.approx(call_ms, abs=1)
