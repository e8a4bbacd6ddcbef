"""What the subcommands of `voice-agent` have in common: options, and how they end."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

EnvFile = Annotated[
    Path | None,
    typer.Option("--env-file", envvar="VOICE_AGENT_ENV_FILE", help="file of settings, mode 0600"),
]
DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="where an agent or a demo keeps its data; DATA_DIR unless given")
]


def teach(
    group: typer.Typer,
    command: Callable[..., Any],
    docs: str,
    *examples: str,
    panel: str | None = None,
    name: str | None = None,
) -> None:
    """Add a command whose `--help` says what it is for (its docstring), shows examples, and names its page in docs/."""
    group.command(name, help=flowing(command.__doc__), epilog=lesson(docs, *examples), rich_help_panel=panel)(command)


def lesson(docs: str, *examples: str) -> str:
    """The end of a help text: examples, and where more is written."""
    shown = "\n".join(f"  {example}" for example in examples)
    return f"For example:\n\n{shown}\n\nMore: docs/{docs}"


def flowing(text: str | None) -> str:
    """A docstring with each of its paragraphs on one line, so that the terminal's width wraps it."""
    return "\n\n".join(paragraph.replace("\n", " ") for paragraph in inspect.cleandoc(text or "").split("\n\n"))


def fail(message: str) -> NoReturn:
    """Say what is wrong and leave with status 2."""
    typer.secho(message, fg=typer.colors.RED, err=True)
    raise typer.Exit(2)


def fail_for_want_of(error: ImportError, what: str, extra: str = "local") -> NoReturn:
    """Leave with status 2 over a package that an extra brings along; `what` is such as "the demo needs"."""
    from fastaudio.extras import how_to_install

    fail(f"{what} the package {error.name!r}: {how_to_install(extra)}")


def run(main: Any) -> int:
    """Run a coroutine to its end; Ctrl-C is a normal way to stop."""
    try:
        return int(asyncio.run(main) or 0)
    except KeyboardInterrupt:
        return 130
