"""What a speech engine takes and gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

from fastaudio.extras import how_to_install

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Samples: TypeAlias = "NDArray[np.int16]"
"""Mono PCM, 16 bits, native byte order."""


class EngineMissing(RuntimeError):
    """A speech engine's package is not installed; the text says what to install."""

    def __init__(self, engine: str, package: str) -> None:
        super().__init__(
            f"the speech engine {engine!r} needs the package {package!r}: "
            f"{how_to_install('local')}, or choose the engine 'tones'"
        )


@dataclass(frozen=True, slots=True)
class Word:
    """One word with its place in the audio, in seconds from the audio's first sample."""

    text: str
    start: float
    end: float
    confidence: float = 1.0


@dataclass(frozen=True, slots=True)
class Speech:
    """Audio with the words that it carries."""

    samples: Samples
    sample_rate: int
    words: tuple[Word, ...]

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return len(self.samples) / self.sample_rate


class Voice(Protocol):
    """Text to speech. `speak` blocks for the synthesis and may be called from any thread."""

    name: str

    def speak(self, text: str, sample_rate: int) -> Speech:
        """Speak `text` at `sample_rate` (8000 to 48000 Hz); text without a sound gives no samples."""
        ...


class Recogniser(Protocol):
    """Speech to text. `transcribe` blocks for the decoding and may be called from any thread."""

    name: str
    sample_rate: int
    """The rate in Hz that `transcribe` expects."""

    def transcribe(self, samples: Samples) -> tuple[Word, ...]:
        """The words of one stretch of speech, with their case and punctuation; none for noise."""
        ...
