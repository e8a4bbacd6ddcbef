"""A stream of audio turned into what a streaming recogniser reports: starts, interims, finals, utterance ends.

Knows nothing of a wire; times are seconds of the stream, from its first sample.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from agent.speech_engines import Recogniser, Samples, Word
from agent.speech_engines.decoder import decoder
from agent.speech_engines.endpoint import EnergyEndpointer

_LEAD_S = 0.15
"""Audio before the detected start, and after the detected end, that is decoded too."""
_EARLY_S = 0.16
"""Silence after which the final text is decoded, though the endpoint is not certain yet."""
_STEP_MS = 20
_UNENDED_S = 1.0
"""Silence that makes text final when there is no endpointing."""
_QUICK_S = 0.02
"""An interim that is decoded in this time is reported at its place in the stream."""


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """The caller began to speak."""

    timestamp: float


@dataclass(frozen=True, slots=True)
class Result:
    """What was understood from `start` to `end`."""

    start: float
    end: float
    words: tuple[Word, ...]
    is_final: bool
    speech_final: bool = False
    from_finalize: bool = False


@dataclass(frozen=True, slots=True)
class UtteranceEnd:
    """No word since `last_word_end` for the time asked for."""

    last_word_end: float


Event = SpeechStarted | Result | UtteranceEnd


@dataclass(frozen=True, slots=True)
class Listening:
    """How to listen."""

    endpointing_s: float | None
    interim_s: float | None
    utterance_end_s: float | None
    longest_final_s: float
    silence_final_s: float


class Listener:
    """One stream. `feed`, `finalize` and `close` yield events; one of them runs at a time."""

    def __init__(self, recogniser: Recogniser, pool: Executor, sample_rate: int, how: Listening) -> None:
        self._decoder = decoder(recogniser, pool, sample_rate)
        self._rate = sample_rate
        self._how = how
        self._endpointer = EnergyEndpointer(sample_rate)
        self._audio = np.zeros(0, np.int16)
        self._audio_start = 0
        self._position = 0
        self._final_end = 0
        self._reported_end = 0
        self._heard_end = 0
        self._last_word_end = 0.0
        self._utterance_end = 0.0
        self._started = False
        self._early: tuple[int, asyncio.Future[tuple[Word, ...]]] | None = None
        self._interim: tuple[int, asyncio.Future[tuple[Word, ...]]] | None = None

    @property
    def position(self) -> float:
        """Seconds of audio heard."""
        return self._position / self._rate

    async def feed(self, samples: Samples) -> AsyncIterator[Event]:
        """Hear more audio."""
        step = self._rate * _STEP_MS // 1000
        self._audio = np.concatenate([self._audio, samples])
        for start in range(0, len(samples), step):
            piece = samples[start : start + step]
            self._position += len(piece)
            self._endpointer.feed(piece)
            async for event in self._after_step():
                yield event

    async def finalize(self, least_s: float) -> AsyncIterator[Event]:
        """Make what is buffered final, when it is at least `least_s` long."""
        if self._position - self._final_end >= least_s * self._rate:
            yield await self._final(self._position, from_finalize=True)
            self._ended()

    async def close(self) -> AsyncIterator[Event]:
        """Make the rest final: the stream is over."""
        if self._position > self._final_end:
            yield await self._final(self._position, speech_final=self._endpointer.speaking)
            self._ended()

    async def _after_step(self) -> AsyncIterator[Event]:
        ear, how = self._endpointer, self._how
        if ear.speaking and not self._started:
            self._started = True
            yield SpeechStarted(ear.speech_start / self._rate)
        silence = ear.silence / self._rate
        if ear.speaking:
            limit = _UNENDED_S if how.endpointing_s is None else how.endpointing_s
            if silence >= limit:
                yield await self._final(self._position, speech_final=how.endpointing_s is not None)
                self._ended()
            elif silence >= _EARLY_S and (self._early is None or self._early[0] != ear.speech_end):
                self._early = (ear.speech_end, self._decode_later(ear.speech_end))
            elif self._position - max(self._final_end, ear.speech_start) >= how.longest_final_s * self._rate:
                yield await self._final(self._quietest_end())
        elif self._position - self._final_end >= how.silence_final_s * self._rate:
            yield await self._final(self._position)
        if how.interim_s is not None:
            async for event in self._interims(how.interim_s, silence):
                yield event
        if (
            how.utterance_end_s is not None
            and self._last_word_end > self._utterance_end
            and (self._reported_end if ear.speaking else self._position) / self._rate - self._last_word_end
            >= how.utterance_end_s
        ):
            self._utterance_end = self._last_word_end
            yield UtteranceEnd(self._last_word_end)

    async def _interims(self, every_s: float, silence: float) -> AsyncIterator[Event]:
        """Start an interim when it is due, report one when it is decoded. A final overtakes it."""
        if self._interim is None:
            if self._position - self._reported_end < every_s * self._rate:
                return
            if not self._endpointer.speaking:
                self._reported_end = self._position
                yield Result(self._seconds(self._final_end), self.position, (), is_final=False)
                return
            if silence > 0.1:  # the final is close: leave it the processor
                return
            self._interim = (self._position, self._decode_later(self._position))
            await asyncio.wait([self._interim[1]], timeout=_QUICK_S)
        position, words = self._interim
        if words.done():
            self._interim = None
            self._reported_end = position
            yield self._result(position, words.result(), is_final=False)

    async def _final(self, end: int, *, speech_final: bool = False, from_finalize: bool = False) -> Result:
        ear = self._endpointer
        words: tuple[Word, ...] = ()
        heard = min(end, ear.speech_end)
        if ear.speaking:
            if self._early is not None and self._early[0] == heard:
                words = await self._early[1]
            else:
                words = await self._decode_later(heard)
        result = self._result(end, words, is_final=True, speech_final=speech_final, from_finalize=from_finalize)
        self._early = self._interim = None
        self._final_end = self._reported_end = end
        self._heard_end = max(self._heard_end, heard)
        keep = max(self._audio_start, self._heard_end, end - int(_LEAD_S * self._rate))
        self._audio = self._audio[keep - self._audio_start :]
        self._audio_start = keep
        return result

    def _ended(self) -> None:
        self._endpointer.end()
        self._started = False

    def _result(
        self,
        end: int,
        words: tuple[Word, ...],
        *,
        is_final: bool,
        speech_final: bool = False,
        from_finalize: bool = False,
    ) -> Result:
        if words:
            self._last_word_end = words[-1].end
        return Result(self._seconds(self._final_end), self._seconds(end), words, is_final, speech_final, from_finalize)

    def _seconds(self, position: int) -> float:
        return position / self._rate

    def _decode_later(self, end: int) -> asyncio.Future[tuple[Word, ...]]:
        """Decode the present speech up to `end` on a worker thread."""
        lead = int(_LEAD_S * self._rate)
        first = max(self._audio_start, self._endpointer.speech_start - lead)
        last = min(self._position, end + lead) if end == self._endpointer.speech_end else end
        piece = self._audio[first - self._audio_start : last - self._audio_start]
        return self._decoder.later(piece, first / self._rate, ended=end < self._position)

    def _quietest_end(self) -> int:
        """Where to cut speech that does not pause: the quietest 40 ms of its last 2 s."""
        size = self._rate // 25
        first = max(self._audio_start, self._position - 2 * self._rate)
        tail = self._audio[first - self._audio_start : self._position - self._audio_start].astype(np.float32)
        power = np.convolve(np.square(tail), np.ones(size, np.float32), mode="valid")
        return first + int(power.argmin()) + size // 2
