"""The capture's sequence lock under a weak memory model, with every value that a load may return.

`src/fastaudio/c/capture.h` lets a reader copy a block while the writer may already be overwriting it, and drop the copy
when the claim says so. This is right only with the orders it names, and no x86 machine and no thread sanitizer shows a
wrong one: all accesses are atomic. So it is tried here, after the release and acquire rules of C11.

There is one writer, so each location has one order of stores, the writer's. A store carries a view: for a release, all
that the writer had stored before; for a relaxed one, only itself. A load returns any store that is not older than what
the reader's view says of the location; an acquire takes over the view of the store that it read. The reader never has
to wait, so its choices are all that there is to try.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

Location = str
View = dict[Location, int]  # for each location, the oldest store that may still be seen

CAPACITY = 2
WINDOW = 1
WORDS = 2


class Fault(Enum):
    """A mistake to plant in the sequence lock."""

    NONE = auto()
    RELAXED_WORD_STORE = auto()
    RELAXED_WORD_LOAD = auto()
    RELAXED_READY_STORE = auto()
    RELAXED_READY_LOAD = auto()
    CLAIM_AFTER_WORDS = auto()
    NO_CLAIM = auto()
    NO_CHECK = auto()


@dataclass(frozen=True, slots=True)
class Store:
    """A value and what comes with it."""

    value: int
    view: View


def _word(position: int, word: int) -> Location:
    return f"block {position % CAPACITY}, word {word}"


def _write(blocks: int, fault: Fault) -> dict[Location, list[Store]]:
    """All that the writer stores, in its order; the value of a word is its block's position."""
    history: dict[Location, list[Store]] = {"claim": [Store(WINDOW, {})], "ready": [Store(0, {})]}
    for position in range(CAPACITY):
        for word in range(WORDS):
            history[_word(position, word)] = [Store(-1, {})]
    view: View = dict.fromkeys(history, 0)

    def store(location: Location, value: int, *, release: bool) -> None:
        view[location] = len(history[location])
        carried = dict(view) if release else {location: view[location]}
        history[location].append(Store(value, carried))

    claimed = WINDOW
    for position in range(blocks):
        claims = position >= claimed and fault is not Fault.NO_CLAIM
        claimed = position + WINDOW if claims else claimed
        if claims and fault is not Fault.CLAIM_AFTER_WORDS:
            store("claim", claimed, release=False)
        for word in range(WORDS):
            store(_word(position, word), position, release=fault is not Fault.RELAXED_WORD_STORE)
        if claims and fault is Fault.CLAIM_AFTER_WORDS:
            store("claim", claimed, release=False)
        store("ready", position + 1, release=fault is not Fault.RELAXED_READY_STORE)
    return history


def _load(
    history: dict[Location, list[Store]], view: View, location: Location, *, acquire: bool
) -> Iterator[tuple[int, View]]:
    for index in range(view.get(location, 0), len(history[location])):
        store = history[location][index]
        seen = view | {location: index}
        if acquire:
            for other, at in store.view.items():
                seen[other] = max(seen.get(other, 0), at)
        yield store.value, seen


def accepted_wrong(fault: Fault = Fault.NONE, *, blocks: int = 6) -> tuple[int, ...] | None:
    """The words of a block that a reader takes for good though they are not its own, or None when there is no such.

    Args:
        fault: the mistake to plant.
        blocks: how many blocks the writer writes; the ring holds two.

    """
    history = _write(blocks, fault)

    def words(at: int, have: tuple[int, ...], view: View) -> Iterator[tuple[tuple[int, ...], View]]:
        if len(have) == WORDS:
            yield have, view
            return
        acquire = fault is not Fault.RELAXED_WORD_LOAD
        for value, seen in _load(history, view, _word(at, len(have)), acquire=acquire):
            yield from words(at, (*have, value), seen)

    for at in range(blocks):
        for ready, view in _load(history, {}, "ready", acquire=fault is not Fault.RELAXED_READY_LOAD):
            if at >= ready:
                continue
            for copied, seen in words(at, (), view):
                for claim, _ in _load(history, seen, "claim", acquire=True):
                    dropped = at < claim - CAPACITY and fault is not Fault.NO_CHECK
                    if not dropped and copied != (at,) * WORDS:
                        return copied
    return None


def readable(*, blocks: int = 6) -> int:
    """How many blocks a reader that comes last can still take: a lock that drops all of them would be right, too."""
    claim = _write(blocks, Fault.NONE)["claim"][-1].value
    return sum(at >= claim - CAPACITY for at in range(blocks))
