"""One connection to the emulated Deepgram: a reader that only reads, a worker that hears and finds the answers in
order, and a sender that gives each when its latency is over.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import orjson
from aiohttp import WSMessage, WSMsgType, web

from agent.sandbox.config import DeepgramConfig
from agent.sandbox.control import Control, FaultySocket
from agent.sandbox.latency import Latency
from agent.sandbox.outbox import Outbox
from agent.speech_engines import Samples, audio

NET_0001 = (
    b"Deepgram did not receive audio data or a text message within the timeout window. See https://dpgr.am/net0001"
)
NET_0000 = b"Deepgram did not provide a response message within the timeout window. See https://dpgr.am/net0000"
_QUEUED_MESSAGES = 512


@dataclass(frozen=True, slots=True)
class Connection:
    """An upgrade that was accepted."""

    control: Control[DeepgramConfig]
    socket: web.WebSocketResponse
    request: web.Request
    request_id: str


class Stream(ABC):
    """Reads messages into a queue of limited length (a full one holds the client's TCP back) and works them off."""

    kinds: ClassVar[frozenset[str]]
    """Types of the text messages that are understood."""
    pings_count: ClassVar[bool]
    """Whether a ping keeps an idle connection open."""

    def __init__(
        self, connection: Connection, encoding: str, sample_rate: int, idle_s: float, fault: dict[str, Any]
    ) -> None:
        """`idle_s`: seconds without anything that close it; `fault`: what the fault `error_times` sends."""
        self._control = connection.control
        self._config = connection.control.config
        self._socket = connection.socket
        self._request_id = connection.request_id
        model = connection.request.query.get("model", "")
        self._out = FaultySocket(connection.socket, connection.request, connection.control, fault, model)
        self._outbox = Outbox(self._out.send)
        self._came = 0.0  # when the message came that is being worked off: a latency counts from then
        self._encoding = encoding
        self._sample_rate = sample_rate
        self._idle_s = idle_s
        self._rest = b""
        self._queue: asyncio.Queue[bytes | dict[str, Any]] = asyncio.Queue(_QUEUED_MESSAGES)

    @abstractmethod
    async def hear(self, samples: Samples, data: bytes) -> None:
        """Audio came: its samples, and the bytes of the message."""

    @abstractmethod
    async def obey(self, message: dict[str, Any]) -> bool:
        """A text message came; its type is none, and its text under `raw`, when it is not one of `kinds`.

        True when the connection is over.
        """

    async def run(self) -> None:
        """Serve the connection until either side closes it."""
        tasks = [
            asyncio.create_task(self._read(), name="deepgram-reader"),
            asyncio.create_task(self._work(), name="deepgram-worker"),
            asyncio.create_task(self._outbox.run(), name="deepgram-sender"),
        ]
        try:
            with self._out:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def _read(self) -> None:
        """Take messages; nothing within the window closes the connection."""
        while True:
            try:
                message = await self._next()
            except TimeoutError:
                self._control.count("closed_net_0001")
                await self._socket.close(code=1011, message=NET_0001)
                return
            if message.type == WSMsgType.BINARY:
                self._control.count("audio_frames")
                self._control.count("audio_bytes", len(message.data))
                if not message.data:
                    self._control.count("empty_frames")
                if message.data.startswith(b'{"type"'):
                    self._control.count("text_sent_as_audio")
                await self._queue.put(message.data or {"type": "CloseStream"})
            elif message.type == WSMsgType.TEXT:
                await self._queue.put(self._command(message.data))
            else:
                self._control.count("closed_by_client")
                return

    async def _next(self) -> WSMessage:
        """The next message. Raises `TimeoutError` when it does not come within the window."""
        if self.pings_count:
            return await self._socket.receive(timeout=self._idle_s)  # it answers pings, and waits anew behind each
        async with asyncio.timeout(self._idle_s):
            return await self._socket.receive()

    async def _work(self) -> None:
        while True:
            item = await self._queue.get()
            self._came = asyncio.get_running_loop().time()
            if isinstance(item, bytes):
                samples = self._samples(item)
                await self._out.heard(1000 * len(samples) / self._sample_rate)
                await self.hear(samples, item)
                continue
            kind = item.get("type")
            self._control.count(f"received_{kind}" if kind else "received_unknown")
            if await self.obey(item):
                return

    def _post(self, message: dict[str, Any], latency: Latency = 0.0, *, passing: bool = False) -> None:
        """Answer what is being worked off, so long after it came; `passing` as `Outbox` has it."""
        self._outbox.post(message, self._came + self._control.dice.seconds(latency), passing=passing)

    def _samples(self, data: bytes) -> Samples:
        """The samples that are whole: a message may end inside one."""
        if self._encoding == "linear16":
            data = self._rest + data
            whole = len(data) & ~1
            data, self._rest = data[:whole], data[whole:]
        return audio.decode(data, self._encoding)

    def _command(self, text: str) -> dict[str, Any]:
        try:
            message = orjson.loads(text)
        except orjson.JSONDecodeError:
            message = None
        if isinstance(message, dict) and message.get("type") in self.kinds:
            return message
        return {"type": None, "raw": text}
