"""What is tried: does the detector let a caller interrupt in time, and does it leave the agent alone otherwise.

A trial is 1.5 s of a noise (or of line noise), then an utterance on top of it, then 0.6 s, all through A-law. It is a
hit when the detector says `barge_in` within 800 ms of the onset and did not before. A false barge-in is one on a track
of noise or echo alone, with a second before another counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from statistics import median

import numpy as np
from numpy.typing import NDArray

from agent.speech_engines.audio import decode, encode
from benchmarks.bargein.sounds import RATE, TRACK_S, Sound, Sounds
from fastaudio.detector import State

FRAME = RATE // 50
BEFORE = 75
"""Frames before the onset: 1.5 s."""
AFTER = 30
IN_TIME_MS = 800
REARM = 50
"""Frames: a second."""
LINE_SIGMA = 6.0
Frames = list[tuple[bytes, bytes | None]]
Feed = Callable[[bytes, bytes | None], State]
Make = Callable[[], Feed]
"""Makes a detector anew."""


@dataclass(frozen=True)
class Scene:
    """A noise and its level below speech (`echo`: its loss), and how much quieter than usual the caller is."""

    noise: str
    db: int = 0
    quiet_db: int = 0

    @property
    def name(self) -> str:
        """As it stands in the tables."""
        level = f" {-self.db if self.noise == 'echo' else self.db} dB" if self.db else ""
        return f"{self.noise}{level}" if not self.quiet_db else f"quiet caller ({-self.quiet_db} dB), {self.noise}"


HITS = (
    Scene("line"),
    Scene("white", 20),
    Scene("babble", 20),
    Scene("echo", 20),
    Scene("line", quiet_db=20),
    Scene("echo", 30),
    Scene("echo", 10),
    Scene("white", 10),
    Scene("babble", 10),
    Scene("traffic", 20),
    Scene("traffic", 10),
    Scene("music", 20),
    Scene("music", 10),
    Scene("keyboard"),
    Scene("cough"),
)
FALSE = (
    Scene("line"),
    Scene("keyboard"),
    Scene("cough"),
    Scene("thump_breath"),
    Scene("echo", 10),
    Scene("echo", 20),
    Scene("echo", 30),
    Scene("music", 10),
    Scene("traffic", 10),
    Scene("white", 20),
    Scene("babble", 20),
    Scene("music", 20),
    Scene("traffic", 20),
)
GOALS_HIT = {scene.name: 98.0 for scene in HITS[:5]}
"""Percent of long utterances."""
GOALS_FALSE = {scene.name: 5.0 if scene.noise in ("music", "traffic") else 1.0 for scene in FALSE[:9]}
"""Barge-ins a minute."""
GOAL_HOLDS = 15.0
GOAL_DECIDED_MS = 320.0
GOAL_HELD_MS = 120.0


@dataclass
class Hits:
    """What came of the trials of a scene; delays from the onset to the end of the frame in which it was said."""

    trials: int = 0
    hits: int = 0
    early: int = 0
    decided_ms: list[int] = field(default_factory=list)
    held_ms: list[int] = field(default_factory=list)

    @property
    def percent(self) -> float:
        """Hits in a hundred trials."""
        return 100 * self.hits / self.trials if self.trials else 0.0

    @property
    def median_decided_ms(self) -> float | None:
        """Of the hits."""
        return median(self.decided_ms) if self.decided_ms else None

    @property
    def median_held_ms(self) -> float | None:
        """Of all trials that were held for."""
        return median(self.held_ms) if self.held_ms else None


@dataclass(frozen=True)
class Fooled:
    """What a detector said on a track without a caller, a minute."""

    barge_ins: float
    holds: float


def _noise(sounds: Sounds, scene: Scene, numbers: np.random.Generator) -> Sound:
    """30 s of the scene without a caller."""
    line = numbers.normal(0, LINE_SIGMA, TRACK_S * RATE)
    if scene.noise == "line":
        return line
    return leveled(sounds, scene) + line


def leveled(sounds: Sounds, scene: Scene) -> Sound:
    """The noise of the scene at its level, which is not `line`."""
    sound = sounds.echo if scene.noise == "echo" else sounds.noises[scene.noise]
    return sound * 10 ** (-scene.db / 20)


def through_the_wire(sound: Sound, played: Sound | None) -> Frames:
    """Frames of a caller as A-law brings them, each with what was played in it."""
    wire = decode(encode(np.clip(np.round(sound), -32768, 32767).astype(np.int16), "pcm_alaw"), "alaw")
    near = _cut(wire)
    far = _cut(played.astype(np.int16)) if played is not None else [None] * len(near)
    return list(zip(near, far, strict=True))


def _cut(samples: NDArray[np.int16]) -> list[bytes]:
    return [samples[at : at + FRAME].tobytes() for at in range(0, len(samples) - FRAME + 1, FRAME)]


def trials(sounds: Sounds, scene: Scene, short: bool, rounds: int, after: int = AFTER) -> Iterator[Frames]:
    """Each utterance `rounds` times, on another piece of the noise each time; the same at each call."""
    numbers = np.random.default_rng(7)
    noise = _noise(sounds, scene, numbers)
    for _ in range(rounds):
        for utterance in sounds.utterances:
            if utterance.short != short:
                continue
            speech = utterance.samples * 10 ** (-scene.quiet_db / 20)
            frames = BEFORE + -(-len(speech) // FRAME) + after
            at = int(numbers.integers(len(noise) - frames * FRAME))
            sound = noise[at : at + frames * FRAME].copy()
            sound[BEFORE * FRAME : BEFORE * FRAME + len(speech)] += speech
            played = sounds.agent[at : at + frames * FRAME] if scene.noise == "echo" else None
            yield through_the_wire(sound, played)


def interrupt(sounds: Sounds, scene: Scene, make: Make, *, short: bool = False, rounds: int = 3) -> Hits:
    """Try every utterance in a scene."""
    result = Hits()
    for frames in trials(sounds, scene, short, rounds):
        feed = make()
        states = [feed(caller, played) for caller, played in frames]
        result.trials += 1
        if "barge_in" in states[:BEFORE]:
            result.early += 1
            continue
        after = states[BEFORE:]
        held = next((n for n, state in enumerate(after) if state in ("hold", "barge_in")), None)
        decided = next((n for n, state in enumerate(after) if state == "barge_in"), None)
        if held is not None:
            result.held_ms.append(20 * (held + 1))
        if decided is not None and 20 * (decided + 1) <= IN_TIME_MS:
            result.hits += 1
            result.decided_ms.append(20 * (decided + 1))
    return result


def leave_alone(sounds: Sounds, scene: Scene, make: Make) -> Fooled:
    """Play a track without a caller."""
    sound = _noise(sounds, scene, np.random.default_rng(3))
    played = sounds.agent if scene.noise == "echo" else None
    feed = make()
    barge_ins = holds = 0
    armed_at = 0
    before: State = "idle"
    for n, (caller, agent) in enumerate(through_the_wire(sound, played)):
        state = feed(caller, agent)
        if state == "barge_in" and n >= armed_at:
            barge_ins += 1
            armed_at = n + REARM
        holds += state in ("hold", "barge_in") and before in ("idle", "resume")
        before = state
    return Fooled(barge_ins * 60 / TRACK_S, holds * 60 / TRACK_S)
