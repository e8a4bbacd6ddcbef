"""A telephone for tests: it calls, listens before it speaks, interrupts, presses keys, and hangs up.

caller = SipCaller(rig.address)
async with caller.call("02079460101") as call:
    await call.media.heard(5)
    await call.media.quiet(10)
    await call.media.say(pcm)
"""

from __future__ import annotations

import asyncio
import contextlib
import wave
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

from .media import Media, Packet
from .sip import Dialog, Message, media_address, offer, parse, respond

ANSWER_S = 15.0
"""How long a call may ring, s."""


class CallRefusedError(Exception):
    """The call was not answered; `status` is SIP's code."""

    def __init__(self, status: int, first: str) -> None:
        super().__init__(f"the call was refused: {first}")
        self.status = status


class SipCall(asyncio.DatagramProtocol):
    """One call. `media` is its audio; `ended` is set when the other side has hung up."""

    def __init__(self, dialog_of: tuple[str, str, str, tuple[str, int]]) -> None:
        self.media = Media()
        self.ended = asyncio.Event()
        self.ended_at_s = 0.0
        self.progress: list[int] = []
        self._user, self._name, self._number, self._server = dialog_of
        self._responses: asyncio.Queue[Message] = asyncio.Queue(32)
        self._transport: asyncio.DatagramTransport | None = None
        self._dialog: Dialog | None = None
        self._ack: Message | None = None

    @property
    def packets(self) -> list[Packet]:
        """Every RTP packet that arrived."""
        return self.media.packets

    def save(self, path: Path) -> None:
        """Write what both said as a stereo WAV, caller left."""
        with wave.open(str(path), "wb") as file:
            file.setnchannels(2)
            file.setsampwidth(2)
            file.setframerate(8000)
            file.writeframes(self.media.stereo())

    async def dial(self) -> None:
        """Call and wait for the answer. Raises `CallRefusedError`, or `TimeoutError` after cancelling."""
        assert self._transport is not None
        host, port = self._transport.get_extra_info("sockname")[:2]
        server = f"{self._server[0]}:{self._server[1]}"
        display = '"' + self._name.replace("\\", "\\\\").replace('"', '\\"') + '" ' if self._name else ""
        self._dialog = Dialog(
            local=f"{display}<sip:{self._user}@{host}:{port}>",
            remote=f"<sip:{self._number}@{server}>",
            target=f"sip:{self._number}@{server}",
            contact=f"<sip:{self._user}@{host}:{port}>",
        )
        self._send(self._dialog.request("INVITE", offer(self.media.port)))
        try:
            async with asyncio.timeout(ANSWER_S):
                response = await self._final("INVITE")
        except BaseException:
            self._send(self._dialog.request("CANCEL"))
            raise
        if response.status >= 300:
            self._send(self._dialog.acknowledge_failure(response))
            raise CallRefusedError(response.status, response.first)
        self._dialog.established(response)
        self._ack = self._dialog.request("ACK")
        self._send(self._ack)
        self.media.start(media_address(response.body))

    async def hang_up(self) -> None:
        """End the call, unless the other side has."""
        if self.ended.is_set() or self._dialog is None or self._ack is None:
            return
        self._send(self._dialog.request("BYE"))
        async with asyncio.timeout(5):
            await self._final("BYE")
        self._end()

    async def wait_ended(self, timeout_s: float) -> float:
        """Wait until the other side hangs up; the second of it. Raises `TimeoutError`."""
        async with asyncio.timeout(timeout_s):
            await self.ended.wait()
        return self.ended_at_s

    async def interrupt(self, after_ms: int, pcm: bytes, timeout_s: float = 30.0) -> float:
        """Speak when the other side has spoken for `after_ms`; the second at which the interruption began."""
        begin = await self.media.heard(timeout_s)
        await asyncio.sleep(max(0.0, begin + after_ms / 1000 - self.media.now_s))
        return await self.media.say(pcm)

    async def _final(self, method: str) -> Message:
        while True:
            response = await self._responses.get()
            if response.method == method:
                self.progress.append(response.status)
                if response.status >= 200:
                    return response

    def _end(self) -> None:
        if not self.ended.is_set():
            self.ended_at_s = self.media.now_s
            self.ended.set()

    def _send(self, message: Message) -> None:
        assert self._transport is not None
        self._transport.sendto(message.encode(), self._server)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer the other side's requests, and hand its responses on."""
        try:
            message = parse(data)
        except ValueError:
            return
        if message.status:
            if self._ack is not None and message.method == "INVITE" and message.status == 200:
                self._send(self._ack)
            else:
                with contextlib.suppress(asyncio.QueueFull):
                    self._responses.put_nowait(message)
            return
        if message.method == "ACK":
            return
        if message.method == "INVITE":
            # A new offer within the call, as after a transfer: the audio stays where it is.
            answer = respond(message, "200 OK")
            assert self._dialog is not None
            answer.headers += [("contact", self._dialog.contact), ("content-type", "application/sdp")]
            answer.body = offer(self.media.port)
            self._send(answer)
            return
        self._send(respond(message, "200 OK"))
        if message.method == "BYE":
            self._end()


class SipCaller:
    """A phone at an address of its own: `number` and `name` are what it shows."""

    def __init__(self, server: tuple[str, int], number: str = "07700900123", name: str = "Ann Example") -> None:
        self.server = server
        self.number = number
        self.name = name

    @contextlib.asynccontextmanager
    async def call(self, number: str) -> AsyncIterator[SipCall]:
        """Call `number`; the block runs while the call does, and its end hangs up.

        Raises `CallRefusedError` when it is not answered.
        """
        loop = asyncio.get_running_loop()
        transport, call = await loop.create_datagram_endpoint(
            lambda: SipCall((self.number, self.name, number, self.server)), local_addr=("127.0.0.1", 0)
        )
        try:
            await call.dial()
            try:
                yield call
            finally:
                await call.hang_up()
        finally:
            await call.media.stop()
            transport.close()
