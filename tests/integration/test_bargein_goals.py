"""The default detector on synthetic speech, noise and echo: what the benchmark measures, held to its goals."""

from __future__ import annotations

from statistics import median

import pytest

from agent.floor import LISTENING_STOP_MS
from benchmarks.bargein.__main__ import CLASSIC, detectors, verdicts, worse
from benchmarks.bargein.quiet import listen
from benchmarks.bargein.sounds import Sounds, made
from benchmarks.bargein.trials import FALSE, HITS, Make, Scene, interrupt, leave_alone
from fastaudio import BargeInDetector, BargeInOptions, CallOptions

pytestmark = pytest.mark.speech
BOTH = ("adaptive", "rms")


@pytest.fixture(scope="module")
def sounds() -> Sounds:
    return made(("hibari", "hibari-low"))


def measured(sounds: Sounds, make: Make) -> dict[str, dict[str, object]]:
    return {
        "hits": {scene.name: interrupt(sounds, scene, make, rounds=1) for scene in HITS},
        "short": {},
        "false": {scene.name: leave_alone(sounds, scene, make) for scene in FALSE},
    }


def test_the_default_reaches_the_goals_and_is_nowhere_behind_the_classic_rule(sounds: Sounds) -> None:
    assert CallOptions().detector == "adaptive"
    ours = measured(sounds, detectors()["adaptive"])
    assert verdicts(ours["hits"], ours["false"]) == []  # type: ignore[arg-type]
    assert worse(ours, measured(sounds, detectors()[CLASSIC])) == []


def test_without_what_is_played_the_echo_fools_it(sounds: Sounds) -> None:
    """The goals on echo say something: the same detector, deaf to playback, misses them."""
    detector = detectors()["adaptive"]

    def deaf() -> object:
        feed = detector()
        return lambda caller, played: feed(caller, None)

    scene = next(scene for scene in FALSE if scene.name == "echo -10 dB")
    assert leave_alone(sounds, scene, deaf).holds > 15  # type: ignore[arg-type]


def test_the_caller_is_quiet_where_the_words_end_and_seldom_within_them(sounds: Sounds) -> None:
    adaptive, rms = (listen(sounds, Scene("line"), name, [LISTENING_STOP_MS])[LISTENING_STOP_MS] for name in BOTH)
    assert adaptive.false / adaptive.speech_s < 0.25 < rms.false / rms.speech_s
    assert abs(median(adaptive.end_ms)) <= 40
    assert median(adaptive.told_ms) <= LISTENING_STOP_MS + 40


def test_a_frame_of_another_length_is_refused() -> None:
    detector = BargeInDetector("adaptive", 16000, options=BargeInOptions(ms=400))
    assert detector.feed(bytes(640)) == "idle"
    with pytest.raises(ValueError, match="640 bytes, not 320"):
        detector.feed(bytes(640), bytes(320))
    with pytest.raises(ValueError, match="no detector 'ears'"):
        BargeInDetector("ears")  # type: ignore[arg-type]
