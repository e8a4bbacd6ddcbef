"""Where in a stretch of speech its words are, estimated from the energy and the words' lengths."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from agent.speech_engines.types import Samples, Word

_FRAME_MS = 10
_ACTIVE = 0.03
"""A frame is speech when its level is above this part of the loudest frame's: 30 dB below."""


def place(
    words: Sequence[str], samples: Samples, sample_rate: int, confidence: Sequence[float] = ()
) -> tuple[Word, ...]:
    """Give each word its share of the frames that are speech, so that pauses fall between words or are spanned.

    A share is the word's sounds: a letter is one, a digit four, as digits are spoken as words.
    """
    if not words or not len(samples):
        return ()
    active = _active_frames(samples, sample_rate)
    shares = np.cumsum([0.0, *(_sounds(word) for word in words)])
    edges = shares / shares[-1] * len(active)
    placed = []
    for index, word in enumerate(words):
        first = active[min(int(edges[index]), len(active) - 1)]
        last = active[max(0, min(int(np.ceil(edges[index + 1])) - 1, len(active) - 1))]
        start, end = first * _FRAME_MS / 1000, (last + 1) * _FRAME_MS / 1000
        placed.append(Word(word, float(start), float(end), confidence[index] if confidence else 1.0))
    return tuple(placed)


def _active_frames(samples: Samples, sample_rate: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Indexes of the frames of 10 ms that are speech; all of them when none stands out."""
    size = sample_rate * _FRAME_MS // 1000
    count = max(1, len(samples) // size)
    frames = np.resize(samples, (count, size)) if len(samples) < size else samples[: count * size].reshape(count, size)
    levels = np.sqrt(np.mean(np.square(frames.astype(np.float32)), axis=1))
    active = np.flatnonzero(levels > levels.max() * _ACTIVE)
    return active if len(active) else np.arange(count)


def _sounds(word: str) -> float:
    return 1.0 + len(re.findall(r"[^\W\d_]", word)) + 4.0 * len(re.findall(r"\d", word))
