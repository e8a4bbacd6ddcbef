"""Whole calls at 16 kHz: what is heard, spoken, recorded and reckoned in milliseconds has twice the samples."""

from __future__ import annotations

import logging
import wave
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

from agent.call.speech import Speech
from agent.speech_engines import Speech as Spoken

if TYPE_CHECKING:
    from tests.agent.conftest import QuickVoice, RigMaker

BRIGHT_HZ = 6000  # what a line of 8 kHz cannot carry


def brighten(voice: QuickVoice) -> None:
    """Add a tone to the agent's voice that only wideband carries."""
    speak = voice.speak

    def bright(text: str, sample_rate: int) -> Spoken:
        speech = speak(text, sample_rate)
        time_s = np.arange(len(speech.samples)) / sample_rate
        tone = (1000 * np.sin(2 * np.pi * BRIGHT_HZ * time_s)).astype(np.int16)
        return Spoken(speech.samples + tone, sample_rate, speech.words)

    voice.speak = bright  # type: ignore[method-assign]


def levels(samples: NDArray[np.int16], rate: int) -> dict[int, float]:
    """How strong a few tones are, of the whole."""
    spectrum = np.abs(np.fft.rfft(samples.astype(float) * np.hanning(len(samples)))) ** 2
    hertz = np.fft.rfftfreq(len(samples), 1 / rate)
    return {
        tone: float(spectrum[np.abs(hertz - tone) < 20].sum() / spectrum.sum()) for tone in (220, 440, 880, BRIGHT_HZ)
    }


async def test_a_call_at_16_khz_from_the_caller_to_the_recording(a_rig: RigMaker) -> None:
    async with a_rig(sample_rate=16000) as rig:
        brighten(rig.voice)
        rig.speak_slowly(25, until_asked=2)
        plan = rig.plan(rate=16000)
        result, record = await rig.call("say: My tap leaks\ninterrupt 600ms: how much is that in all\nhangup", plan)
    assert result.failure == ""
    assert [turn.caller for turn in record.turns[1:]] == ["My tap leaks", "how much is that in all"]
    assert "other_format" not in [mark.what for mark in record.marks]
    assert record.media["other_format"] == 0
    cut = record.turns[1]  # as at 8 kHz: 600 ms are 24 letters; then come those that were said until the hold
    assert cut.interrupted
    assert 18 <= len(cut.heard) <= 42
    assert cut.times.speech_end is not None
    assert cut.times.first_frame is not None
    assert 0 < cut.times.first_frame - cut.times.speech_end < 3000
    with wave.open(record.recording, "rb") as file:
        assert file.getframerate() == 16000
        both = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)
    assert len(both) / 16000 == pytest.approx(record.seconds, abs=0.5)
    assert record.turns[0].times.first_frame is not None
    greeted = round(record.turns[0].times.first_frame * 16)
    heard = levels(both[greeted + 1600 : greeted + 6400, 1], 16000)
    assert heard[440] > 0.5
    assert heard[BRIGHT_HZ] > 0.02
    assert heard[220] < 0.01, "played at half its speed"
    assert result.rate == 16000


class Mute:
    """An utterance that takes everything at once."""

    async def play(self, pcm: bytes) -> None:
        pass

    async def end(self) -> None:
        pass


@pytest.mark.parametrize("rate", [8000, 16000])
async def test_a_second_of_speech_is_a_second(rate: int) -> None:
    call: Any = SimpleNamespace(rate=rate, begin=Mute)
    nothing: Any = None
    speech = Speech(call, nothing)
    await speech.say_recorded(bytes(2 * rate), None, "Hello")
    assert speech.audio_ms == 1000
    await speech.cancel()


def test_the_page_that_the_log_points_at_is_there() -> None:
    assert Path("docs/install-asterisk.md").read_text("utf-8").count("\n## Wideband\n") == 1


async def test_a_caller_of_another_rate_is_named(a_rig: RigMaker, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        async with a_rig(sample_rate=16000) as rig:
            _, record = await rig.call("say: My tap leaks\nhangup", rig.plan(patience_s=1.0))
    assert [mark.detail for mark in record.marks if mark.what == "other_format"] == ["8000 Hz"]
    assert record.media["other_format"] > 50
    assert "8000 samples a second and SAMPLE_RATE is 16000" in caplog.text
    assert 'docs/install-asterisk.md, "Wideband"' in caplog.text
