"""Cartesia Sonic over its WebSocket (`/tts/websocket`), on the wire itself, with continuations.

The rules are those of Cartesia's API reference (docs.cartesia.ai, "TTS (WebSocket)"): every message of a context has
the same fields; `max_buffer_delay_ms` is 3000 unless told otherwise; one socket carries many contexts; a context ends
1 s after its last audio; a cancelled one still sends what it had begun, which is dropped here; a socket that generates
nothing for 5 minutes is closed, so it is replaced before that.
"""

from __future__ import annotations

import asyncio
import binascii
import contextlib
import logging
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import orjson

from agent.providers.base import DEFAULT_VOICE, Audio, ProviderError, SpeakingVoice, TtsEvent, Words, bytes_a_ms
from agent.providers.websocket import ClientName, Socket, SocketClosed, open_socket

log = logging.getLogger(__name__)

VENDOR = "Cartesia"
CONTEXTS_A_SOCKET = 8
SOCKETS = 64
RETRY_S = 0.2
LIMITED_S = 0.25  # after `concurrency_limited`: asked again at once it would say so again
HOPELESS = (400, 401, 402, 403)  # it will not be otherwise in a moment
IDLE_S = 240.0  # the vendor closes after 300
SILENT_S = 5.0  # text was sent and no audio comes
EXPIRY_S = 0.6  # a context ends 1 s after its last audio has left the vendor; this one left it a while ago
LIMIT_MS = 90_000  # a context's audio that waits to be taken
MESSAGE_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class CartesiaOptions:
    """How text is spoken."""

    url: str
    api_key: str
    model: str = "sonic-3"
    voice_id: str = ""
    language: str = "en"
    version: str = "2026-08-14"
    sample_rate: int = 8000
    """Samples a second of what is spoken; the vendor has 8000, 16000, 22050, 24000, 44100 and 48000."""
    buffer_ms: int = 0
    """How long the vendor may hold text back to gather more of it, 0 to 5000 ms; 0 when it is given in clauses."""
    websocket: ClientName = "auto"


class CartesiaSynthesis:
    """Text in, audio out: one context, and a new one where the text pauses for longer than a context lives."""

    def __init__(self, socket: _Shared, options: CartesiaOptions, voice: SpeakingVoice) -> None:
        self.id = uuid.uuid4().hex
        self._socket = socket
        self._fields: dict[str, Any] = {
            "model_id": options.model,
            "voice": {"id": voice.id or options.voice_id},
            "language": voice.language or options.language,
            "output_format": {"container": "raw", "encoding": "pcm_s16le", "sample_rate": options.sample_rate},
            "context_id": self.id,
            "max_buffer_delay_ms": options.buffer_ms,
            "add_timestamps": True,
        }
        self._queue: asyncio.Queue[TtsEvent | ProviderError | None] = asyncio.Queue()  # bounded by LIMIT_MS
        self._queued_bytes = 0
        self._bytes_a_ms = bytes_a_ms(options.sample_rate)
        self._over = False
        self._begun = self._finishing = False
        self._owed = 0  # submissions that no flush_done has answered yet
        self._buffered = options.buffer_ms > 0  # then answers are not one for each submission
        self._answers = False  # whether this vendor answers submissions at all: it is not promised
        self._heard_bytes = 0
        self._base_ms = 0  # where the present context begins, in the audio of all of them
        self._sent_at = self._heard_at = time.monotonic()

    async def say(self, text: str) -> None:
        """Send text; it joins what was sent before letter by letter."""
        if not text or self._over:
            return
        if self._expiring():
            self._renew()
        self._begun = True
        self._owed += 1
        self._sent_at = time.monotonic()
        await self._socket.send({**self._fields, "transcript": text, "continue": True})

    async def finish(self) -> None:
        """Close the context: the vendor speaks what is left, and says `done`."""
        if not self._begun or self._expiring():
            self.take(None)
            return
        self._finishing = True
        await self._socket.send({**self._fields, "transcript": "", "continue": False})

    async def events(self) -> AsyncIterator[TtsEvent]:
        """Audio and word times, until all is spoken. Raises `ProviderError`, also when what is owed takes over 5 s."""
        while True:
            try:
                if self._queue.empty():
                    async with asyncio.timeout(SILENT_S):
                        event = await self._queue.get()
                else:  # audio comes faster than it is spoken: mostly there is some
                    event = self._queue.get_nowait()
            except TimeoutError:
                if not self._begun or (self._spoken() and not self._finishing):
                    continue  # the next words are still thought
                self._socket.suspect()
                raise ProviderError(VENDOR, f"no audio for {SILENT_S:g} s") from None
            if event is None:
                return
            if isinstance(event, ProviderError):
                raise event
            if isinstance(event, Audio):
                self._queued_bytes -= len(event.pcm)
            yield event

    async def cancel(self) -> None:
        """Stop: what was not begun is not made, and what still comes is dropped."""
        if self._over:
            return
        self._over = True
        self._socket.forget(self)
        if self._begun:
            with contextlib.suppress(ProviderError):
                await self._socket.send({"context_id": self.id, "cancel": True})
        self._queue.put_nowait(None)

    def _spoken(self) -> bool:
        """Whether all that was sent has been spoken, as far as one can tell."""
        return self._owed <= 0 if self._answers else self._heard_at > self._sent_at

    def _expiring(self) -> bool:
        """Whether all that was sent was spoken so long ago that the context may be gone."""
        return self._begun and self._spoken() and time.monotonic() - self._heard_at > EXPIRY_S

    def _renew(self) -> None:
        self._socket.forget(self)
        self._owed = 0
        self.id = self._fields["context_id"] = uuid.uuid4().hex
        self._base_ms = self._heard_bytes // self._bytes_a_ms
        self._socket.add(self)

    def answered(self) -> None:
        """The vendor has spoken one submission."""
        self._answers = not self._buffered
        self._owed -= 1
        self._heard_at = time.monotonic()

    def take(self, event: TtsEvent | ProviderError | None) -> None:
        """What the socket received for this context; None is its end."""
        if self._over:
            return
        self._heard_at = time.monotonic()
        if isinstance(event, Words):
            event = Words(event.words, tuple(start + self._base_ms for start in event.start_ms))
        if isinstance(event, Audio):
            self._heard_bytes += len(event.pcm)
            self._queued_bytes += len(event.pcm)
            if self._queued_bytes > LIMIT_MS * self._bytes_a_ms:
                event = ProviderError(VENDOR, f"more than {LIMIT_MS // 1000} s of audio in one context")
        if not isinstance(event, Audio | Words):
            self._over = True
            self._socket.forget(self)
        self._queue.put_nowait(event)


class _Shared:
    """One WebSocket and the contexts on it. `limited` is told when the vendor takes no more contexts for now."""

    def __init__(self, connection: Socket, counters: Counter[str], limited: Callable[[], None]) -> None:
        self._connection = connection
        self._counters = counters
        self._limited = limited
        self._contexts: dict[str, CartesiaSynthesis] = {}
        self.used_at = time.monotonic()
        self.broken = False
        self._task = asyncio.create_task(self._receive(), name="cartesia")

    @property
    def contexts(self) -> int:
        """How many contexts are open."""
        return len(self._contexts)

    def add(self, synthesis: CartesiaSynthesis) -> None:
        """A new context."""
        self._contexts[synthesis.id] = synthesis
        self.used_at = time.monotonic()

    def forget(self, synthesis: CartesiaSynthesis) -> None:
        """A context is over; its late audio is dropped."""
        self._contexts.pop(synthesis.id, None)

    def suspect(self) -> None:
        """It went silent: no new context is put on it."""
        self.broken = True

    async def send(self, message: dict[str, Any]) -> None:
        """Send one message. Raises `ProviderError` when the connection is gone."""
        self.used_at = time.monotonic()
        try:
            await self._connection.send_text(orjson.dumps(message))
        except SocketClosed as error:
            self.broken = True
            raise ProviderError(VENDOR, "the connection is gone", status=self._connection.close_code) from error

    async def close(self) -> None:
        """Close it and end its contexts."""
        self.broken = True
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        await self._connection.close()

    async def _receive(self) -> None:
        try:
            while True:
                message = await self._connection.receive()
                try:
                    self._route(orjson.loads(message))
                except (ValueError, TypeError, AttributeError):  # no JSON, no base64, or not of the shape
                    self._counters["garbage"] += 1
        except SocketClosed:
            pass
        finally:
            self.broken = True
            error = ProviderError(VENDOR, "the connection is gone", status=self._connection.close_code)
            for context in list(self._contexts.values()):
                context.take(error)

    def _route(self, document: dict[str, Any]) -> None:
        kind = document.get("type")
        context = self._contexts.get(str(document.get("context_id", "")))
        if kind == "error" and document.get("status_code") == 429:
            self._limited()
        if kind == "error" and context is None and not document.get("context_id"):
            # It names no context: each one on this socket may be meant, and none must wait for ever.
            for each in list(self._contexts.values()):
                each.take(_error(document))
            return
        if context is None:
            self._counters["late"] += 1
            return
        if kind == "chunk":
            context.take(Audio(binascii.a2b_base64(document.get("data") or "", strict_mode=True)))
        elif kind == "timestamps":
            times = document.get("word_timestamps") or {}
            words, starts = times.get("words") or (), times.get("start") or ()
            context.take(Words(tuple(map(str, words)), tuple(round(1000 * float(start)) for start in starts)))
        elif kind == "flush_done":
            context.answered()
        elif kind == "done":
            context.take(None)
        elif kind == "error":
            context.take(_error(document))


def _error(document: dict[str, Any]) -> ProviderError:
    said = document.get("error_code") or document.get("title") or document.get("error") or "error"
    return ProviderError(VENDOR, str(said)[:200], status=int(document.get("status_code") or 0))


class CartesiaTts:
    """Sockets shared by all calls of a process, 64 at most: at most 8 contexts on each, replaced before the vendor
    closes them.
    """

    def __init__(self, options: CartesiaOptions) -> None:
        self._options = options
        self._sockets: list[_Shared] = []
        self._opening = asyncio.Lock()
        self._limited_until = 0.0
        self.counters: Counter[str] = Counter()
        """`connected`, `contexts`, `limited` (no more contexts for now), `late` (messages of a context that is over),
        `garbage`."""

    @property
    def clauses(self) -> bool:
        """Whether text is to come in clauses; else as it is thought, token by token, and the vendor gathers it."""
        return self._options.buffer_ms == 0

    async def warm(self) -> None:
        """Make sure that there is a socket with room."""
        await self._socket()

    async def open(self, voice: SpeakingVoice = DEFAULT_VOICE) -> CartesiaSynthesis:
        """Begin a context; a moment later when the vendor has just said that there are too many.

        Raises `ProviderError` when there is no connection, and when all 64 are full.
        """
        if (pause := self._limited_until - time.monotonic()) > 0:
            await asyncio.sleep(pause)
        socket = await self._socket()
        synthesis = CartesiaSynthesis(socket, self._options, voice)
        socket.add(synthesis)
        self.counters["contexts"] += 1
        return synthesis

    async def close(self) -> None:
        """Close every socket."""
        sockets, self._sockets = self._sockets, []
        for socket in sockets:
            await socket.close()

    def _limited(self) -> None:
        self.counters["limited"] += 1
        self._limited_until = time.monotonic() + LIMITED_S

    def _ready(self) -> _Shared | None:
        now = time.monotonic()
        usable = [
            socket
            for socket in self._sockets
            if not socket.broken
            and socket.contexts < CONTEXTS_A_SOCKET
            and (socket.contexts or now - socket.used_at < IDLE_S)
        ]
        # The fullest one first: the others may fall idle and be closed.
        return max(usable, key=lambda socket: socket.contexts, default=None)

    async def _socket(self) -> _Shared:
        if (socket := self._ready()) is not None:
            return socket
        async with self._opening:
            if (socket := self._ready()) is not None:
                return socket
            await self._discard()
            if len(self._sockets) >= SOCKETS:
                raise ProviderError(VENDOR, f"{SOCKETS} connections are full", status=429)
            try:
                connection = await self._connect()
            except ProviderError as error:
                if error.status in HOPELESS:
                    raise
                await asyncio.sleep(RETRY_S)
                connection = await self._connect()
            socket = _Shared(connection, self.counters, self._limited)
            self._sockets.append(socket)
            self.counters["connected"] += 1
            return socket

    async def _discard(self) -> None:
        now = time.monotonic()
        for socket in list(self._sockets):
            if not socket.contexts and (socket.broken or now - socket.used_at >= IDLE_S):
                self._sockets.remove(socket)
                await socket.close()

    async def _connect(self) -> Socket:
        headers = {
            "Authorization": f"Bearer {self._options.api_key}",
            "Cartesia-Version": self._options.version,
        }
        url = f"{self._options.url}/tts/websocket"
        return await open_socket(VENDOR, url, headers, max_message_bytes=MESSAGE_BYTES, client=self._options.websocket)
