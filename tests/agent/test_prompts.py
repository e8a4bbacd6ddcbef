"""Sentences that are there when the voice is not."""

from __future__ import annotations

import numpy as np
import pytest

from agent.call.prompts import Prompt, PromptKey, Prompts, embedded
from agent.providers.base import DEFAULT_VOICE, SpeakingVoice


@pytest.mark.parametrize("rate", [8000, 16000])
@pytest.mark.parametrize("prompt", Prompt)
def test_each_prompt_of_the_package_is_speech_at_the_level_of_a_call(prompt: Prompt, rate: int) -> None:
    pcm, text = Prompts().audio(prompt, DEFAULT_VOICE, rate)
    assert text == prompt.value
    samples = np.frombuffer(pcm, "<i2") / 32768
    assert 0.04 < len(samples) / rate / len(text) < 0.12  # s for each letter
    assert -23.0 < 10 * np.log10(np.mean(samples**2)) < -19.0
    assert np.abs(samples).max() < 0.9
    assert np.abs(samples[[0, -1]]).max() < 0.02  # no click at either end


def test_both_rates_are_one_sound() -> None:
    from scipy.signal import resample_poly

    narrow = np.frombuffer(embedded(Prompt.TROUBLE, 8000), "<i2").astype(float)
    wide = np.frombuffer(embedded(Prompt.TROUBLE, 16000), "<i2").astype(float)
    wanted = resample_poly(narrow, 2, 1)
    assert np.mean((wide - wanted) ** 2) < 1e-4 * np.mean(wanted**2)


def test_a_voice_that_was_recorded_is_heard_and_no_other() -> None:
    own, german = (b"own", "In my voice."), (b"deutsch", "Einen Moment.")
    prompts = Prompts(
        {PromptKey(Prompt.SORRY, "emma", "en", 8000): own, PromptKey(Prompt.SORRY, "emma", "de", 8000): german},
        default_voice_id="emma",
    )
    assert prompts.audio(Prompt.SORRY, DEFAULT_VOICE, 8000) == own
    assert prompts.audio(Prompt.SORRY, SpeakingVoice("emma", "en"), 8000) == own
    assert prompts.audio(Prompt.SORRY, SpeakingVoice("", "de"), 8000) == german
    for voice, rate in ((SpeakingVoice("fred", "en"), 8000), (DEFAULT_VOICE, 16000)):
        assert prompts.audio(Prompt.SORRY, voice, rate) == (embedded(Prompt.SORRY, rate), Prompt.SORRY.value)
    assert prompts.audio(Prompt.TROUBLE, DEFAULT_VOICE, 8000)[0] == embedded(Prompt.TROUBLE, 8000)
