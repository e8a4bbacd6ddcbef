"""`voice-agent console`: the console by itself, on the data of an agent; it needs no key of any vendor."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from agent.office.console.parts import ConsoleParts
from agent.office.console.port import console_port
from agent.office.database import DatabaseError
from agent.office.housekeeping import Housekeeping
from agent.office.serve import until_signalled
from agent.office.store import OfficeStore
from agent.ops.settings import Settings, SettingsError, load_settings


def settings_of(env_file: Path | None, data_dir: Path | None, port: int | None = None) -> Settings:
    """The settings, with everything in `data_dir` if one is given. Raises `SettingsError`."""
    chosen: dict[str, Any] = {}
    if data_dir is not None:
        if not data_dir.is_dir():
            raise SettingsError(f"there is no directory {data_dir}: name the one that an agent or a demo has made")
        chosen = {"data_dir": data_dir.resolve(), "database_url": "", "recordings_dir": None, "records_dir": None}
    if port is not None:
        chosen["console_port"] = port
    return load_settings(env_file, **chosen)


@asynccontextmanager
async def cancelled_at_end(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Let `work` run while entered."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def console_command(env_file: Path | None, *, data_dir: Path | None, port: int | None) -> int:
    """Serve until SIGINT or SIGTERM; return the exit status: 2 with a word about what to mend when it cannot start."""
    try:
        settings = settings_of(env_file, data_dir, port)
        store = await OfficeStore.open(
            settings.database, region=settings.default_region, timezone=settings.default_timezone
        )
        async with store:
            # Erasing what is old is for the agent whose data these are.
            upkeep = Housekeeping(
                store.archive, records=settings.records, recordings=settings.recordings, retention_days=0
            )
            async with console_port(ConsoleParts(store, settings)) as console, cancelled_at_end(upkeep.run()):
                for line in console.lines():
                    print(line, flush=True)
                await until_signalled()
    except (SettingsError, DatabaseError) as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(f"cannot serve the console: {error.strerror or error}; --port chooses another port", file=sys.stderr)
        return 2
    return 0
