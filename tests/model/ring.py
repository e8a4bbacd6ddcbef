"""The playback ring as a model in which every interleaving is tried.

The ring of `src/fastaudio/c/ring.h`, with its steps as single memory accesses: the producer looks at the read index
(its own copy first), writes a slot in two halves, and publishes; the consumer looks at the write index, reads the slot
in two halves, and gives it back. Indices run freely modulo 2**`bits`. A flush is a number that the consumer compares
with each slot it takes, so every slot still passes through its hands, in order.

A fault is a slot that is read torn, twice, out of order or not at all. The variants of `Fault` plant one each; without
one there must be none.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum, auto


class Fault(Enum):
    """A mistake to plant in the ring."""

    NONE = auto()
    PUBLISH_FIRST = auto()  # the write index is stored before the slot is whole: what a relaxed store allows
    RELEASE_FIRST = auto()  # the read index is stored before the slot was read
    ONE_TOO_MANY = auto()  # full is seen one slot too late
    PRODUCER_DROPS = auto()  # a flush by the producer, which moves the consumer's index


@dataclass(frozen=True, slots=True)
class Ring:
    """Both threads, the indices and the slots. A slot holds its item twice: halves that differ are torn."""

    write: int
    read: int
    slots: tuple[tuple[int, int], ...]
    read_seen: int
    write_seen: int
    produced: int = 0
    producer_at: int = 0
    consumer_at: int = 0
    first_half: int = -1
    taken: tuple[int, ...] = ()
    flushed: int = -1  # items up to it are taken back
    torn: bool = False


def _put(ring: Ring, index: int, first: int | None, second: int | None) -> tuple[tuple[int, int], ...]:
    slots = list(ring.slots)
    old = slots[index % len(slots)]
    slots[index % len(slots)] = (old[0] if first is None else first, old[1] if second is None else second)
    return tuple(slots)


def _producer(ring: Ring, items: int, modulus: int, fault: Fault, flush_at: int) -> Iterator[Ring]:
    if ring.produced == items:
        return
    limit = len(ring.slots) + (1 if fault is Fault.ONE_TOO_MANY else 0)
    item = ring.produced
    match ring.producer_at:
        case 0 if item == flush_at and ring.flushed < item - 1:
            # What was said until now is taken back.
            if fault is Fault.PRODUCER_DROPS:
                yield replace(ring, flushed=item - 1, read=ring.write)
            else:
                yield replace(ring, flushed=item - 1)
        case 0 if (ring.write - ring.read_seen) % modulus < limit:
            yield replace(ring, producer_at=1)
        case 0:
            if ring.read_seen != ring.read:
                yield replace(ring, read_seen=ring.read)
        case 1:
            if fault is Fault.PUBLISH_FIRST:
                yield replace(ring, write=(ring.write + 1) % modulus, producer_at=2)
            else:
                yield replace(ring, slots=_put(ring, ring.write, item, None), producer_at=2)
        case 2:
            if fault is Fault.PUBLISH_FIRST:
                slots = _put(ring, (ring.write - 1) % modulus, item, item)
                yield replace(ring, slots=slots, produced=item + 1, producer_at=0)
            else:
                yield replace(ring, slots=_put(ring, ring.write, None, item), producer_at=3)
        case _:
            yield replace(ring, write=(ring.write + 1) % modulus, produced=item + 1, producer_at=0)


def _consumer(ring: Ring, modulus: int, fault: Fault) -> Iterator[Ring]:
    slot = ring.slots[ring.read % len(ring.slots)]
    match ring.consumer_at:
        case 0 if ring.write_seen == ring.read:
            if ring.write_seen != ring.write:
                yield replace(ring, write_seen=ring.write)
        case 0:
            yield replace(ring, consumer_at=1)
        case 1:
            if fault is Fault.RELEASE_FIRST:
                yield replace(ring, read=(ring.read + 1) % modulus, consumer_at=2)
            else:
                yield replace(ring, first_half=slot[0], consumer_at=2)
        case 2:
            if fault is Fault.RELEASE_FIRST:
                slot = ring.slots[(ring.read - 1) % modulus % len(ring.slots)]
                yield _took(replace(ring, first_half=slot[0], consumer_at=0), slot[1])
            else:
                yield _took(replace(ring, consumer_at=3), slot[1])
        case _:
            yield replace(ring, read=(ring.read + 1) % modulus, consumer_at=0)


def _took(ring: Ring, second_half: int) -> Ring:
    if ring.first_half != second_half:
        return replace(ring, torn=True)
    return replace(ring, taken=(*ring.taken, second_half))


def find_fault(
    fault: Fault = Fault.NONE, *, capacity: int = 2, items: int = 5, start: int = 0, bits: int = 3, flush_at: int = -1
) -> str | None:
    """What goes wrong in some interleaving, or None when nothing does.

    Args:
        fault: the mistake to plant.
        capacity: slots, a power of two below 2**bits.
        items: how many items are produced.
        start: the first index, so that the wrap is reached.
        bits: width of the indices.
        flush_at: before this item is produced, all earlier ones are flushed; -1 for never.

    """
    modulus = 1 << bits
    first = Ring(write=start, read=start, slots=((-1, -1),) * capacity, read_seen=start, write_seen=start)
    seen = {first}
    stack = [first]
    while stack:
        ring = stack.pop()
        if ring.torn:
            return "torn"
        if ring.taken != tuple(range(len(ring.taken))):
            return "lost, doubled or out of order"
        successors = [*_producer(ring, items, modulus, fault, flush_at), *_consumer(ring, modulus, fault)]
        if not successors and (ring.produced < items or len(ring.taken) < items):
            return "stuck"
        for successor in successors:
            if successor not in seen:
                seen.add(successor)
                stack.append(successor)
    return None
