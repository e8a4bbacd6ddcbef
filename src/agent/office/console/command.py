"""`voice-agent console`: the console by itself, on the data of an agent; it needs no key of any vendor."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from agent.office.console.parts import ConsoleParts
from agent.office.console.port import console_port
from agent.office.database import DatabaseError
from agent.office.running import BackOffice
from agent.office.serve import until_signalled
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


async def console_command(env_file: Path | None, *, data_dir: Path | None, port: int | None) -> int:
    """Serve until SIGINT or SIGTERM; return the exit status: 2 with a word about what to mend when it cannot start."""
    try:
        settings = settings_of(env_file, data_dir, port)
        # Erasing what is old is for the agent whose data these are.
        async with (
            BackOffice(settings, erases=False) as office,
            console_port(ConsoleParts(office.store, settings)) as console,
        ):
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
