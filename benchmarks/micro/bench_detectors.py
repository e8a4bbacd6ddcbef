"""What 20 ms of a call cost with each detector there is, for a silent caller, one who speaks, and a noisy line."""

from __future__ import annotations

import math
import random
import struct
import time
from typing import TYPE_CHECKING, Any

import pytest

from fastaudio import _core

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


SCENES = {
    "quiet": [NOISE.gauss(0, 30) for _ in range(160 * FRAMES)],
    "speech": [voiced(n) + NOISE.gauss(0, 30) for n in range(160 * FRAMES)],
    "noise": [NOISE.gauss(0, 2500) for _ in range(160 * FRAMES)],
}


def messages(scene: list[float]) -> list[bytes]:
    """The caller's second as Asterisk sends it."""
    samples = [max(-32768, min(32767, round(value))) for value in scene]
    return [_core.message(0x10, struct.pack("<160h", *samples[at : at + 160])) for at in range(0, len(samples), 160)]


def second_of_a_call(detector: str, heard: list[bytes]) -> Any:
    """A call by hand whose agent speaks: barge-in is looked for, and off, so that each second is the same."""
    call = _core.Call(1, detector=detector, lead=0, bargein={"enabled": 0})
    call.start(bytes(range(16)))

    def second() -> None:
        assert call.write(1, AGENT) == len(AGENT)
        for message in heard:
            call.input(message)
            call.tick()
        call.events()

    return second


@pytest.mark.parametrize("detector", _core.DETECTORS)
def test_detector(detector: str, detector_costs: list[DetectorCost], cost_of: type[DetectorCost]) -> None:
    seconds = {name: second_of_a_call(detector, messages(scene)) for name, scene in SCENES.items()}
    taken: dict[str, list[float]] = {name: [] for name in seconds}
    for _ in range(ROUNDS):  # alternating: what slows the machine slows all of them
        for name, second in seconds.items():
            began = time.perf_counter()
            second()
            taken[name].append((time.perf_counter() - began) / FRAMES * 1e9)
    medians = {name: sorted(times)[ROUNDS // 2] for name, times in taken.items()}
    detector_costs.append(cost_of(detector, medians["quiet"], medians["speech"], medians["noise"]))
