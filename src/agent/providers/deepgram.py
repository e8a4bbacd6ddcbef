"""Deepgram Nova over its streaming WebSocket (`/v1/listen`), on the wire itself.

The query, the messages and the limits are those of Deepgram's API reference (developers.deepgram.com: "Live Audio",
"Endpointing", "UtteranceEnd", "KeepAlive"): Nova-3 takes `keyterm`, and refuses `keywords` with HTTP 400; 10 s without
anything closes the socket with 1011; a KeepAlive is a text frame; an empty binary frame ends the stream.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import orjson
import websockets
from websockets.asyncio.client import ClientConnection

from agent.providers.base import ProviderError, SttEvent, SttLost, Transcript, UtteranceEnd, bytes_a_ms
from agent.providers.timeline import Timeline
from agent.providers.websocket import connect

log = logging.getLogger(__name__)

VENDOR = "Deepgram"
KEEP_ALIVE_S = 4.0  # the vendor advises 3 to 5
KEPT_MS = 30_000  # what is kept while there is no connection
REPLAYED_MS = 15_000  # of what was sent and is not final yet, the last of it is kept
RECONNECT_S = (0.0, 0.2, 0.5, 1.0, 2.0)
RETRY_S = 0.3
HOPELESS = (400, 401, 402, 403)  # it will not be otherwise in a second
STALLED_MS = 8000.0  # so much audio without a word back: with interim results something comes every second or so
CLOSE_S = 0.5
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
    sample_rate: int = 8000
    """Samples a second of what is heard; the vendor takes 8000 to 48000 ("Encoding")."""

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
            *((term, word) for word in self.keyterms),
        ]
        return f"{self.url}/v1/listen?{urlencode(query)}"


class DeepgramStt:
    """One call's stream. A lost connection is made again; what was not final is sent again, what was missed behind."""

    def __init__(self, options: DeepgramOptions) -> None:
        self._options = options
        self._bytes_a_ms = bytes_a_ms(options.sample_rate)
        self._socket: ClientConnection | None = None
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._waiting_bytes = 0
        self._unfinal: deque[tuple[float, int, bytes]] = deque()  # end in stream ms, position, audio: sent, not final
        self._unfinal_bytes = 0
        self._answered_ms = 0.0  # how much had been sent when the vendor last said anything, and when that was
        self._answered_at = 0.0
        self._something = asyncio.Event()
        self._commands: deque[str] = deque(maxlen=8)
        self._events: asyncio.Queue[SttEvent | None] = asyncio.Queue(EVENTS_QUEUED)
        self._timeline = Timeline()
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self.counters: Counter[str] = Counter()
        """`connected`, `reconnected`, `stalled`, `dropped_ms`, `replayed_ms`, `finals`, `interims`, `errors`,
        `unknown`, `garbage`, `events_dropped`."""

    @property
    def ends_turns(self) -> bool:
        """Nova hears silence, not the end of a turn."""
        return False

    async def connect(self) -> None:
        """Connect and begin to stream, at the second attempt if need be.

        Raises `ProviderError` with the vendor's own word when it refuses.
        """
        try:
            self._socket = await self._open()
        except ProviderError as error:
            if error.status in HOPELESS:
                raise
            await asyncio.sleep(RETRY_S)
            self._socket = await self._open()
        self.counters["connected"] += 1
        self._task = asyncio.create_task(self._run(self._socket), name="deepgram")

    def hear(self, position_ms: int, pcm: bytes) -> None:
        """Queue audio; at the limit the oldest is dropped, counted in ms."""
        if not pcm:
            return  # an empty binary frame would end the stream
        self._waiting.append((position_ms, pcm))
        self._waiting_bytes += len(pcm)
        self._bound()
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
            try:
                async with asyncio.timeout(CLOSE_S):
                    await socket.send('{"type":"CloseStream"}')
                    await socket.close()
            except websockets.ConnectionClosed:
                pass
            except TimeoutError:
                socket.transport.abort()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        self._emit(None)

    # -- the connection ----------------------------------------------------------------------------------------------

    async def _open(self) -> ClientConnection:
        headers = {"Authorization": f"Token {self._options.api_key}"}
        return await connect(VENDOR, self._options.listen_url(), headers, max_message_bytes=1 << 20)

    async def _run(self, socket: ClientConnection) -> None:
        """Stream until `close`; connect again when the connection is lost."""
        fruitless = 0  # streams in a row that ended before the vendor had said anything
        while True:
            self._timeline.restart()
            self._answered_ms, self._answered_at = 0.0, time.monotonic()
            sender = asyncio.create_task(self._send(socket), name="deepgram-send")
            try:
                fruitless = 0 if await self._receive(socket) else fruitless + 1
            finally:
                sender.cancel()
                with contextlib.suppress(asyncio.CancelledError, websockets.ConnectionClosed):
                    await sender
            if self._closing:
                return
            log.warning("Deepgram closed the stream: %s %s", socket.close_code, (socket.close_reason or "")[:120])
            self._take_back()
            again = await self._reconnect(RECONNECT_S[max(0, fruitless - 1) :])
            if again is None:
                return
            self._socket = socket = again

    async def _reconnect(self, pauses_s: Sequence[float]) -> ClientConnection | None:
        reason = f"{VENDOR}: the stream was closed again and again"
        for pause in pauses_s:
            await asyncio.sleep(pause)
            try:
                socket = await self._open()
            except ProviderError as error:
                reason = str(error)
                if error.status in HOPELESS:
                    break
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
                self._timeline.sent(position_ms, len(pcm) / self._bytes_a_ms)
                self._keep(position_ms, pcm)
                await socket.send(pcm)
                if self._stalled():
                    self.counters["stalled"] += 1
                    socket.transport.abort()  # it is open and does nothing: another one may
                    return
            while self._commands:
                await socket.send(self._commands.popleft())
            try:
                async with asyncio.timeout(KEEP_ALIVE_S):
                    await self._something.wait()
            except TimeoutError:
                await socket.send('{"type":"KeepAlive"}')

    def _stalled(self) -> bool:
        """By the audio, since silence needs no answer; and by the clock, since a replay is sent all at once."""
        waiting_ms = 1000 * (time.monotonic() - self._answered_at)
        return min(self._timeline.sent_ms - self._answered_ms, waiting_ms) > STALLED_MS

    async def _receive(self, socket: ClientConnection) -> int:
        """Take messages until the connection ends; how many there were."""
        received = 0
        with contextlib.suppress(websockets.ConnectionClosed):
            async for message in socket:
                received += 1
                self._answered_ms, self._answered_at = self._timeline.sent_ms, time.monotonic()
                try:
                    self._understand(orjson.loads(message))
                except (ValueError, TypeError, AttributeError, LookupError):  # no JSON, or not of the shape
                    self.counters["garbage"] += 1
        return received

    def _keep(self, position_ms: int, pcm: bytes) -> None:
        """Remember what was sent until it is final; the oldest beyond the limit is left to its fate."""
        self._unfinal.append((self._timeline.sent_ms, position_ms, pcm))
        self._unfinal_bytes += len(pcm)
        while self._unfinal_bytes > REPLAYED_MS * self._bytes_a_ms:
            self._unfinal_bytes -= len(self._unfinal.popleft()[2])

    def _settle(self, stream_ms: float) -> None:
        """Everything before this is final."""
        while self._unfinal and self._unfinal[0][0] <= stream_ms + 1.0:
            self._unfinal_bytes -= len(self._unfinal.popleft()[2])

    def _take_back(self) -> None:
        """The stream is lost: what is not final goes to the front of what waits."""
        for _, position_ms, pcm in reversed(self._unfinal):
            self._waiting.appendleft((position_ms, pcm))
        self._waiting_bytes += self._unfinal_bytes
        self.counters["replayed_ms"] += self._unfinal_bytes // self._bytes_a_ms
        self._unfinal.clear()
        self._unfinal_bytes = 0
        self._bound()

    def _bound(self) -> None:
        while self._waiting_bytes > KEPT_MS * self._bytes_a_ms:
            _, old = self._waiting.popleft()
            self._waiting_bytes -= len(old)
            self.counters["dropped_ms"] += len(old) // self._bytes_a_ms

    def _understand(self, document: dict[str, Any]) -> None:
        kind = document.get("type")
        if kind == "Results":
            event = self._transcript(document)
            if event.final:
                self._settle(1000 * (float(document.get("start") or 0.0) + float(document.get("duration") or 0.0)))
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
