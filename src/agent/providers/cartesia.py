"""Cartesia Sonic over its WebSockets (`/tts/websocket`): the ones that all calls of a process share.

A socket that generates nothing for 5 minutes is closed by the vendor, so it is replaced before that. What of its wire
matters to one context is in `cartesia_wire.py`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from dataclasses import dataclass, field

from agent.providers.base import DEFAULT_VOICE, ProviderError, SpeakingVoice
from agent.providers.breaker import Breaker, BreakerState
from agent.providers.cartesia_wire import LIMITED_S, VENDOR, CartesiaSynthesis, SharedSocket
from agent.providers.websocket import ClientName, Socket, open_socket

log = logging.getLogger(__name__)

BREAKER = "tts cartesia"
CONTEXTS_A_SOCKET = 8
SOCKETS = 64
OPEN_S = 1.5
"""Who has something to say waits so long for a connection; one that takes longer serves those who come after."""
RETRIES_S = (0.2, 0.4, 0.5)
"""Pauses behind a connection that was refused; all within `OPEN_S`."""
IDLE_S = 240.0  # the vendor closes after 300
MESSAGE_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class CartesiaOptions:
    """How text is spoken."""

    url: str
    api_key: str = field(repr=False)
    model: str = "sonic-3"
    voice_id: str = ""
    language: str = "en"
    version: str = "2026-08-14"
    sample_rate: int = 8000
    """Samples a second of what is spoken; the vendor has 8000, 16000, 22050, 24000, 44100 and 48000."""
    buffer_ms: int = 0
    """How long the vendor may hold text back to gather more of it, 0 to 5000 ms; 0 when it is given in clauses."""
    websocket: ClientName = "auto"


class CartesiaTts:
    """Sockets shared by all calls of a process, 64 at most: at most 8 contexts on each, replaced before the vendor
    closes them.
    """

    def __init__(self, options: CartesiaOptions, breaker: Breaker | None = None) -> None:
        """`breaker` knows how the vendor fares, for all who ask."""
        self._options = options
        self._breaker = breaker or Breaker(BREAKER)
        self._sockets: list[SharedSocket] = []
        self._connecting: asyncio.Task[None] | None = None
        self._limited_until = 0.0
        self.counters: Counter[str] = Counter()
        """`connected`, `contexts`, `limited` (no more contexts for now), `silent` (connections that were given up),
        `late` (messages of a context that is over), `garbage` and `unknown` (messages that are not understood)."""

    @property
    def clauses(self) -> bool:
        """Whether text is to come in clauses; else as it is thought, token by token, and the vendor gathers it."""
        return self._options.buffer_ms == 0

    async def warm(self) -> None:
        """Make sure that there is a socket with room. Raises `ProviderError`."""
        if self._breaker.state is not BreakerState.CLOSED:
            raise self._left_alone()  # to try is for one who has something to say
        await self._socket()

    async def open(self, voice: SpeakingVoice = DEFAULT_VOICE) -> CartesiaSynthesis:
        """Begin a context; a moment later when the vendor has just said that there are too many.

        Raises `ProviderError`: at once while the vendor is left alone after failures, within 1.5 s when there is no
        connection to be had, and when all 64 are full.
        """
        if not self._breaker.allows():
            raise self._left_alone()
        if (pause := self._limited_until - time.monotonic()) > 0:
            await asyncio.sleep(pause)
        try:
            async with asyncio.timeout(OPEN_S):
                socket = await self._socket()
        except TimeoutError:
            error = ProviderError(VENDOR, f"no connection within {OPEN_S:g} s")
            self._breaker.failed(error)
            raise error from None
        options = self._options
        synthesis = CartesiaSynthesis(
            socket,
            {
                "model_id": options.model,
                "voice": {"id": voice.id or options.voice_id},
                "language": voice.language or options.language,
                "output_format": {"container": "raw", "encoding": "pcm_s16le", "sample_rate": options.sample_rate},
                "max_buffer_delay_ms": options.buffer_ms,
                "add_timestamps": True,
            },
            self._breaker,
        )
        socket.add(synthesis)
        self.counters["contexts"] += 1
        return synthesis

    async def close(self) -> None:
        """Close every socket."""
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
        sockets, self._sockets = self._sockets, []
        for socket in sockets:
            await socket.close()

    def _left_alone(self) -> ProviderError:
        rest_s = self._breaker.rest_s
        return ProviderError(VENDOR, f"is left alone for {rest_s:.1f} s after failures", retry_after_s=rest_s)

    def _limited(self) -> None:
        self.counters["limited"] += 1
        self._limited_until = time.monotonic() + LIMITED_S

    def _ready(self) -> SharedSocket | None:
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

    async def _socket(self) -> SharedSocket:
        """One with room. Connections are made one at a time, and whoever waits shares what comes of it."""
        while (socket := self._ready()) is None:
            if self._connecting is None or self._connecting.done():
                self._connecting = asyncio.create_task(self._connect(), name="cartesia connect")
                self._connecting.add_done_callback(_retrieve)
            await asyncio.shield(self._connecting)
        return socket

    async def _connect(self) -> None:
        await self._discard()
        if len(self._sockets) >= SOCKETS:
            raise ProviderError(VENDOR, f"{SOCKETS} connections are full", status=429)
        connection = await self._try_to_connect()
        self._sockets.append(SharedSocket(connection, self.counters, self._breaker, self._limited))
        self.counters["connected"] += 1

    async def _discard(self) -> None:
        now = time.monotonic()
        for socket in list(self._sockets):
            if not socket.contexts and (socket.broken or now - socket.used_at >= IDLE_S):
                self._sockets.remove(socket)
                await socket.close()

    async def _try_to_connect(self) -> Socket:
        """Try, and again after each pause; all of that is one failure to others."""
        headers = {
            "Authorization": f"Bearer {self._options.api_key}",
            "Cartesia-Version": self._options.version,
        }
        url = f"{self._options.url}/tts/websocket"
        client = self._options.websocket
        for pause_s in (*RETRIES_S, None):
            try:
                return await open_socket(VENDOR, url, headers, max_message_bytes=MESSAGE_BYTES, client=client)
            except ProviderError as error:
                if pause_s is None or error.hopeless or error.retry_after_s > 0:
                    # One connection more than the vendor allows is no reason to leave those alone that speak.
                    if error.status != 429 or all(socket.broken for socket in self._sockets):
                        self._breaker.failed(error)
                    raise
                await asyncio.sleep(pause_s)
        raise AssertionError("the last attempt returns or raises")


def _retrieve(task: asyncio.Task[None]) -> None:
    """Those who waited may have gone; what became of it is counted by the breaker."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.debug("%s", error)
