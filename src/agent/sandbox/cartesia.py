"""Cartesia's text-to-speech WebSocket (`/tts/websocket`) on its own wire, and the two REST calls that prompts need.

Source: Cartesia's AsyncAPI, its pages on concurrency, contexts and versions (2026), and its SDK 4.2.0.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from concurrent.futures import Executor

from aiohttp import WSMsgType, web

from agent.sandbox.cartesia_context import Context
from agent.sandbox.cartesia_request import (
    Cancel,
    Generation,
    RequestError,
    error_event,
    parse,
    parse_bytes,
    voice_document,
)
from agent.sandbox.config import CartesiaConfig
from agent.sandbox.control import Control, FaultySocket
from agent.speech_engines import Voice, audio

VERSIONS = ("2024-06-10", "2024-11-13", "2025-04-16", "2026-03-01", "2026-08-14")

_REMEMBERED = 256
"""Contexts of a socket that are remembered as expired or cancelled."""


class CartesiaEmulator:
    """The server application; `app` goes on a port of its own."""

    def __init__(self, control: Control[CartesiaConfig], voice: Voice, pool: Executor) -> None:
        self.control = control
        self._voice = voice
        self._pool = pool
        self._contexts: set[Context] = set()
        self.app = web.Application()
        self.app.add_routes(
            [
                web.get("/tts/websocket", self._connect),
                web.post("/tts/bytes", self._bytes),
                web.get("/voices/{voice}", self._voice_of),
                *control.routes(),
            ]
        )

    async def _connect(self, request: web.Request) -> web.StreamResponse:
        control = self.control
        control.count("upgrades")
        if (refusal := await self._refusal(request)) is not None:
            return refusal
        if control.gauges["sockets"] >= control.config.max_sockets:
            return self._refuse(429, "concurrency_limited", "Too many WebSocket connections.")
        socket = web.WebSocketResponse(compress=False, timeout=2.0)
        await socket.prepare(request)
        control.gauges["sockets"] += 1
        error = error_event(500, "internal_error", "Internal server error.", None)
        try:
            with FaultySocket(socket, request, control, error) as out:
                await self._serve(socket, out)
        finally:
            control.gauges["sockets"] -= 1
        return socket

    async def _serve(self, socket: web.WebSocketResponse, out: FaultySocket) -> None:
        contexts: dict[str, Context] = {}
        over: OrderedDict[str, str] = OrderedDict()
        loop = asyncio.get_running_loop()
        last_generation = loop.time()
        try:
            while True:
                left = last_generation + self.control.config.idle_s - loop.time()
                try:
                    if left <= 0:
                        raise TimeoutError
                    message = await socket.receive(timeout=left)
                except TimeoutError:
                    if any(context.active for context in contexts.values()):
                        last_generation = loop.time()
                        continue
                    self.control.count("closed_idle")
                    await socket.close(code=1000, message=b"connection idle timeout")
                    return
                if message.type == WSMsgType.TEXT:
                    if await self._take(message.data, contexts, over, out):
                        last_generation = loop.time()
                elif message.type == WSMsgType.BINARY:
                    await out.send(error_event(400, "invalid_request", "Binary messages are not understood.", None))
                else:
                    return
        finally:
            for context in list(contexts.values()):
                await context.stop()

    async def _take(
        self, text: str, contexts: dict[str, Context], over: OrderedDict[str, str], out: FaultySocket
    ) -> bool:
        """Do what a message says; true when it asked for speech and was accepted."""
        control = self.control
        try:
            message = parse(text)
            if isinstance(message, Cancel):
                control.count("cancels")
                if message.context_id in contexts:
                    contexts[message.context_id].cancel()
                return False
            control.count("messages")
            self._context(message, contexts, over, out).submit(message)
            control.count("characters_taken", len(message.transcript))
        except RequestError as error:
            control.count("refused_messages")
            code = {429: "concurrency_limited", 404: "voice_not_found"}.get(error.status, "invalid_request")
            await out.send(error_event(error.status, code, str(error), error.context_id))
            return False
        return True

    def _context(
        self,
        message: Generation,
        contexts: dict[str, Context],
        over: OrderedDict[str, str],
        out: FaultySocket,
    ) -> Context:
        """The context of a message, opened with its first one. Raises `RequestError`."""
        context = contexts.get(message.context_id)
        if context is not None:
            context.check(message)
            return context
        if message.context_id in over:
            raise RequestError(f"The context has {over[message.context_id]}; open a new one.", message.context_id)
        if sum(other.active for other in self._contexts) >= self.control.config.max_contexts:
            self.control.count("concurrency_limited")
            raise RequestError("Too many concurrent generations.", message.context_id, 429)

        def ended(context: Context, how: str) -> None:
            self._contexts.discard(context)
            del contexts[context.id]
            if how:
                over[context.id] = how
            while len(over) > _REMEMBERED:
                over.popitem(last=False)

        if not self._has_voice(message.voice_id):
            raise RequestError(f"Voice {message.voice_id} does not exist.", message.context_id, 404)
        self.control.count("contexts")
        context = contexts[message.context_id] = Context(message, out, self.control, self._voice, self._pool, ended)
        self._contexts.add(context)
        return context

    async def _refusal(self, request: web.Request) -> web.Response | None:
        """Why a request is not served, whatever it asks for."""
        if (refusal := await self.control.refusal()) is not None:
            return refusal
        if not self.control.known(_key(request)):
            return self._refuse(401, "unauthorized", "Invalid API key.")
        version = request.query.get("cartesia_version") or request.headers.get("cartesia-version", "")
        if version not in VERSIONS:
            return self._refuse(
                400, "invalid_version", f"Cartesia-Version must be one of {', '.join(VERSIONS)}, not {version!r}."
            )
        return None

    async def _voice_of(self, request: web.Request) -> web.Response:
        """`GET /voices/{id}`."""
        self.control.count("voices_asked_for")
        if (refusal := await self._refusal(request)) is not None:
            return refusal
        voice = request.match_info["voice"]
        if not self._has_voice(voice):
            return self._refuse(404, "voice_not_found", f"Voice {voice} does not exist.")
        return web.json_response(voice_document(voice))

    async def _bytes(self, request: web.Request) -> web.Response:
        """`POST /tts/bytes`: all the audio of one text, raw."""
        self.control.count("bytes_asked_for")
        if (refusal := await self._refusal(request)) is not None:
            return refusal
        try:
            wanted = parse_bytes(await request.text())
        except RequestError as error:
            return self._refuse(error.status, "invalid_request", str(error))
        if not self._has_voice(wanted.voice_id):
            return self._refuse(404, "voice_not_found", f"Voice {wanted.voice_id} does not exist.")
        loop = asyncio.get_running_loop()
        speech = await loop.run_in_executor(self._pool, self._voice.speak, wanted.transcript, wanted.sample_rate)
        return web.Response(body=audio.encode(speech.samples, wanted.encoding), content_type="audio/pcm")

    def _has_voice(self, voice_id: str) -> bool:
        return not self.control.config.voices or voice_id in self.control.config.voices

    def _refuse(self, status: int, code: str, message: str) -> web.Response:
        self.control.count(f"refused_{status}")
        return web.json_response(error_event(status, code, message, None), status=status)


def _key(request: web.Request) -> str:
    """The key, from `Authorization: Bearer`, `X-API-Key`, or the query of a browser."""
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key:
        return key.strip()
    return request.headers.get("X-API-Key") or request.query.get("access_token", "") or request.query.get("api_key", "")
