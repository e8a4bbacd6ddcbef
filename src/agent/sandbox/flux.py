"""Deepgram's Flux (`/v2/listen`): what is said on a connection.

Source: Deepgram's pages on Flux (October 2026), and its SDK 7.17.
"""

from __future__ import annotations

import string
from concurrent.futures import Executor
from dataclasses import asdict
from typing import Any

from aiohttp import WSMsgType

from agent.sandbox.deepgram_query import KEYTERM_TOKENS, FluxQuery, QueryError, Thresholds, keyterm_tokens
from agent.sandbox.deepgram_stream import Connection, Stream
from agent.sandbox.flux_turns import TurnEvent, Turns
from agent.sandbox.latency import Latency
from agent.speech_engines import Recogniser, Samples

_SETTABLE = ("eot_threshold", "eager_eot_threshold", "eot_timeout_ms")


class FluxStream(Stream):
    """One connection to `/v2/listen`."""

    kinds = frozenset({"CloseStream", "Configure", "ForceEndTurn"})
    pings_count = True

    def __init__(self, connection: Connection, query: FluxQuery, recogniser: Recogniser, pool: Executor) -> None:
        config = connection.control.config
        fault = {"type": "Error", "code": "INTERNAL_SERVER_ERROR", "description": "Internal server error."}
        super().__init__(connection, query.encoding, query.sample_rate, config.flux_idle_s, fault)
        self._keyterms = query.keyterms
        self._turns = Turns(recogniser, pool, query.sample_rate, query.thresholds)
        self._sequence = 0

    async def run(self) -> None:
        """Greet, then serve."""
        self._tell({"type": "Connected", "request_id": self._request_id})
        await super().run()

    async def hear(self, samples: Samples, data: bytes) -> None:
        """Hear, and report what becomes of the turn."""
        async for event in self._turns.feed(samples):
            self._report(event)

    async def obey(self, message: dict[str, Any]) -> bool:
        """Do what a text message says; true when the connection is over."""
        match message.get("type"):
            case "ForceEndTurn":
                async for event in self._turns.force():
                    self._report(event)
            case "Configure":
                self._configure(message)
            case "CloseStream":
                await self._close()
                return True
            case _:  # KeepAlive too: Flux has none, it wants pings
                self._tell(
                    {
                        "type": "Error",
                        "code": "UNPARSABLE_CLIENT_MESSAGE",
                        "description": "Could not deserialize last text message.",
                    }
                )
                await self._close()
                return True
        return False

    async def _close(self) -> None:
        """Close as Flux does: no last turn, no metadata, and a close frame without a status."""
        await self._outbox.drained()
        await self._socket.send_frame(b"", WSMsgType.CLOSE)
        await self._socket.close()

    def _configure(self, message: dict[str, Any]) -> None:
        """Change some thresholds, or all key terms."""
        try:
            thresholds, keyterms = self._changed(message)
        except QueryError as error:
            self._tell({"type": "ConfigureFailure", "code": "INVALID_CONFIGURE", "description": str(error)})
            return
        self._turns.thresholds, self._keyterms = thresholds, keyterms
        self._tell(
            {
                "type": "ConfigureSuccess",
                "request_id": self._request_id,
                "thresholds": asdict(thresholds),
                "keyterms": list(keyterms),
            }
        )

    def _changed(self, message: dict[str, Any]) -> tuple[Thresholds, tuple[str, ...]]:
        values = message.get("thresholds", {})
        if not isinstance(values, dict) or set(values) - set(_SETTABLE):
            raise QueryError(f"`thresholds` may have {', '.join(_SETTABLE)}.")
        terms = message.get("keyterms", list(self._keyterms))
        if not isinstance(terms, list) or not all(isinstance(term, str) for term in terms):
            raise QueryError("`keyterms` must be a list of strings.")
        if keyterm_tokens(tuple(terms)) > KEYTERM_TOKENS:
            raise QueryError("Keyterm limit exceeded.")
        return self._turns.thresholds.changed(values), tuple(terms)

    def _report(self, event: TurnEvent) -> None:
        message: dict[str, Any] = {
            "type": "TurnInfo",
            "request_id": self._request_id,
            "event": event.kind,
            "turn_index": event.turn_index,
            "audio_window_start": round(event.start, 3),
            "audio_window_end": round(event.end, 3),
            "transcript": " ".join(word.text for word in event.words),
            "words": [
                {
                    "word": word.text.strip(string.punctuation) or word.text,
                    "confidence": round(word.confidence, 4),
                    "start": round(word.start, 3),
                    "end": round(word.end, 3),
                }
                for word in event.words
            ],
            "end_of_turn_confidence": event.confidence,
        }
        if event.trigger is not None:
            message["trigger"] = event.trigger
        self._tell(message, self._config.flux_latency)

    def _tell(self, message: dict[str, Any], latency: Latency = 0.0) -> None:
        """Answer with the next number: the first message, `Connected`, has 0."""
        self._post(message | {"sequence_id": self._sequence}, latency)
        self._sequence += 1
