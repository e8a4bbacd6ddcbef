"""What is said when the voice itself is away: sentences that were recorded before.

`voice-agent prompts` makes them once in each voice that the agent speaks with. Where a voice has none, the package's
own serve: one English voice for everybody, but a caller hears a sentence and not silence.
"""

from __future__ import annotations

import enum
import json
import logging
import math
import wave
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from agent.providers.base import DEFAULT_VOICE, SpeakingVoice

log = logging.getLogger(__name__)

MANIFEST = "prompts.json"
"""In each voice's directory: which file holds which prompt, and its words."""
VOICES = 200
"""So many are kept in memory: some 400 KB each."""
LONGEST_S = 30
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


@dataclass(frozen=True, slots=True)
class Recording:
    """A line of a voice's manifest."""

    key: PromptKey
    text: str
    model: str
    """Which of the vendor's models spoke it."""
    file: str
    """Beside the manifest: a WAV file."""


def read_manifest(manifest: Path) -> list[Recording]:
    """What was recorded of a voice; nothing when there is no such file, or none that can be read."""
    try:
        document = json.loads(manifest.read_bytes())
        return [
            Recording(
                PromptKey(
                    Prompt[line["prompt"]], str(document["voice"]), str(line["language"]), int(line["sample_rate"])
                ),
                str(line["text"]),
                str(line["model"]),
                Path(str(line["file"])).name,  # of this directory, whatever it says
            )
            for line in document["prompts"]
        ]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("%s cannot be read (%s: %s); run voice-agent prompts", manifest, type(error).__name__, error)
        return []


def manifest_text(voice_id: str, recordings: Iterable[Recording]) -> str:
    """The manifest that `read_manifest` reads."""
    lines = [
        {
            "prompt": each.key.prompt.name,
            "language": each.key.language,
            "sample_rate": each.key.sample_rate,
            "text": each.text,
            "model": each.model,
            "file": each.file,
        }
        for each in recordings
    ]
    return json.dumps({"voice": voice_id, "prompts": lines}, ensure_ascii=False, indent=1) + "\n"


class Prompts:
    """The recordings of all voices, in memory: nothing is read, decoded or waited for when one is needed."""

    def __init__(
        self, recorded: Mapping[PromptKey, tuple[bytes, str]] | None = None, default_voice_id: str = ""
    ) -> None:
        """`recorded` has audio (16-bit mono PCM) and its words; `default_voice_id` is that of a voice without one."""
        self._recorded = dict(recorded or {})
        self._default_voice_id = default_voice_id

    @classmethod
    def load(cls, directory: Path, default_voice_id: str = "") -> Prompts:
        """Read what was recorded; what cannot be read is said in the log, and the package's own serve in its place."""
        recorded: dict[PromptKey, tuple[bytes, str]] = {}
        manifests = sorted(directory.glob(f"*/{MANIFEST}"))
        if len(manifests) > VOICES:
            log.warning("%s has more than %d voices: those behind are not used", directory, VOICES)
        for manifest in manifests[:VOICES]:
            for recording in read_manifest(manifest):
                try:
                    recorded[recording.key] = _wav(manifest.parent / recording.file, recording.key), recording.text
                except (OSError, EOFError, wave.Error, ValueError) as error:
                    log.warning("%s: %s; run voice-agent prompts", manifest.parent / recording.file, error)
        return cls(recorded, default_voice_id)

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


def _wav(file: Path, key: PromptKey) -> bytes:
    with wave.open(str(file), "rb") as opened:
        shape = (opened.getnchannels(), opened.getsampwidth(), opened.getframerate())
        if shape != (1, 2, key.sample_rate) or not 0 < opened.getnframes() <= LONGEST_S * key.sample_rate:
            raise ValueError(f"no {key.sample_rate} Hz mono recording of up to {LONGEST_S} s")
        return opened.readframes(opened.getnframes())


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
