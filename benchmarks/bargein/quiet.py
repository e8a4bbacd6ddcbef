"""When does the core say that the caller is quiet: not within words, and where the words end?

    python -m benchmarks.bargein.quiet [--set DIRECTORY] [--detectors adaptive rms ...] [--stop-ms 80 100 120 160 200]

Each long utterance is heard in each scene, as for barge-in. A QUIET is false when speech goes on, and the
silence that it found is no part of a pause of 200 ms or more: the closures of stops are shorter. The truth is taken
from the utterance itself, in blocks of 10 ms: audible is what is within 35 dB of the usual level of speech, in any
noise.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import report
from benchmarks.bargein.sounds import LEVEL, RATE, Sound, Sounds, Utterance, made, recorded
from benchmarks.bargein.trials import BEFORE, Frames, Scene, leveled, through_the_wire, trials
from fastaudio import _core
from fastaudio.options import BargeInOptions, CallOptions

SCENES = (Scene("line"), Scene("white", 20), Scene("babble", 20), Scene("line", quiet_db=20))
INTRUDING = (Scene("music", 10), Scene("music", 20), Scene("traffic", 10), Scene("white", 10))
"""Noise that begins where a sentence ends."""
INTRUSIONS = 6
"""Sentences that it follows."""
AUDIBLE = LEVEL / 56
PAUSE_MS = 200
BREATH_MS = 400
AFTER = 50
"""Frames behind the utterance: long enough for every QUIET."""
HOW = (
    "false: QUIET events a second of speech, where speech does not pause for 200 ms. end: where the last QUIET says "
    "that speech ended, ms after its acoustic end: 10th percentile, median, 90th. told: ms from the acoustic end to "
    "that QUIET: median, 95th percentile. open: ms for which 8 s of noise after a sentence keep the gate open"
)


@dataclass(frozen=True)
class Truth:
    """Of an utterance, in ms from its onset."""

    end: int
    pauses: tuple[tuple[int, int], ...]

    @property
    def speech_s(self) -> float:
        """Speech without its pauses."""
        return (self.end - sum(to - since for since, to in self.pauses)) / 1000


@dataclass
class Heard:
    """What became of the utterances of a scene."""

    speech_s: float = 0.0
    false: int = 0
    end_ms: list[int] = field(default_factory=list)
    told_ms: list[int] = field(default_factory=list)

    def as_json(self) -> dict[str, float | list[float]]:
        """Figures: see HOW."""
        return {
            "false": round(self.false / self.speech_s, 3),
            "end": [round(float(one)) for one in np.percentile(self.end_ms, (10, 50, 90))],
            "told": [round(float(one)) for one in np.percentile(self.told_ms, (50, 95))],
        }


def truth(speech: Sound) -> Truth:
    """Where it ends and pauses."""
    blocks = speech[: len(speech) // 80 * 80].reshape(-1, 80)
    audible = np.flatnonzero(np.sqrt((blocks**2).mean(axis=1)) > AUDIBLE)
    gaps = ((10 * (int(a) + 1), 10 * int(b)) for a, b in pairwise(audible))
    pauses = tuple((since, to) for since, to in gaps if to - since >= PAUSE_MS)
    return Truth(10 * (int(audible[-1]) + 1), pauses)


def classed(detector: str, frames: Frames) -> list[tuple[bool, bool]]:
    """Each frame as a call's gate is given it: voiced, and speech that goes on."""
    vad = _core.Vad(detector)
    loud, quiet = BargeInOptions().rms, CallOptions().listen_rms
    return [vad.frame(caller, loud, quiet)[2:4] for caller, _ in frames]


def quiets(classes: Sequence[tuple[bool, bool]], stop_ms: int) -> Iterator[tuple[int, int]]:
    """Of each QUIET: when it is said, and when speech is said to have ended; ms from the onset."""
    gate = _core.Gate(stop_ms // 20)
    for n, (voiced, goes_on) in enumerate(classes):
        change = gate.frame(voiced, goes_on)
        if change is not None and change[0] == "stop":
            said = 20 * (n + 1 - BEFORE)
            yield said, said - 20 * change[1]


def listen(sounds: Sounds, scene: Scene, detector: str, stops_ms: Sequence[int], rounds: int = 2) -> dict[int, Heard]:
    """Hear every long utterance, by stop_ms."""
    results = {stop_ms: Heard() for stop_ms in stops_ms}
    truths = cycle([truth(one.samples) for one in sounds.utterances if not one.short])
    for frames, real in zip(trials(sounds, scene, False, rounds, AFTER), truths, strict=False):
        classes = classed(detector, frames)
        for stop_ms, heard in results.items():
            heard.speech_s += real.speech_s
            last = None
            for said, ended in quiets(classes, stop_ms):
                last = said, ended
                middle = (said + ended) / 2
                paused = any(since <= middle <= to for since, to in real.pauses)
                heard.false += 0 < said < real.end and not paused
            if last is not None:
                heard.told_ms.append(last[0] - real.end)
                heard.end_ms.append(last[1] - real.end)
    return results


def monologues(sounds: Sounds) -> Sounds:
    """Callers who talk on: the long utterances, five in a row with a breath between them."""
    long = [one.samples for one in sounds.utterances if not one.short]
    breath = np.zeros(BREATH_MS * RATE // 1000)
    in_a_row = [
        np.concatenate([part for one in long[at : at + 5] for part in (one, breath)][:-1])
        for at in range(0, len(long) - 4, 5)
    ]
    return replace(sounds, utterances=[Utterance(one, False) for one in in_a_row])


def open_ms(sounds: Sounds, scene: Scene, detector: str, stop_ms: int) -> float:
    """How long 8 s of a noise keep the gate open, on the average, when they begin where a sentence ends."""
    total = 0
    sentences = [one.samples for one in sounds.utterances if not one.short][:INTRUSIONS]
    for n, speech in enumerate(sentences):
        numbers = np.random.default_rng(n)
        before = np.concatenate([np.zeros(BEFORE * RATE // 50), speech])
        sound = np.concatenate([before, leveled(sounds, scene)[2 * RATE * n :][: 8 * RATE]])
        classes = classed(detector, through_the_wire(sound + numbers.normal(0, 6, len(sound)), None))
        gate = _core.Gate(stop_ms // 20)
        is_open = False
        for at, (voiced, goes_on) in enumerate(classes):
            change = gate.frame(voiced, goes_on)
            is_open = change[0] == "start" if change is not None else is_open
            total += 20 * (is_open and at * RATE // 50 > len(before))
    return total / len(sentences)


def measure(sounds: Sounds, detector: str, stops_ms: Sequence[int]) -> dict[str, Any]:
    """Everything about one detector."""
    scenes = {scene.name: listen(sounds, scene, detector, stops_ms) for scene in SCENES}
    scenes["five sentences in a row, line"] = listen(monologues(sounds), SCENES[0], detector, stops_ms)
    by_scene = {name: {str(at): one.as_json() for at, one in heard.items()} for name, heard in scenes.items()}
    return {"scenes": by_scene, "open": {one.name: round(open_ms(sounds, one, detector, 100)) for one in INTRUDING}}


def show(detector: str, result: dict[str, Any]) -> None:
    """Prints its tables."""
    rows = [
        [name, stop_ms, f"{one['false']:.2f}", " / ".join(map(str, one["end"])), " / ".join(map(str, one["told"]))]
        for name, heard in result["scenes"].items()
        for stop_ms, one in heard.items()
    ]
    print(report.table([detector, "stop ms", "false a second", "end, ms", "told, ms"], rows), end="\n\n")
    print(report.table(["noise from the end on", "open, ms"], [[name, str(ms)] for name, ms in result["open"].items()]))
    print()


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", type=Path, help="a directory with recordings (dev.npz, dev.json)")
    parser.add_argument("--detectors", nargs="+", choices=list(_core.DETECTORS), default=["adaptive", "rms"])
    parser.add_argument("--stop-ms", nargs="+", type=int, default=[80, 100, 120, 160, 200])
    options = parser.parse_args()
    sounds = recorded(options.set) if options.set else made()
    results = {name: measure(sounds, name, options.stop_ms) for name in options.detectors}
    for name, result in results.items():
        show(name, result)
    report.write("quiet", HOW, sounds=sounds.name, detectors=results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
