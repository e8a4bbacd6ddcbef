"""Deepgram Flux over `/v2/listen`: the model hears where a turn ends.

The query, the messages and the guarantees are those of Deepgram's pages on Flux (developers.deepgram.com: "Flux",
"State machine", "End-of-turn configuration"): an `EndOfTurn` has the text of the `EagerEndOfTurn` before it word for
word, and where the words change `TurnResumed` comes first; there is no KeepAlive, a ping keeps the connection; audio in
chunks of 80 ms; `CloseStream` ends no turn; an `Error` is the end of the stream.

A turn ends only by more audio, and the caller is not heard while the agent speaks: after half a second without audio,
silence is streamed in real time. It is not replayed, and each piece stands for its own time of the call.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from agent.providers.base import EagerEndOfTurn, EndOfTurn, Transcript, TurnResumed
from agent.providers.breaker import Breaker
from agent.providers.deepgram import DeepgramStream
from agent.providers.deepgram_options import DeepgramOptions
from agent.providers.websocket import Socket

log = logging.getLogger(__name__)

CHUNK_MS = 80
QUIET_S = 0.5  # without audio: then silence goes up
CATCH_UP_S = 1.0  # of silence owed after the event loop stood still; more is left out, counted
STALLED_S = 3.0  # at least; and four times the time at which any turn ends
LOOK_BACK_MS = 1000.0  # of audio without a turn, which may hold the beginning of a word


@dataclass(frozen=True, slots=True)
class FluxOptions(DeepgramOptions):
    """How a call is transcribed, and when a turn is over."""

    model: str = "flux-general-en"
    eot_threshold: float = 0.7
    """Confidence that ends a turn, 0.5 to 1."""
    eager_eot_threshold: float | None = 0.4
    """Confidence for a first guess, 0.3 to 0.9 and at most `eot_threshold`; None for no guesses."""
    eot_timeout_ms: int = 2500
    """Silence that ends a turn whatever the confidence, 500 to 60000 ms."""

    def listen_url(self) -> str:
        """The address with its query: nothing but what `/v2/listen` knows, for it refuses the rest."""
        query = [
            ("model", self.model),
            ("encoding", "linear16"),
            ("sample_rate", str(self.sample_rate)),
            ("eot_threshold", f"{self.eot_threshold:g}"),
            ("eot_timeout_ms", str(self.eot_timeout_ms)),
        ]
        if self.eager_eot_threshold is not None:
            query.append(("eager_eot_threshold", f"{self.eager_eot_threshold:g}"))
        if self.model.endswith("-multi"):
            query.append(("language_hint", self.language.partition("-")[0]))
        query += [("keyterm", word) for word in self.terms()]
        return f"{self.url}/v2/listen?{urlencode(query)}"


class FluxStt(DeepgramStream):
    """Hears words and the ends of turns. More counters: `silence_ms`, `silence_skipped_ms`, `eager`, `resumed`,
    `warnings`, `changed` (a turn that ended with other words than were guessed).
    """

    def __init__(
        self, options: FluxOptions, breaker: Breaker | None = None, counters: Counter[str] | None = None
    ) -> None:
        super().__init__(options, breaker, counters)
        self._stalled_s = max(STALLED_S, 4 * options.eot_timeout_ms / 1000)
        self._silence = bytes(CHUNK_MS * self._bytes_a_ms)
        self._heard_at = math.inf  # when the call was heard last; silence is due half a second later
        self._call_ms = 0.0  # the call's time, less the event loop's, as of then
        self._silent_from = 0.0  # not before this stream began
        self._silence_at: float | None = None  # when the next piece is due, once the silence has begun
        self._turn = False  # between its start and its end
        self._shown = False  # words of it were told
        self._guess: str | None = None  # the words of an eager end that stands

    @property
    def ends_turns(self) -> bool:
        """Flux says itself when a turn is over."""
        return True

    def hear(self, position_ms: int, pcm: bytes) -> None:
        """Queue audio; at the limit the oldest is dropped, counted in ms."""
        super().hear(position_ms, pcm)
        self._heard_at = self._loop.time()
        self._call_ms = position_ms + len(pcm) / self._bytes_a_ms - 1000 * self._heard_at
        self._silence_at = None

    @property
    def _final_request(self) -> bytes:
        return b'{"type":"ForceEndTurn"}'

    # -- silence -----------------------------------------------------------------------------------------------------

    def _idle_from(self) -> float:
        if self._silence_at is not None:
            return self._silence_at
        return max(self._heard_at + QUIET_S, self._silent_from)

    async def _idle(self, socket: Socket) -> None:
        due, step = self._idle_from(), CHUNK_MS / 1000
        owed = int((self._loop.time() - due) / step) + 1
        skipped = max(0, owed - round(CATCH_UP_S / step))
        self.counters["silence_skipped_ms"] += skipped * CHUNK_MS
        due += skipped * step
        for _ in range(owed - skipped):
            self._silence_at = due + step  # before the wait: audio that comes meanwhile ends the silence
            await self._put(socket, self._call_ms + 1000 * due, self._silence)
            self.counters["silence_ms"] += CHUNK_MS
            if self._kept:
                return
            due += step

    # -- a vendor that does not do its work --------------------------------------------------------------------------

    def _stalled(self) -> bool:
        """Speech must be answered, and an open turn must end; silence need not be."""
        return super()._stalled() or (self._turn and self._unanswered_s() > self._stalled_s)

    def _begin(self) -> None:
        super()._begin()
        self._silent_from = self._answered_at
        self._silence_at = None

    def _ended(self) -> None:
        super()._ended()
        self._turn = self._shown = False
        self._take_back_guess()  # what it was made of is heard anew

    # -- what the vendor says ----------------------------------------------------------------------------------------

    def _understand(self, document: dict[str, Any]) -> bool:
        kind = document.get("type")
        if kind == "TurnInfo":
            self._turn_info(document)
            return True
        if kind == "Error":
            self.counters["errors"] += 1
            log.warning("Deepgram: %s %s", document.get("code"), str(document.get("description", ""))[:200])
            if self._socket is not None:
                self._socket.abort()  # it is fatal: another stream may do
        elif kind in ("Warning", "ConfigureFailure"):
            self.counters["warnings"] += 1
            log.warning("Deepgram: %s", str(document.get("description", ""))[:200])
        elif kind not in ("Connected", "ConfigureSuccess"):
            self.counters["unknown"] += 1
        return False

    def _turn_info(self, document: dict[str, Any]) -> None:
        event = document.get("event")
        text = str(document.get("transcript") or "").strip()
        window = float(document.get("audio_window_start") or 0.0), float(document.get("audio_window_end") or 0.0)
        words = document.get("words") or []
        start_ms, end_ms = self._span_ms(words, *window)
        if event in ("Update", "StartOfTurn"):
            self._turn |= event == "StartOfTurn"
            if text and text == self._guess:
                pass  # nothing new: the guess stands
            elif text:
                self._shown = True
                self.counters["interims"] += 1
                covered_ms = self._timeline.call_end_ms(1000 * window[1])
                self._emit(Transcript(text, False, False, start_ms, end_ms, covered_ms))
            elif not self._turn:
                self._kept.settle(1000 * window[1] - LOOK_BACK_MS)
        elif event == "EagerEndOfTurn":
            self._guess = text
            self.counters["eager"] += 1
            self._emit(EagerEndOfTurn(text, end_ms))
        elif event == "TurnResumed":
            self._take_back_guess()
        elif event == "EndOfTurn":
            self._over(EndOfTurn(text, start_ms, end_ms, self._heard_words(words)))
            self._kept.settle(1000 * window[1])
        else:
            self.counters["unknown"] += 1

    def _over(self, end: EndOfTurn) -> None:
        """A turn without words, of which none were told either, is nobody's business."""
        if self._guess is not None and self._guess != end.text:
            self.counters["changed"] += 1
            self._take_back_guess()
        if end.text or self._shown:
            self.counters["finals"] += 1
            self._emit(end)
        self._turn = self._shown = False
        self._guess = None

    def _take_back_guess(self) -> None:
        if self._guess is not None:
            self._guess = None
            self.counters["resumed"] += 1
            self._emit(TurnResumed())
