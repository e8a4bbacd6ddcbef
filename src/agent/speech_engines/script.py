"""Engines that cost next to nothing, for load: words that are known beforehand, and audio that is kept."""

from __future__ import annotations

from functools import lru_cache

from agent.speech_engines.tones import ToneVoice
from agent.speech_engines.types import Samples, Speech, Word


class ScriptRecogniser:
    """Hears nothing; what streams have it for is `lines`, one for each stretch of speech (`ScriptDecoder`)."""

    name = "script"
    sample_rate = 8000

    def __init__(self, lines: tuple[str, ...]) -> None:
        self.lines = lines

    def transcribe(self, samples: Samples) -> tuple[Word, ...]:
        """The first line, over all of the audio."""
        words = self.lines[0].split()
        each = len(samples) / self.sample_rate / len(words)
        return tuple(Word(word, index * each, (index + 1) * each) for index, word in enumerate(words))


class KeptVoice:
    """Tones, made once for each text."""

    name = "script"

    def __init__(self) -> None:
        self._voice = ToneVoice()
        self._kept = lru_cache(maxsize=512)(self._voice.speak)

    def speak(self, text: str, sample_rate: int) -> Speech:
        """Carry `text` in tones (`ToneVoice`)."""
        return self._kept(text, sample_rate)
