"""Levels, rates and G.711 of the sandbox's audio."""

from __future__ import annotations

import numpy as np
import pytest

from agent.speech_engines import audio, words
from agent.speech_engines.endpoint import EnergyEndpointer

EVERY_SAMPLE = np.arange(-32768, 32768).astype(np.int16)


def test_g711_codes_are_the_standards() -> None:
    # ITU-T G.711: the codes of silence, of full scale, and Asterisk's values of some others.
    assert audio.encode(np.array([0, 32767, -32768], np.int16), "pcm_mulaw") == bytes([0xFF, 0x80, 0x00])
    assert audio.encode(np.array([8, 32767, -32768], np.int16), "pcm_alaw") == bytes([0xD5, 0xAA, 0x2A])
    assert audio.decode(bytes([0xFF, 0x00, 0x80]), "mulaw").tolist() == [0, -32124, 32124]
    assert audio.decode(bytes([0xD5, 0x2A, 0xAA]), "alaw").tolist() == [8, -32256, 32256]


@pytest.mark.parametrize("law", ["mulaw", "alaw"])
def test_g711_is_near_and_stable(law: str) -> None:
    once = audio.decode(audio.encode(EVERY_SAMPLE, f"pcm_{law}"), law)
    assert np.all(np.abs(once.astype(int) - EVERY_SAMPLE) <= np.maximum(np.abs(EVERY_SAMPLE.astype(int)) / 16, 16) + 4)
    assert np.array_equal(audio.decode(audio.encode(once, f"pcm_{law}"), law), once)


def test_float_and_linear_encodings() -> None:
    samples = np.array([0, 16384, -32768], np.int16)
    assert np.frombuffer(audio.encode(samples, "pcm_f32le"), "<f4").tolist() == [0.0, 0.5, -1.0]
    assert audio.encode(samples, "pcm_s16le") == b"\x00\x00\x00\x40\x00\x80"


def test_level_is_that_of_speech_and_never_clips() -> None:
    time = np.arange(16000) / 8000
    tone = (0.003 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)
    tone[8000:] = 0
    levelled = audio.to_float(audio.level(tone, 8000))
    assert 20 * np.log10(audio.active_rms(levelled, 8000)) == pytest.approx(-20, abs=0.2)
    clicks = np.zeros(8000, np.float32)
    clicks[::400] = 0.5
    assert np.abs(audio.level(clicks, 8000)).max() <= 32767 * 0.971


def test_resampling_keeps_the_band_and_stops_aliases() -> None:
    time = np.arange(24000) / 24000
    kept = audio.resample(np.sin(2 * np.pi * 1000 * time).astype(np.float32), 24000, 8000)
    alias = audio.resample(np.sin(2 * np.pi * 5000 * time).astype(np.float32), 24000, 8000)
    assert np.std(kept[1000:-1000]) == pytest.approx(np.sqrt(0.5), rel=0.02)
    assert np.std(alias[1000:-1000]) < 0.003


def test_words_share_the_speech_and_not_the_pause() -> None:
    loud = np.full(8000, 3000, np.int16)
    samples = np.concatenate([np.zeros(4000, np.int16), loud, np.zeros(8000, np.int16), loud, np.zeros(4000, np.int16)])
    first, second = words.place(["aaaa", "bbbb"], samples, 8000)
    assert [first.start, first.end] == pytest.approx([0.5, 1.5])
    assert [second.start, second.end] == pytest.approx([2.5, 3.5])
    assert words.place([], samples, 8000) == ()


def test_endpointer_finds_speech_in_noise_and_passes_clicks() -> None:
    rng = np.random.default_rng(3)
    noise = rng.normal(0, 100, 8000 * 6)
    noise[8000 * 2 : 8000 * 3] += 3000 * np.sin(2 * np.pi * 200 * np.arange(8000) / 8000)
    noise[8000 * 5 : 8000 * 5 + 160] += 8000
    ear = EnergyEndpointer(8000)
    starts = set()
    for first in range(0, len(noise), 777):
        ear.feed(noise[first : first + 777].astype(np.int16))
        if ear.speaking:
            starts.add(ear.speech_start)
        if ear.speaking and ear.silence > 2400:
            ear.end()
    assert len(starts) == 1
    assert min(starts) == pytest.approx(16000, abs=160)
    assert ear.speech_end == pytest.approx(24000, abs=160)
