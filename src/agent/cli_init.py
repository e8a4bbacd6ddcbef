"""`voice-agent init`: sets this host up."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from agent.cli_shared import fail


def init(
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="ask nothing: keys come from options or the environment")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="show what would be written, and write nothing")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="replace also what was edited, and keep a copy beside it")
    ] = False,
    deepgram_api_key: Annotated[
        str, typer.Option(envvar="DEEPGRAM_API_KEY", show_default=False, help="Deepgram's key")
    ] = "",
    groq_api_key: Annotated[str, typer.Option(envvar="GROQ_API_KEY", show_default=False, help="Groq's key")] = "",
    cartesia_api_key: Annotated[
        str, typer.Option(envvar="CARTESIA_API_KEY", show_default=False, help="Cartesia's key")
    ] = "",
    calls: Annotated[
        Literal["all", "some", "missed", "hours", "freepbx", "none"] | None,
        typer.Option(help="which calls the agent takes; none: no dialplan. missed unless given or asked"),
    ] = None,
    people: Annotated[str, typer.Option(help="whose phones ring, such as PJSIP/100&PJSIP/101")] = "",
    number: Annotated[
        list[str] | None, typer.Option(help="with --calls some: a number of the agent's; again for more")
    ] = None,
    user: Annotated[
        bool | None, typer.Option("--user/--system", help="for this user alone, or the system; by who runs it")
    ] = None,
    instance: Annotated[str, typer.Option(help="one of several agents of this system, by its name")] = "",
    asterisk_dir: Annotated[Path, typer.Option(help="Asterisk's directory of configuration")] = Path("/etc/asterisk"),
    prefix: Annotated[Path, typer.Option(help="write below this directory, for a package or an image")] = Path("/"),
) -> None:
    """Set this host up: env file, systemd service, its user, dialplan; and say what is left to do by hand.

    It may be run again: what is as it should be stays, what somebody has edited is kept (--force replaces it and keeps
    a copy), and --dry-run only tells. Asterisk's own extensions.conf is not touched: the lines to add are shown.

    Options can be seen by other users of the host while the command runs: give keys by the environment, or type them.
    """
    from rich.console import Console

    from agent.setup import command, questions
    from agent.setup.dialplan import Dialplan
    from agent.setup.env_file import values_of
    from agent.setup.host import Host
    from agent.setup.plan import PlanError

    console = Console(highlight=False)
    if not yes and not dry_run and not sys.stdin.isatty():
        fail("nobody to ask: this is no terminal. Give --yes, and the keys in the environment")
    asks = not yes and sys.stdin.isatty()
    system = os.geteuid() == 0 or prefix != Path("/") if user is None else not user
    if system and prefix == Path("/") and os.geteuid() != 0 and not dry_run:
        fail("only root sets up the system: run it by sudo, or give --user")
    try:
        host = Host(system=system, prefix=prefix.absolute(), instance=instance, home=Path.home())
        keys = {
            "DEEPGRAM_API_KEY": deepgram_api_key.strip(),
            "GROQ_API_KEY": groq_api_key.strip(),
            "CARTESIA_API_KEY": cartesia_api_key.strip(),
        }
        if asks:
            keys = questions.ask_keys(console, keys, values_of(host.existing_settings() or ""))
        numbers = list(number or ())
        if instance and calls is None:
            calls = "none"  # the dialplan is there, from the first agent
        if calls is None and asks and questions.is_asterisk_here(asterisk_dir):
            calls = questions.ask_calls(console)
            people = people or (questions.ask_people(console) if calls != "freepbx" else "")
            numbers = numbers or (questions.ask_numbers(console) if calls == "some" else [])
        dialplan = None
        if calls != "none":
            dialplan = Dialplan(calls or "missed", people, numbers, asterisk_dir.absolute())
        choices = command.Choices(host, keys, dialplan, force=force, dry_run=dry_run)
        raise typer.Exit(command.init(choices, console, lambda: not asks or questions.agreed(console)))
    except (PlanError, ValueError) as error:
        fail(str(error))
    except (KeyboardInterrupt, EOFError):
        fail("stopped: nothing was written")
