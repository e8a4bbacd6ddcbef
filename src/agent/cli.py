"""The command `voice-agent`: one subcommand for each thing that an operator does."""

from __future__ import annotations

from typing import Annotated

import typer

from agent import (
    cli_check,
    cli_conversations,
    cli_init,
    cli_load,
    cli_outbox,
    cli_records,
    cli_roll,
    cli_serve,
    cli_top,
    cli_try,
    cli_users,
)
from agent.cli_shared import lesson, teach

SET_UP, SERVE, LOOK, TRY, DATA = "Set up", "Serve", "Look", "Try without a telephone", "Data"

app = typer.Typer(
    name="voice-agent",
    help="A voice agent that answers real phone calls on Asterisk.",
    epilog=lesson(
        "install-asterisk.md", "voice-agent init", "voice-agent check", "voice-agent serve", "voice-agent top"
    ),
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)


def _say_version(asked: bool) -> None:
    if asked:
        from agent import __version__

        typer.echo(f"voice-agent {__version__}")
        raise typer.Exit


@app.callback()
def root(
    _version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="say the version and leave")
    ] = False,
) -> None:
    """A voice agent that answers real phone calls on Asterisk."""


INSTALL, RUNNING, TALKING = "install-asterisk.md", "operations.md", "conversation.md"

teach(app, cli_init.init, INSTALL, "voice-agent init", "voice-agent init --dry-run", panel=SET_UP)
teach(
    app, cli_check.check, "troubleshooting.md", "voice-agent check", "voice-agent check --offline --json", panel=SET_UP
)
teach(
    app,
    cli_conversations.conversation,
    TALKING,
    "voice-agent conversation",
    "voice-agent conversation dentist --copy my-dentist",
    """voice-agent conversation --try check_availability '{"postcode": "SW4 7DQ"}'""",
    panel=SET_UP,
)
teach(
    app,
    cli_conversations.prompts,
    "failures.md",
    "voice-agent prompts --env-file /etc/voice-agent.env",
    "voice-agent prompts --again",
    panel=SET_UP,
)
app.add_typer(cli_users.app, name="user", rich_help_panel=SET_UP)

teach(
    app,
    cli_serve.serve,
    RUNNING,
    "voice-agent serve --env-file /etc/voice-agent.env",
    "voice-agent serve --seed --workers auto",
    panel=SERVE,
)
teach(app, cli_roll.roll, "scaling.md", "voice-agent roll --env-file /etc/voice-agent.env", panel=SERVE)
teach(
    app,
    cli_serve.office,
    "back-office.md",
    "voice-agent office --env-file office.env",
    "voice-agent office --seed --port 0",
    panel=SERVE,
)
teach(app, cli_serve.console, "console.md", "voice-agent console --data-dir demo-out/data", panel=SERVE)
teach(
    app,
    cli_try.sandbox,
    "sandbox.md",
    "voice-agent sandbox --profile published",
    "voice-agent sandbox --engines tones --deepgram-port 4010 --groq-port 4011 --cartesia-port 4012",
    panel=SERVE,
)

teach(
    app,
    cli_top.top,
    f"{RUNNING}, Looking at a running agent",
    "voice-agent top",
    "voice-agent top http://10.0.0.7:9098 --only plumber",
    "voice-agent top --once | grep thinking",
    panel=LOOK,
)
teach(
    app,
    cli_records.report,
    RUNNING,
    "voice-agent report ca50cb2e-ac64-4430-a6d0-b2cc59233f75",
    "voice-agent report demo-out/call.json --out call.html",
    panel=LOOK,
)
app.add_typer(cli_outbox.app, name="outbox", rich_help_panel=LOOK)

teach(app, cli_try.demo, "conversation.md", "voice-agent demo", "voice-agent demo --tones --out out", panel=TRY)
teach(
    app,
    cli_try.call,
    f"{TALKING}, Trying it without a key or a phone",
    "voice-agent call --type",
    'voice-agent call --did +442079460123 --say "My kitchen tap is leaking." --save out',
    'voice-agent call --say "Hello" --say "How soon?" --interrupt-after 600 --dtmf 0',
    panel=TRY,
)
teach(
    app,
    cli_try.callers,
    f"{TALKING}, Trying it without a key or a phone",
    "voice-agent callers",
    "voice-agent callers --conversation dentist --only toothache --save out",
    panel=TRY,
)
teach(
    app,
    cli_load.load,
    "capacity.md",
    "voice-agent load --own",
    "voice-agent load 127.0.0.1:9099 --from 10 --most 60 --yes",
    panel=TRY,
)
teach(
    app,
    cli_load.capacity,
    "capacity.md",
    "voice-agent capacity --calls-an-hour 3000 --minutes 2.5",
    "voice-agent capacity --calls-an-hour 3000 --calls-a-host 50 --simulate",
    panel=TRY,
)

teach(
    app,
    cli_records.forget,
    "back-office.md",
    "voice-agent forget +447700900123 --dry-run",
    "voice-agent forget - < number.txt",
    panel=DATA,
)


def main() -> None:
    """Entry point of the command."""
    app()


if __name__ == "__main__":
    main()
