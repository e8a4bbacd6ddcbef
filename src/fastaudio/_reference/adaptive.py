"""The adaptive detector: noise, echo and pitch, and what they say together. The constants are those of the C files."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

LEAST_GATE, LEAST_CEILING = 100, 16
"""RMS below which A-law leaves little of a voice, and twice that of a silent line."""

NOISE_FRAMES, NOISE_KNOWN = 75, 11
"""Levels that are kept (1.5 s), and how many tell something."""

ECHO_DELAYS, ECHO_WINDOW, ECHO_BLOCKS, ECHO_BLOCK_FRAMES, ECHO_WAITING = 24, 5, 15, 10, 3
ECHO_KNOWN_WIDE, ECHO_KNOWN_DELAY = 40, 60
ECHO_UNIT, ECHO_GAIN_MAX, ECHO_AUDIBLE = 4096, 0x7FFF, 200

ENERGY_FRAMES, RINGING_FRAMES = 20, 6
SPEECH_FRAMES, VOICE_FRAMES, SEARCH_FRAMES, UNVOICED_FRAMES = 10, 15, 10, 20


class Noise:
    """How loud the line is when nobody speaks: 3 dB above what three quarters of the last 1.5 s do not exceed."""

    def __init__(self) -> None:
        self._levels: list[int] = []
        self._gate = LEAST_GATE

    def frame(self, rms: int) -> int:
        """Takes a frame's level; returns the gate, above which it is speech or an echo."""
        kept = min(rms, self._gate) if len(self._levels) >= NOISE_KNOWN else rms
        self._levels = [*self._levels, min(kept, 65535)][-NOISE_FRAMES:]
        self._gate = max(LEAST_GATE, self._percentile(75) * 140 // 100)
        return max(self._gate, rms) if len(self._levels) < NOISE_KNOWN else self._gate

    def ceiling(self) -> int:
        """What the line by itself hardly exceeds: Tukey's fence above the quartiles."""
        upper, lower = self._percentile(75), self._percentile(25)
        return max(LEAST_CEILING, upper + 3 * (upper - lower) // 2)

    def _percentile(self, percent: int) -> int:
        return sorted(self._levels)[percent * (len(self._levels) - 1) // 100]


class _Block:
    """The highest gains of 200 ms."""

    def __init__(self) -> None:
        self.gain = [0] * ECHO_DELAYS
        self.wide = 0
        self.frames = 0


class Echo:
    """How loud the agent's own voice comes back, by the wide bound or by the delay that explains it best."""

    def __init__(self) -> None:
        self._played = [0] * (ECHO_DELAYS + ECHO_WINDOW)  # the newest first
        self._blocks = [_Block() for _ in range(ECHO_BLOCKS)]  # the newest first
        self._frames = 0
        self.delay = 0

    def played(self, rms: int) -> None:
        """Once a tick: the level of what was played in it."""
        self._played = [min(rms, 65535), *self._played[:-1]]

    def _loudest(self, delay: int) -> int:
        return max(self._played[delay : delay + ECHO_WINDOW])

    def _widest(self) -> int:
        return max(self._loudest(delay) for delay in range(ECHO_DELAYS))

    def predict(self) -> int:
        """The echo that a frame of the caller may hold now."""
        loudest = self._widest()
        if loudest <= ECHO_AUDIBLE:
            return 0
        counting = self._blocks[ECHO_WAITING:]
        known = sum(block.frames for block in counting)
        wide = max(block.wide for block in counting) if known >= ECHO_KNOWN_WIDE else ECHO_GAIN_MAX
        level = _times(loudest, wide)
        if known < ECHO_KNOWN_DELAY:
            return level
        gains = {delay: max(block.gain[delay] for block in counting) for delay in range(ECHO_DELAYS)}
        gains = {delay: gain for delay, gain in gains.items() if gain > 0}
        if not gains:
            return level
        self.delay = min(gains, key=lambda delay: gains[delay])
        return min(level, _times(self._loudest(self.delay), gains[self.delay]))

    def heard(self, rms: int, noise: int) -> None:
        """What came from the caller: learns. What is not louder than `noise` needs no explanation."""
        newest, loudest = self._blocks[0], self._widest()
        if loudest > ECHO_AUDIBLE:
            newest.wide = max(newest.wide, _ratio(rms, loudest))
            newest.frames += 1
            for delay in range(ECHO_DELAYS):
                if self._loudest(delay) > ECHO_AUDIBLE or rms > noise:
                    played = max(self._loudest(delay), ECHO_AUDIBLE)
                    newest.gain[delay] = max(newest.gain[delay], _ratio(rms, played))
        self._frames += 1
        if self._frames == ECHO_BLOCK_FRAMES:
            self._frames = 0
            self._blocks = [_Block(), *self._blocks[:-1]]

    def forget(self) -> None:
        """What came in the last 0.6 s was the caller."""
        self._blocks[:ECHO_WAITING] = [_Block() for _ in range(ECHO_WAITING)]


def _times(level: int, gain: int) -> int:
    return level * min(gain, ECHO_UNIT // 2) // ECHO_UNIT


def _ratio(rms: int, played: int) -> int:
    return min(max(rms * ECHO_UNIT // played, 1), ECHO_GAIN_MAX)


def _at_4khz(samples: Sequence[int], rate: int) -> list[int]:
    if rate == 16000:
        samples = [(a + b) // 2 for a, b in zip(samples[::2], samples[1::2], strict=True)]
    padded = [*samples, 0, 0]
    return [sum(padded[i : i + 4]) for i in range(0, len(samples), 2)]


def pitch_strength(window: Sequence[int], rate: int, enough: float = 1.0) -> float:
    """The square of the highest correlation of 40 ms with itself one period of a voice later (61 to 444 Hz).

    0 for what repeats quicker than any voice, and for a rumble that has not turned round within the shortest period.
    The search ends at the first that is above `enough`.
    """
    sums = _at_4khz(window, rate)
    mean = int(sum(sums) / len(sums))  # toward zero, as in C
    peak = max(1, *(abs(s - mean) for s in sums))
    unit = 1
    while peak // unit > 2047:
        unit *= 2
    x = [(s - mean) // unit for s in sums]
    voice = quicker = 0.0
    turned = False
    for lag in range(2, 67):
        product = float(sum(a * b for a, b in zip(x, x[lag:], strict=False)))
        of_both = float(sum(a * a for a in x[: len(x) - lag])) * float(sum(a * a for a in x[lag:]))
        strength = product * product / of_both if product > 0 and of_both > 0 else 0.0
        turned = turned or strength < 0.25
        if turned and lag < 9:
            quicker = max(quicker, strength)
        elif turned:
            voice = max(voice, strength)
            if voice > enough and quicker <= 0.81 * voice:
                break
    return 0.0 if quicker > 0.81 * voice else voice


@dataclass(frozen=True)
class AdaptiveFrame:
    """The caller's voice; no quieter than just before; enough to act upon; speech, with the consonants around it.

    `goes_on`: speech that began before goes on in it.
    """

    voiced: bool
    steady: bool
    convincing: bool
    speech: bool
    goes_on: bool


class Adaptive:
    """Is a frame of 20 ms the caller's voice, with what is being played in mind."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._noise = Noise()
        self._echo = Echo()
        self._before: Sequence[int] = [0] * (rate // 50)
        self._loud = [(0, False)] * ENERGY_FRAMES  # (level when loud, voiced), the newest first
        self._since_voiced, self._since_pitch, self._floor = NOISE_FRAMES, UNVOICED_FRAMES, 0

    def gap(self) -> None:
        """A frame that did not come is silence."""
        self._noise.frame(0)
        self._echo.heard(0, 0)
        self._before = [0] * (self._rate // 50)
        self._loud = [(0, False), *self._loud[:-1]]
        self._since_voiced += 1
        self._since_pitch += 1

    def frame(self, samples: array[int], rms: int) -> AdaptiveFrame:
        """Classes a frame of the caller of level `rms`."""
        gate = self._noise.frame(rms)
        above_echo = rms > self._echo.predict() * 125 // 100
        loud = rms > gate and above_echo
        self._echo.heard(rms, gate)
        if self._since_voiced >= NOISE_FRAMES:
            self._floor = self._noise.ceiling()
        audible = loud or (rms > self._floor and above_echo)
        weak = audible and self._since_voiced < VOICE_FRAMES and self._since_pitch >= SEARCH_FRAMES
        rings = any(level > 3 * rms for level, _ in self._loud[:RINGING_FRAMES])
        pitch = (loud or weak) and not rings and pitch_strength([*self._before, *samples], self._rate, 0.36) > 0.36
        voiced = loud and pitch
        self._before = samples
        self._loud = [(rms if loud else 0, voiced), *self._loud[:-1]]
        self._since_voiced = 0 if voiced else self._since_voiced + 1
        self._since_pitch = 0 if pitch else self._since_pitch + 1
        energy = sum(level * level for level, _ in self._loud)
        of_voice = sum(level * level for level, was_voiced in self._loud if was_voiced)
        return AdaptiveFrame(
            voiced=voiced,
            steady=voiced and all(2 * level <= 3 * rms for level, _ in self._loud[1:4]),
            convincing=voiced and 2 * of_voice >= energy,
            speech=voiced or (loud and self._since_voiced < SPEECH_FRAMES),
            goes_on=audible and self._since_pitch < UNVOICED_FRAMES,
        )

    def played(self, rms: int) -> None:
        """Once a tick: the level of what was played in it, 0 for silence."""
        self._echo.played(rms)

    def interrupted(self) -> None:
        """It was the caller: what came just now is not learnt as echo."""
        self._echo.forget()
