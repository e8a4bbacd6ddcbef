"""The console's page of one call: what was said, heard and done in it, and its sound."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

import orjson
from aiohttp import web

from agent.office.archive import StoredCall
from agent.office.console import call_words
from agent.office.console.access import audit, needs, user_of
from agent.office.console.call_view import time_line, view_of
from agent.office.console.forms import say_later
from agent.office.console.parts import PARTS, parts_of
from agent.office.console.render import render, render_long
from agent.office.console.streams import Download
from agent.office.console.waveform import Waveform, Waveforms
from agent.office.recordings import Recordings
from agent.ops.bucket import BucketError

log = logging.getLogger(__name__)

WAVEFORMS: Final = web.AppKey("waveforms", Waveforms)
RECORDINGS: Final = web.AppKey("recordings", Recordings)
KINDS: Final = {
    ".wav": "audio/wav", ".flac": "audio/flac", ".opus": "audio/ogg", ".ogg": "audio/ogg",
}  # fmt: skip
"""Files that are played, and what they are."""
_CALL: Final = "/calls/{uuid:[0-9a-f-]{36}}"


def add_pages(app: web.Application) -> None:
    """Add the page, the sound, what is drawn of it, the document, and the way to erase all that."""
    app[WAVEFORMS] = Waveforms()
    app[RECORDINGS] = Recordings(app[PARTS].settings)
    app.router.add_get(_CALL, page)
    app.router.add_get(f"{_CALL}/sound", sound)
    app.router.add_get(f"{_CALL}/waveform", waveform)
    app.router.add_get(f"{_CALL}/record.json", document)
    app.router.add_post(f"{_CALL}/erase", erase)


@needs("viewer")
async def page(request: web.Request) -> web.StreamResponse:
    """One call; one that goes on is to be watched elsewhere."""
    parts, uuid, scope = parts_of(request), request.match_info["uuid"], user_of(request).scope
    stored = await parts.store.archive.get(uuid, scope)
    if stored is None:
        if parts.live is not None:
            await parts.live.look()
        live = parts.live.get(uuid, scope.allows) if parts.live is not None else None
        if live is None:
            raise web.HTTPNotFound
        return render(request, "call_running.html", call=live)
    return await render_long(
        request,
        "call.html",
        call=stored,
        record=stored.record,
        view=await view_of(stored.record),
        words=call_words,
        recording=_is_sound(stored) and request.app[RECORDINGS].may_have(stored.record.recording),
    )


@needs("viewer")
async def sound(request: web.Request) -> web.StreamResponse:
    """The recording, in pieces if a player asks for them; with `?download` under a name of its own."""
    stored = await _call_of(request)
    try:
        path = await _recording(request, stored)
    except BucketError as error:
        log.warning("console: a recording cannot be fetched: %s", error.strerror)
        raise web.HTTPBadGateway(text=f"The recording cannot be fetched just now: {error.strerror}.") from None
    if path is None:
        raise web.HTTPNotFound(text="There is no recording of this call.")
    name = f"call-{stored.started:%Y-%m-%d-%H%M}-{stored.record.uuid[:8]}{path.suffix}"
    return Download(path, KINDS[path.suffix], name=name if "download" in request.query else "")


@needs("viewer")
async def waveform(request: web.Request) -> web.StreamResponse:
    """What the time line draws: how loud both sides were, and what happened. Without a recording, the latter."""
    stored = await _call_of(request)
    levels, why = Waveform(20, b"", b""), ""
    try:
        path = await _recording(request, stored)
        if path is not None:
            levels = await request.app[WAVEFORMS].of(path)
    except BucketError as error:
        log.warning("console: a recording cannot be fetched: %s", error.strerror)
        why = "the recording cannot be fetched just now"
    except (ValueError, OSError) as error:
        log.warning("console: the recording of %s cannot be drawn: %s", stored.record.uuid, type(error).__name__)
        why = "the recording cannot be read"
    answer = await time_line(stored.record) | levels.as_dict() | {"problem": why}
    response = web.Response(body=orjson.dumps(answer), content_type="application/json")
    response.enable_compression()
    return response


@needs("viewer")
async def document(request: web.Request) -> web.StreamResponse:
    """The call's record, as a file."""
    stored = await _call_of(request)
    return web.Response(
        body=orjson.dumps(stored.record.as_dict(), option=orjson.OPT_INDENT_2),
        content_type="application/json",
        headers={"Content-Disposition": f'attachment; filename="call-{stored.record.uuid}.json"'},
    )


@needs("admin")
async def erase(request: web.Request) -> web.StreamResponse:
    """Take away what tells of people: words, numbers and the recording. Figures stay."""
    parts, uuid = parts_of(request), request.match_info["uuid"]
    recordings = request.app[RECORDINGS]
    try:
        erased = await parts.store.archive.erase(uuid, user_of(request).scope, recordings.folders)
        if erased:
            await recordings.remove([uuid])
    except OSError as error:
        log.error("console: files of an erased call cannot be taken away: %s", error.strerror)
        say_later(request, f"The words are gone, and files of the call are not: {error.strerror}.", "bad")
    else:
        if not erased:
            raise web.HTTPNotFound
        say_later(request, "The call is erased: its words, its numbers and its recording.")
    audit(request, f"erased the call {uuid}")
    raise web.HTTPSeeOther(f"/calls/{uuid}")


async def _call_of(request: web.Request) -> StoredCall:
    stored = await parts_of(request).store.archive.get(request.match_info["uuid"], user_of(request).scope)
    if stored is None:
        raise web.HTTPNotFound
    return stored


def _is_sound(stored: StoredCall) -> bool:
    return Path(stored.record.recording).suffix in KINDS


async def _recording(request: web.Request, stored: StoredCall) -> Path | None:
    """The file of a call's recording, if there is one. Raises `BucketError`, OSError."""
    return await request.app[RECORDINGS].path_of(stored.record.recording) if _is_sound(stored) else None
