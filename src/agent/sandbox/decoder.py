"""A recogniser on worker threads, at the rate of a stream."""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor

from agent.sandbox.speech import Recogniser, Samples, Word, audio


class Decoder:
    """Decodes stretches of one stream of `sample_rate` Hz."""

    def __init__(self, recogniser: Recogniser, pool: Executor, sample_rate: int) -> None:
        self._recogniser = recogniser
        self._pool = pool
        self._rate = sample_rate

    def later(self, samples: Samples, start: float) -> asyncio.Future[tuple[Word, ...]]:
        """The words of `samples`, which begin at `start` seconds of the stream, with their times in the stream."""
        return asyncio.get_running_loop().run_in_executor(self._pool, self._decode, samples, start)

    def _decode(self, samples: Samples, start: float) -> tuple[Word, ...]:
        floats = audio.resample(audio.to_float(samples), self._rate, self._recogniser.sample_rate)
        return tuple(
            Word(word.text, word.start + start, word.end + start, word.confidence)
            for word in self._recogniser.transcribe(audio.to_int16(floats))
        )
