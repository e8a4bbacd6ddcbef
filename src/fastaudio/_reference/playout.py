"""What goes to the caller: utterances as generations, lead, hold, resume with rewind, flush, and an exact account.

The producer (the agent's side) writes PCM into a ring of frames; the consumer (the media thread's side) sends one
frame a tick, and silence when there is nothing to say.
"""

from __future__ import annotations

from array import array
from collections import deque
from dataclasses import dataclass, field

from fastaudio._reference.types import Buffer
from fastaudio._reference.voice import samples_of
from fastaudio._reference.wire import Rechunker
from fastaudio.errors import StaleGeneration

HISTORY_SLOTS = 10
"""Frames of the current utterance kept behind the playing point, 200 ms: how far a resume can go back."""

LEAD_MAX = 3
RAMPS_A_SECOND = 200
"""A ramp lasts 5 ms, so that nothing clicks."""


@dataclass(frozen=True)
class Slot:
    """One frame in the ring: its utterance, its audio (less than a frame only at the end), and whether it ends it."""

    generation: int
    samples: array[int]
    last: bool


class Ring:
    """Frames on their way to the caller. Slots are numbered from 0 and given back in order."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.released = 0
        self._slots: deque[Slot] = deque()

    @property
    def written(self) -> int:
        return self.released + len(self._slots)

    @property
    def full(self) -> bool:
        return len(self._slots) >= self.capacity

    def put(self, slot: Slot) -> None:
        assert not self.full
        self._slots.append(slot)

    def __getitem__(self, index: int) -> Slot:
        assert self.released <= index < self.written
        return self._slots[index - self.released]

    def release(self, upto: int) -> None:
        """Gives every slot before `upto` back."""
        while self.released < upto:
            self._slots.popleft()
            self.released += 1


class Producer:
    """The agent's side of the ring."""

    def __init__(self, ring: Ring, frame_bytes: int) -> None:
        self.stale_bytes = 0
        self._ring = ring
        self._frame_bytes = frame_bytes
        self._rechunk = Rechunker(frame_bytes)
        self._generation = 0  # the open utterance, 0 for none
        self._ended = 0  # the last one that was ended: it cannot be opened again
        self._flushed = 0  # nothing up to it is accepted any more

    def write(self, generation: int, pcm: Buffer) -> int:
        """Writes PCM of `generation`, which opens it; an older open one is ended first, so its tail is not lost.

        Returns:
            The number of bytes taken: fewer than given when the ring is full.

        Raises:
            ValueError: `generation` is 0.
            StaleGeneration: It was flushed or has ended, or a newer one is open.

        """
        data = bytes(pcm)
        try:
            opened = self._open(generation)
        except StaleGeneration:
            self.stale_bytes += len(data)
            raise
        used = 0
        while opened and used < len(data) and not self._ring.full:
            chunk = data[used : used + self._frame_bytes - self._rechunk.carried]
            used += len(chunk)
            for frame in self._rechunk.push(chunk):
                self._ring.put(Slot(generation, samples_of(frame), last=False))
        return used

    def end(self, generation: int) -> bool:
        """Marks the end of `generation`; False when the ring is full. Raises as `write` does."""
        return self._open(generation) and self._put_last()

    def flush(self, generation: int) -> None:
        """Refuses everything up to `generation` from now on and drops what is carried of it."""
        self._flushed = max(self._flushed, generation)
        if 0 < self._generation <= generation:
            self._rechunk.drop()
            self._generation = 0

    def _open(self, generation: int) -> bool:
        if generation == 0:
            raise ValueError("argument out of range")
        if generation <= max(self._flushed, self._ended) or self._generation > generation:
            raise StaleGeneration("generation was flushed")
        if self._generation not in (0, generation) and not self._put_last():
            return False
        self._generation = generation
        return True

    def _put_last(self) -> bool:
        if self._ring.full:
            return False
        frame, samples = self._rechunk.finish()
        self._ring.put(Slot(self._generation, samples_of(frame)[:samples], last=True))
        self._ended, self._generation = self._generation, 0
        return True


@dataclass
class Played:
    """What happened to utterances while a frame was made or audio was thrown away."""

    began: bool = False
    ended: bool = False
    flushed: bool = False
    generation: int = 0
    heard: int = 0


def ramp(samples: array[int], up: bool) -> array[int]:
    """A linear ramp over all of `samples`, rounded towards zero."""
    count = len(samples)
    gains = range(count) if up else range(count - 1, -1, -1)
    return array("h", [int(s * gain / count) for s, gain in zip(samples, gains, strict=True)])


@dataclass
class Playout:
    """The media thread's side of the ring."""

    ring: Ring
    rate: int
    lead: int
    generation: int = 0
    """Of the last audio, 0 for none."""
    open: bool = False
    """The generation has begun and not ended."""
    paused: bool = False
    """Held: the ring is kept, silence goes out."""
    heard: int = 0
    """Samples of the generation that the caller heard: the furthest point ever reached. Silence does not count."""
    ahead: int = 0
    """Frames sent ahead of the clock."""
    flushed: int = 0
    """Generations up to it are dropped."""
    underruns: int = 0
    """Times an open utterance ran dry."""
    tail: array[int] = field(default_factory=lambda: array("h"))
    """A falling ramp that still has to go out."""

    def __post_init__(self) -> None:
        self.frame_samples = self.rate // 50
        self._cursor = 0  # the next slot
        self._offset = 0  # samples of it that went out
        self._position = 0  # samples of the generation that went out; a resume moves it back
        self._dry = False
        self._no_lead = False  # a stall came: no lead until the utterance ends
        self._ramp_up = False  # the next audio rises from silence

    # ---- what there is to play

    def _current(self) -> Slot | None:
        """The slot to play next; slots of flushed generations are dropped on the way."""
        while self._cursor < self.ring.written:
            slot = self.ring[self._cursor]
            if slot.generation > self.flushed:
                return slot
            self._next_slot(keep=0)
        return None

    def _next_slot(self, keep: int) -> None:
        self._cursor += 1
        self._offset = 0
        self.ring.release(self._cursor - keep)

    @property
    def active(self) -> bool:
        """True while an utterance is open or audio waits."""
        return self.open or self._current() is not None

    @property
    def ready(self) -> bool:
        """True when a frame with audio would come now."""
        return bool(self.tail) or (not self.paused and self._current() is not None)

    @property
    def subject(self) -> tuple[int, int]:
        """(generation, samples heard) of what a hold holds: the open utterance, or the one that waits, or the last."""
        slot = self._current()
        if self.open or slot is None:
            return self.generation, self.heard
        return slot.generation, 0

    # ---- frames

    def frame(self) -> tuple[array[int] | None, Played]:
        """The next frame, None for silence, and what happened on the way."""
        played = Played()
        if self.tail:
            out, self.tail = self._padded(self.tail), array("h")
            return out, played
        if self.paused:
            return None, played
        samples = self._pull(self.frame_samples, played)
        if samples and self._ramp_up:
            count = self.rate // RAMPS_A_SECOND
            samples = ramp(samples[:count], up=True) + samples[count:]
            self._ramp_up = False
        dry = self.open and len(samples) < self.frame_samples
        self.underruns += dry and not self._dry
        self._dry = dry
        return (self._padded(samples) if samples else None), played

    def _padded(self, samples: array[int]) -> array[int]:
        return samples + array("h", bytes(2 * (self.frame_samples - len(samples))))

    def _pull(self, want: int, played: Played) -> array[int]:
        """Up to `want` samples of one utterance; stops at its end."""
        out = array("h")
        while (len(out) < want or (out and self._ends_here())) and (slot := self._current()) is not None:
            if self.open and slot.generation != self.generation:
                if not out:  # the producer gave the open one up without an end: its flush is still under way
                    played.flushed, played.generation, played.heard = True, self.generation, self.heard
                    self._close_utterance()
                break
            if not self.open:
                self._begin(slot.generation, played)
            piece = slot.samples[self._offset : self._offset + want - len(out)]
            out += piece
            self._offset += len(piece)
            self._position += len(piece)
            self.heard = max(self.heard, self._position)
            if self._offset < len(slot.samples):
                continue
            self._next_slot(HISTORY_SLOTS)
            if slot.last:
                played.ended, played.generation, played.heard = True, self.generation, self.heard
                self._close_utterance()
                break
        return out

    def _ends_here(self) -> bool:
        """An utterance of whole frames ends with a slot that holds nothing: it is over with the frame before."""
        slot = self._current() if self.open else None
        return slot is not None and slot.generation == self.generation and not slot.samples and slot.last

    def _begin(self, generation: int, played: Played) -> None:
        self.generation = generation
        self._position = self.heard = 0
        self.open = True
        self._dry = self._ramp_up = False
        played.began, played.generation = True, generation

    def _close_utterance(self) -> None:
        self.open = self._dry = self._no_lead = False
        self.ring.release(self._cursor)

    # ---- lead

    def silence_due(self, periods: int) -> bool:
        """True when a frame of silence is to go out; False when the tick gives lead back instead."""
        if self.ahead >= periods:
            self.ahead -= periods
            return False
        self.ahead = 0
        return True

    @property
    def wants_lead(self) -> bool:
        """True when a frame of speech may go out ahead of the clock."""
        if self.paused or self._no_lead or self.ahead >= self.lead or self.tail:
            return False
        slot = self._current()
        return slot is not None and len(slot.samples) > 0

    def stalled(self) -> None:
        """The host stood still: what was ahead is used up, and nothing goes out twice as fast to build it again."""
        self.ahead = 0
        self._no_lead = self._no_lead or self.open

    # ---- hold, resume, flush

    def hold(self) -> None:
        """Silence within 5 ms; the ring keeps everything."""
        if not self.paused:
            self._fall_silent()
            self.paused = True

    def _fall_silent(self) -> None:
        """Takes 5 ms from where playback stands and lets them fall to silence in the next frame."""
        slot = self._current()
        if self.tail or not self.open or slot is None or slot.generation != self.generation:
            return
        slots = [self.ring[at] for at in range(self._cursor, min(self._cursor + 2, self.ring.written))]
        slots = [other for other in slots if other.generation == self.generation]
        if slot.last:
            slots = [slot]
        left = sum(len(other.samples) for other in slots) - self._offset
        count = min(left, self.rate // RAMPS_A_SECOND)
        if count == left and count > 0 and slots[-1].last:
            count -= 1  # the ramp must not end the utterance: a resume still needs the place
        self.tail = ramp(self._pull(count, Played()), up=False)

    def resume(self, rewind_ms: int) -> None:
        """Goes on from the held sample, or up to 200 ms before it, bounded by what is kept of this utterance."""
        if not self.paused:
            return
        self.paused = False
        self._ramp_up = True
        back = min(rewind_ms * self.rate // 1000, self._position)
        while back > 0:
            if self._offset == 0:
                if self._cursor == self.ring.released:
                    break
                slot = self.ring[self._cursor - 1]
                if slot.generation != self.generation:
                    break
                self._cursor -= 1
                self._offset = len(slot.samples)
            step = min(back, self._offset)
            self._offset -= step
            self._position -= step
            back -= step

    def flush(self, generation: int) -> Played:
        """Drops generations up to `generation`.

        `flushed` is told when the open one was among them, or audio of one that had not begun (0 samples heard).
        """
        if generation <= self.flushed:
            return Played()
        open_goes = self.open and self.generation <= generation
        if open_goes and not self.paused:
            self._fall_silent()
        slot = self._current()
        played = Played()
        if open_goes:
            played = Played(flushed=True, generation=self.generation, heard=self.heard)
        elif slot is not None and slot.generation <= generation:
            played = Played(flushed=True, generation=slot.generation, heard=0)
        self.flushed = generation
        if played.flushed:
            self._close_utterance()
            self.paused = False
            self._offset = 0
        self._current()
        return played

    def supersede(self) -> Played:
        """While held: a newer generation in the ring throws the held one away."""
        if self.paused and self._cursor < self.ring.written:
            newest = self.ring[self.ring.written - 1].generation
            if newest > self.subject[0]:
                return self.flush(newest - 1)
        return Played()
