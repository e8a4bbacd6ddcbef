"""One WebSocket of Cartesia's, the contexts on it, and what becomes of a context that the vendor does not serve.

The rules are those of Cartesia's API reference (docs.cartesia.ai, "TTS (WebSocket)"): every message of a context has
the same fields; `max_buffer_delay_ms` is 3000 unless told otherwise; one socket carries many contexts; a context ends
1 s after its last audio; a cancelled one still sends what it had begun, which is dropped here.
"""

from __future__ import annotations

import asyncio
import binascii
import contextlib
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import Any

import orjson

from agent.providers.base import Audio, ProviderError, TtsEvent, Words, bytes_a_ms
from agent.providers.breaker import Breaker, BreakerState
from agent.providers.metering import METER
from agent.providers.websocket import Socket, SocketClosed

VENDOR = "Cartesia"
SILENT_S = 1.2  # text was sent and no audio comes; a caller bears 2 s in all
STALL_S = 0.1  # what came while this process stood still is taken before the vendor is blamed
LIMITED_S = 0.25  # after `concurrency_limited`: asked again at once it would say so again
TRIES = 4  # contexts for the same text, where the vendor takes none: a second in all
EXPIRY_S = 0.6  # a context ends 1 s after its last audio has left the vendor; this one left it a while ago
LIMIT_MS = 90_000  # a context's audio that waits to be taken
OF_THE_REQUEST = (400, 404, 422, 429)
"""An error event with one of these says nothing of the vendor's health: a wrong voice, too many contexts."""


@dataclass(frozen=True, slots=True)
class _NotTaken:
    """The vendor did not take the text of this context; it may take it in another one."""

    error: ProviderError
    pause_s: float


class CartesiaSynthesis:
    """Text in, audio out: one context, and a new one where the text pauses for longer than a context lives."""

    def __init__(self, socket: SharedSocket, fields: dict[str, Any], breaker: Breaker) -> None:
        """`fields` are those that every message has; `output_format` among them."""
        self.id = uuid.uuid4().hex
        self._socket = socket
        self._breaker = breaker
        self._meter = METER.get()
        self._fields = {**fields, "context_id": self.id}
        self._queue: asyncio.Queue[TtsEvent | _NotTaken | ProviderError | None] = asyncio.Queue()  # bounded by LIMIT_MS
        self._queued_bytes = 0
        self._bytes_a_ms = bytes_a_ms(fields["output_format"]["sample_rate"])
        self._over = False
        self._begun = self._finishing = False
        self._waiting = False  # the text is kept until another context is begun
        self._tries = 1
        self._buffered = fields["max_buffer_delay_ms"] > 0  # then answers are not one for each submission
        self._silent_s = SILENT_S + fields["max_buffer_delay_ms"] / 1000
        self._unspoken: list[str] = []  # submissions that no flush_done has answered yet
        self._answers = False  # whether this vendor answers submissions at all: it is not promised
        self._heard_bytes = 0
        self._answered_bytes = 0  # how much of that had been heard at the last answer
        self._base_ms = 0  # where the present context begins, in the audio of all of them
        self._sent_at = self._heard_at = time.monotonic()

    async def say(self, text: str) -> None:
        """Send text; it joins what was sent before letter by letter."""
        if not text or self._over:
            return
        if self._expiring():
            self._renew()
        self._begun = True
        self._unspoken.append(text)
        self._sent_at = time.monotonic()
        if not self._waiting:
            await self._send(text)

    async def finish(self) -> None:
        """Close the context: the vendor speaks what is left, and says `done`. Once is enough."""
        if self._finishing:
            return
        if not self._begun or self._expiring():
            self.take(None)
            return
        self._finishing = True
        if not self._waiting:
            await self._send("", more=False)

    async def events(self) -> AsyncIterator[TtsEvent]:
        """Audio and word times, until all is spoken. Raises `ProviderError`, also when owed audio is late."""
        while True:
            event = await self._next()
            if event is None:
                return
            if isinstance(event, ProviderError):
                raise event
            if isinstance(event, _NotTaken):
                await self._begin_again(event)
                continue
            if isinstance(event, Audio):
                self._queued_bytes -= len(event.pcm)
            yield event

    async def cancel(self) -> None:
        """Stop: what was not begun is not made, and what still comes is dropped."""
        if self._over:
            return
        self._over = True
        self._socket.forget(self)
        if not self._heard_bytes and self._breaker.state is BreakerState.TRYING:
            self._breaker.accepted()  # it was connected, and nobody waited for more
        if self._begun:
            with contextlib.suppress(ProviderError):
                await self._socket.send({"context_id": self.id, "cancel": True})
        self._queue.put_nowait(None)

    def answered(self) -> None:
        """The vendor has spoken one submission."""
        self._answers = not self._buffered
        if self._unspoken:
            self._unspoken.pop(0)
        self._answered_bytes = self._heard_bytes
        self._heard_at = time.monotonic()

    def not_taken(self, error: ProviderError, pause_s: float = 0.0) -> None:
        """The vendor refused the text, for no fault of it: it goes into another context, where that repeats nothing."""
        if self._over or self._waiting:
            return
        if not self._unspoken:
            self.take(None)  # only the end of the context was refused
        elif self._heard_bytes > self._answered_bytes or self._tries >= TRIES:
            self.take(error)
        else:
            self._waiting = True
            self._socket.forget(self)
            self._queue.put_nowait(_NotTaken(error, pause_s))

    def take(self, event: TtsEvent | ProviderError | None) -> None:
        """What the socket received for this context; None is its end."""
        if self._over:
            return
        self._heard_at = time.monotonic()
        if isinstance(event, Words):
            starts, ends = ([at + self._base_ms for at in times] for times in (event.start_ms, event.end_ms))
            event = replace(event, start_ms=tuple(starts), end_ms=tuple(ends))
        if isinstance(event, Audio):
            if not self._heard_bytes:
                self._breaker.succeeded()
            self._heard_bytes += len(event.pcm)
            self._queued_bytes += len(event.pcm)
            if self._queued_bytes > LIMIT_MS * self._bytes_a_ms:
                event = ProviderError(VENDOR, f"more than {LIMIT_MS // 1000} s of audio in one context")
        if not isinstance(event, Audio | Words):
            self._over = True
            self._socket.forget(self)
        self._queue.put_nowait(event)

    async def _next(self) -> TtsEvent | _NotTaken | ProviderError | None:
        """What comes next; an error when it does not come, or the end where all is spoken."""
        since = time.monotonic()
        while self._queue.empty():
            left = max(since, self._sent_at, self._heard_at) + self._silent_s - time.monotonic()
            if left > 0:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(left):
                        return await self._queue.get()
            elif not self._begun or (self._spoken() and not self._finishing):
                since = time.monotonic()  # the next words are still thought
            else:
                await asyncio.sleep(STALL_S)
                if self._queue.empty():
                    return self._silence()
        return self._queue.get_nowait()  # audio comes faster than it is spoken: mostly there is some

    def _silence(self) -> ProviderError | None:
        self._socket.forget(self)
        if self._answers and not self._unspoken:
            self._over = True
            return None  # every word was answered for, and only the `done` is missing
        error = ProviderError(VENDOR, f"no audio for {self._silent_s:g} s")
        self._socket.suspect(error)
        return error

    async def _begin_again(self, refused: _NotTaken) -> None:
        """The text that was not taken, in a new context."""
        await asyncio.sleep(refused.pause_s)
        if self._over:
            return
        self._tries += 1
        with contextlib.suppress(ProviderError):
            await self._socket.send({"context_id": self.id, "cancel": True})  # of what came behind, some may be taken
        texts = list(self._unspoken)
        self._renew()
        self._unspoken = texts
        self._waiting = False
        self._sent_at = time.monotonic()
        for text in texts:
            await self._send(text)
        if self._finishing:
            await self._send("", more=False)

    async def _send(self, text: str, *, more: bool = True) -> None:
        await self._socket.send({**self._fields, "transcript": text, "continue": more})
        self._meter.add("tts", self._fields["model_id"], "characters", len(text))

    def _spoken(self) -> bool:
        """Whether all that was sent has been spoken, as far as one can tell."""
        return not self._unspoken if self._answers else self._heard_at > self._sent_at

    def _expiring(self) -> bool:
        """Whether all that was sent was spoken so long ago that the context may be gone."""
        return self._begun and self._spoken() and time.monotonic() - self._heard_at > EXPIRY_S

    def _renew(self) -> None:
        self._socket.forget(self)
        self._unspoken = []
        self.id = self._fields["context_id"] = uuid.uuid4().hex
        self._base_ms = self._heard_bytes // self._bytes_a_ms
        self._socket.add(self)


class SharedSocket:
    """One WebSocket and the contexts on it. `limited` is told when the vendor takes no more contexts for now."""

    def __init__(
        self, connection: Socket, counters: Counter[str], breaker: Breaker, limited: Callable[[], None]
    ) -> None:
        self._connection = connection
        self._counters = counters
        self._breaker = breaker
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

    def suspect(self, error: ProviderError) -> None:
        """It went silent: no new context is put on it."""
        if not self.broken:
            self.broken = True
            self._counters["silent"] += 1
            self._breaker.failed(error)

    async def send(self, message: dict[str, Any]) -> None:
        """Send one message. Raises `ProviderError` when the connection is gone."""
        self.used_at = time.monotonic()
        try:
            await self._connection.send_text(orjson.dumps(message))
        except SocketClosed as error:
            self.broken = True
            raise self._gone() from error

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
            if self._contexts and not self.broken:  # an idle one may close as it likes
                self._breaker.failed(self._gone())  # once, however many contexts were on it
        finally:
            self.broken = True
            error = self._gone()
            for context in list(self._contexts.values()):
                context.take(error)

    def _gone(self) -> ProviderError:
        return ProviderError(VENDOR, "the connection is gone", status=self._connection.close_code)

    def _route(self, document: dict[str, Any]) -> None:
        kind = document.get("type")
        context = self._contexts.get(str(document.get("context_id", "")))
        if kind == "error":
            self._refused(document, context)
        elif context is None:
            self._counters["late"] += 1
        elif kind == "chunk":
            context.take(Audio(binascii.a2b_base64(document.get("data") or "", strict_mode=True)))
        elif kind == "timestamps":
            times = document.get("word_timestamps") or {}
            words, starts, ends = (times.get(name) or () for name in ("words", "start", "end"))
            context.take(Words(tuple(map(str, words)), _ms(starts), _ms(ends)))
        elif kind == "flush_done":
            context.answered()
        elif kind == "done":
            context.take(None)
        else:
            self._counters["unknown"] += 1

    def _refused(self, document: dict[str, Any], context: CartesiaSynthesis | None) -> None:
        """An error event. One that names no context may mean each on this socket, and none must wait for ever."""
        said = document.get("error_code") or document.get("title") or document.get("error") or "error"
        error = ProviderError(VENDOR, str(said)[:200], status=int(document.get("status_code") or 0))
        if error.status == 429:
            self._limited()
        if context is None and document.get("context_id"):
            self._counters["late"] += 1
            return
        if error.status not in OF_THE_REQUEST:
            self._breaker.failed(error)
        elif self._breaker.state is BreakerState.TRYING:
            self._breaker.succeeded()  # it is there, and says what it does not like
        about = f"{said} {document.get('title', '')} {document.get('message', '')}".lower()
        for each in [context] if context is not None else list(self._contexts.values()):
            if error.status == 429:
                each.not_taken(error, LIMITED_S)
            elif "expired" in about:
                each.not_taken(error)
            else:
                each.take(error)


def _ms(seconds: Any) -> tuple[int, ...]:
    return tuple(round(1000 * float(each)) for each in seconds)
