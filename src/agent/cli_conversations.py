"""`voice-agent conversation` and `prompts`: what callers are told, and by whom."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from agent.cli_complete import conversations
from agent.cli_shared import EnvFile, fail, fail_for_want_of, run


def conversation(
    name: Annotated[
        str, typer.Argument(help="name or directory; CONVERSATION unless given", autocompletion=conversations)
    ] = "",
    copy: Annotated[Path | None, typer.Option(help="copy the packaged one of that name here, to begin from")] = None,
    try_: Annotated[
        tuple[str, str] | None,
        typer.Option("--try", metavar="TOOL JSON", help="run a tool with these arguments, as in a call"),
    ] = None,
    env_file: EnvFile = None,
) -> None:
    """Check a conversation's files and show what the LLM is told, copy a packaged one, or try a tool by hand."""
    from agent.conversations import ConversationError
    from agent.conversations.command import copy_conversation, show_conversation, try_tool
    from agent.ops.settings import SettingsError, load_settings

    try:
        settings = load_settings(env_file)
        if copy is not None:
            copy_conversation(name or settings.conversation, copy)
            name = str(copy)
        if try_ is not None:
            done = asyncio.run(try_tool(name or settings.conversation, settings, *try_, typer.echo))
            raise typer.Exit(0 if done else 1)
        show_conversation(name or settings.conversation, settings, typer.echo)
    except (SettingsError, ConversationError) as error:
        fail(str(error))


def prompts(
    again: Annotated[bool, typer.Option("--again", help="record also what is there already")] = False,
    env_file: EnvFile = None,
) -> None:
    """Record what callers hear when the voice is away, in each voice of the agent; exit 1 if one fails."""
    from rich.console import Console
    from rich.progress import Progress

    try:
        from agent.ops.prompts import record_prompts
    except ImportError as error:
        fail_for_want_of(error, "recording prompts needs", "cartesia")
    from agent.conversations import ConversationError
    from agent.office.database import DatabaseError
    from agent.ops.settings import SettingsError, load_settings

    try:
        console = Console(markup=False, highlight=False, soft_wrap=True)
        with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
            task = progress.add_task("prompts", total=None)

            def so_far(of: str, done: int, wanted: int) -> None:
                progress.update(task, description=f"prompts of {of}", completed=done, total=wanted)

            settings = load_settings(env_file)
            failed = run(record_prompts(settings, again=again, report=console.print, so_far=so_far))
    except (SettingsError, ConversationError, DatabaseError) as error:
        fail(str(error))
    raise typer.Exit(1 if failed else 0)
