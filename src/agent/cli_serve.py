"""`voice-agent serve`, and parts of it as processes of their own: `office` and `console`."""

from __future__ import annotations

from typing import Annotated

import typer

from agent.cli_shared import DataDir, EnvFile, fail, run


def serve(
    env_file: EnvFile = None,
    seed: Annotated[bool, typer.Option("--seed", help="add the two example companies first")] = False,
    workers: Annotated[
        str, typer.Option(help="processes that share the calls, or auto: a core each; WORKERS unless given")
    ] = "",
) -> None:
    """Answer calls: AudioSocket, FastAGI and the back office, until SIGINT or SIGTERM."""
    from agent.conversations import ConversationError
    from agent.office.database import DatabaseError
    from agent.ops.lifecycle import serve
    from agent.ops.logs import set_up_logging
    from agent.ops.settings import SettingsError, load_settings
    from agent.tools.outbox import OutboxError
    from agent.workers.process import WorkerError
    from fastaudio import FastAudioError

    try:
        given = {"workers": workers} if workers else {}
        settings = load_settings(env_file, **given)
        formatter = set_up_logging(settings)
        serving = serve(settings, seed=seed, report=typer.echo, env_file=env_file, formatter=formatter, given=given)
        status = run(serving)
    except (SettingsError, ConversationError, DatabaseError, OutboxError, FastAudioError, WorkerError) as error:
        fail(str(error))
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        fail(f"cannot start: {error.strerror or error}{where}; choose other ports or another DATA_DIR")
    raise typer.Exit(status)


def office(
    env_file: EnvFile = None,
    host: Annotated[str, typer.Option(help="address to listen on; LISTEN_HOST unless given")] = "",
    port: Annotated[int, typer.Option(min=0, max=65535, help="TCP port; 0 picks a free one")] = 9097,
    seed: Annotated[bool, typer.Option("--seed", help="add the two example companies first")] = False,
) -> None:
    """Serve the back office's context and booking APIs as a process of its own."""
    from agent.office.serve import office_command

    raise typer.Exit(run(office_command(env_file, host=host, port=port, seed=seed)))


def console(
    data_dir: DataDir = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="TCP port, 0 picks a free one; CONSOLE_PORT unless given")
    ] = None,
    env_file: EnvFile = None,
) -> None:
    """Serve the console alone: calls, bookings, companies, numbers and users. It needs no vendor's key."""
    from agent.office.console.command import console_command

    raise typer.Exit(run(console_command(env_file, data_dir=data_dir, port=port)))
