"""What Deepgram's two streaming APIs have in common: audio up, events down, and a stream that survives its connection.

`nova.py` and `flux.py` know what is said on the wire. For both (developers.deepgram.com): an empty binary frame ends
the stream, `CloseStream` closes it, a refusal's reason is in the response header `dg-error`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from agent.providers.base import ProviderError, SttEvent, SttLost, bytes_a_ms
from agent.providers.bell import Bell
from agent.providers.timeline import Timeline
from agent.providers.websocket import ClientName, Socket, SocketClosed, open_socket

log = logging.getLogger(__name__)

VENDOR = "Deepgram"
KEPT_MS = 30_000  # what is kept while there is no connection
REPLAYED_MS = 15_000  # of what was sent and is not final yet, the last of it is kept
RECONNECT_S = (0.0, 0.2, 0.5, 1.0, 2.0)
RETRY_S = 0.3
STEADY_S = 1.0  # a stream that ends sooner has borne no fruit, whatever it said
HOPELESS = (400, 401, 402, 403)  # it will not be otherwise in a second
CLOSE_S = 0.5
EVENTS_QUEUED = 512
MESSAGE_BYTES = 1 << 20
TERM_TOKENS = 500  # of all key terms together: one more, and the vendor refuses the stream
LETTERS_A_TOKEN = 3  # or more: how its model counts is not told


@dataclass(frozen=True, slots=True)
class DeepgramOptions(ABC):
    """How a call is transcribed, whatever the model."""

    url: str
    api_key: str
    model: str
    language: str = "en-GB"
    keyterms: tuple[str, ...] = ()
    sample_rate: int = 8000
    """Samples a second of what is heard; both APIs take 8000 and 16000."""
    websocket: ClientName = "auto"

    @abstractmethod
    def listen_url(self) -> str:
        """The address with its query."""

    def terms(self) -> list[str]:
        """The key terms, each once; those that may not fit into the vendor's limit any more are left out, logged."""
        room = TERM_TOKENS
        fitting: list[str] = []
        terms = [term for term in dict.fromkeys(map(str.strip, self.keyterms)) if term]
        for term in terms:
            room -= 1 + len(term) // LETTERS_A_TOKEN
            if room < 0:
                log.warning(
                    "Deepgram takes %d tokens of key terms: %d of %d terms left out",
                    TERM_TOKENS,
                    len(terms) - len(fitting),
                    len(terms),
                )
                break
            fitting.append(term)
        return fitting


class DeepgramStream(ABC):
    """One call's stream. A lost connection is made again; what was not final is sent again, what was missed behind."""

    def __init__(self, options: DeepgramOptions) -> None:
        self._url = options.listen_url()
        self._headers = {"Authorization": f"Token {options.api_key}"}
        self._client = options.websocket
        self._bytes_a_ms = bytes_a_ms(options.sample_rate)
        self._loop = asyncio.get_running_loop()
        self._socket: Socket | None = None
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._waiting_bytes = 0
        self._unfinal: deque[tuple[float, int, bytes]] = deque()  # end in stream ms, position, audio: sent, not final
        self._unfinal_bytes = 0
        self._answered_ms = 0.0  # how much had been sent when the vendor last said anything, and when that was
        self._answered_at = 0.0
        self._sent_at = 0.0  # when anything was sent last
        self._bell = Bell()
        self._commands: deque[bytes] = deque(maxlen=8)
        self._events: asyncio.Queue[SttEvent | None] = asyncio.Queue(EVENTS_QUEUED)
        self._timeline = Timeline()
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self.counters: Counter[str] = Counter()
        """`connected`, `reconnected`, `stalled`, `dropped_ms`, `replayed_ms`, `finals`, `interims`, `errors`,
        `unknown`, `garbage`, `events_dropped`."""

    # -- what the models differ in -----------------------------------------------------------------------------------

    @property
    @abstractmethod
    def ends_turns(self) -> bool:
        """Whether the vendor itself says when a turn is over."""

    @abstractmethod
    def finalize(self) -> None:
        """Ask for the final text of what was heard so far."""

    @abstractmethod
    def _understand(self, document: dict[str, Any]) -> bool:
        """Take a message; whether the vendor did its work with it. What is raised counts as garbage."""

    @abstractmethod
    def _idle_from(self) -> float:
        """When, by the event loop's clock, something must be sent though there is nothing to send."""

    @abstractmethod
    async def _idle(self, socket: Socket) -> None:
        """That time has come."""

    @abstractmethod
    def _stalled(self) -> bool:
        """Whether the connection is open and the vendor does not do its work."""

    def _begin(self) -> None:
        """A stream begins: forget what the one before was about."""
        self._timeline.restart()
        self._answered_ms, self._answered_at = 0.0, self._loop.time()
        self._sent_at = self._answered_at

    # -- the call's side ---------------------------------------------------------------------------------------------

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
        self._bell.ring()

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
                    await socket.send_text(b'{"type":"CloseStream"}')
                    await socket.close()
            except SocketClosed:
                pass
            except TimeoutError:
                socket.abort()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        self._bell.stop()
        self._emit(None)

    # -- the connection ----------------------------------------------------------------------------------------------

    async def _open(self) -> Socket:
        return await open_socket(VENDOR, self._url, self._headers, max_message_bytes=MESSAGE_BYTES, client=self._client)

    async def _run(self, socket: Socket) -> None:
        """Stream until `close`; connect again when the connection is lost."""
        fruitless = 0  # streams in a row that ended at once, or before the vendor had done anything
        while True:
            self._begin()
            begun = self._loop.time()
            sender = asyncio.create_task(self._send(socket), name="deepgram-send")
            try:
                fruitful = await self._receive(socket)
            finally:
                sender.cancel()
                with contextlib.suppress(asyncio.CancelledError, SocketClosed):
                    await sender
            if self._closing:
                return
            fruitless = 0 if fruitful and self._loop.time() - begun > STEADY_S else fruitless + 1
            log.warning("Deepgram closed the stream: %s %s", socket.close_code, socket.close_reason[:120])
            self._take_back()
            again = await self._reconnect(RECONNECT_S[max(0, fruitless - 1) :])
            if again is None:
                return
            self._socket = socket = again

    async def _reconnect(self, pauses_s: Sequence[float]) -> Socket | None:
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

    async def _send(self, socket: Socket) -> None:
        while True:
            while self._waiting:
                position_ms, pcm = self._waiting.popleft()
                self._waiting_bytes -= len(pcm)
                self._keep(position_ms, pcm)
                await self._put(socket, position_ms, pcm)
            while self._commands:
                await socket.send_text(self._commands.popleft())
                self._sent_at = self._loop.time()
            if self._loop.time() >= self._idle_from():
                await self._idle(socket)
            if self._stalled():
                self.counters["stalled"] += 1
                socket.abort()  # it is open and does nothing: another one may
                return
            await self._bell.wait(self._idle_from())

    async def _put(self, socket: Socket, position_ms: float, pcm: bytes) -> None:
        """Send audio that stands for this time of the call."""
        self._timeline.sent(position_ms, len(pcm) / self._bytes_a_ms)
        self._sent_at = self._loop.time()
        await socket.send_bytes(pcm)

    def _command(self, text: bytes) -> None:
        self._commands.append(text)
        self._bell.ring()

    async def _receive(self, socket: Socket) -> bool:
        """Take messages until the connection ends; whether the vendor did anything."""
        fruitful = False
        with contextlib.suppress(SocketClosed):
            while True:
                message = await socket.receive()
                self._answered_ms, self._answered_at = self._timeline.sent_ms, self._loop.time()
                try:
                    fruitful |= self._understand(orjson.loads(message))
                except (ValueError, TypeError, AttributeError, LookupError):  # no JSON, or not of the shape
                    self.counters["garbage"] += 1
        return fruitful

    def _unanswered_s(self) -> float:
        """For how long the vendor has said nothing though audio was sent.

        By the audio, since silence needs no answer; and by the clock, since a replay is sent all at once.
        """
        waiting_s = self._loop.time() - self._answered_at
        return min((self._timeline.sent_ms - self._answered_ms) / 1000, waiting_s)

    # -- what was sent and may have to be sent again -----------------------------------------------------------------

    def _keep(self, position_ms: int, pcm: bytes) -> None:
        """Remember what is sent until it is final; the oldest beyond the limit is left to its fate."""
        end_ms = self._timeline.sent_ms + len(pcm) / self._bytes_a_ms
        self._unfinal.append((end_ms, position_ms, pcm))
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

    # -- events ------------------------------------------------------------------------------------------------------

    def _span_ms(self, words: Sequence[dict[str, Any]], start_s: float, end_s: float) -> tuple[int, int]:
        """Begin and end, in ms of the call, of words that have times, else of this stretch of the stream."""
        if words:
            start_s, end_s = float(words[0].get("start", start_s)), float(words[-1].get("end", end_s))
        return self._timeline.call_ms(1000 * start_s), self._timeline.call_end_ms(1000 * end_s)

    def _emit(self, event: SttEvent | None) -> None:
        if self._events.full():
            self._events.get_nowait()
            self.counters["events_dropped"] += 1
        self._events.put_nowait(event)
