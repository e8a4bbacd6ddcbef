"""The agent's own back office: its APIs on the agent's HTTP port, the outbox, and word of what has happened."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from aiohttp import web

from agent.office.api import office_app
from agent.office.notices import Notices
from agent.office.running import BackOffice
from agent.ops.http import http_port
from agent.ops.notices import make_notices, notice_targets
from agent.ops.outbox import make_outbox
from agent.ops.settings import Settings
from agent.ops.strangers import Strangers
from agent.tools.outbox import Outbox


@dataclass(frozen=True, slots=True)
class OpenOffice:
    """An office that is served."""

    back: BackOffice
    """Its database, and who keeps house there."""
    outbox: Outbox
    notices: Notices
    port: int
    url: str
    """Where the agent itself asks it, without a path."""
    key: str
    """What it asks with: `BOOKING_API_KEY`, or one that nobody else has."""


@asynccontextmanager
async def open_office(
    settings: Settings, strangers: Strangers, add_pages: Callable[[web.Application], None]
) -> AsyncIterator[OpenOffice]:
    """Serve the office while entered; `add_pages` adds what else the HTTP port answers.

    Raises `DatabaseError` and `OutboxError` when one of them cannot be used, OSError when the port is taken.
    """
    key = settings.booking_api_key.get_secret_value() or secrets.token_urlsafe(24)
    async with AsyncExitStack() as stack:
        back = await stack.enter_async_context(BackOffice(settings))
        app = office_app(
            back.store,
            api_key=key,
            context_api_key=settings.context_api_key.get_secret_value(),
            requests_per_minute=settings.api_requests_per_minute,
        )
        add_pages(app)
        # The port comes first: the outbox sends bookings there, and only an open one has a number.
        url, port = await stack.enter_async_context(http_port(app, settings, strangers))
        targets = notice_targets(settings, back.store)
        outbox = await stack.enter_async_context(make_outbox(settings, url, key, targets))
        notices = await stack.enter_async_context(make_notices(settings, back.store, outbox))
        back.on_kept = notices.wake
        yield OpenOffice(back, outbox, notices, port, url, key)
