"""How every vendor's WebSocket is opened: the same limits, and a refusal told in the vendor's own words."""

from __future__ import annotations

from collections.abc import Mapping

import websockets
from websockets.asyncio.client import ClientConnection

from agent.providers.base import ProviderError

CONNECT_S = 3.0
SAID_CHARS = 300  # of a refusal's body


async def connect(vendor: str, url: str, headers: Mapping[str, str], *, max_message_bytes: int) -> ClientConnection:
    """Open `url`. Raises `ProviderError`, with the HTTP status when the vendor refused; it never shows a header.

    Deepgram gives its reason in the response header `dg-error`, others in the body. Nothing is compressed: audio
    does not get smaller by it.
    """
    try:
        return await websockets.connect(
            url,
            additional_headers=headers,
            compression=None,
            open_timeout=CONNECT_S,
            close_timeout=1.0,
            max_size=max_message_bytes,
            max_queue=64,
        )
    except websockets.InvalidStatus as error:
        response = error.response
        said = response.headers.get("dg-error", "") or (response.body or b"").decode("utf-8", "replace")[:SAID_CHARS]
        raise ProviderError(
            vendor,
            f"refused the connection with HTTP {response.status_code}: {said}".rstrip(": "),
            status=response.status_code,
        ) from error
    except (OSError, TimeoutError, websockets.WebSocketException) as error:
        raise ProviderError(vendor, f"no connection to {url.partition('?')[0]}: {type(error).__name__}") from error
