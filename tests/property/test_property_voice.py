"""Level, detector, gate and barge-in: the compiled core against the specification and the `webrtcvad` binding."""

import math
import random
import struct
from array import array
from typing import Any

import pytest
import webrtcvad
from hypothesis import given, settings
from hypothesis import strategies as st

from fastaudio import _core, _reference


def rms_exact(samples: list[int]) -> int:
    return math.isqrt(sum(s * s for s in samples) // len(samples)) if samples else 0


@given(samples=st.lists(st.integers(-32768, 32767), max_size=400), odd=st.booleans())
def test_rms(samples: list[int], odd: bool) -> None:
    pcm = struct.pack(f"<{len(samples)}h", *samples) + (b"\x7f" if odd else b"")
    assert _core.rms(pcm) == _reference.rms(pcm) == rms_exact(samples)


@given(pcm=st.binary(max_size=2000), frame_samples=st.integers(1, 200))
def test_rms_batch(pcm: bytes, frame_samples: int) -> None:
    assert _core.rms_batch(pcm, frame_samples) == _reference.rms_batch(pcm, frame_samples)


@given(stop=st.integers(0, 20), frames=st.lists(st.tuples(st.booleans(), st.booleans()), max_size=200))
def test_gate(stop: int, frames: list[tuple[bool, bool]]) -> None:
    compiled, reference = _core.Gate(stop), _reference.Gate(stop)
    told = []
    for voiced, goes_on in frames:
        answer = compiled.frame(voiced, goes_on)
        assert answer == reference.frame(voiced, goes_on)
        told.append(answer and answer[0])
    # Start and stop alternate.
    changes = [what for what in told if what]
    assert changes == ["start", "stop"] * (len(changes) // 2) + ["start"] * (len(changes) % 2)


@given(
    windows=st.tuples(st.integers(1, 64), st.integers(1, 64)),
    shares=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    ticks=st.tuples(st.integers(1, 12), st.integers(0, 30), st.integers(1, 30)),
    steps=st.lists(st.tuples(st.sampled_from("xx. "), st.booleans(), st.booleans()), max_size=200),
)
def test_barge_in(
    windows: tuple[int, int],
    shares: tuple[float, float],
    ticks: tuple[int, int, int],
    steps: list[tuple[str, bool, bool]],
) -> None:
    needs = [max(1, round(window * share)) for window, share in zip(windows, shares, strict=True)]
    options = {
        "hold_window": windows[0], "hold_need": needs[0], "barge_window": windows[1], "barge_need": needs[1],
        "release_ticks": ticks[0], "decide_ticks": ticks[1], "limit_ticks": ticks[2],
    }  # fmt: skip
    machines = [module.BargeIn(**options) for module in (_core, _reference)]
    follows: dict[str | None, set[str | None]] = {
        None: {None, "hold"},
        "hold": {"resume", "barge_in"},
        "barge_in": {"flush"},
        "resume": {"hold"},
        "flush": {"hold"},
    }
    before: str | None = None
    for letter, playing, often in steps:
        if letter != " ":
            for machine in machines:
                machine.frame(letter == "x")
        if not often and letter == ".":
            for machine in machines:
                machine.reset()
            before = None
        answers = [machine.tick(playing) for machine in machines]
        assert answers[0] == answers[1]
        if answers[0] is not None:
            assert answers[0] in follows[before]
            before = answers[0]


# ---- WebRTC's detector


def speech_like(rate: int, frames: int, seed: int) -> bytes:
    """Bursts of a voiced sound (harmonics of a gliding pitch under two formants) between pauses of soft noise."""
    noise = random.Random(seed)
    samples = []
    phase = 0.0
    for n in range(frames * rate // 50):
        t = n / rate
        pitch = 120 + 30 * math.sin(2 * math.pi * 0.7 * t)
        phase += 2 * math.pi * pitch / rate
        voice = sum(
            math.sin(k * phase) / (1 + ((k * pitch - 500) / 300) ** 2)
            + math.sin(k * phase) / (1 + ((k * pitch - 1500) / 400) ** 2)
            for k in range(1, 16)
        )
        syllable = max(0.0, math.sin(2 * math.pi * 3 * t)) * (1 if math.sin(2 * math.pi * 0.5 * t) > -0.3 else 0)
        samples.append(round(max(-32768, min(32767, 2500 * voice * syllable + noise.gauss(0, 60)))))
    return struct.pack(f"<{len(samples)}h", *samples)


def white_noise(rate: int, frames: int, seed: int) -> bytes:
    """Noise whose level steps up and down."""
    noise = random.Random(seed)
    levels = [30, 300, 3000, 10000]
    count = rate // 50
    return b"".join(
        struct.pack(f"<{count}h", *(max(-32768, min(32767, round(noise.gauss(0, level)))) for _ in range(count)))
        for level in (noise.choice(levels) for _ in range(frames))
    )


@pytest.mark.parametrize("rate", [8000, 16000])
@pytest.mark.parametrize("mode", [0, 1, 2, 3])
@pytest.mark.parametrize("make", [speech_like, white_noise])
def test_webrtc_is_the_binding_frame_by_frame(rate: int, mode: int, make: Any) -> None:
    pcm = make(rate, 150, 4)
    size = rate // 50 * 2
    binding = webrtcvad.Vad(mode)
    compiled, reference = (module.Vad("webrtc", rate, mode) for module in (_core, _reference))
    heard = []
    for at in range(0, len(pcm), size):
        frame = pcm[at : at + size]
        answer = compiled.frame(frame, 32768, 32768)  # levels are of no account to this detector
        speech = bool(binding.is_speech(frame, rate))
        assert answer == (_core.rms(frame), speech, speech, speech, True, True)
        assert answer == reference.frame(frame, 32768, 32768)
        heard.append(speech)
    if make is speech_like:  # the comparison is worth something: both answers occur
        assert 10 < sum(heard) < len(heard)


@pytest.mark.parametrize("rate", [8000, 16000])
def test_both_together_run_the_detector_only_where_a_level_is_reached(rate: int) -> None:
    pcm = speech_like(rate, 200, 9)
    size = rate // 50 * 2
    binding = webrtcvad.Vad(2)
    vads = [module.Vad("rms+webrtc", rate, 2) for module in (_core, _reference)]
    answers = set()
    for at in range(0, len(pcm), size):
        frame = pcm[at : at + size]
        level = _core.rms(frame)
        speech = level >= 300 and bool(binding.is_speech(frame, rate))
        expected = (level, speech and level >= 800, speech, speech, True, True)
        assert [vad.frame(frame, 800, 300) for vad in vads] == [expected, expected]
        answers.add(expected[1:3])
    assert answers == {(True, True), (False, True), (False, False)}


def scene(rate: int, frames: int, seed: int) -> list[tuple[bytes, int]]:
    """(what the caller sends, the level of what is played): noise, speech, echo and both at once, in turns."""
    voice, noise = speech_like(rate, frames, seed), white_noise(rate, frames, seed + 1)
    size = rate // 50
    pairs = []
    for n in range(frames):
        gain = (0.02, 0.3, 1.0, 0.05)[n // 40 % 4]
        near = array("h", voice[2 * size * n : 2 * size * (n + 1)])
        far = 3000 if n // 25 % 3 else 0
        rough = array("h", noise[2 * size * n : 2 * size * (n + 1)])
        mixed = (int(a * gain + b * 0.01) for a, b in zip(near, rough, strict=True))
        pairs.append((array("h", mixed).tobytes(), far))
    return pairs


@pytest.mark.parametrize("rate", [8000, 16000])
def test_adaptive_is_its_reference_frame_by_frame(rate: int) -> None:
    compiled, reference = (module.Vad("adaptive", rate) for module in (_core, _reference))
    answers = set()
    for n, (frame, played) in enumerate(scene(rate, 600, 21)):
        got = compiled.frame(frame, 800, 300)
        assert got == reference.frame(frame, 800, 300)
        answers.add(got[1:])
        for vad in (compiled, reference):
            vad.played(played)
            if n == 300:
                vad.interrupted()
    assert {answer[0] for answer in answers} == {False, True}
    assert {answer[4] for answer in answers} == {False, True}


@pytest.mark.parametrize("rate", [8000, 16000])
@given(words=st.lists(st.tuples(st.integers(1, 25), st.sampled_from([0, 60, 120, 400, 3000])), min_size=5, max_size=12))
@settings(max_examples=20)
def test_what_goes_on_after_a_voice_is_its_reference(rate: int, words: list[tuple[int, int]]) -> None:
    """Runs of frames of a voice at one peak after another, in hiss that is now and then audible."""
    compiled, reference = (module.Vad("adaptive", rate) for module in (_core, _reference))
    hiss = random.Random(5)
    n = 0
    answers = set()
    for frames, peak in [(80, 0), (10, 4000), (3, 60), *words, (5, 0)]:
        for _ in range(frames):
            times = [(n + i) / rate for i in range(rate // 50)]
            n += len(times)
            voice = [sum(math.sin(2 * math.pi * 130 * k * t) / k for k in range(1, 9)) for t in times]
            rough = 100 if peak == 60 else 12
            frame = array("h", (int(peak * one / 1.6 + hiss.uniform(-rough, rough)) for one in voice)).tobytes()
            got = compiled.frame(frame, 800, 300)
            assert got == reference.frame(frame, 800, 300)
            assert got[3] >= got[2]
            answers.add(got[2:4])
    assert answers == {(False, False), (False, True), (True, True)}  # silence, what goes on, and speech


@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32768), st.integers(0, 32767)), max_size=40))
def test_adaptive_is_its_reference_on_anything(frames: list[tuple[int, int, int]]) -> None:
    compiled, reference = (module.Vad("adaptive", 8000) for module in (_core, _reference))
    for seed, played, peak in frames:
        numbers = random.Random(seed)
        frame = array("h", (numbers.randint(-peak - (peak == 32767), peak) for _ in range(160))).tobytes()
        for vad in (compiled, reference):
            vad.played(played)
        assert compiled.frame(frame, 800, 300) == reference.frame(frame, 800, 300)
