"""The WebSocket interface over `picows`, whose core gives one callback a frame: put together here, queued, bounded."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Mapping

from picows import (
    WSCloseCode,
    WSError,
    WSFrame,
    WSHandshakeError,
    WSListener,
    WSMsgType,
    WSProtocolError,
    WSTransport,
    ws_connect,
)

from agent.providers.websocket import (
    CLOSE_S,
    CONNECT_S,
    LOST,
    NO_STATUS,
    PING_S,
    PONG_S,
    QUEUED_MESSAGES,
    SocketClosed,
    refused,
    tls,
    unreachable,
)


class PicowsSocket(WSListener):
    """See `Socket`. It is picows' listener too: `on_ws_*` and `*_writing` are called by it."""

    def __init__(self, max_message_bytes: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._max_bytes = max_message_bytes
        self._transport: WSTransport | None = None
        self._messages: deque[bytes] = deque()
        self._parts: list[bytes] = []  # of a message whose last frame has not come
        self._parts_bytes = 0
        self._reader: asyncio.Future[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._gone = asyncio.Event()
        self._held = self._closing = self._abandoned = False
        self._deadline: asyncio.TimerHandle | None = None
        self._code = 0
        self._reason = ""
        self._retrieval: asyncio.Task[None] | None = None

    @property
    def close_code(self) -> int:
        """See `Socket`."""
        return self._code or (LOST if self._gone.is_set() else 0)

    @property
    def close_reason(self) -> str:
        """See `Socket`."""
        return self._reason

    async def send_bytes(self, data: bytes) -> None:
        """See `Socket`."""
        (await self._open_transport()).send(WSMsgType.BINARY, data)

    async def send_text(self, text: bytes) -> None:
        """See `Socket`."""
        (await self._open_transport()).send(WSMsgType.TEXT, text)

    async def receive(self) -> bytes:
        """See `Socket`."""
        while not self._messages:
            if self._gone.is_set():
                raise SocketClosed
            self._reader = self._loop.create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        message = self._messages.popleft()
        if self._held and len(self._messages) <= QUEUED_MESSAGES // 4:
            self._hold(False)
        return message

    async def close(self) -> None:
        """See `Socket`."""
        transport = self._transport
        if transport is None or self._gone.is_set():
            return
        self._closing = True
        self._hold(False)  # or the peer's close frame would not be seen
        transport.send_close(WSCloseCode.OK)  # once: picows sends no second one
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._gone.wait()
        except TimeoutError:
            self.abort()

    def abort(self) -> None:
        """See `Socket`."""
        if self._transport is not None:
            self._transport.disconnect(graceful=False)

    def abandon(self) -> None:
        """Nobody waits for the handshake any more: a connection that still comes of it is dropped."""
        self._abandoned = True
        self.abort()

    @property
    def connected(self) -> bool:
        """Whether the handshake succeeded: picows says nothing of one that the peer cut off."""
        return self._transport is not None

    # -- called by picows ---------------------------------------------------------------------------------------------

    def on_ws_connected(self, transport: WSTransport) -> None:
        """The handshake is done."""
        self._transport = transport
        if self._abandoned:
            self.abort()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Take a frame. Raises `WSProtocolError` for one that breaks the rules; picows then closes."""
        if frame.rsv1 or frame.rsv2 or frame.rsv3:
            raise WSProtocolError(WSCloseCode.PROTOCOL_ERROR, "no extension was agreed on")
        kind = frame.msg_type
        if kind in (WSMsgType.TEXT, WSMsgType.BINARY):
            if self._parts:
                raise WSProtocolError(WSCloseCode.PROTOCOL_ERROR, "a message began inside another")
            if frame.fin and frame.payload_size <= self._max_bytes:
                self._queue(frame.get_payload_as_bytes())
            else:
                self._add(frame)
        elif kind == WSMsgType.CONTINUATION:
            if not self._parts:
                raise WSProtocolError(WSCloseCode.PROTOCOL_ERROR, "a continuation of nothing")
            self._add(frame)
        elif kind == WSMsgType.CLOSE:
            self._on_close(transport, frame.get_payload_as_bytes())

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """The connection is gone."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._gone.set()
        self._writable.set()
        self._wake()
        self._retrieval = self._loop.create_task(_retrieve(transport), name="websocket-end")

    def pause_writing(self) -> None:
        """The peer does not take what is sent."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """It does again."""
        self._writable.set()

    # -----------------------------------------------------------------------------------------------------------------

    async def _open_transport(self) -> WSTransport:
        if not self._writable.is_set():
            await self._writable.wait()
        transport = self._transport
        if transport is None or transport.is_close_frame_sent or transport.is_disconnected:
            raise SocketClosed
        return transport

    def _add(self, frame: WSFrame) -> None:
        self._parts_bytes += frame.payload_size
        if self._parts_bytes > self._max_bytes:
            raise WSProtocolError(WSCloseCode.MESSAGE_TOO_BIG, f"a message of more than {self._max_bytes} bytes")
        self._parts.append(frame.get_payload_as_bytes())
        if frame.fin:
            self._queue(b"".join(self._parts))
            self._parts.clear()
            self._parts_bytes = 0

    def _queue(self, message: bytes) -> None:
        if len(self._messages) >= QUEUED_MESSAGES:
            if self._closing:
                return  # nobody may be left to take it
            self._hold(True)
        self._messages.append(message)
        self._wake()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def _hold(self, held: bool) -> None:
        """Stop taking from the peer, or go on; what is in picows' buffer still comes."""
        if held is self._held or self._transport is None:
            return
        self._held = held
        transport = self._transport.underlying_transport
        if held:
            transport.pause_reading()
        else:
            transport.resume_reading()

    def _on_close(self, transport: WSTransport, payload: bytes) -> None:
        self._code = int.from_bytes(payload[:2]) if len(payload) >= 2 else NO_STATUS
        self._reason = payload[2:].decode("utf-8", "replace")
        self._closing = True
        transport.send_close(WSCloseCode.OK)  # an answer, unless ours came first
        transport.disconnect()
        self._deadline = self._loop.call_later(CLOSE_S, self.abort)  # a peer that takes nothing more


async def _retrieve(transport: WSTransport) -> None:
    """Take what picows ended it for, if it did, or asyncio complains that nobody took it; it was logged already."""
    with contextlib.suppress(Exception):
        await transport.wait_disconnected()


async def open_picows(vendor: str, url: str, headers: Mapping[str, str], max_message_bytes: int) -> PicowsSocket:
    """See `open_socket`."""
    socket = PicowsSocket(max_message_bytes)
    try:
        async with asyncio.timeout(CONNECT_S):
            await ws_connect(
                lambda: socket,
                url,
                ssl_context=tls() if url.startswith("wss:") else None,
                websocket_handshake_timeout=CONNECT_S,
                enable_auto_ping=True,
                auto_ping_idle_timeout=PING_S,
                auto_ping_reply_timeout=PONG_S,
                max_frame_size=max_message_bytes,
                extra_headers=headers,
                max_redirects=0,
            )
    except WSHandshakeError as error:
        socket.abandon()
        status = _status(error.raw_header or b"")
        if status in (0, 101):
            raise unreachable(vendor, url, error) from error
        answered = error.response.headers if error.response is not None else {}
        raise refused(vendor, status, answered, error.raw_body or b"") from error
    except (OSError, TimeoutError, WSError) as error:
        socket.abandon()
        raise unreachable(vendor, url, error) from error
    except BaseException:
        socket.abandon()
        raise
    if not socket.connected:
        raise unreachable(vendor, url, ConnectionResetError())
    return socket


def _status(head: bytes) -> int:
    """Of a response; picows' own knows only the registered ones, and Cloudflare answers 520 to 527 too."""
    parts = head.split(b" ", 2)
    return int(parts[1]) if len(parts) > 1 and parts[1].isdigit() else 0
