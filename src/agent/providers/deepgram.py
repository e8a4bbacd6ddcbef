"""What Deepgram's two streaming APIs have in common: audio up, events down, and a stream that survives its connection.

`nova.py` and `flux.py` know what is said on the wire. For both (developers.deepgram.com): an empty binary frame ends
the stream, `CloseStream` closes it, a refusal's reason is in the response header `dg-error`.

Audio that was kept goes faster than it was spoken, or the caller would wait for the answer all the longer; but not all
at once. Deepgram advises 1.25 times real time at most (what it does above that is not told); by that a gap of 2 s would
last 8 more. So it is a setting, 4 by default: 2 s are made up for in 0.4.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from typing import Any

import orjson

import fastaudio
from agent.providers.base import HeardWord, ProviderError, SttAway, SttBack, SttLost
from agent.providers.breaker import Breaker, BreakerState
from agent.providers.deepgram_options import DeepgramOptions
from agent.providers.kept_audio import Pace, Piece
from agent.providers.metering import METER
from agent.providers.stt_stream import SttStream
from agent.providers.websocket import Socket, SocketClosed, open_socket

log = logging.getLogger(__name__)

VENDOR = "Deepgram"
CONNECT_S = 2.0  # both attempts of a call's first connection, or one of a later one
HURRIED_S = 1.2  # where another link is at hand
RETRY_S = 0.3
RECONNECT_S = (0.0, 0.2, 0.5, 1.0, 2.0)
AWAY_S = 10.0  # longer than a breaker's first rest; then the stream is lost
STEADY_S = 1.0  # a stream that ends sooner has borne no fruit, whatever it said
UNANSWERED_S = 1.5  # of speech without a word back; doubled with each stream that this made an end of
SURE_S = 0.1  # and so long after that was noticed
SPEECH_RMS = 300  # of 32768: what may well be speech
SPEECH_MS = 300  # so much of it must be answered
CLOSE_S = 0.5
MESSAGE_BYTES = 1 << 20


class DeepgramStream(SttStream, ABC):
    """One call's stream. A lost connection is made again; what was not final is sent again, what was missed behind.

    More counters: `reconnected`, `stalled`, `errors`, `unknown`, `garbage`.
    """

    def __init__(
        self, options: DeepgramOptions, breaker: Breaker | None = None, counters: Counter[str] | None = None
    ) -> None:
        """`breaker` is told how connections and streams fare, and asked before each connection."""
        super().__init__(options.sample_rate, counters)
        self._url = options.listen_url()
        self._headers = {"Authorization": f"Token {options.api_key}"}
        self._client = options.websocket
        self._replay_speed = options.replay_speed
        self._breaker = breaker
        self._model = options.model
        self._meter = METER.get()
        self._loop = asyncio.get_running_loop()
        self._socket: Socket | None = None
        self._closing = False
        self._answered_ms = 0.0  # how much had been sent when the vendor last did its work, and when that was
        self._answered_at = 0.0
        self._speech_ms = 0.0  # of speech that was sent since
        self._speech_from = 0.0, 0.0  # where the first of it begins in the stream, and when it was sent
        self._unanswered_limit_s = UNANSWERED_S
        self._suspect_at = math.inf  # since when it seems so
        self._stalled_now = False
        self._sent_at = 0.0  # when anything was sent last
        self.hopeless = False
        """When it is lost: another stream would fare no better."""

    # -- what the models differ in -----------------------------------------------------------------------------------

    @property
    @abstractmethod
    def ends_turns(self) -> bool:
        """Whether the vendor itself says when a turn is over."""

    @property
    @abstractmethod
    def _final_request(self) -> bytes:
        """The message that asks for the final text."""

    @abstractmethod
    def _understand(self, document: dict[str, Any]) -> bool:
        """Take a message; whether the vendor did its work with it. What is raised counts as garbage."""

    @abstractmethod
    def _idle_from(self) -> float:
        """When, by the event loop's clock, something must be sent though there is nothing to send."""

    @abstractmethod
    async def _idle(self, socket: Socket) -> None:
        """That time has come."""

    def _stalled(self) -> bool:
        """Whether the connection is open and the vendor does not do its work: speech must be answered."""
        if self._speech_ms < SPEECH_MS:
            return False
        from_ms, from_s = self._speech_from
        return self._lasts_s(from_ms, from_s) > self._unanswered_limit_s

    def _stalls_at(self) -> float:
        """When speech will have been unanswered for too long, if no more audio comes until then."""
        if self._suspect_at < math.inf:
            return self._suspect_at + SURE_S
        from_ms, from_s = self._speech_from
        enough = self._speech_ms >= SPEECH_MS and self._timeline.sent_ms - from_ms > 1000 * self._unanswered_limit_s
        return from_s + self._unanswered_limit_s if enough else math.inf

    def _begin(self) -> None:
        """A stream begins: forget what the one before was about."""
        self._timeline.restart()
        self._stalled_now = False
        self._sent_at = self._loop.time()
        self._answered()

    def _ended(self) -> None:
        """A stream is lost: what is not final of it is to be heard anew."""
        self._kept.take_back()

    # -- the call's side ---------------------------------------------------------------------------------------------

    async def connect(self) -> None:
        """Connect and begin to stream, at the second attempt if need be; within 2 s, or 1.2 s when not patient.

        Raises `ProviderError` with the vendor's own word when it refuses.
        """
        deadline = self._loop.time() + (CONNECT_S if self.patient else HURRIED_S)
        try:
            self._socket = await self._open(deadline)
        except ProviderError as error:
            if error.hopeless or not self.patient or self._loop.time() + RETRY_S >= deadline:
                raise
            await asyncio.sleep(RETRY_S)
            self._socket = await self._open(deadline)
        self.counters["connected"] += 1
        self._task = asyncio.create_task(self._run(self._socket), name="deepgram")

    def hand_over(self) -> list[Piece]:
        """See `SttStream`."""
        self._closing = True
        return super().hand_over()

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
        self._events.put(None)

    # -- the connection ----------------------------------------------------------------------------------------------

    async def _open(self, deadline: float) -> Socket:
        """Connect. Raises `ProviderError`; the breaker has been told."""
        breaker = self._breaker
        if breaker is not None and not breaker.allows() and not self._joins(breaker):
            raise ProviderError(VENDOR, f"is left alone after failures, for {breaker.rest_s:.1f} s")
        try:
            async with asyncio.timeout_at(deadline):
                socket = await open_socket(
                    VENDOR, self._url, self._headers, max_message_bytes=MESSAGE_BYTES, client=self._client
                )
            if breaker is not None:
                breaker.accepted()
            return socket
        except TimeoutError:
            error = ProviderError(VENDOR, "did not accept the connection in time")
        except ProviderError as refusal:
            error = refusal
        self._meter.failed("stt")
        self._fault(error)
        raise error

    def _joins(self, breaker: Breaker) -> bool:
        """Another call is trying the vendor: one that has nowhere else to go does not wait for what comes of it."""
        return self.patient and breaker.state is BreakerState.TRYING

    def _fault(self, error: ProviderError) -> None:
        if self._breaker is not None:
            self._breaker.failed(error)

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
            reason = f"closed the stream: {socket.close_code} {socket.close_reason[:120]}".rstrip()
            if self._stalled_now:
                reason = "said nothing to what it heard"
            lasted_s = self._loop.time() - begun
            fruitless = 0 if fruitful and lasted_s > STEADY_S else fruitless + 1
            log.warning("Deepgram %s", reason)
            self._meter.failed("stt")
            self._ended()
            self._emit(SttAway())
            if self._stalled_now or (not fruitful and (lasted_s < STEADY_S or self._timeline.sent_ms > 1000)):
                self._fault(ProviderError(VENDOR, reason, status=socket.close_code))
                if not self.patient:
                    self._emit(SttLost(f"{VENDOR} {reason}"))
                    return
            again = await self._reconnect(RECONNECT_S[max(0, fruitless - 1) :])
            if again is None:
                return
            self._socket = socket = again
            self._emit(SttBack(self.ends_turns))

    async def _reconnect(self, pauses_s: Sequence[float]) -> Socket | None:
        reason = f"{VENDOR}: the stream was closed again and again"
        limit = self._loop.time() + AWAY_S
        for pause_s in pauses_s:
            wait_s = max(pause_s, self._breaker.rest_s if self._breaker is not None else 0.0)
            if self._loop.time() + wait_s > limit:
                break
            await asyncio.sleep(wait_s)
            try:
                socket = await self._open(self._loop.time() + CONNECT_S)
            except ProviderError as error:
                reason = str(error)
                if error.hopeless:
                    break
                continue
            self.counters["reconnected"] += 1
            return socket
        self._lose(reason)
        return None

    def _lose(self, reason: str) -> None:
        self.hopeless = True
        log.warning("%s; it is given up for this call", reason)
        self._emit(SttLost(reason))

    async def _send(self, socket: Socket) -> None:
        pace = Pace(self._replay_speed)
        while True:
            while self._kept and not self._give_up(socket):
                length_ms = len(self._kept.first()[1]) / self._bytes_a_ms
                if (wait_s := pace.wait_s(self._loop.time(), length_ms)) > 0:
                    await asyncio.sleep(wait_s)
                    continue
                await self._pass_on(socket, *self._kept.take(self._timeline.sent_ms))
            if self._loop.time() >= self._idle_from():
                await self._idle(socket)
            if self._give_up(socket):
                return
            await self._bell.wait(min(self._idle_from(), self._stalls_at()))

    async def _pass_on(self, socket: Socket, position_ms: int, pcm: bytes) -> None:
        """Send a piece, audio or a request."""
        if not pcm:
            self._sent_at = self._loop.time()
            await socket.send_text(self._final_request)
            return
        if fastaudio.rms(pcm) >= SPEECH_RMS:
            if not self._speech_ms:
                self._speech_from = self._timeline.sent_ms, self._loop.time()
            self._speech_ms += len(pcm) / self._bytes_a_ms
        await self._put(socket, position_ms, pcm)

    async def _put(self, socket: Socket, position_ms: float, pcm: bytes) -> None:
        """Send audio that stands for this time of the call."""
        length_ms = len(pcm) / self._bytes_a_ms
        self._timeline.sent(position_ms, length_ms)
        self._sent_at = self._loop.time()
        await socket.send_bytes(pcm)
        self._meter.add("stt", self._model, "seconds", length_ms / 1000)

    def _give_up(self, socket: Socket) -> bool:
        """Whether this stream is of no use. After a freeze of our own its answer may be there and not read yet."""
        if self._stalled_now or not self._stalled():
            return self._stalled_now
        now = self._loop.time()
        self._suspect_at = min(self._suspect_at, now)
        if now >= self._suspect_at + SURE_S:
            self._stalled_now = True
            self._unanswered_limit_s *= 2
            self.counters["stalled"] += 1
            socket.abort()  # it is open and does nothing: another one may
        return self._stalled_now

    async def _receive(self, socket: Socket) -> bool:
        """Take messages until the connection ends; whether the vendor did anything."""
        fruitful = False
        with contextlib.suppress(SocketClosed):
            while True:
                message = await socket.receive()
                try:
                    work = self._understand(orjson.loads(message))
                except (ValueError, TypeError, AttributeError, LookupError):  # no JSON, or not of the shape
                    self.counters["garbage"] += 1
                    continue
                if work:
                    self._answered()
                    if not fruitful and self._breaker is not None:
                        self._breaker.succeeded()
                    fruitful = True
        return fruitful

    def _answered(self) -> None:
        """The vendor did its work, or is to begin it."""
        self._answered_ms, self._answered_at = self._timeline.sent_ms, self._loop.time()
        self._speech_ms = 0.0
        self._suspect_at = math.inf

    def _unanswered_s(self) -> float:
        """For how long the vendor has done nothing though audio was sent."""
        return self._lasts_s(self._answered_ms, self._answered_at)

    def _lasts_s(self, since_ms: float, since_s: float) -> float:
        """By the audio, since what is not sent needs no answer; and by the clock, since a replay is fast."""
        return min((self._timeline.sent_ms - since_ms) / 1000, self._loop.time() - since_s)

    # -- events ------------------------------------------------------------------------------------------------------

    def _span_ms(self, words: Sequence[dict[str, Any]], start_s: float, end_s: float) -> tuple[int, int]:
        """Begin and end, in ms of the call, of words that have times, else of this stretch of the stream."""
        if words:
            start_s, end_s = float(words[0].get("start", start_s)), float(words[-1].get("end", end_s))
        return self._timeline.call_ms(1000 * start_s), self._timeline.call_end_ms(1000 * end_s)

    def _heard_words(self, words: Sequence[dict[str, Any]]) -> tuple[HeardWord, ...]:
        """The words with their times, in ms of the call; none where the vendor does not tell all of them."""
        line = self._timeline
        try:
            return tuple(
                HeardWord(
                    word.get("punctuated_word") or word["word"],
                    line.call_ms(1000 * word["start"]),
                    line.call_end_ms(1000 * word["end"]),
                )
                for word in words
            )
        except (LookupError, TypeError, ValueError):
            return ()
