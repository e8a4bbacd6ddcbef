"""What one caller of the soak does with a line: talks, listens, interrupts, presses keys, hangs up. No I/O.

A caller counts by ticks of 20 ms and is told what comes from the agent with the kernel's time of it. The rate of what
comes is taken from silent audio alone: while it speaks the agent may be some frames ahead, which it gives back.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

TICK_S = 0.02
PAUSE_S = 0.7
"""Silence after which the agent has finished."""
SETTLED_S = 0.5
"""The same, so that what was sent ahead of speech has been given back."""
PATIENCE_S = 8.0
"""Without a sound of the agent."""
DTMF = 0x03


@dataclass(frozen=True, slots=True)
class Habits:
    """What callers are like; lengths of calls are drawn from an exponential distribution."""

    mean_s: float = 75.0
    least_s: float = 1.0
    long_share: float = 0.02
    """Of calls that are ten times as long as others."""
    interrupts: float = 0.15
    """Share of the agent's answers that a caller interrupts."""
    keys_share: float = 0.06
    """Of calls in which a key is pressed."""
    zero_share: float = 0.3
    """Of those, calls in which it is 0: a person is asked for."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One call, drawn before it begins."""

    length_s: float
    key: str = ""
    key_at_s: float = 0.0
    seed: int = 0


def draw_plan(dice: random.Random, habits: Habits, rest_s: float) -> Plan:
    """The next call of a caller; none is longer than what is left of the run."""
    long = dice.random() < habits.long_share
    length = habits.least_s + dice.expovariate(1 / habits.mean_s) * (10 if long else 1)
    key, at = "", 0.0
    if dice.random() < habits.keys_share:
        key = "0" if dice.random() < habits.zero_share else dice.choice("123456789*#")
        at = dice.uniform(1.0, max(1.5, length))
    return Plan(min(length, rest_s), key, at, dice.getrandbits(32))


class Rate:
    """Slope of arrival time over audio time, by least squares: how a clock runs beside another.

    A tick that is late does not send the silence that it owes: such a step of whole frames is counted in `slips`, and
    is no drift.
    """

    def __init__(self) -> None:
        self.slips = 0
        self._origin = self._last = 0.0
        self._n = 0
        self._x = self._y = self._xx = self._xy = 0.0
        self.span_s = 0.0

    def add(self, audio_s: float, at_s: float) -> None:
        """So much audio had come at that time."""
        if not self._n:
            self._origin = at_s - audio_s
        y = at_s - self._origin - audio_s - self.slips * TICK_S
        frames = round((y - self._last) / TICK_S) if self._n else 0
        self.slips += frames
        self._last = y = y - frames * TICK_S
        self._n += 1
        self._x += audio_s
        self._y += y
        self._xx += audio_s * audio_s
        self._xy += audio_s * y
        self.span_s = audio_s

    @property
    def ppm(self) -> float | None:
        """Positive for audio that comes too fast; None when there is too little to tell."""
        spread = self._n * self._xx - self._x * self._x
        if self._n < 100 or spread <= 0:
            return None
        return -1e6 * (self._n * self._xy - self._x * self._y) / spread


@dataclass(slots=True)
class Heard:
    """What a caller noted of a call."""

    frames: int = 0
    turns: int = 0
    answers: list[tuple[float, float]] = field(default_factory=list)
    """When a turn ended, s of the monotonic clock, and how long the answer took, ms."""
    unanswered: int = 0
    overlaps: int = 0
    """Turns in which the agent began before the caller had finished."""
    interruptions: int = 0
    stopped_ms: list[float] = field(default_factory=list)
    """From the beginning of an interruption to the agent's last sound."""
    longest_gap_ms: float = 0.0


class Line:
    """A caller on the line. `next` gives the message of a tick, `hear` takes what came."""

    def __init__(self, plan: Plan, speech: list[bytes], noise: list[bytes], interrupts: float, now: float) -> None:
        self.plan = plan
        self.heard = Heard()
        self.rate = Rate()
        self.began = now
        self._speech, self._noise = speech, noise
        self._dice = random.Random(plan.seed)
        self._interrupts = interrupts
        self._tick = 0
        self._left = 0  # messages of speech in this turn
        self._length = 0
        self._spoke_at: float | None = None  # when this turn began
        self._ended_at: float | None = None  # and the last one ended, while its answer is out
        self._cut_in = False
        self._sound_at = 0.0
        self._sounded = False
        self._since = now  # since when the agent is silent, or the caller
        self._interrupt_at: float | None = None
        self._key = plan.key
        self._last_at = 0.0

    def over(self, now: float) -> bool:
        """Whether the caller hangs up."""
        return now - self.began >= self.plan.length_s

    def next(self, now: float) -> bytes:
        """The message that is due: audio of 20 ms, or a key."""
        self._tick += 1
        if self._key and now - self.began >= self.plan.key_at_s:
            key, self._key = self._key, ""
            return bytes((DTMF, 0, 1)) + key.encode()
        if not self._left and self._wants_to_speak(now):
            self._begin(now)
        if self._left:
            message = self._speech[self._length - self._left]
            self._left -= 1
            if not self._left:
                self._fell_silent(now)
            return message
        return self._noise[self._tick % len(self._noise)]

    def hear(self, at: float, frames: int, silent: bool) -> None:
        """So many messages of audio have come, the last of them at `at`; `silent`: all of them zeros."""
        heard = self.heard
        if heard.frames:
            heard.longest_gap_ms = max(heard.longest_gap_ms, 1000 * (at - self._last_at))
        self._last_at = at
        heard.frames += frames
        if silent:
            if at - self._sound_at > SETTLED_S:
                self.rate.add(heard.frames * TICK_S, at)
            return
        if at - self._sound_at > PAUSE_S:  # it begins to speak
            self._interrupt_at = None
            if self._dice.random() < self._interrupts:
                self._interrupt_at = at + self._dice.uniform(0.4, 1.6)
        self._sound_at = at
        self._sounded = True
        if self._left:
            if not self._cut_in and self._spoke_at is not None and at - self._spoke_at > 0.5:
                heard.overlaps += 1
                self._cut_in = True
        elif self._ended_at is not None:
            if not self._cut_in:
                heard.answers.append((self._ended_at, 1000 * (at - self._ended_at)))
            self._ended_at = None

    def _wants_to_speak(self, now: float) -> bool:
        if self._interrupt_at is not None and now >= self._interrupt_at and now - self._sound_at < 0.1:
            self._interrupt_at = None
            self.heard.interruptions += 1
            self._cut_in = True
            return True
        if self._sounded:
            self._cut_in = False
            return now - self._sound_at >= PAUSE_S
        if now - self._since >= PATIENCE_S:
            if self._ended_at is not None:
                self.heard.unanswered += 1
            return True
        return False

    def _begin(self, now: float) -> None:
        self.heard.turns += 1
        self._length = self._left = self._dice.randint(50, min(110, len(self._speech)))
        self._spoke_at = now
        self._ended_at = None

    def _fell_silent(self, now: float) -> None:
        if self._cut_in and self._spoke_at is not None:
            self.heard.stopped_ms.append(max(0.0, 1000 * (self._sound_at - self._spoke_at)))
        self._ended_at = self._since = now + TICK_S
        self._sounded = False
        # What the agent still says of what was interrupted is no answer.
        self._cut_in = now - self._sound_at < 0.1
