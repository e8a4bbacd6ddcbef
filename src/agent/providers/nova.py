"""Deepgram Nova over `/v1/listen`, on the wire itself.

The query, the messages and the limits are those of Deepgram's API reference (developers.deepgram.com: "Live Audio",
"Endpointing", "UtteranceEnd", "KeepAlive"): Nova-3 takes `keyterm`, and refuses `keywords` with HTTP 400; 10 s without
anything closes the socket with 1011; a KeepAlive is a text frame.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from agent.providers.base import Transcript, UtteranceEnd
from agent.providers.deepgram import DeepgramStream
from agent.providers.deepgram_options import DeepgramOptions
from agent.providers.websocket import Socket

log = logging.getLogger(__name__)

KEEP_ALIVE_S = 4.0  # the vendor advises 3 to 5
STALLED_S = 8.0  # of audio of any kind without a word back: with interim results something comes every second or so


@dataclass(frozen=True, slots=True)
class NovaOptions(DeepgramOptions):
    """How a call is transcribed; times in ms."""

    model: str = "nova-3"
    endpointing_ms: int = 300
    utterance_end_ms: int = 1000

    def listen_url(self) -> str:
        """The address with its query. Terms boost by `keyterm` on Nova-3, by `keywords` on what came before."""
        term = "keyterm" if self.model.startswith("nova-3") else "keywords"
        query = [
            ("model", self.model),
            ("language", self.language),
            ("encoding", "linear16"),
            ("sample_rate", str(self.sample_rate)),
            ("channels", "1"),
            ("smart_format", "true"),
            ("interim_results", "true"),
            ("endpointing", str(self.endpointing_ms)),
            ("utterance_end_ms", str(self.utterance_end_ms)),
            ("vad_events", "true"),
            *((term, word) for word in self.terms()),
        ]
        return f"{self.url}/v1/listen?{urlencode(query)}"


class NovaStt(DeepgramStream):
    """Hears words and silence; where a turn ends is for others to say."""

    @property
    def ends_turns(self) -> bool:
        """Nova hears silence, not the end of a turn."""
        return False

    @property
    def _final_request(self) -> bytes:
        return b'{"type":"Finalize"}'

    def _idle_from(self) -> float:
        return self._sent_at + KEEP_ALIVE_S

    async def _idle(self, socket: Socket) -> None:
        await socket.send_text(b'{"type":"KeepAlive"}')
        self._sent_at = self._loop.time()

    def _stalled(self) -> bool:
        return super()._stalled() or self._unanswered_s() > STALLED_S

    def _understand(self, document: dict[str, Any]) -> bool:
        kind = document.get("type")
        if kind == "Results":
            event = self._transcript(document)
            if event.final:
                self._kept.settle(1000 * (float(document.get("start") or 0.0) + float(document.get("duration") or 0.0)))
            self.counters["finals" if event.final else "interims"] += 1
            self._emit(event)
        elif kind == "UtteranceEnd":
            self._emit(UtteranceEnd())
        elif kind == "Error":
            self.counters["errors"] += 1
            log.warning("Deepgram: %s", str(document.get("description", ""))[:200])
            if document.get("variant") != "SchemaError" and self._socket is not None:
                self._socket.abort()  # words may be missing; a SchemaError is about what we said
            return False
        elif kind != "SpeechStarted":
            self.counters["unknown"] += kind != "Metadata"
            return False
        return True

    def _transcript(self, document: dict[str, Any]) -> Transcript:
        alternatives = (document.get("channel") or {}).get("alternatives") or [{}]
        best = alternatives[0]
        start = float(document.get("start") or 0.0)
        end = start + float(document.get("duration") or 0.0)
        words = best.get("words") or []
        start_ms, end_ms = self._span_ms(words, start, end)
        final = bool(document.get("is_final", False))
        return Transcript(
            text=str(best.get("transcript") or "").strip(),
            final=final,
            # `from_finalize` answers our own Finalize, which is asked only where the turn is over.
            speech_final=bool(document.get("speech_final", False)),
            start_ms=start_ms,
            end_ms=end_ms,
            covered_ms=self._timeline.call_end_ms(1000 * end),
            words=self._heard_words(words) if final else (),
        )
