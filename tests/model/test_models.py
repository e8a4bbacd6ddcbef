"""What the models of the hand-off, the ring and the capture say about the protocols that the core uses."""

from itertools import permutations
from typing import cast

import pytest

from . import capture, handoff, ring

RIGHT: handoff.Order = ("read", "clear", "drain")
ORDERS = [cast(handoff.Order, order) for order in permutations(RIGHT)]


@pytest.mark.parametrize("events", [1, 2, 3, 4, 6])
def test_read_clear_drain_loses_no_wake_up(events: int) -> None:
    assert handoff.lost_wake_up(RIGHT, events=events) is None


@pytest.mark.parametrize("order", [order for order in ORDERS if order != RIGHT])
def test_every_other_order_loses_one(order: handoff.Order) -> None:
    path = handoff.lost_wake_up(order)
    assert path is not None
    assert path[-1].taken < path[-1].produced


def test_a_plain_store_loses_one_even_in_the_right_order() -> None:
    path = handoff.lost_wake_up(RIGHT, plain_store=True)
    assert path is not None
    assert any(state.buffered for state in path)


@pytest.mark.parametrize("capacity", [2, 4])
@pytest.mark.parametrize("start", [0, 1, 5, 7])
@pytest.mark.parametrize("flush_at", [-1, 3])
def test_the_ring_keeps_every_slot(capacity: int, start: int, flush_at: int) -> None:
    assert ring.find_fault(capacity=capacity, start=start, flush_at=flush_at) is None


@pytest.mark.parametrize(
    ("fault", "flush_at"),
    [
        (ring.Fault.PUBLISH_FIRST, -1),
        (ring.Fault.RELEASE_FIRST, -1),
        (ring.Fault.ONE_TOO_MANY, -1),
        (ring.Fault.PRODUCER_DROPS, 3),
    ],
)
def test_the_model_sees_a_planted_fault(fault: ring.Fault, flush_at: int) -> None:
    assert ring.find_fault(fault, flush_at=flush_at) is not None


def test_the_capture_never_takes_a_torn_block() -> None:
    assert capture.accepted_wrong() is None
    assert capture.readable() == capture.CAPACITY


@pytest.mark.parametrize("fault", [fault for fault in capture.Fault if fault is not capture.Fault.NONE])
def test_the_capture_needs_each_of_its_orders(fault: capture.Fault) -> None:
    assert capture.accepted_wrong(fault) is not None
