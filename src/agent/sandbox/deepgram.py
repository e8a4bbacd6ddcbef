"""Deepgram's streaming speech-to-text (`/v1/listen`, Nova) on its own wire.

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

import orjson
from aiohttp import WSMsgType, web

from agent.sandbox.config import DeepgramConfig
from agent.sandbox.control import Control, FaultySocket
from agent.sandbox.deepgram_query import KEYTERM_TOKENS, ListenQuery, QueryError, keyterm_tokens, parse
from agent.sandbox.listener import Event, Listener, Listening, Result, SpeechStarted
from agent.sandbox.speech import Recogniser, audio

NET_0001 = (
    b"Deepgram did not receive audio data or a text message within the timeout window. See https://dpgr.am/net0001"
)
NET_0000 = b"Deepgram did not provide a response message within the timeout window. See https://dpgr.am/net0000"
_QUEUED_MESSAGES = 512
_NOTICEABLE_S = 0.1
"""Audio that must be buffered for Finalize to be answered."""


class DeepgramEmulator:
    """The server application; `app` goes on a port of its own."""

    def __init__(self, control: Control[DeepgramConfig], recogniser: Recogniser, pool: Executor) -> None:
        self.control = control
        self._recogniser = recogniser
        self._pool = pool
        self.app = web.Application()
        self.app.add_routes([web.get("/v1/listen", self._listen), *control.routes()])

    async def _listen(self, request: web.Request) -> web.StreamResponse:
        control = self.control
        control.count("upgrades")
        request_id = str(uuid.uuid4())
        if (refusal := await control.refusal()) is not None:
            return refusal
        key, protocols = _credentials(request)
        if not control.known(key):
            return self._refuse(401, "INVALID_AUTH", "Invalid credentials.", request_id)
        try:
            query = parse(request.query)
        except QueryError as error:
            return self._refuse(400, error.code, str(error), request_id)
        if control.gauges["streams"] >= control.config.max_streams:
            return self._refuse(429, "TOO_MANY_REQUESTS", "Too many requests. Please try again later.", request_id)
        control.count("unknown_parameters", len(query.unknown))
        socket = web.WebSocketResponse(protocols=protocols, compress=False, timeout=2.0)
        socket.headers["dg-request-id"] = request_id
        await socket.prepare(request)
        control.gauges["streams"] += 1
        try:
            stream = _Stream(self.control, socket, request, query, request_id, self._recogniser, self._pool)
            await stream.run()
        finally:
            control.gauges["streams"] -= 1
        return socket

    def _refuse(self, status: int, code: str, message: str, request_id: str) -> web.Response:
        self.control.count(f"refused_{status}")
        return web.json_response(
            {"err_code": code, "err_msg": message, "request_id": request_id},
            status=status,
            headers={"dg-request-id": request_id, "dg-error": message},
        )


def _credentials(request: web.Request) -> tuple[str, tuple[str, ...]]:
    """The key, from `Authorization: Token KEY` or the sub-protocols `token, KEY`, and the protocol to answer."""
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "token":
        return key.strip(), ()
    offered = [name.strip() for name in request.headers.get("Sec-WebSocket-Protocol", "").split(",")]
    if len(offered) == 2 and offered[0] == "token":
        return offered[1], ("token",)
    return "", ()


class _Stream:
    """One connection: a reader that only reads, and a worker that hears and answers in order."""

    def __init__(
        self,
        control: Control[DeepgramConfig],
        socket: web.WebSocketResponse,
        request: web.Request,
        query: ListenQuery,
        request_id: str,
        recogniser: Recogniser,
        pool: Executor,
    ) -> None:
        self._control = control
        self._config = config = control.config
        self._socket = socket
        self._out = FaultySocket(socket, request, control, _error("InternalError", "Internal server error.", ""))
        self._query = query
        self._request_id = request_id
        self._created = datetime.now(UTC)
        self._digest = hashlib.sha256()
        self._keyterms = query.keyterms
        self._rest = b""
        self._deaf = False
        self._queue: asyncio.Queue[bytes | dict[str, Any]] = asyncio.Queue(_QUEUED_MESSAGES)
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

    async def run(self) -> None:
        """Serve the connection until either side closes it."""
        reader = asyncio.create_task(self._read(), name="deepgram-reader")
        worker = asyncio.create_task(self._work(), name="deepgram-worker")
        try:
            await asyncio.wait({reader, worker}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (reader, worker):
                task.cancel()
            results = await asyncio.gather(reader, worker, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def _read(self) -> None:
        """Take messages; nothing at all within the window closes the connection."""
        while True:
            try:
                message = await self._socket.receive(timeout=self._config.idle_s)
            except TimeoutError:
                self._control.count("closed_net_0001")
                await self._socket.close(code=1011, message=NET_0001)
                return
            if message.type == WSMsgType.BINARY:
                self._control.count("audio_frames")
                if not message.data:
                    self._control.count("empty_frames")
                if message.data.startswith(b'{"type"'):
                    self._control.count("text_sent_as_audio")
                await self._queue.put(message.data or {"type": "CloseStream"})
            elif message.type == WSMsgType.TEXT:
                await self._queue.put(_command(message.data))
            else:
                self._control.count("closed_by_client")
                return

    async def _work(self) -> None:
        while True:
            item = await self._queue.get()
            if isinstance(item, bytes):
                await self._hear(item)
            elif await self._obey(item):
                return

    async def _hear(self, data: bytes) -> None:
        self._digest.update(data)
        if self._deaf:
            return
        if self._query.encoding == "linear16":
            data = self._rest + data
            whole = len(data) & ~1
            data, self._rest = data[:whole], data[whole:]
        async for event in self._listener.feed(audio.decode(data, self._query.encoding)):
            await self._report(event)

    async def _obey(self, message: dict[str, Any]) -> bool:
        """Do what a text message says; true when the connection is over."""
        kind = message.get("type")
        self._control.count(f"received_{kind}" if kind in _KINDS else "received_unknown")
        match kind:
            case "KeepAlive":
                pass
            case "Finalize":
                async for event in self._listener.finalize(_NOTICEABLE_S):
                    await self._report(event)
            case "Configure":
                await self._configure(message)
            case "CloseStream":
                async for event in self._listener.close():
                    await self._report(event)
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

    async def _report(self, event: Event) -> None:
        match event:
            case SpeechStarted(timestamp):
                if self._query.vad_events:
                    await self._out.send({"type": "SpeechStarted", "channel": [0, 1], "timestamp": round(timestamp, 3)})
            case Result():
                latency = self._config.final_latency if event.is_final else self._config.interim_latency
                await asyncio.sleep(self._control.dice.seconds(latency))
                await self._out.send(self._results(event))
            case _:
                await self._out.send(
                    {"type": "UtteranceEnd", "channel": [0, 1], "last_word_end": round(event.last_word_end, 3)}
                )

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


_KINDS = frozenset({"KeepAlive", "Finalize", "CloseStream", "Configure"})
_MODEL_UUID = str(uuid.uuid5(uuid.NAMESPACE_URL, "sandbox"))


def _command(text: str) -> dict[str, Any]:
    """A text message as an object, with the text itself under `raw` where it is none."""
    try:
        message = orjson.loads(text)
    except orjson.JSONDecodeError:
        message = None
    if isinstance(message, dict) and message.get("type") in _KINDS:
        return message
    return {"type": None, "raw": text}


def _error(variant: str, description: str, message: str) -> dict[str, Any]:
    return {"type": "Error", "variant": variant, "description": description, "message": message}
