"""The console's own port."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from agent.office.console.app import console_app
from agent.office.console.first_start import SetUpToken
from agent.office.console.parts import ConsoleParts
from agent.ops.http import HttpLimits, base_url, guarded_port
from agent.ops.strangers import Strangers

PORT = "console"
LIMITS = HttpLimits(connections=256, streams=128, streams_each=16)
"""A page of live calls is one stream, listening in another, and a player reads its file in some."""


@dataclass(frozen=True, slots=True)
class OpenConsole:
    """Where the console is."""

    url: str
    port: int
    setup_url: str
    """Where the first user is made; empty once there is one."""

    def lines(self) -> list[str]:
        """What is to be printed."""
        told = [f"console on {self.url}"]
        if self.setup_url:
            told.append(f"nobody can log in yet: set the first name and password at {self.setup_url}")
        return told


@asynccontextmanager
async def console_port(
    parts: ConsoleParts, strangers: Strangers | None = None, limits: HttpLimits = LIMITS
) -> AsyncIterator[OpenConsole]:
    """Serve the console while entered, by the settings of `parts`: `CONSOLE_HOST`, `CONSOLE_PORT`, `CONSOLE_URL`.

    Raises OSError when the port is taken.
    """
    settings = parts.settings
    app = console_app(parts)
    async with guarded_port(
        app,
        settings.console_host,
        settings.console_port,
        strangers=strangers or Strangers(),
        limits=limits,
        name=PORT,
    ) as port:
        url = settings.console_url or base_url(settings.console_host, port)
        setup_url = ""
        if not await parts.store.users.exist():
            token = await asyncio.to_thread(SetUpToken(settings.data_dir).get)
            setup_url = f"{url}/setup?token={token}"
        else:
            await asyncio.to_thread(SetUpToken(settings.data_dir).use_up)
        yield OpenConsole(url, port, setup_url)
