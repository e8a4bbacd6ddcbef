"""What 20 ms of a call cost with each detector there is, for a silent caller, one who speaks, and a noisy line."""

from __future__ import annotations

import math
import random
import struct
import time
from typing import TYPE_CHECKING

import pytest

from fastaudio import _core
from fastaudio.call import EventKind

if TYPE_CHECKING:
    from benchmarks.micro.conftest import DetectorCost

FRAMES = 50
ROUNDS = 15
NOISE = random.Random(3)
AGENT = struct.pack(f"<{160 * FRAMES}h", *(round(3000 * math.sin(n / 6)) for n in range(160 * FRAMES)))


def voiced(n: int) -> float:
    """A buzz of 150 Hz whose level moves as syllables do."""
    second = n / 8000
    buzz = sum(math.sin(2 * math.pi * 150 * h * second) / h for h in range(1, 12))
    return 6000 * buzz * (0.6 + 0.4 * math.sin(2 * math.pi * 4 * second))


QUIET = [NOISE.gauss(0, 30) for _ in range(160 * FRAMES)]
SPEECH = [voiced(n) + quiet for n, quiet in enumerate(QUIET)]
LOUD = [NOISE.gauss(0, 2500) for _ in range(160 * FRAMES)]
SCENES = {"quiet": (QUIET, QUIET), "speech": (QUIET, SPEECH), "noise": (LOUD, LOUD)}
"""The second before, which is not timed, and the second that is. Without quiet before it a buzz would be the line's
noise to the adaptive detector, whose search for a pitch would never run."""


def messages(second: list[float]) -> list[bytes]:
    """The caller's second as Asterisk sends it."""
    samples = [max(-32768, min(32767, round(value))) for value in second]
    return [_core.message(0x10, struct.pack("<160h", *samples[at : at + 160])) for at in range(0, len(samples), 160)]


class Scene:
    """A call by hand whose agent speaks: barge-in is looked for, and off, so that each round is the same."""

    def __init__(self, detector: str, before: list[float], timed: list[float]) -> None:
        self._before, self._timed = messages(before), messages(timed)
        self._call = _core.Call(1, detector=detector, lead=0, bargein={"enabled": 0})
        self._call.start(bytes(range(16)))
        self.taken_ns: list[float] = []
        """By a tick, each round."""
        self.speech_starts = 0

    def round(self) -> None:
        """Run both seconds, the second of them timed."""
        self._second(self._before)
        began = time.perf_counter()
        self._second(self._timed)
        self.taken_ns.append((time.perf_counter() - began) / FRAMES * 1e9)

    def _second(self, heard: list[bytes]) -> None:
        call = self._call
        assert call.write(1, AGENT) == len(AGENT)
        for message in heard:
            call.input(message)
            call.tick()
        self.speech_starts += sum(event[0] == EventKind.SPEECH for event in call.events())

    def median_ns(self) -> float:
        """Of a tick, over all rounds."""
        return sorted(self.taken_ns)[ROUNDS // 2]


@pytest.mark.parametrize("detector", _core.DETECTORS)
def test_detector(detector: str, detector_costs: list[DetectorCost], cost_of: type[DetectorCost]) -> None:
    scenes = {name: Scene(detector, before, timed) for name, (before, timed) in SCENES.items()}
    for _ in range(ROUNDS):  # alternating: what slows the machine slows all of them
        for scene in scenes.values():
            scene.round()
    assert scenes["speech"].speech_starts >= ROUNDS  # it is speech to the detector that is timed
    medians = {name: scene.median_ns() for name, scene in scenes.items()}
    detector_costs.append(cost_of(detector, medians["quiet"], medians["speech"], medians["noise"]))
