"""Greetings spoken for the console, as a caller would hear them: few at once, beside the calls."""

from __future__ import annotations

import asyncio
import io
import wave
from typing import Final

from agent.call.greeting import spoken
from agent.providers.base import ProviderError, SpeakingVoice, TextToSpeech

MAX_CHARS: Final = 500
AT_ONCE: Final = 2
"""A vendor's contexts are few, and callers need them."""
LIMIT_S: Final = 20.0


class RehearsalError(RuntimeError):
    """A text cannot be spoken now; the message says why, for whoever asked."""


class Rehearsal:
    """Speaks texts with the agent's own TTS. `Rehearsal(tts, rate).say` is what the console is given."""

    def __init__(self, tts: TextToSpeech, sample_rate: int, *, limit_s: float = LIMIT_S) -> None:
        """`sample_rate` (Hz) is the one that `tts` speaks at."""
        self._tts = tts
        self._rate = sample_rate
        self._limit_s = limit_s
        self._under_way = 0

    async def say(self, text: str, voice_id: str, language: str) -> bytes:
        """Return `text` spoken, as a mono WAV of 16 bits. Empty `voice_id` and `language` ("en") are the agent's own.

        Raises `RehearsalError` for nothing or too much to say, when `AT_ONCE` are being spoken already, and when the
        TTS fails or takes longer than the limit.
        """
        text = " ".join(text.split())
        if not 0 < len(text) <= MAX_CHARS:
            raise RehearsalError(f"a greeting has 1 to {MAX_CHARS} characters")
        if self._under_way >= AT_ONCE:
            raise RehearsalError("others are listening to greetings just now: try again in a moment")
        self._under_way += 1
        try:
            async with asyncio.timeout(self._limit_s):
                pcm, _ = await spoken(self._tts, text, SpeakingVoice(voice_id, language.partition("-")[0]))
        except TimeoutError:
            raise RehearsalError("the voice does not answer") from None
        except ProviderError as error:
            raise RehearsalError(f"the voice cannot speak it: {error}") from error
        finally:
            self._under_way -= 1
        return _wav(pcm, self._rate)


def _wav(pcm: bytes, rate: int) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as wav:
        wav.setnchannels(1)
        wav.setsampwidth(2)
        wav.setframerate(rate)
        wav.writeframes(pcm)
    return file.getvalue()
