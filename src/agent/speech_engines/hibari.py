"""hibari: an English voice (American, female; Apache-2.0), 50 times faster than real time on one core.

Moonshine hears it nearly without errors through a telephone line, and a deeper one made from it as well: two people
can talk to each other.
"""

from __future__ import annotations

import threading

import numpy as np

from agent.speech_engines import audio, words
from agent.speech_engines.types import EngineMissing, Speech

_SEED = 1
"""Of the voice's noise: the same text always sounds the same."""


LOW = 0.88
"""Pitch and formants of the deeper voice: a longer throat."""


class HibariVoice:
    """Only the voice that the package carries is used: any other would be downloaded."""

    def __init__(self, pitch: float = 1.0) -> None:
        """Load the model (half a second). Raises `EngineMissing`.

        `pitch` (0.8 to 1.2) scales pitch and formants, not the pace: what is spoken faster is played slower.
        """
        try:
            import hibari
        except ImportError:
            raise EngineMissing("hibari", "hibari-tts") from None
        self._engine = hibari.Hibari(voice="heart", threads=1)
        self._lock = threading.Lock()
        self._pitch = pitch
        self._rate = round(self._engine.sample_rate * pitch / 100) * 100
        self._engine("Ready.")  # loads the lexicon, half a second that no call should wait for
        self.name = "hibari" if pitch == 1.0 else f"hibari x {pitch:g}"

    def speak(self, text: str, sample_rate: int) -> Speech:
        """Speak `text`: without the silence around it, at the level of `audio.SPEECH_DBFS`."""
        with self._lock:
            sound = np.asarray(self._engine(text, speed=1 / self._pitch, seed=_SEED), dtype=np.float32)
        sound = audio.resample(audio.trim_silence(sound, self._rate), self._rate, sample_rate)
        samples = audio.level(sound, sample_rate)
        return Speech(samples, sample_rate, words.place(text.split(), samples, sample_rate))
