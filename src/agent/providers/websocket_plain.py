"""The WebSocket interface over `websockets`: the reference, in plain Python."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import websockets
from websockets.asyncio.client import ClientConnection

from agent.providers.websocket import (
    CLOSE_S,
    CONNECT_S,
    PING_S,
    PONG_S,
    QUEUED_MESSAGES,
    SocketClosed,
    refused,
    tls,
    unreachable,
)


class _Connection(ClientConnection):
    """One that hangs up when the peer does not: by itself it would wait for ever behind a close frame."""

    _hang_up: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        super().data_received(data)
        if self._hang_up is None and self.protocol.close_expected():
            self._hang_up = self.loop.call_later(CLOSE_S, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio."""
        if self._hang_up is not None:
            self._hang_up.cancel()
        super().connection_lost(exc)


class _Connect(websockets.connect):
    """One that follows no redirect: the key is for the address that was configured."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        """Called by websockets."""
        return exc


class PlainSocket:
    """See `Socket`."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    @property
    def close_code(self) -> int:
        """See `Socket`."""
        return self._connection.close_code or 0

    @property
    def close_reason(self) -> str:
        """See `Socket`."""
        return self._connection.close_reason or ""

    async def send_bytes(self, data: bytes) -> None:
        """See `Socket`."""
        try:
            await self._connection.send(data)
        except websockets.ConnectionClosed as error:
            raise SocketClosed from error

    async def send_text(self, text: bytes) -> None:
        """See `Socket`."""
        try:
            await self._connection.send(text, text=True)
        except websockets.ConnectionClosed as error:
            raise SocketClosed from error

    async def receive(self) -> bytes:
        """See `Socket`."""
        try:
            message = await self._connection.recv(decode=False)
        except websockets.ConnectionClosed as error:
            raise SocketClosed from error
        assert isinstance(message, bytes)
        return message

    async def close(self) -> None:
        """See `Socket`."""
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._connection.close()
        except TimeoutError:
            self.abort()

    def abort(self) -> None:
        """See `Socket`."""
        self._connection.transport.abort()


async def open_plain(vendor: str, url: str, headers: Mapping[str, str], max_message_bytes: int) -> PlainSocket:
    """See `open_socket`."""
    try:
        connection = await _Connect(
            url,
            create_connection=_Connection,
            additional_headers=headers,
            user_agent_header=None,
            compression=None,
            open_timeout=CONNECT_S,
            close_timeout=CLOSE_S,
            ping_interval=PING_S,
            ping_timeout=PONG_S,
            max_size=max_message_bytes,
            max_queue=QUEUED_MESSAGES,
            ssl=tls() if url.startswith("wss:") else None,
        )
    except websockets.InvalidStatus as error:
        response = error.response
        raise refused(vendor, response.status_code, response.headers, response.body or b"") from error
    except (OSError, TimeoutError, websockets.WebSocketException) as error:
        raise unreachable(vendor, url, error) from error
    return PlainSocket(connection)
