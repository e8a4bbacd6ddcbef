"""The one WebSocket interface that every vendor's client uses, and how a connection is opened behind it.

Two clients serve: `websockets`, which is always installed, and `picows`, which takes less of the processor
(`benchmarks/micro/bench_websocket.py`). Both have the same limits, pings and words for a refusal, and pass the same
tests. Nothing is compressed: audio does not get smaller by it.
"""

from __future__ import annotations

import functools
import importlib.util
import ssl
from collections.abc import Mapping
from typing import Literal, Protocol, TypeAlias
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from agent.providers.base import ProviderError, why_not

CONNECT_S = 3.0
CLOSE_S = 1.0
PING_S = 10.0
PONG_S = 8.0
"""So a ping goes out every 18 s at least: Flux has no KeepAlive, and closes what is quiet for 20 to 60 s."""
QUEUED_MESSAGES = 64
"""What came and was not taken; at the limit the peer's TCP is held back."""
SAID_CHARS = 300
"""Of a refusal's body."""
NO_STATUS = 1005
"""RFC 6455: the peer's close frame had no code."""
LOST = 1006
"""RFC 6455: the connection ended without a close frame."""
USER_AGENT = "fastaudio-agent"
"""Named by ourselves: services behind Cloudflare have refused the default of libraries."""

ClientName: TypeAlias = Literal["auto", "websockets", "picows"]


class SocketClosed(Exception):
    """The connection is over, whoever ended it; the socket's `close_code` and `close_reason` say more."""


class Socket(Protocol):
    """An open connection. One task sends and one receives; `abort` may come from anywhere on the event loop."""

    @property
    def close_code(self) -> int:
        """What the peer closed with: 1005 when its close frame had no code, 1006 without one; 0 while it is open."""

    @property
    def close_reason(self) -> str:
        """What the peer said with it."""

    async def send_bytes(self, data: bytes) -> None:
        """Send a binary message; waits while the peer takes nothing. Raises `SocketClosed`."""

    async def send_text(self, text: bytes) -> None:
        """Send a text message, given as UTF-8; waits while the peer takes nothing. Raises `SocketClosed`."""

    async def receive(self) -> bytes:
        """Take the next message: its bytes, whether it was text (UTF-8, unchecked) or binary.

        What came before the end can still be taken after it; then it raises `SocketClosed`.
        """

    async def close(self) -> None:
        """Close with 1000; returns when the connection is gone, after 1 s at the latest. May be called again."""

    def abort(self) -> None:
        """Drop the connection at once, without a word."""


async def open_socket(
    vendor: str, url: str, headers: Mapping[str, str], *, max_message_bytes: int, client: ClientName = "auto"
) -> Socket:
    """Open `url` within 3 s.

    Raises `ProviderError`, with the HTTP status when the vendor refused and its own words: Deepgram gives its reason
    in the response header `dg-error`, others in the body. It never shows a header that was sent.
    """
    headers = {"User-Agent": USER_AGENT, **headers}
    if choose_client(client, url) == "picows":
        from agent.providers.websocket_picows import open_picows

        return await open_picows(vendor, url, headers, max_message_bytes)
    from agent.providers.websocket_plain import open_plain

    return await open_plain(vendor, url, headers, max_message_bytes)


def choose_client(client: ClientName, url: str) -> Literal["websockets", "picows"]:
    """The client that serves: `auto` is picows where it is installed, but for a proxy, which websockets finds itself.

    Raises `ProviderError` when it is to be picows, which is not there.
    """
    if client == "websockets":
        return "websockets"
    installed = has_picows()
    if client == "picows":
        if not installed:
            raise ProviderError("WebSocket", "picows is not installed: pip install picows, or WEBSOCKET_CLIENT=auto")
        return "picows"
    return "picows" if installed and not _proxied(url) else "websockets"


@functools.cache
def has_picows() -> bool:
    """Whether the faster client is installed."""
    return importlib.util.find_spec("picows") is not None


def _proxied(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return any(scheme in ("https", "http", "socks") for scheme in getproxies()) and not proxy_bypass(host)


@functools.cache
def tls() -> ssl.SSLContext:
    """One context for all connections: to read the certificates of all authorities takes some 10 ms."""
    return ssl.create_default_context()


def refused(vendor: str, status: int, headers: Mapping[str, str], body: bytes | bytearray) -> ProviderError:
    """What a handshake that was answered with something else than 101 amounts to; `headers` are the answer's."""
    said = headers.get("dg-error", "") or body.decode("utf-8", "replace")[:SAID_CHARS]
    try:
        retry_after_s = max(0.0, float(headers.get("retry-after", "0")))
    except ValueError:  # a date
        retry_after_s = 0.0
    text = f"refused the connection with HTTP {status}: {said}".rstrip(": ")
    return ProviderError(vendor, text, status=status, retry_after_s=retry_after_s)


def unreachable(vendor: str, url: str, error: BaseException) -> ProviderError:
    """What it amounts to that there is no connection; the query stays out of it."""
    return ProviderError(vendor, f"no connection to {url.partition('?')[0]}: {why_not(error)}")
