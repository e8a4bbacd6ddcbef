"""Deepgram's streaming speech-to-text, Nova (`/v1/listen`) and Flux (`/v2/listen`), on its own wire.

Source: Deepgram's AsyncAPI and its page on errors (October 2026), and its SDK 7.17.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from concurrent.futures import Executor

from aiohttp import web

from agent.sandbox.config import DeepgramConfig
from agent.sandbox.control import Control
from agent.sandbox.deepgram_query import QueryError, parse, parse_flux
from agent.sandbox.deepgram_stream import Connection, Stream
from agent.sandbox.flux import FluxStream
from agent.sandbox.nova import NovaStream
from agent.speech_engines import Recogniser


class DeepgramEmulator:
    """The server application; `app` goes on a port of its own."""

    def __init__(self, control: Control[DeepgramConfig], recogniser: Recogniser, pool: Executor) -> None:
        self.control = control
        self._recogniser = recogniser
        self._pool = pool
        self.app = web.Application()
        self.app.add_routes([web.get("/v1/listen", self._nova), web.get("/v2/listen", self._flux), *control.routes()])

    async def _nova(self, request: web.Request) -> web.StreamResponse:
        def open_stream() -> Callable[[Connection], Stream]:
            query = parse(request.query)
            self.control.count("unknown_parameters", len(query.unknown))
            return lambda connection: NovaStream(connection, query, self._recogniser, self._pool)

        return await self._serve(request, open_stream)

    async def _flux(self, request: web.Request) -> web.StreamResponse:
        def open_stream() -> Callable[[Connection], Stream]:
            query = parse_flux(request.query)
            return lambda connection: FluxStream(connection, query, self._recogniser, self._pool)

        return await self._serve(request, open_stream)

    async def _serve(
        self, request: web.Request, open_stream: Callable[[], Callable[[Connection], Stream]]
    ) -> web.StreamResponse:
        """Admit a connection or refuse it: key, query, number of streams, in this order."""
        control = self.control
        control.count("upgrades")
        request_id = str(uuid.uuid4())
        if (refusal := await control.refusal(request.query.get("model", ""))) is not None:
            return refusal
        key, protocols = _credentials(request)
        if not control.known(key):
            return self._refuse(401, "INVALID_AUTH", "Invalid credentials.", request_id)
        try:
            stream = open_stream()
        except QueryError as error:
            return self._refuse(400, error.code, str(error), request_id)
        if control.gauges["streams"] >= control.config.max_streams:
            return self._refuse(429, "TOO_MANY_REQUESTS", "Too many requests. Please try again later.", request_id)
        control.gauges["streams"] += 1
        try:
            socket = web.WebSocketResponse(protocols=protocols, compress=False, timeout=2.0)
            socket.headers["dg-request-id"] = request_id
            await socket.prepare(request)
            await stream(Connection(control, socket, request, request_id)).run()
        finally:
            control.gauges["streams"] -= 1
        return socket

    def _refuse(self, status: int, code: str, message: str, request_id: str) -> web.Response:
        self.control.count(f"refused_{status}")
        return web.json_response(
            {"err_code": code, "err_msg": message, "request_id": request_id},
            status=status,
            headers={"dg-request-id": request_id, "dg-error": message},
        )


def _credentials(request: web.Request) -> tuple[str, tuple[str, ...]]:
    """The key, from `Authorization: Token KEY` or the sub-protocols `token, KEY`, and the protocol to answer."""
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "token":
        return key.strip(), ()
    offered = [name.strip() for name in request.headers.get("Sec-WebSocket-Protocol", "").split(",")]
    if len(offered) == 2 and offered[0] == "token":
        return offered[1], ("token",)
    return "", ()
