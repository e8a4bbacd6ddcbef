"""`voice-agent report` and `forget`: what is kept of calls and callers."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer

from agent.cli_complete import recorded_calls
from agent.cli_shared import EnvFile, fail, fail_for_want_of


def report(
    call: Annotated[
        str,
        typer.Argument(
            help="UUID of a call that the agent has had, or the file of its record", autocompletion=recorded_calls
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="file or directory; beside the record unless given")] = None,
    sound: Annotated[
        Path | None, typer.Option(help="the recording; the one that the record names unless given")
    ] = None,
    env_file: EnvFile = None,
) -> None:
    """Write the report of a call: one HTML page with its sound, picture, transcript and latencies."""
    from agent.call.record import RecordError, read_record
    from agent.office.recordings import Recordings
    from agent.ops.report import ReportError, write_report
    from agent.ops.settings import SettingsError, load_settings

    try:
        path = Path(call)
        if not path.is_file():
            settings = load_settings(env_file)
            path = settings.records / f"{call}.json"
            sound = sound or asyncio.run(Recordings(settings).path_of(read_record(path).recording))
        typer.echo(str(write_report(read_record(path), out or path.with_suffix(".html"), sound=sound)))
    except ImportError as error:
        fail_for_want_of(error, "a report needs")
    except (RecordError, ReportError, SettingsError) as error:
        fail(str(error))
    except OSError as error:
        fail(f"cannot write the report: {error.strerror or error}")


def forget(
    number: Annotated[str, typer.Argument(help="the caller's number; - reads it from the standard input")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what there is")] = False,
    also_waiting: Annotated[
        bool, typer.Option("--also-waiting", help="also bookings and notices in the outbox that are not sent yet")
    ] = False,
    env_file: EnvFile = None,
) -> None:
    """Erase what is kept of a caller, everywhere; exit 1 when something of it remains. The agent may run meanwhile."""
    from agent.office.database import DatabaseError
    from agent.office.forget import forget_caller
    from agent.ops.settings import SettingsError, load_settings
    from agent.tools.outbox import OutboxError

    given = sys.stdin.readline() if number == "-" else number
    try:
        settings = load_settings(env_file)
        done = asyncio.run(forget_caller(settings, given, dry_run=dry_run, also_waiting=also_waiting, say=typer.echo))
    except (SettingsError, DatabaseError, OutboxError, ValueError) as error:
        fail(str(error))
    except OSError as error:
        fail(f"cannot erase {error.filename or 'a file'}: {error.strerror or error}")
    raise typer.Exit(0 if done else 1)
