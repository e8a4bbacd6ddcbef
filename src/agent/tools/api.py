"""Asking a business API: bounded, without redirects, and with arguments only ever as JSON or an encoded query."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import aiohttp
from yarl import URL

MAX_ANSWER_BYTES = 64 * 1024


async def post_json(
    http: aiohttp.ClientSession, url: str, body: Mapping[str, Any], headers: Mapping[str, str]
) -> tuple[int, Mapping[str, Any]]:
    """Post `body` to the whole endpoint `url`; return the status and the answer's JSON object, {} where it is none.

    Raises `aiohttp.ClientError` or `OSError` when there is no whole answer of at most 64 KiB.
    """
    status, raw, _ = await ask(http, "POST", URL(url), headers, json_body=body)
    try:
        answer = json.loads(raw)
    except (ValueError, RecursionError):
        answer = {}
    return status, answer if isinstance(answer, dict) else {}


class Answer(NamedTuple):
    """A whole answer."""

    status: int
    raw: bytes
    headers: Mapping[str, str]
    """Names in any case."""


async def ask(
    http: aiohttp.ClientSession,
    method: str,
    url: URL,
    headers: Mapping[str, str],
    *,
    json_body: Mapping[str, Any] | None = None,
    limit: int = MAX_ANSWER_BYTES,
    timeout: aiohttp.ClientTimeout | None = None,
) -> Answer:
    """Send one request and return the answer, of at most `limit` bytes. Redirects are not followed: a key in the
    headers is for the host that the settings name.

    Raises `aiohttp.ClientError` or `OSError` when there is no whole answer.
    """
    raw = bytearray()
    options: dict[str, Any] = {"json": json_body, "headers": headers, "allow_redirects": False}
    if timeout is not None:
        options["timeout"] = timeout
    async with http.request(method, url, **options) as response:
        async for chunk in response.content.iter_any():
            raw += chunk
            if len(raw) > limit:
                raise aiohttp.ClientPayloadError("the answer is too long")
        return Answer(response.status, bytes(raw), response.headers)
