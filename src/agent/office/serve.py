"""The back office as a process of its own, its console with it: `voice-agent office`."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

from aiohttp import web

from agent.office.api import office_app
from agent.office.console.parts import ConsoleParts
from agent.office.console.port import console_port
from agent.office.database import DatabaseError
from agent.office.running import BackOffice
from agent.office.seed import seed_examples
from agent.ops.http import http_port
from agent.ops.notices import make_notices, notice_targets
from agent.ops.outbox import outbox_health, outbox_pace
from agent.ops.settings import Settings, SettingsError, load_settings
from agent.ops.strangers import Strangers
from agent.tools.outbox import Outbox, OutboxError


async def serve_office(settings: Settings, *, seed: bool, report: Callable[[str], None]) -> None:
    """Serve the APIs on `LISTEN_HOST`:`HTTP_PORT` to `ALLOWED_PEERS`, and `/health`, until SIGINT or SIGTERM.

    `seed` adds the example companies first; `report` is told the address and the number of companies. Word of bookings
    goes out by the outbox of `DATA_DIR`. Raises `SettingsError` without `BOOKING_API_KEY`, `DatabaseError` for an
    unusable `DATABASE_URL`, `OutboxError` for an unusable `DATA_DIR`, and `OSError` when the port is taken.
    """
    api_key = settings.booking_api_key.get_secret_value()
    if not api_key:
        raise SettingsError("BOOKING_API_KEY is missing: choose a long random one and give it to the agent as well")
    async with BackOffice(settings) as office, AsyncExitStack() as parts:
        store = office.store
        if seed:
            await seed_examples(store)
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        outbox = await parts.enter_async_context(
            Outbox(settings.data_dir, notice_targets(settings, store), pace=outbox_pace(settings))
        )
        await parts.enter_async_context(make_notices(settings, store, outbox))
        app = office_app(
            store,
            api_key=api_key,
            context_api_key=settings.context_api_key.get_secret_value(),
            requests_per_minute=settings.api_requests_per_minute,
        )
        strangers = Strangers()

        async def health(_request: web.Request) -> web.Response:
            """Whether the database answers; a load balancer and a person both can read it."""
            companies = len(await store.list_companies())
            turned_away = {f"{port} {reason}": count for (port, reason), count in strangers.counters.items()}
            told = {"status": "ok", "companies": companies, "outbox": outbox_health(outbox), "turned_away": turned_away}
            return web.json_response(told)

        app.router.add_get("/health", health)
        url, _ = await parts.enter_async_context(http_port(app, settings, strangers))
        report(f"back office on {url}")
        if settings.console:
            at = ConsoleParts(store, settings, outbox=outbox)
            console = await parts.enter_async_context(console_port(at, strangers))
            for line in console.lines():
                report(line)
        report(f"companies: {len(await store.list_companies())}")
        await until_signalled()


async def office_command(env_file: Path | None, *, host: str, port: int, seed: bool) -> int:
    """Run `voice-agent office`; return its exit status: 2 with a word about what to mend when it cannot start."""
    try:
        settings = load_settings(env_file, http_port=port, **({"listen_host": host} if host else {}))
        await serve_office(settings, seed=seed, report=lambda line: print(line, flush=True))
    except (SettingsError, DatabaseError, OutboxError) as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(f"cannot listen: {error.strerror}; choose another port with --port, or CONSOLE_PORT", file=sys.stderr)
        return 2
    return 0


async def until_signalled() -> None:
    """Wait for SIGINT or SIGTERM."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        await stop.wait()
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
