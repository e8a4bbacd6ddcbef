"""The tone voice and its recogniser: text goes through a telephone line unchanged."""

from __future__ import annotations

import numpy as np
import pytest
import webrtcvad
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.speech_engines import Samples, audio, load_recogniser, load_voice

VOICE, EAR = load_voice("tones"), load_recogniser("tones")
SENTENCE = "Hello, it's M1 4BT; the bookkeeper's tap – £89.50! – (naïve) is leaking, ok?"


def heard(samples: Samples) -> str:
    return " ".join(word.text for word in EAR.transcribe(samples))


def silence(milliseconds: int) -> Samples:
    return np.zeros(8 * milliseconds, np.int16)


@settings(deadline=None, max_examples=50)
@given(st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF, exclude_categories=["C", "Z"]) | st.just(" ")))
def test_any_text_comes_back(text: str) -> None:
    assert heard(VOICE.speak(text, 8000).samples) == " ".join(text.split())


@pytest.mark.parametrize("rate", [8000, 16000, 24000])
@pytest.mark.parametrize("encoding", ["linear16", "alaw", "mulaw"])
def test_survives_the_line(rate: int, encoding: str) -> None:
    spoken = VOICE.speak(SENTENCE, rate).samples
    line = audio.to_int16(audio.resample(audio.to_float(spoken), rate, 8000))
    wire = "pcm_s16le" if encoding == "linear16" else f"pcm_{encoding}"
    line = audio.decode(audio.encode(line, wire), encoding)
    assert heard(np.concatenate([silence(41), line, silence(333)])) == SENTENCE


def test_a_hold_anywhere_changes_nothing() -> None:
    spoken = VOICE.speak("A bookkeeper, 2244 aabb.", 8000).samples
    for cut in range(0, len(spoken), 53):
        assert heard(np.concatenate([spoken[:cut], silence(300), spoken[cut:]])) == "A bookkeeper, 2244 aabb."


def test_what_was_cut_off_is_the_beginning() -> None:
    spoken = VOICE.speak(SENTENCE, 8000)
    for share in (0.2, 0.5, 0.8):
        text = heard(spoken.samples[: int(len(spoken.samples) * share)])
        assert SENTENCE.startswith(text)
        assert len(text) > len(SENTENCE) * share * 0.7


@pytest.mark.parametrize("decibels", [-26, -14, 6])
def test_level_does_not_matter(decibels: int) -> None:
    spoken = VOICE.speak(SENTENCE, 8000).samples * 10 ** (decibels / 20)
    assert heard(np.clip(spoken, -32768, 32767).astype(np.int16)) == SENTENCE


def test_noise_and_silence_are_no_text() -> None:
    noise = np.random.default_rng(1).normal(0, 3000, 80000).astype(np.int16)
    assert EAR.transcribe(noise) == ()
    assert EAR.transcribe(silence(5000)) == ()
    assert EAR.transcribe(silence(1)) == ()


def test_text_survives_white_noise_of_15_db() -> None:
    spoken = VOICE.speak(SENTENCE, 8000).samples
    noise = np.random.default_rng(1).normal(0, 3276 * 10 ** (-15 / 20), len(spoken))
    assert heard(np.clip(spoken + noise, -32768, 32767).astype(np.int16)) == SENTENCE


def test_word_times_agree() -> None:
    spoken = VOICE.speak(SENTENCE, 8000)
    for said, got in zip(spoken.words, EAR.transcribe(spoken.samples), strict=True):
        assert said.text == got.text
        assert got.start == pytest.approx(said.start, abs=0.02)
        assert got.end == pytest.approx(said.end, abs=0.02)


def test_speech_detectors_take_it_for_speech() -> None:
    samples = VOICE.speak(SENTENCE, 8000).samples
    frames = samples[: len(samples) // 160 * 160].reshape(-1, 160)
    assert np.sqrt(np.mean(np.square(frames.astype(float)), axis=1)).min() > 800
    for mode in range(4):
        detector = webrtcvad.Vad(mode)
        assert np.mean([detector.is_speech(frame.tobytes(), 8000) for frame in frames]) > 0.97


def test_a_sentence_lasts_about_as_long_as_spoken() -> None:
    assert 2.0 < VOICE.speak("My kitchen tap is leaking and there's water everywhere.", 8000).seconds < 3.5
