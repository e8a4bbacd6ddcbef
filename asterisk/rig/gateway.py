"""Puts a caller who speaks AudioSocket behind a real Asterisk, as a SIP telephone.

The simulated caller of `agent.sandbox.caller` believes that it is Asterisk, talking to an agent. Here it talks to a
gateway that makes a SIP call of each connection, so that the same conversation goes through the real Asterisk, its
dialplan and its RTP, to the real agent.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from types import TracebackType

from . import ulaw
from .media import FRAME, Packet
from .sipcaller import SipCall, SipCaller

UUID_KIND, DTMF, AUDIO = 0x01, 0x03, 0x10


class SipGateway:
    """An AudioSocket server whose every connection is a SIP call to `number`; `calls` keeps them for judging.

    `async with SipGateway(SipCaller(rig.address), "all-02079460101") as gateway: …` and let the caller connect to
    `gateway.port`.
    """

    def __init__(self, caller: SipCaller, number: str) -> None:
        self.calls: list[SipCall] = []
        self._caller = caller
        self._number = number
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """The TCP port that is listened on."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def __aenter__(self) -> SipGateway:
        """Listen on loopback."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the calls end, for 5 s at most. A call that failed raises its error here."""
        assert self._server is not None
        self._server.close()
        if self._tasks:
            _, running = await asyncio.wait(self._tasks, timeout=5)
            for task in running:
                task.cancel()
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()
        for result in results:
            if error is None and isinstance(result, Exception):
                raise result

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(asyncio.create_task(self._serve(reader, writer), name="sip-gateway-call"))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def pass_on(packet: Packet) -> None:
            if packet.payload_type == 0 and not writer.is_closing():
                pcm = ulaw.decode(packet.payload)
                writer.write(struct.pack("!BH", AUDIO, len(pcm)) + pcm)

        try:
            async with self._caller.call(self._number) as call:
                self.calls.append(call)
                call.media.on_packet = pass_on
                listening = asyncio.create_task(_listen(reader, call), name="sip-gateway-listen")
                ended = asyncio.create_task(call.ended.wait(), name="sip-gateway-ended")
                await asyncio.wait((listening, ended), return_when=asyncio.FIRST_COMPLETED)
                call.media.on_packet = lambda packet: None
                with contextlib.suppress(OSError):
                    if call.ended.is_set():
                        writer.write(bytes(3))
                        writer.write_eof()
                ended.cancel()
                await listening
        finally:
            writer.close()


async def _listen(reader: asyncio.StreamReader, call: SipCall) -> None:
    """Pass on what the caller says and presses, until he closes."""
    pressing: set[asyncio.Task[None]] = set()
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        while True:
            kind, length = struct.unpack("!BH", await reader.readexactly(3))
            payload = await reader.readexactly(length)
            if kind == AUDIO and length == 2 * FRAME:
                call.media.feed(payload)
            elif kind == DTMF:
                task = asyncio.create_task(call.media.press(payload.decode("ascii")))
                pressing.add(task)
                task.add_done_callback(pressing.discard)
            elif kind != UUID_KIND:
                raise ValueError(f"the caller sent {length} bytes of kind {kind:#04x}")
    for task in pressing:
        task.cancel()
