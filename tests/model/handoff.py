"""The wake-up hand-off between two threads, as a model in which every interleaving is tried.

A producer publishes events and wakes a consumer through a flag, `armed`, and an eventfd (`src/fastaudio/c/event.h`):

    producer: publish, any number; if exchange(armed, 1) == 0: write(eventfd)
    consumer: sleep until the eventfd is readable; then read it, clear `armed`, drain, in some order

A wake-up is lost when everything stands still, the consumer sleeps, and an event is left. `lost_wake_up` looks for such
a state from every interleaving of the steps. With `plain_store` the consumer clears `armed` with a store that waits in
its store buffer, as x86 does (TSO): its later loads may happen before the store is seen.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

Step = Literal["read", "clear", "drain"]
Order = tuple[Step, Step, Step]

SLEEPING = -1


@dataclass(frozen=True, slots=True)
class State:
    """Everything that decides what can happen next."""

    produced: int = 0  # events published
    publishing: bool = False  # one or more are published, and the flag not yet exchanged
    writing: bool = False  # the flag was clear: the eventfd is to be written
    taken: int = 0  # events drained
    armed: bool = False
    readable: bool = False  # the eventfd
    at: int = SLEEPING  # the consumer's step
    buffered: bool = False  # a clear of `armed` waits in the consumer's store buffer


def _producer(state: State, events: int) -> Iterator[State]:
    if state.writing:
        yield replace(state, writing=False, readable=True)
        return
    if state.publishing:
        yield replace(state, publishing=False, armed=True, writing=not state.armed)
    if state.produced < events:
        yield replace(state, produced=state.produced + 1, publishing=True)


def _consumer(state: State, order: Order, plain_store: bool) -> Iterator[State]:
    if state.buffered:  # the store buffer empties at any time
        yield replace(state, buffered=False, armed=False)
    if state.at == SLEEPING:
        if state.readable:
            yield replace(state, at=0)
        return
    after = state.at + 1 if state.at + 1 < len(order) else SLEEPING
    match order[state.at]:
        case "read":
            # A system call: the store buffer is empty on the way in.
            if not state.buffered:
                yield replace(state, readable=False, at=after)
        case "clear" if plain_store:
            yield replace(state, buffered=True, at=after)
        case "clear":
            yield replace(state, armed=False, at=after)
        case "drain":
            yield replace(state, taken=state.produced, at=after)


def _stuck(state: State, events: int) -> bool:
    producer_done = state.produced == events and not state.publishing and not state.writing
    return producer_done and state.at == SLEEPING and not state.readable and not state.buffered


def lost_wake_up(order: Order, *, events: int = 4, plain_store: bool = False) -> list[State] | None:
    """The shortest way to a lost wake-up, or None when there is none.

    Args:
        order: the consumer's three steps after it woke.
        events: how many events the producer publishes, 1 or more.
        plain_store: the consumer clears `armed` with a plain store under TSO instead of an exchange.

    """
    start = State()
    came_from: dict[State, State | None] = {start: None}
    frontier = [start]
    while frontier:
        following: list[State] = []
        for state in frontier:
            if _stuck(state, events) and state.taken < state.produced:
                path = [state]
                while (before := came_from[path[-1]]) is not None:
                    path.append(before)
                return path[::-1]
            for successor in (*_producer(state, events), *_consumer(state, order, plain_store)):
                if successor not in came_from:
                    came_from[successor] = state
                    following.append(successor)
        frontier = following
    return None
