"""Deadlines from deadlines."""

from typing import Any

import pytest

MS = 1_000_000


def test_the_first_deadline_is_on_the_grid_and_after_now(core: Any) -> None:
    assert core.Clock(3 * MS, 0).due_ns == 3 * MS
    assert core.Clock(3 * MS, 3 * MS).due_ns == 23 * MS
    assert core.Clock(3 * MS, 62 * MS).due_ns == 63 * MS
    assert core.Clock(100 * MS, 0).due_ns == 20 * MS


def test_nothing_is_due_early(core: Any) -> None:
    clock = core.Clock(0, 0)
    assert clock.take(19 * MS) == (0, False, -MS)
    assert clock.due_ns == 20 * MS


def test_lateness_does_not_add_up(core: Any) -> None:
    clock = core.Clock(0, 0)
    for tick in range(1, 1000):
        assert clock.take(tick * 20 * MS + 7 * MS) == (1, False, 7 * MS)
    assert clock.due_ns == 1000 * 20 * MS


@pytest.mark.parametrize(
    ("late_ms", "periods", "stalled"),
    [(0, 1, False), (19, 1, False), (20, 2, False), (79, 4, False), (80, 5, True), (1000, 51, True)],
)
def test_what_is_owed(core: Any, late_ms: int, periods: int, stalled: bool) -> None:
    clock = core.Clock(0, 0)
    assert clock.take((20 + late_ms) * MS) == (periods, stalled, late_ms * MS)
    # The phase never moves, whatever was given up.
    assert clock.due_ns == (1 + periods) * 20 * MS
