"""`voice-agent outbox`: what waits to be sent."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from agent.cli_shared import EnvFile, fail, lesson, teach

app = typer.Typer(
    help="What waits to be sent, bookings, webhooks and mails: list it, send bookings again, give them up.",
    epilog=lesson(
        "bookings.md",
        "voice-agent outbox",
        "voice-agent outbox --show 3f9a",
        "voice-agent outbox retry 3f9a",
    ),
    invoke_without_command=True,
)


@app.callback()
def outbox(
    context: typer.Context,
    show: Annotated[str, typer.Option(help="everything about one booking, names and addresses included")] = "",
    everything: Annotated[bool, typer.Option("--all", help="also those that are done with")] = False,
    env_file: EnvFile = None,
) -> None:
    """List bookings that nobody has accepted yet; the key's first letters are enough to name one."""
    from agent.tools.outbox.command import list_bookings, show_booking

    context.obj = env_file
    if context.invoked_subcommand is None:
        if show:
            _on_outbox(env_file, show_booking, show)
        else:
            _on_outbox(env_file, list_bookings, everything=everything)


def retry(context: typer.Context, key: str) -> None:
    """Send a booking again. One that is uncertain may then be made twice: look first."""
    from agent.tools.outbox.command import retry_booking

    _on_outbox(context.obj, retry_booking, key)


def drop(context: typer.Context, key: str, reason: str) -> None:
    """Give a booking up, with a reason, and erase what the caller said."""
    from agent.tools.outbox.command import drop_booking

    _on_outbox(context.obj, drop_booking, key, reason)


def _on_outbox(env_file: Path | None, work: Any, *arguments: str, **options: bool) -> None:
    from agent.ops.settings import SettingsError, load_settings
    from agent.tools.outbox import OutboxError

    try:
        work(load_settings(env_file).data_dir, *arguments, **options, say=typer.echo)
    except (SettingsError, OutboxError) as error:
        fail(str(error))


teach(app, retry, "bookings.md", "voice-agent outbox retry 3f9a")
teach(app, drop, "bookings.md", 'voice-agent outbox drop 3f9a "the customer rang again"')
