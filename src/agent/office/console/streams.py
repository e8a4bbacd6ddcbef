"""Answers that last: events, sound, files. A user has so many at once, and the port so many in all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from agent.office.console.access import user_of
from agent.ops.http import TooManyStreams, streaming


@contextmanager
def stream(request: web.Request) -> Iterator[None]:
    """While entered, the answer to `request` may last: an hour at most, so let the page come back for more.

    Raises `HTTPTooManyRequests` when this user has too many already. Ask `access.still_allowed` now and then.
    """
    try:
        lasting = streaming(request, user_of(request).name)
        with lasting:
            yield
    except TooManyStreams as error:
        raise web.HTTPTooManyRequests(text="You listen to too much at once: close another page.") from error


class Download(web.FileResponse):
    """A file that may take its time to go out; parts of it by `Range`."""

    def __init__(self, path: Path, content_type: str, *, name: str = "") -> None:
        """`name`: what a browser saves it as; without, it is shown or played."""
        super().__init__(path, headers={"Content-Type": content_type, "Cache-Control": "private, no-cache"})
        if name:
            plain = "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name)
            self.headers["Content-Disposition"] = f'attachment; filename="{plain}"'

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send it, headers and all."""
        with stream(request) if isinstance(request, web.Request) else nullcontext():
            return await super().prepare(request)
