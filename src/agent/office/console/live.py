"""The console's first page: calls that run, as they go on; listening in, ending and transferring them."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from datetime import datetime
from functools import lru_cache
from typing import Any

import orjson
from aiohttp import WSCloseCode, web

from agent.call.running import CallGone, RunningCall, TooManyListeners, UnknownTarget
from agent.call.watching import Change, TooManyWatchers, Watcher, Watching, state_of
from agent.office.console import formats
from agent.office.console.access import audit, needs, still_allowed, user_of
from agent.office.console.forms import form_of
from agent.office.console.parts import PARTS, parts_of
from agent.office.console.render import render
from agent.office.console.streams import stream
from agent.office.scope import Scope

WATCHING = web.AppKey("watching", Watching)
TOLD = web.AppKey("told", dict[str, tuple[int, Watcher]])
"""By a token that their browser was given: the user's ID and what is told."""

STREAMS_A_USER = 8
STILL_ALLOWED_S = 3.0
"""How long a session that has ended may still look or listen."""
QUIET_S = 15.0
"""After so long without a change something is sent, so that whoever is in between keeps the connection."""
TAKEN_S = 10.0
"""In which a browser must take what it is sent."""
AUDIO_BATCH_MS = 60
MOST_MESSAGES = 64
"""That a listening browser may send; it has nothing to say."""
REFUSED = 4003
"""The WebSocket close code of a call that is not listened to; the reason says why."""


def add_pages(app: web.Application) -> None:
    """Add the page, its events, and what can be done to a call."""
    parts = app[PARTS]
    if parts.live is not None:
        region = parts.settings.default_region

        def described(call: RunningCall) -> dict[str, Any]:
            return state_of(call) | {"number": _number(call.caller_id, region), "line": _number(call.did, region)}

        app[WATCHING] = Watching(parts.live, described)
    app[TOLD] = {}
    app.router.add_get("/", page)
    app.router.add_get("/live/events", events)
    app.router.add_post("/live/meter", meter)
    app.router.add_get("/live/{uuid}/listen", listen)
    app.router.add_post("/live/{uuid}/end", end)
    app.router.add_post("/live/{uuid}/transfer", transfer)


@lru_cache(maxsize=4096)
def _number(e164: str, region: str) -> str:
    return formats.phone(e164, region) if e164 else ""


@needs("viewer")
async def page(request: web.Request) -> web.StreamResponse:
    """The frame of it, and today's numbers; the calls come as events."""
    parts, user = parts_of(request), user_of(request)
    today = datetime.now(parts.settings.zone).date()
    numbers = (await parts.store.figures.between(today, today, user.scope)).total
    return render(
        request,
        "live.html",
        agent=parts.live is not None,
        numbers=numbers,
        test_call=await _test_call(request, user.scope) if parts.live is not None else "",
    )


async def _test_call(request: web.Request, scope: Scope) -> str:
    """The command that rings this agent."""
    parts = parts_of(request)
    settings = parts.settings
    rows = await parts.store.companies.list(scope)
    did = next((number for row in rows for number in row.numbers), "")
    given = {
        "--did": did,
        "--port": settings.listen_port if settings.listen_port not in (0, 9099) else "",
        "--fastagi-port": settings.fastagi_port if settings.fastagi_port not in (0, 4573) else "",
    }
    options = "".join(f" {name} {value}" for name, value in given.items() if value)
    return f'voice-agent call{options} --say "My kitchen tap is leaking."'


# ---- events ---------------------------------------------------------------------------------------------------------


def _watching(request: web.Request) -> Watching:
    watching = request.app.get(WATCHING)
    if watching is None:
        raise web.HTTPNotFound(text="No agent runs here, so there are no live calls.")
    return watching


@needs("viewer")
async def events(request: web.Request) -> web.StreamResponse:
    """The user's calls as server-sent events, until the browser goes or the session ends.

    `hello` (`stream`, `now`), then `calls` (`calls`, each whole, and `gone`), `levels` (RMS of both sides by UUID), and
    `bye` when the session has ended.
    """
    watching, user, told = _watching(request), user_of(request), request.app[TOLD]
    if sum(owner == user.id for owner, _ in told.values()) >= STREAMS_A_USER:
        raise _too_many(f"This page is open {STREAMS_A_USER} times already: close one of them.")
    token = secrets.token_urlsafe(16)
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
    try:
        with stream(request):
            async with watching.watch(user.scope.allows) as watcher:
                told[token] = user.id, watcher
                await response.prepare(request)
                hello = {"stream": token, "now": round(time.time() * 1000)}
                await _send(response, _event("hello", orjson.dumps(hello)))
                async with aclosing(watcher.changes()) as changes:
                    await _tell(request, response, changes)
    except TooManyWatchers as error:
        raise _too_many("Too many people watch at this moment.") from error
    except (TimeoutError, ConnectionError):
        pass  # it went away, or takes nothing
    finally:
        told.pop(token, None)
    return response


def _too_many(text: str) -> web.HTTPException:
    return web.HTTPServiceUnavailable(text=text, headers={"Retry-After": "30"})


async def _tell(request: web.Request, response: web.StreamResponse, changes: AsyncGenerator[Change]) -> None:
    first = True
    sent = asked = time.monotonic()
    async for change in changes:
        now = time.monotonic()
        told = b""
        if change.calls or change.gone or first:
            calls, gone = b",".join(change.calls), orjson.dumps(change.gone)
            told += _event(
                "calls", b'{"calls":[%s],"gone":%s,"whole":%s}' % (calls, gone, b"true" if first else b"false")
            )
            first = False
        if change.levels:
            told += _event("levels", orjson.dumps(change.levels))
        if told or now - sent >= QUIET_S:
            await _send(response, told or b":\n\n")
            sent = now
        if now - asked >= STILL_ALLOWED_S:
            asked = now
            if not await still_allowed(request):
                await _send(response, _event("bye", b"{}"))
                return


def _event(name: str, data: bytes) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), data)


async def _send(response: web.StreamResponse, data: bytes) -> None:
    async with asyncio.timeout(TAKEN_S):
        await response.write(data)


@needs("viewer")
async def meter(request: web.Request) -> web.StreamResponse:
    """Which calls a page shows just now: the levels of those are told in its stream."""
    form = form_of(request)
    owner, watcher = request.app[TOLD].get(form.get("stream", ""), (None, None))
    if watcher is None or owner != user_of(request).id:
        raise web.HTTPNotFound(text="There is no such stream.")
    watcher.meter(frozenset(form.get("calls", "").split(",")))
    return web.Response(status=204)


# ---- one call -------------------------------------------------------------------------------------------------------


async def _call(request: web.Request) -> RunningCall:
    live = parts_of(request).live
    if live is None:
        raise _over()
    await live.look()
    call = live.get(request.match_info["uuid"], user_of(request).scope.allows)
    if call is None:
        raise _over()
    return call


def _over() -> web.HTTPNotFound:
    return web.HTTPNotFound(text="This call is over.")


@needs("operator")
async def end(request: web.Request) -> web.StreamResponse:
    """Have the agent say goodbye and hang up."""
    call = await _call(request)
    try:
        taken = await call.end(user_of(request).name)
    except CallGone as error:
        raise _over() from error
    if not taken:
        raise web.HTTPConflict(text="This call is ending already.")
    audit(request, f"ends call {call.uuid}")
    return web.json_response({"ends": True})


@needs("operator")
async def transfer(request: web.Request) -> web.StreamResponse:
    """Have the caller put through to one of the company's own targets."""
    call = await _call(request)
    try:
        taken = await call.transfer(form_of(request).get("target", ""), user_of(request).name)
    except UnknownTarget as error:
        raise web.HTTPBadRequest(text="The company has no such person or desk to put callers through to.") from error
    except CallGone as error:
        raise _over() from error
    if not taken:
        raise web.HTTPConflict(text="This call is ending already.")
    audit(request, f"transfers call {call.uuid}")
    return web.json_response({"transfers": True})


@needs("operator")
async def listen(request: web.Request) -> web.StreamResponse:
    """The call's sound: `{"rate": ...}` as text, then stereo PCM (16 bits, little-endian), the caller left."""
    call = await _call(request)
    socket = web.WebSocketResponse(heartbeat=15.0, max_msg_size=1024, compress=False)
    await socket.prepare(request)
    try:
        with stream(request):
            async with call.audio(AUDIO_BATCH_MS) as audio:
                audit(request, f"listens in to call {call.uuid}")
                begun = time.monotonic()
                await socket.send_str(json.dumps({"rate": call.rate}))
                code, why = await _listen_until_over(request, socket, audio)
                audit(request, f"listened in to call {call.uuid} for {time.monotonic() - begun:.0f} s")
    except TooManyListeners as error:
        code, why = REFUSED, str(error)
    except web.HTTPTooManyRequests as error:
        code, why = REFUSED, error.text or ""
    except (ConnectionError, TimeoutError):
        code, why = WSCloseCode.GOING_AWAY, ""
    await socket.close(code=code, message=why.encode())
    return socket


async def _listen_until_over(
    request: web.Request, socket: web.WebSocketResponse, audio: AsyncIterator[bytes]
) -> tuple[int, str]:
    """Send the sound until the call is over, the browser has gone, or its user may not listen any more."""
    tasks = (
        asyncio.create_task(_play(request, socket, audio), name="listening in"),
        asyncio.create_task(_until_closed(socket), name="listening browser"),
    )
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return next(iter(done)).result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _play(request: web.Request, socket: web.WebSocketResponse, audio: AsyncIterator[bytes]) -> tuple[int, str]:
    asked = time.monotonic()
    async for pcm in audio:
        async with asyncio.timeout(TAKEN_S):
            await socket.send_bytes(pcm)
        if time.monotonic() - asked >= STILL_ALLOWED_S:
            asked = time.monotonic()
            if not await still_allowed(request, "operator"):
                return REFUSED, "Your session has ended."
    return WSCloseCode.OK, "The call is over."


async def _until_closed(socket: web.WebSocketResponse) -> tuple[int, str]:
    """Until the browser closes it, or talks too much."""
    messages = 0
    async for _ in socket:
        messages += 1
        if messages > MOST_MESSAGES:
            return WSCloseCode.POLICY_VIOLATION, "There is nothing to say here."
    return WSCloseCode.OK, ""
