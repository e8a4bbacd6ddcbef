"""`voice-agent check`: what an administrator would check by hand."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from agent.cli_shared import EnvFile, fail


def check(
    env_file: EnvFile = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="ask nobody else: no vendor, no API; nothing is spent")
    ] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="install, settings, files, ports, vendors, apis, office, host, asterisk or call; again for more"
        ),
    ] = None,
    skip: Annotated[list[str] | None, typer.Option(help="a group that is left out; again for more")] = None,
    json: Annotated[
        bool, typer.Option("--json", help="a JSON document, for programs (docs/troubleshooting.md)")
    ] = False,
) -> None:
    """Check everything: settings, keys, ports, vendors, Asterisk, a call to itself; and say how to mend what is wrong.

    Exit 0: all is well, or there are warnings. 1: there are errors. 2: it cannot run.

    The vendors are asked with real requests: a second of audio for each of Deepgram's models, some hundred tokens of
    each LLM, and six characters of speech; and the call to itself has a greeting. --offline leaves all of that out.
    """
    import sys

    import orjson
    from rich.console import Console

    from agent.check.probes import chosen
    from agent.check.runner import Outcome, run
    from agent.check.show import EXIT, Progress, document, print_outcome
    from agent.check.subject import Subject
    from agent.ops.logs import quieten_libraries

    quieten_libraries()
    try:
        probes = chosen(only or (), skip or ())
    except ValueError as error:
        fail(str(error))

    async def look() -> Outcome:
        subject = Subject.of(env_file, offline=offline)
        try:
            with Progress(Console(stderr=True)) as progress:
                return await run(probes, subject, on_begin=progress.begins, on_end=progress.ends)
        finally:
            await subject.close()

    try:
        outcome = asyncio.run(look())
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    if json:
        sys.stdout.write(orjson.dumps(document(outcome), option=orjson.OPT_INDENT_2).decode() + "\n")
    else:
        print_outcome(Console(), outcome)
    raise typer.Exit(EXIT[outcome.status])
