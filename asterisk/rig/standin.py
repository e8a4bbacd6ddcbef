"""A stand-in for the agent's audio: plays what a test says, keeps what it hears, and ends as a test wants.

It speaks AudioSocket as the agent must (a frame of 320 bytes every 20 ms from the UUID on, the closing sequence),
in plain asyncio, so that the dialplan and the rig are tested without the agent.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from types import TracebackType
from uuid import UUID

from agent.telephony import CallInfo, CallRegistry, Verdict

HANGUP, UUID_KIND, DTMF, AUDIO = 0x00, 0x01, 0x03, 0x10
FRAME_BYTES = 320
TICK_S = 0.02


class StandInCall:
    """One call's audio. `heard` is what the caller said, `digits` what he pressed, `over` is set at the end."""

    def __init__(self, uuid: UUID, info: CallInfo | None, writer: asyncio.StreamWriter) -> None:
        self.uuid = uuid
        self.info = info
        self.heard = bytearray()
        self.digits: asyncio.Queue[str] = asyncio.Queue(64)
        self.over = asyncio.Event()
        self.odd_kinds: list[int] = []
        self.verdict: Verdict | None = None
        self._writer = writer
        self._playing = b""
        self._ending = False

    def play(self, pcm: bytes) -> None:
        """Play 8 kHz PCM from the next tick on, in the place of what was playing."""
        self._playing = pcm

    def end(self) -> None:
        """End the call as the agent does: `00 00 00`, half-close, drain."""
        self._ending = True

    def drop(self) -> None:
        """End as a killed process does with data unread: a reset."""
        self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def digit(self, timeout_s: float = 5.0) -> str:
        """The next digit that was pressed. Raises `TimeoutError`."""
        async with asyncio.timeout(timeout_s):
            return await self.digits.get()

    async def send(self) -> None:
        """One frame every 20 ms, by an absolute clock, until the end."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        with contextlib.suppress(ConnectionError):
            while not self._ending and not self._writer.is_closing():
                frame, self._playing = self._playing[:FRAME_BYTES], self._playing[FRAME_BYTES:]
                self._writer.write(struct.pack("!BH", AUDIO, FRAME_BYTES) + frame.ljust(FRAME_BYTES, b"\0"))
                due += TICK_S
                await asyncio.sleep(max(0.0, due - loop.time()))
            if self._ending:
                self._writer.write(bytes(3))
                self._writer.write_eof()

    async def receive(self, reader: asyncio.StreamReader) -> None:
        """Take what Asterisk sends until it closes."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                kind, length = struct.unpack("!BH", await reader.readexactly(3))
                payload = await reader.readexactly(length)
                if kind == AUDIO:
                    self.heard += payload
                elif kind == DTMF:
                    self.digits.put_nowait(payload.decode("ascii"))
                else:
                    self.odd_kinds.append(kind)


class StandIn:
    """The AudioSocket server: `async with StandIn(registry) as agent: call = await agent.call()`."""

    def __init__(self, registry: CallRegistry) -> None:
        self.connections = 0
        self._registry = registry
        self._calls: asyncio.Queue[StandInCall] = asyncio.Queue(16)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """The TCP port that is listened on."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def __aenter__(self) -> StandIn:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def call(self, timeout_s: float = 10.0) -> StandInCall:
        """The next call that comes. Raises `TimeoutError`."""
        async with asyncio.timeout(timeout_s):
            return await self._calls.get()

    async def decide(self, call: StandInCall, verdict: Verdict | None) -> None:
        """End a call with this verdict; None ends it without a word."""
        if verdict is not None:
            await self._registry.decide(call.uuid, verdict)
        call.end()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.create_task(self._serve(reader, writer), name="stand-in-call")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            kind, length = struct.unpack("!BH", await reader.readexactly(3))
            if (kind, length) != (UUID_KIND, 16):
                raise ValueError(f"the first message is of kind {kind:#04x} and {length} bytes, not a UUID")
            uuid = UUID(bytes=await reader.readexactly(16))
            call = StandInCall(uuid, await self._registry.claim(uuid), writer)
            await self._registry.opened(uuid)
            self._calls.put_nowait(call)
            sender = asyncio.create_task(call.send(), name="stand-in-send")
            try:
                await call.receive(reader)
            finally:
                sender.cancel()
                await self._registry.closed(uuid)
                call.over.set()
        finally:
            writer.close()
