"""Turns of a conversation as Flux reports them: begun, perhaps over, resumed, over.

Source: Deepgram's page on Flux's state machine (October 2026). The vendor's model judges words and tone; here the
confidence that a turn is over comes of the words, and grows with the silence: quickly after a whole sentence, slowly
after half of one. The figures are set so that, with the published latency and audio in chunks of 80 ms, `EndOfTurn` at
the threshold 0.7 comes as the vendor says: at the median 260 ms after the end of a whole sentence (Deepgram), about
1.5 s after a fragment (P95 of together.ai's card), and `EagerEndOfTurn` at 0.4 some 150 to 250 ms before (Telnyx).
"""

from __future__ import annotations

import math
import re
import time
from collections import deque
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Literal

import numpy as np

from agent.sandbox.deepgram_query import Thresholds
from agent.speech_engines import Recogniser, Samples, Word
from agent.speech_engines.decoder import decoder
from agent.speech_engines.endpoint import EnergyEndpointer

_UPDATE_S = 0.25
_STEP_MS = 40
_LEAD_S = 0.15
_SETTLED_S, _SETTLED_LATE_S = 0.04, 0.16
"""Silence after which the text is decoded up to the end of the speech: as long as decoding takes, within these."""
_SEGMENT_S = 0.5
"""Silence that parts what is decoded at once."""
_WORDS = 0.32
"""Confidence at once after a whole sentence; after a fragment there is none."""
_SENTENCE_S, _FRAGMENT_S = 0.23, 1.2
"""Silence that takes 63 % of the doubt away, after a whole sentence and after a fragment."""
_WHOLE = re.compile(r"[.!?]['\"”]?$")
_SHORT_WHOLE = re.compile(
    r"\b(?:(?:it|that|this|there|he|she) is|(?:think|hope|guess|suppose) so)[.!?]$", re.IGNORECASE
)
"""These end on a word that dangles elsewhere: "yes, it is." """
_DANGLING = re.compile(r"\b(?:and|or|but|so|because|the|a|an|to|of|in|at|my|is|it's|um|uh|er)\W*$", re.IGNORECASE)

TurnKind = Literal["Update", "StartOfTurn", "EagerEndOfTurn", "TurnResumed", "EndOfTurn"]


@dataclass(frozen=True, slots=True)
class TurnEvent:
    """One event; `words` are all of the turn so far, times are seconds of the stream."""

    kind: TurnKind
    turn_index: int
    start: float
    end: float
    words: tuple[Word, ...]
    confidence: float
    """That the turn is over, 0 to 1."""
    trigger: Literal["model", "manual", "timeout"] | None = None


class Turns:
    """One stream. `feed` and `force` yield events; one of them runs at a time."""

    def __init__(self, recogniser: Recogniser, pool: Executor, sample_rate: int, thresholds: Thresholds) -> None:
        self.thresholds = thresholds
        self._decoder = decoder(recogniser, pool, sample_rate)
        self._rate = sample_rate
        self._ear = EnergyEndpointer(sample_rate)
        self._audio = np.zeros(0, np.int16)
        self._audio_start = 0
        self._position = 0
        self._updated = 0
        self._turn_index = 0
        self._turn_start = 0
        self._settled: tuple[Word, ...] = ()
        self._words: tuple[Word, ...] = ()
        self._decoded_end = 0
        self._begun = False
        self._eager_end: int | None = None
        self._settled_s = _SETTLED_S
        self._took_s: deque[float] = deque(maxlen=8)

    async def feed(self, samples: Samples) -> AsyncIterator[TurnEvent]:
        """Hear more audio."""
        step = self._rate * _STEP_MS // 1000
        self._audio = np.concatenate([self._audio, samples])
        for first in range(0, len(samples), step):
            piece = samples[first : first + step]
            self._position += len(piece)
            self._ear.feed(piece)
            async for event in self._after_step():
                yield event
        self._forget()

    async def force(self) -> AsyncIterator[TurnEvent]:
        """End the turn now (`ForceEndTurn`); without a turn nothing happens."""
        if self._begun:
            async for event in self._over("manual"):
                yield event

    async def _after_step(self) -> AsyncIterator[TurnEvent]:
        ear = self._ear
        silence = ear.silence / self._rate
        if self._eager_end is not None and ear.speech_end > self._eager_end:
            self._eager_end = None
            yield self._event("TurnResumed")
        if self._position - self._updated >= _UPDATE_S * self._rate:
            self._updated = self._position
            if ear.speaking and silence < self._settled_s:
                await self._decode(self._position)
            if self._words and not self._begun:
                self._begun = True
                yield self._event("StartOfTurn")
            else:
                yield self._event("Update")
        if not ear.speaking and not self._begun:
            return
        if silence >= self._settled_s and self._decoded_end < ear.speech_end:
            await self._decode(ear.speech_end)
            if self._words and not self._begun:
                self._begun = True
                yield self._event("StartOfTurn")
        if silence >= _SEGMENT_S and ear.speaking:
            self._settled = self._words
            ear.end()
        if self._begun and silence >= self._settled_s:
            async for event in self._judge(silence):
                yield event

    async def _judge(self, silence: float) -> AsyncIterator[TurnEvent]:
        limits, confidence = self.thresholds, self._confidence()
        if silence >= limits.eot_timeout_ms / 1000:
            async for event in self._over("timeout"):
                yield event
        elif limits.eot_threshold < 1.0 and confidence >= limits.eot_threshold:
            async for event in self._over("model"):
                yield event
        elif (
            limits.eager_eot_threshold is not None
            and self._eager_end is None
            and confidence >= limits.eager_eot_threshold
        ):
            self._eager_end = self._ear.speech_end
            yield self._event("EagerEndOfTurn")

    async def _over(self, trigger: Literal["model", "manual", "timeout"]) -> AsyncIterator[TurnEvent]:
        if self._ear.speaking and self._decoded_end < self._ear.speech_end:
            said = self._words
            await self._decode(self._ear.speech_end)
            if self._eager_end is not None and self._words != said:
                yield self._event("TurnResumed")
        yield self._event("EndOfTurn", trigger)
        self._ear.end()
        self._turn_index += 1
        self._turn_start = self._decoded_end = self._position
        self._settled = self._words = ()
        self._begun = False
        self._eager_end = None

    async def _decode(self, end: int) -> None:
        """Decode the present segment up to `end`."""
        lead = int(_LEAD_S * self._rate)
        first = max(self._audio_start, self._turn_start, self._ear.speech_start - lead)
        last = min(self._position, end + lead)
        piece = self._audio[first - self._audio_start : last - self._audio_start]
        ended = end < self._position
        begun = time.monotonic()
        self._words = self._settled + await self._decoder.later(piece, first / self._rate, ended=ended)
        self._decoded_end = end
        # A recogniser that takes its time is not asked at each short gap between two words; a busy host is no reason.
        self._took_s.append(time.monotonic() - begun)
        self._settled_s = min(max(min(self._took_s), _SETTLED_S), _SETTLED_LATE_S)

    def _confidence(self) -> float:
        """That the turn is over."""
        if not self._words:
            return 0.0
        text = " ".join(word.text for word in self._words[-3:])
        whole = _WHOLE.search(text) and (_SHORT_WHOLE.search(text) or not _DANGLING.search(text))
        silence = self._ear.silence / self._rate
        doubt, lasts_s = (1.0 - _WORDS, _SENTENCE_S) if whole else (1.0, _FRAGMENT_S)
        return round(1.0 - doubt * math.exp(-silence / lasts_s), 4)

    def _event(self, kind: TurnKind, trigger: Literal["model", "manual", "timeout"] | None = None) -> TurnEvent:
        return TurnEvent(
            kind,
            self._turn_index,
            self._turn_start / self._rate,
            self._position / self._rate,
            self._words,
            self._confidence(),
            trigger,
        )

    def _forget(self) -> None:
        """Drop audio that no later decoding begins in."""
        lead = int(_LEAD_S * self._rate)
        keep = self._ear.speech_start if self._ear.speaking else self._position - self._rate
        keep = max(self._audio_start, keep - lead)
        self._audio = self._audio[keep - self._audio_start :]
        self._audio_start = keep
