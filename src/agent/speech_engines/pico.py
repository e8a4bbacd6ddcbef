"""SVOX Pico: a small British voice (Apache-2.0), 200 times faster than real time on one core.

People understand it; Moonshine misses a word in six of it on a telephone line, so it is no caller for a test.
"""

from __future__ import annotations

import threading

import numpy as np

from agent.speech_engines import audio, words
from agent.speech_engines.types import EngineMissing, Speech

_RATE = 16000


class PicoVoice:
    """The British voice, a little slower than its own pace, as people speak on the telephone."""

    name = "pico"

    def __init__(self) -> None:
        """Raises `EngineMissing`."""
        try:
            import py_nanotts
        except ImportError:
            raise EngineMissing("pico", "py-nanotts") from None
        self._engine = py_nanotts.NanoTTS()
        self._engine.speak("Ready.", voice="en-GB")  # loads the voice
        self._lock = threading.Lock()

    def speak(self, text: str, sample_rate: int) -> Speech:
        """Speak `text`: without the silence around it, at the level of `audio.SPEECH_DBFS`."""
        if not any(character.isalnum() for character in text):
            return Speech(np.zeros(0, np.int16), sample_rate, ())
        with self._lock:
            data = self._engine.speak(text, voice="en-GB", speed=0.9)
        sound = audio.trim_silence(audio.to_float(np.frombuffer(data, np.int16)), _RATE)
        samples = audio.level(audio.resample(sound, _RATE, sample_rate), sample_rate)
        return Speech(samples, sample_rate, words.place(text.split(), samples, sample_rate))
