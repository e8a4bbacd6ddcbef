"""Asks a running agent for its page `/live`, and says in words why there is none."""

from __future__ import annotations

import asyncio
import os
from types import TracebackType
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import orjson

PATIENCE_S: Final = 3.0
"""For one page."""
LARGEST: Final = 16 * 1024 * 1024
"""Bytes of a page: that of a thousand calls has some 400 KB."""


class NoAgent(ConnectionError):
    """There is no page; the text says why, and what may be done."""


class LiveSource:
    """`async with LiveSource(url) as source: page = await source.look()`."""

    def __init__(self, url: str) -> None:
        """`url` is the agent's HTTP port, such as "http://127.0.0.1:9098". Raises ValueError for what is none."""
        parts = urlsplit(url if "://" in url else f"http://{url}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is no address of an agent; write for example http://127.0.0.1:9098")
        self.url = f"{parts.scheme}://{parts.netloc}"
        self._page = f"{self.url}{parts.path.rstrip('/')}/live"

    async def __aenter__(self) -> LiveSource:
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE_S))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.close()

    async def look(self) -> dict[str, Any]:
        """The page as it stands. Raises `NoAgent`."""
        try:
            async with self._http.get(self._page, allow_redirects=False) as answer:
                if answer.status == 200:
                    return await _read(answer)
                raise NoAgent(_why(answer.status, self.url))
        except TimeoutError as error:
            raise NoAgent(f"{self.url} does not answer within {PATIENCE_S:g} s") from error
        except aiohttp.ClientConnectorError as error:
            why = os.strerror(error.os_error.errno) if error.os_error.errno else str(error.os_error)
            raise NoAgent(f"nobody answers at {self.url}: {why}") from error
        except (aiohttp.ClientError, asyncio.IncompleteReadError) as error:
            raise NoAgent(f"{self.url} hung up: {type(error).__name__}") from error


async def _read(answer: aiohttp.ClientResponse) -> dict[str, Any]:
    body = await answer.content.read(LARGEST)
    while not answer.content.at_eof():
        if len(body) >= LARGEST:
            raise NoAgent("the page /live is too large to be one")
        body += await answer.content.read(LARGEST - len(body))
    try:
        page = orjson.loads(body)
    except ValueError as error:
        raise NoAgent("the page /live is no JSON: another program listens there") from error
    if not isinstance(page, dict) or not isinstance(page.get("calls"), list):
        raise NoAgent("the page /live is none of a voice agent: another program listens there")
    return page


def _why(status: int, url: str) -> str:
    match status:
        case 403:
            return f"{url} does not let this host in: add it to ALLOWED_PEERS"
        case 404:
            return f"{url} has no page /live: another program, the console's port (HTTP_PORT is meant), or an old agent"
        case _:
            return f"{url} answers with status {status}"
