"""Clock and call together in virtual time, at the mercy of a bad host: no drift, no burst, no debt that stays.

The wire is all that is looked at: how many frames went out by when, and which of them are speech.
"""

import random
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastaudio import _core, _reference

UUID = bytes(range(16))
MS = 1_000_000
TICK_NS = 20 * MS
STALL_NS = 80 * MS
CATCH_UP = 3
SPEECH = b"\x01\x02" * 160
both = pytest.mark.parametrize("module", [_core, _reference], ids=["compiled", "reference"])
lateness = st.one_of(
    st.integers(0, 2 * MS), st.integers(0, 2 * MS), st.integers(0, 2 * MS), st.integers(0, 85 * MS),
    st.integers(79 * MS, 3000 * MS),
)  # fmt: skip


@dataclass
class Wire:
    """A call on its clock, and the account of its frames against the periods that have passed.

    `ahead` is how many frames more than periods went out since the schedule was last begun anew: with a stall, or where
    owed silence was left out; `covered` is what was ahead when a stall came: the caller missed so many frames less.
    """

    module: Any
    lead: int
    base_ns: int = 7 * MS

    def __post_init__(self) -> None:
        self.clock = self.module.Clock(self.base_ns, self.base_ns)
        self.call = self.module.Call(1, detector="rms", lead=self.lead, playback_slots=256)
        self.call.start(UUID)
        self.first_ns = self.clock.due_ns
        self.periods = self.frames = self.speech = self.ahead = self.left_out = self.covered = 0
        self.generation = 1
        self.waiting = 0  # frames of speech in the ring
        self.begun = False  # some of the utterance went out

    def tick(self, late_ns: int) -> int:
        """The next tick, so late; returns how many frames of speech went out with it."""
        waiting, begun = self.waiting, self.begun
        now_ns = self.clock.due_ns + late_ns
        periods, stalled, late_ns = self.clock.take(now_ns)
        self.call.late(periods)
        out = self.call.tick(periods, stalled, late_ns, True, now_ns)
        frames, rest = divmod(len(out), 323)
        assert rest == 0
        speech = sum(any(out[at + 3 : at + 323]) for at in range(0, len(out), 323))
        self.periods += periods
        self.frames += frames
        self.speech += speech
        self.waiting -= speech
        self.begun = (begun or speech > 0) and self.waiting > 0
        # Deadlines are on the grid that the first one is on, whatever has happened.
        assert self.clock.due_ns == self.first_ns + self.periods * TICK_NS
        assert stalled == (late_ns >= STALL_NS)
        assert frames - speech <= 1  # owed silence is never sent
        if stalled:
            assert frames == 1 or not begun  # nothing is sent twice as fast; what begins now begins with its lead
            self.covered += self.ahead
            self.ahead = frames - 1
        else:
            assert speech <= 1 + CATCH_UP + self.lead
            assert speech >= min(waiting, periods)  # owed speech is
            self.ahead += frames - periods
            if self.ahead < 0:
                assert waiting < periods  # only silence is left out,
                assert frames >= 1  # and all but one frame of it at the most
                self.left_out -= self.ahead
                self.ahead = 0
        assert self.ahead <= self.lead
        return speech

    def say(self, frames: int) -> None:
        """More speech; at most 256 frames wait at a time."""
        assert self.call.write(self.generation, SPEECH * frames) == len(SPEECH) * frames
        self.waiting += frames

    def end(self) -> None:
        """The utterance plays to its end, in time."""
        assert self.call.end(self.generation)
        self.generation += 1
        while self.waiting:
            assert self.tick(0) >= 1  # what waits comes with each tick
        for _ in range(1 + self.lead):
            assert self.tick(0) == 0
        assert self.ahead == 0  # the lead was given back in full


@both
@given(
    lead=st.integers(0, 3),
    script=st.lists(st.tuples(st.integers(0, 40), st.lists(lateness, max_size=40), st.booleans()), max_size=6),
)
def test_whatever_is_lent_is_given_back(module: Any, lead: int, script: list[tuple[int, list[int], bool]]) -> None:
    wire = Wire(module, lead)
    said = 0
    for frames, ticks, end in script:
        wire.say(frames)
        said += frames
        for late_ns in ticks:
            wire.tick(late_ns)
        if end:
            wire.end()
    wire.end()
    assert wire.speech == said
    counters = wire.call.counters()
    assert counters["frames_out"] == wire.frames
    # Each period has its frame, but for those that a stall took, and owed silence.
    assert wire.frames == wire.periods - counters["skipped"] + wire.covered - wire.left_out


def test_hours_of_speech_on_a_bad_host_are_in_time_to_the_nanosecond() -> None:
    """Two hours at 50 frames a second; late, but for no stall: each frame has its period, so the slope is exact."""
    host = random.Random(20)
    wire = Wire(_core, lead=0)
    while wire.speech < 2 * 3600 * 50:
        if wire.waiting < 10:
            wire.say(200)
        wire.tick(host.randrange(79 * MS) if host.random() < 0.02 else host.randrange(19 * MS))
        assert wire.frames == wire.speech == wire.periods  # as many as have passed, at any time
    assert wire.clock.due_ns - wire.first_ns == wire.frames * TICK_NS
    assert wire.call.counters()["caught_up"] > 1000


def test_a_stall_delays_speech_by_what_it_took_and_by_no_more() -> None:
    """Twenty minutes with a stall now and then."""
    host = random.Random(21)
    wire = Wire(_core, lead=2)
    while wire.speech < 20 * 60 * 50:
        if wire.waiting < 10:
            wire.say(200)
        wire.tick(host.randrange(80 * MS, 2000 * MS) if host.random() < 0.01 else host.randrange(79 * MS))
        assert wire.frames == wire.speech
    wire.end()
    counters = wire.call.counters()
    assert counters["stalls"] > 100
    assert wire.covered == 2  # the lead, once: it is not built again in the same utterance
    assert wire.frames == wire.periods - counters["skipped"] + wire.covered
