"""What is said when the voice itself is away: sentences that were recorded before.

`voice-agent prompts` makes them once in each voice that the agent speaks with. Where a voice has none, the package's
own serve: one English voice for everybody, but a caller hears a sentence and not silence.
"""

from __future__ import annotations

import enum
import math
from array import array
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import NamedTuple

from agent.providers.base import DEFAULT_VOICE, SpeakingVoice

LANGUAGE = "en"
"""Of the package's own prompts, and of a voice that names none."""
_STORED_RATE = 8000
_HEADER_BYTES = 24
_REACH = 8
"""Samples on either side that the sample between two others is found from."""


class Prompt(enum.Enum):
    """A sentence that is there whatever fails; its value is the package's own wording."""

    HELLO = "Hello, bear with me a moment."
    """The greeting is late."""
    BEAR_WITH_ME = "Bear with me."
    """An answer is late."""
    TROUBLE = "Bear with me, I'm having a small technical issue."
    """No answer came, and it is asked for again."""
    SORRY = "Sorry, we're experiencing issues."
    """Before the caller is put through, or handed back to the dialplan."""
    SORRY_GOODBYE = "Sorry, we're experiencing issues. Please call again a little later. Goodbye."
    TRANSFERRING = "I'll put you through to someone now."
    STILL_THERE = "Are you still there?"
    NOT_HEARD = "Sorry, I can't hear you very well, could you say that again?"
    CLOSING = "I'm sorry, I have to end the call now. Please call again in a few minutes. Goodbye."
    """The agent stops, and its grace time is over."""
    LIMIT = "I'm sorry, we can't take your call just now. Please call again another time. Goodbye."
    """This caller, or this day, has had as many calls as the settings allow."""


class PromptKey(NamedTuple):
    """Which recording: of what, in whose voice and language (ISO 639), at how many samples a second."""

    prompt: Prompt
    voice_id: str
    language: str
    sample_rate: int


class Prompts:
    """The recordings of all voices, in memory: nothing is read, decoded or waited for when one is needed."""

    def __init__(
        self, recorded: Mapping[PromptKey, tuple[bytes, str]] | None = None, default_voice_id: str = ""
    ) -> None:
        """`recorded` has audio (16-bit mono PCM) and its words; `default_voice_id` is that of a voice without one."""
        self._recorded = dict(recorded or {})
        self._default_voice_id = default_voice_id

    def audio(self, prompt: Prompt, voice: SpeakingVoice = DEFAULT_VOICE, sample_rate: int = 8000) -> tuple[bytes, str]:
        """16-bit mono PCM at `sample_rate` (8000 or 16000), and its words; never raises and never waits.

        In this voice if it was recorded, else the package's own.
        """
        key = PromptKey(prompt, voice.id or self._default_voice_id, voice.language or LANGUAGE, sample_rate)
        return self._recorded.get(key) or (embedded(prompt, sample_rate), prompt.value)

    def has(self, prompt: Prompt, voice: SpeakingVoice, sample_rate: int) -> bool:
        """Whether it was recorded in this voice."""
        key = PromptKey(prompt, voice.id or self._default_voice_id, voice.language or LANGUAGE, sample_rate)
        return key in self._recorded

    def warm(self, sample_rate: int) -> None:
        """Have the package's own at hand too, so that the first one asked for costs nothing."""
        for prompt in Prompt:
            embedded(prompt, sample_rate)

    def __len__(self) -> int:
        return len(self._recorded)


@cache
def embedded(prompt: Prompt, sample_rate: int) -> bytes:
    """The package's own recording, 16-bit mono PCM at 8000 or 16000 samples a second."""
    file = resources.files("agent.call").joinpath("embedded_prompts", f"{prompt.name.lower()}.au")
    pcm = _decode(file.read_bytes()[_HEADER_BYTES:])
    return pcm if sample_rate == _STORED_RATE else _twice_the_rate(pcm)


def _decode(codes: bytes) -> bytes:
    """G.711 mu-law (ITU-T G.711, table 2a) to 16-bit PCM, little-endian."""
    low, high = _mulaw_tables()
    pcm = bytearray(2 * len(codes))
    pcm[0::2] = codes.translate(low)
    pcm[1::2] = codes.translate(high)
    return bytes(pcm)


@cache
def _mulaw_tables() -> tuple[bytes, bytes]:
    values = []
    for code in range(256):
        inverted = ~code & 0xFF
        magnitude = (((inverted & 0x0F) << 3) + 132 << ((inverted & 0x70) >> 4)) - 132
        values.append((-magnitude if inverted & 0x80 else magnitude) & 0xFFFF)
    return bytes(value & 0xFF for value in values), bytes(value >> 8 for value in values)


def _twice_the_rate(pcm: bytes) -> bytes:
    """The same sound with a sample between each two."""
    samples = array("h", pcm)
    around = array("h", bytes(2 * _REACH))
    padded = around + samples + around
    between = [0.0] * len(samples)
    for step in range(_REACH):
        distance = math.pi * (step + 0.5)
        tap = math.sin(distance) / distance * (0.5 + 0.5 * math.cos(distance / _REACH))  # a sinc in a Hann window
        before, after = padded[_REACH - step :], padded[_REACH + 1 + step :]
        between = [s + tap * (a + b) for s, a, b in zip(between, before, after, strict=False)]
    doubled = array("h", bytes(4 * len(samples)))
    doubled[0::2] = samples
    doubled[1::2] = array("h", (max(-32768, min(32767, round(value))) for value in between))
    return doubled.tobytes()
