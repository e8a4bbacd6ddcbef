"""`voice-agent top`: what a running agent does, in the terminal."""

from __future__ import annotations

import contextlib
import ipaddress
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli_shared import EnvFile, fail, run

if TYPE_CHECKING:
    from agent.ops.settings import Settings


def top(
    url: Annotated[
        str, typer.Argument(help="the agent's HTTP port, such as http://10.0.0.7:9098; HTTP_PORT here unless given")
    ] = "",
    once: Annotated[
        bool, typer.Option("--once", help="print a plain table and leave, as it does where there is no terminal")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print the page /live as it is and leave")] = False,
    every: Annotated[float, typer.Option(min=0.2, max=60, help="seconds between two looks")] = 1.0,
    only: Annotated[str, typer.Option(help="show calls that match: company, step, what it does, last digits")] = "",
    env_file: EnvFile = None,
) -> None:
    """Watch the calls of a running agent in the terminal; exit 1 when --once finds no agent.

    Who rings which company, what the agent is doing, the step that the conversation is at, how long the last answer
    took, how loud both sides are; above them the vendors, the outbox, and what was refused. Of callers' numbers three
    digits are shown, and no words: those are in the console.
    """
    from agent.ops.settings import SettingsError, load_settings
    from agent.top.source import LiveSource

    try:
        source = LiveSource(url or _own_url(load_settings(env_file)))
    except (SettingsError, ValueError) as error:
        fail(str(error))

    async def look() -> int:
        async with source:
            if once or as_json or not (sys.stdin.isatty() and sys.stdout.isatty()):
                from agent.top.once import look_once

                def complain(text: str) -> None:
                    typer.secho(text, fg=typer.colors.RED, err=True)

                return await look_once(source, typer.echo, complain, wanted=only, as_json=as_json)
            from agent.top.app import watch

            return await watch(source, every, only)

    raise typer.Exit(run(look()))


def _own_url(settings: Settings) -> str:
    host, port = str(settings.listen_host), settings.http_port
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(host)
        if address.is_unspecified:
            host = "127.0.0.1" if address.version == 4 else "::1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
