"""The console's page /."""

from __future__ import annotations

from aiohttp import web

from agent.office.console.access import needs
from agent.office.console.render import render


def add_pages(app: web.Application) -> None:
    """Add the page."""
    app.router.add_get("/", page)


@needs("viewer")
async def page(request: web.Request) -> web.StreamResponse:
    """Not there yet."""
    return render(request, "placeholder.html", title="Live")
