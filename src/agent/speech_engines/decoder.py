"""What turns stretches of one stream into words: a recogniser on worker threads, or a script."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Protocol

from agent.speech_engines import Recogniser, Samples, Word, audio
from agent.speech_engines.script import ScriptRecogniser

_WORD_S = 0.25
"""Pace at which the words of a script are heard while they are spoken."""


class Decoder(Protocol):
    """The words of stretches of one stream."""

    def later(self, samples: Samples, start: float, *, ended: bool) -> asyncio.Future[tuple[Word, ...]]:
        """The words of `samples`, which begin at `start` seconds of the stream, with their times in the stream.

        `ended`: the speech is over at their end, for all that is known.
        """
        ...


def decoder(recogniser: Recogniser, pool: Executor, sample_rate: int) -> Decoder:
    """A decoder for one stream of `sample_rate` Hz."""
    if isinstance(recogniser, ScriptRecogniser):
        return ScriptDecoder(recogniser.lines, sample_rate)
    return PoolDecoder(recogniser, pool, sample_rate)


class PoolDecoder:
    """A recogniser on worker threads, at the rate of a stream."""

    def __init__(self, recogniser: Recogniser, pool: Executor, sample_rate: int) -> None:
        self._recogniser = recogniser
        self._pool = pool
        self._rate = sample_rate

    def later(self, samples: Samples, start: float, *, ended: bool) -> asyncio.Future[tuple[Word, ...]]:
        """See `Decoder`."""
        return asyncio.get_running_loop().run_in_executor(self._pool, self._decode, samples, start)

    def _decode(self, samples: Samples, start: float) -> tuple[Word, ...]:
        floats = audio.resample(audio.to_float(samples), self._rate, self._recogniser.sample_rate)
        return tuple(
            Word(word.text, word.start + start, word.end + start, word.confidence)
            for word in self._recogniser.transcribe(audio.to_int16(floats))
        )


class ScriptDecoder:
    """Each stretch of speech is the next line of a script: as much as there was time for, and all of it at its end.

    What was cut in mid-speech (by `Finalize`, or by its length) goes on with the rest of its line.
    """

    def __init__(self, lines: Sequence[str], sample_rate: int) -> None:
        self._lines = [line.split() for line in lines]
        self._rate = sample_rate
        self._stretch = -1.0
        self._next = 0
        self._words: list[str] = []
        self._heard = 0
        self._ended = True

    def later(self, samples: Samples, start: float, *, ended: bool) -> asyncio.Future[tuple[Word, ...]]:
        """See `Decoder`. A stretch is known by its start."""
        if start != self._stretch:
            self._stretch = start
            self._words = self._words[self._heard :]
            if self._ended or not self._words:
                self._words = self._lines[self._next % len(self._lines)]
                self._next += 1
        seconds = len(samples) / self._rate
        count = len(self._words) if ended else min(len(self._words) - 1, int(seconds / _WORD_S))
        self._heard, self._ended = count, ended
        each = seconds / max(1, count)
        future: asyncio.Future[tuple[Word, ...]] = asyncio.get_running_loop().create_future()
        future.set_result(
            tuple(
                Word(word, start + index * each, start + (index + 1) * each)
                for index, word in enumerate(self._words[:count])
            )
        )
        return future
