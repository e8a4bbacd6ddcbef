"""The command `voice-agent`: one subcommand for each thing that an operator does."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

app = typer.Typer(
    name="voice-agent",
    help="A voice agent that answers real phone calls on Asterisk.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)

EnvFile = Annotated[
    Path | None,
    typer.Option("--env-file", envvar="VOICE_AGENT_ENV_FILE", help="file of settings, mode 0600"),
]


def fail(message: str) -> NoReturn:
    """Say what is wrong and leave with status 2."""
    typer.secho(message, fg=typer.colors.RED, err=True)
    raise typer.Exit(2)


def run(main: Any) -> int:
    """Run a coroutine to its end; Ctrl-C is a normal way to stop."""
    try:
        return int(asyncio.run(main) or 0)
    except KeyboardInterrupt:
        return 130


def main() -> None:
    """Entry point of the command."""
    app()


if __name__ == "__main__":
    main()
