"""Deepgram Nova over its streaming WebSocket (`/v1/listen`), on the wire itself.

The query, the messages and the limits are those of Deepgram's API reference (developers.deepgram.com: "Live Audio",
"Endpointing", "UtteranceEnd", "KeepAlive"): Nova-3 takes `keyterm`, and refuses `keywords` with HTTP 400; 10 s without
anything closes the socket with 1011; a KeepAlive is a text frame; an empty binary frame ends the stream.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter, deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import orjson
import websockets
from websockets.asyncio.client import ClientConnection

from agent.providers.base import ProviderError, SttEvent, SttLost, Transcript, UtteranceEnd
from agent.providers.timeline import Timeline

log = logging.getLogger(__name__)

VENDOR = "Deepgram"
KEEP_ALIVE_S = 4.0  # the vendor advises 3 to 5
CONNECT_S = 3.0
BYTES_A_MS = 16  # 8000 samples a second, 2 bytes each
KEPT_BYTES = 30_000 * BYTES_A_MS  # what is kept while there is no connection: 30 s
RECONNECT_S = (0.0, 0.2, 0.5, 1.0, 2.0)
EVENTS_QUEUED = 512


@dataclass(frozen=True, slots=True)
class DeepgramOptions:
    """How a call is transcribed; times in ms."""

    url: str
    api_key: str
    model: str = "nova-3"
    language: str = "en-GB"
    endpointing_ms: int = 300
    utterance_end_ms: int = 1000
    keyterms: tuple[str, ...] = ()

    def listen_url(self) -> str:
        """The address with its query. Terms boost by `keyterm` on Nova-3, by `keywords` on what came before."""
        term = "keyterm" if self.model.startswith("nova-3") else "keywords"
        query = [
            ("model", self.model),
            ("language", self.language),
            ("encoding", "linear16"),
            ("sample_rate", "8000"),
            ("channels", "1"),
            ("smart_format", "true"),
            ("interim_results", "true"),
            ("endpointing", str(self.endpointing_ms)),
            ("utterance_end_ms", str(self.utterance_end_ms)),
            ("vad_events", "true"),
            *((term, word) for word in self.keyterms),
        ]
        return f"{self.url}/v1/listen?{urlencode(query)}"


class DeepgramStt:
    """One call's stream. A lost connection is made again, and the audio that it missed is sent behind."""

    def __init__(self, options: DeepgramOptions) -> None:
        self._options = options
        self._socket: ClientConnection | None = None
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._waiting_bytes = 0
        self._something = asyncio.Event()
        self._commands: deque[str] = deque(maxlen=8)
        self._events: asyncio.Queue[SttEvent | None] = asyncio.Queue(EVENTS_QUEUED)
        self._timeline = Timeline()
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self.counters: Counter[str] = Counter()
        """`connected`, `reconnected`, `dropped_ms`, `finals`, `interims`, `unknown`, `garbage`, `events_dropped`."""

    async def connect(self) -> None:
        """Connect and begin to stream. Raises `ProviderError` with the vendor's own word when it refuses."""
        self._socket = await self._open()
        self.counters["connected"] += 1
        self._task = asyncio.create_task(self._run(self._socket), name="deepgram")

    def hear(self, position_ms: int, pcm: bytes) -> None:
        """Queue audio; at the limit the oldest is dropped, counted in ms."""
        if not pcm:
            return  # an empty binary frame would end the stream
        self._waiting.append((position_ms, pcm))
        self._waiting_bytes += len(pcm)
        while self._waiting_bytes > KEPT_BYTES:
            _, old = self._waiting.popleft()
            self._waiting_bytes -= len(old)
            self.counters["dropped_ms"] += len(old) // BYTES_A_MS
        self._something.set()

    def finalize(self) -> None:
        """Ask for the final text of what was sent so far."""
        self._commands.append('{"type":"Finalize"}')
        self._something.set()

    async def events(self) -> AsyncIterator[SttEvent]:
        """The events, until `close` or the vendor is lost."""
        while (event := await self._events.get()) is not None:
            yield event

    async def close(self) -> None:
        """Tell the vendor that no more comes, and close."""
        self._closing = True
        socket = self._socket
        if socket is not None:
            with contextlib.suppress(websockets.ConnectionClosed, TimeoutError):
                async with asyncio.timeout(0.5):
                    await socket.send('{"type":"CloseStream"}')
                    await socket.close()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._emit(None)

    # -- the connection ----------------------------------------------------------------------------------------------

    async def _open(self) -> ClientConnection:
        try:
            return await websockets.connect(
                self._options.listen_url(),
                additional_headers={"Authorization": f"Token {self._options.api_key}"},
                compression=None,  # audio does not compress
                open_timeout=CONNECT_S,
                close_timeout=1.0,
                max_size=1 << 20,
                max_queue=64,
            )
        except websockets.InvalidStatus as error:
            response = error.response
            said = response.headers.get("dg-error", "") or (response.body or b"").decode("utf-8", "replace")[:300]
            raise ProviderError(
                VENDOR, f"refused the stream with HTTP {response.status_code}: {said}", status=response.status_code
            ) from error
        except (OSError, TimeoutError, websockets.WebSocketException) as error:
            raise ProviderError(VENDOR, f"no connection to {self._options.url}: {type(error).__name__}") from error

    async def _run(self, socket: ClientConnection) -> None:
        """Stream until `close`; connect again when the connection is lost."""
        while True:
            self._timeline.restart()
            sender = asyncio.create_task(self._send(socket), name="deepgram-send")
            try:
                await self._receive(socket)
            finally:
                sender.cancel()
                with contextlib.suppress(asyncio.CancelledError, websockets.ConnectionClosed):
                    await sender
            if self._closing:
                return
            log.warning("Deepgram closed the stream: %s %s", socket.close_code, (socket.close_reason or "")[:120])
            again = await self._reconnect()
            if again is None:
                return
            self._socket = socket = again

    async def _reconnect(self) -> ClientConnection | None:
        reason = "connection lost"
        for pause in RECONNECT_S:
            await asyncio.sleep(pause)
            try:
                socket = await self._open()
            except ProviderError as error:
                reason = str(error)
                if error.status in (400, 401, 402, 403):
                    break  # it will not be otherwise in a second
                continue
            self.counters["reconnected"] += 1
            return socket
        log.error("%s; this call goes on without it", reason)
        self._emit(SttLost(reason))
        return None

    async def _send(self, socket: ClientConnection) -> None:
        while True:
            self._something.clear()
            while self._waiting:
                position_ms, pcm = self._waiting.popleft()
                self._waiting_bytes -= len(pcm)
                await socket.send(pcm)
                self._timeline.sent(position_ms, len(pcm) / BYTES_A_MS)
            while self._commands:
                await socket.send(self._commands.popleft())
            try:
                async with asyncio.timeout(KEEP_ALIVE_S):
                    await self._something.wait()
            except TimeoutError:
                await socket.send('{"type":"KeepAlive"}')

    async def _receive(self, socket: ClientConnection) -> None:
        with contextlib.suppress(websockets.ConnectionClosed):
            async for message in socket:
                try:
                    document = orjson.loads(message)
                except orjson.JSONDecodeError:
                    self.counters["garbage"] += 1
                    continue
                if isinstance(document, dict):
                    self._understand(document)

    def _understand(self, document: dict[str, Any]) -> None:
        kind = document.get("type")
        if kind == "Results":
            event = self._transcript(document)
            self.counters["finals" if event.final else "interims"] += 1
            self._emit(event)
        elif kind == "UtteranceEnd":
            self._emit(UtteranceEnd())
        elif kind == "Error":
            self.counters["errors"] += 1
            log.warning("Deepgram: %s", str(document.get("description", ""))[:200])
        elif kind not in ("SpeechStarted", "Metadata"):
            self.counters["unknown"] += 1

    def _transcript(self, document: dict[str, Any]) -> Transcript:
        alternatives = (document.get("channel") or {}).get("alternatives") or [{}]
        best = alternatives[0]
        start = float(document.get("start") or 0.0)
        end = start + float(document.get("duration") or 0.0)
        words = best.get("words") or []
        if words:
            start, end = float(words[0].get("start", start)), float(words[-1].get("end", end))
        return Transcript(
            text=str(best.get("transcript") or "").strip(),
            final=bool(document.get("is_final", False)),
            # `from_finalize` answers our own Finalize, which is asked only where the turn is over.
            speech_final=bool(document.get("speech_final", False)),
            start_ms=self._timeline.call_ms(start * 1000),
            end_ms=self._timeline.call_ms(end * 1000),
        )

    def _emit(self, event: SttEvent | None) -> None:
        if self._events.full():
            self._events.get_nowait()
            self.counters["events_dropped"] += 1
        self._events.put_nowait(event)
