"""Deepgram's Nova (`/v1/listen`): what is said on a connection.

Source: Deepgram's AsyncAPI, its pages on errors, KeepAlive, Finalize and CloseStream (October 2026),
and its SDK 7.17.
"""

from __future__ import annotations

import asyncio
import hashlib
import string
import uuid
from concurrent.futures import Executor
from datetime import UTC, datetime
from typing import Any

from agent.sandbox.deepgram_query import KEYTERM_TOKENS, ListenQuery, keyterm_tokens
from agent.sandbox.deepgram_stream import NET_0000, Connection, Stream
from agent.speech_engines import Recogniser, Samples
from agent.speech_engines.listener import Event, Listener, Listening, Result, SpeechStarted

_NOTICEABLE_S = 0.1
"""Audio that must be buffered for Finalize to be answered."""
_MODEL_UUID = str(uuid.uuid5(uuid.NAMESPACE_URL, "sandbox"))


class NovaStream(Stream):
    """One connection to `/v1/listen`."""

    kinds = frozenset({"KeepAlive", "Finalize", "CloseStream", "Configure"})
    pings_count = False

    def __init__(self, connection: Connection, query: ListenQuery, recogniser: Recogniser, pool: Executor) -> None:
        config = connection.control.config
        super().__init__(
            connection,
            query.encoding,
            query.sample_rate,
            config.idle_s,
            _error("InternalError", "Internal server error.", ""),
        )
        self._query = query
        self._created = datetime.now(UTC)
        self._digest = hashlib.sha256()
        self._keyterms = query.keyterms
        self._deaf = False
        self._listener = Listener(
            recogniser,
            pool,
            query.sample_rate,
            Listening(
                endpointing_s=None if query.endpointing_ms is None else max(query.endpointing_ms, 10) / 1000,
                interim_s=config.interim_s if query.interim_results else None,
                utterance_end_s=None if query.utterance_end_ms is None else query.utterance_end_ms / 1000,
                longest_final_s=config.longest_final_s,
                silence_final_s=config.silence_final_s,
            ),
        )

    async def hear(self, samples: Samples, data: bytes) -> None:
        """Hear, and report what there is to report."""
        self._digest.update(data)
        if self._deaf:
            return
        async for event in self._listener.feed(samples):
            self._report(event)

    async def obey(self, message: dict[str, Any]) -> bool:
        """Do what a text message says; true when the connection is over."""
        match message.get("type"):
            case "KeepAlive":
                pass
            case "Finalize":
                async for event in self._listener.finalize(_NOTICEABLE_S):
                    self._report(event)
            case "Configure":
                await self._configure(message)
            case "CloseStream":
                async for event in self._listener.close():
                    self._report(event)
                await self._outbox.drained()
                await self._out.send(self._metadata(), end_marker=True)
                await self._socket.close(code=1000)
                return True
            case _:
                await self._out.send(_error("SchemaError", "Could not deserialize last text message.", message["raw"]))
        return False

    async def _configure(self, message: dict[str, Any]) -> None:
        """Replace the key terms. Over the limit nothing is answered: transcription stops, 1011 comes later."""
        terms = message.get("keyterms", list(self._keyterms))
        if not self._query.takes_keyterms or not (
            isinstance(terms, list) and all(isinstance(term, str) for term in terms)
        ):
            await self._out.send(
                {
                    "type": "ConfigureFailure",
                    "request_id": self._request_id,
                    "code": "CONFIGURE_KEYTERMS_NOT_SUPPORTED",
                    "description": "Keyterms can only be configured for Nova-3, as a list of strings.",
                }
            )
            return
        if keyterm_tokens(tuple(terms)) > KEYTERM_TOKENS:
            self._deaf = True
            await asyncio.sleep(self._config.wedged_close_s)
            await self._socket.close(code=1011, message=NET_0000)
            return
        self._keyterms = tuple(terms)
        await self._out.send({"type": "ConfigureSuccess", "request_id": self._request_id, "keyterms": terms})

    def _report(self, event: Event) -> None:
        match event:
            case SpeechStarted(timestamp):
                if self._query.vad_events:
                    self._post({"type": "SpeechStarted", "channel": [0, 1], "timestamp": round(timestamp, 3)})
            case Result(is_final=True):
                self._post(self._results(event), self._config.final_latency)
            case Result():
                self._post(self._results(event), self._config.interim_latency, passing=True)
            case _:
                self._post({"type": "UtteranceEnd", "channel": [0, 1], "last_word_end": round(event.last_word_end, 3)})

    def _results(self, result: Result) -> dict[str, Any]:
        punctuated = self._query.punctuated
        words: list[dict[str, Any]] = []
        for word in result.words:
            plain = word.text.lower().strip(string.punctuation + "–—…’‘“”£") or word.text
            entry = {
                "word": plain,
                "start": round(word.start, 3),
                "end": round(word.end, 3),
                "confidence": round(word.confidence, 4),
            }
            if punctuated:
                entry["punctuated_word"] = word.text
            words.append(entry)
        confidence = sum(word.confidence for word in result.words) / len(words) if words else 0.0
        return {
            "type": "Results",
            "channel_index": [0, 1],
            "start": round(result.start, 3),
            "duration": round(result.end - result.start, 3),
            "is_final": result.is_final,
            "speech_final": result.speech_final,
            "from_finalize": result.from_finalize,
            "channel": {
                "alternatives": [
                    {
                        "transcript": " ".join(word["punctuated_word" if punctuated else "word"] for word in words),
                        "confidence": round(confidence, 4),
                        "words": words,
                    }
                ]
            },
            "metadata": {
                "request_id": self._request_id,
                "model_uuid": _MODEL_UUID,
                "model_info": {
                    "name": self._query.model,
                    "version": "sandbox",
                    "arch": "-".join(self._query.model.split("-")[:2]),
                },
            },
        }

    def _metadata(self) -> dict[str, Any]:
        return {
            "type": "Metadata",
            "transaction_key": "deprecated",
            "request_id": self._request_id,
            "sha256": self._digest.hexdigest(),
            "created": self._created.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "duration": round(self._listener.position, 3),
            "channels": 1,
        }


def _error(variant: str, description: str, message: str) -> dict[str, Any]:
    return {"type": "Error", "variant": variant, "description": description, "message": message}
