"""The command `voice-agent`: one subcommand for each thing that an operator does."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from agent import cli_check, cli_init, cli_load, cli_roll, cli_top, cli_users
from agent.cli_shared import DataDir, EnvFile, fail, fail_for_want_of, run

app = typer.Typer(
    name="voice-agent",
    help="A voice agent that answers real phone calls on Asterisk.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)

Rate = Annotated[int, typer.Option(help="samples a second: 8000, or 16000 as with SAMPLE_RATE=16000")]


def _check_rate(rate: int) -> None:
    if rate not in (8000, 16000):
        fail(f"--rate is 8000 or 16000, not {rate}")


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


@app.command()
def office(
    env_file: EnvFile = None,
    host: Annotated[str, typer.Option(help="address to listen on; LISTEN_HOST unless given")] = "",
    port: Annotated[int, typer.Option(min=0, max=65535, help="TCP port; 0 picks a free one")] = 9097,
    seed: Annotated[bool, typer.Option("--seed", help="add the two example companies first")] = False,
) -> None:
    """Serve the back office's context and booking APIs as a process of its own."""
    from agent.office.serve import office_command

    raise typer.Exit(run(office_command(env_file, host=host, port=port, seed=seed)))


@app.command()
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


app.add_typer(cli_users.app, name="user")
cli_load.register(app)
app.command()(cli_top.top)
app.command()(cli_roll.roll)
app.command()(cli_check.check)
app.command()(cli_init.init)


@app.command()
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


@app.command()
def conversation(
    name: Annotated[str, typer.Argument(help="name or directory; CONVERSATION unless given")] = "",
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


outbox_app = typer.Typer(
    help="What waits to be sent, bookings, webhooks and mails: list it, send bookings again, give them up."
)
app.add_typer(outbox_app, name="outbox", invoke_without_command=True)


@outbox_app.callback()
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


@outbox_app.command()
def retry(context: typer.Context, key: str) -> None:
    """Send a booking again. One that is uncertain may then be made twice: look first."""
    from agent.tools.outbox.command import retry_booking

    _on_outbox(context.obj, retry_booking, key)


@outbox_app.command()
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


@app.command()
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


@app.command()
def prompts(
    again: Annotated[bool, typer.Option("--again", help="record also what is there already")] = False,
    env_file: EnvFile = None,
) -> None:
    """Record what callers hear when the voice is away, in each voice of the agent; exit 1 if one fails."""
    try:
        from agent.ops.prompts import record_prompts
    except ImportError as error:
        fail_for_want_of(error, "recording prompts needs", "cartesia")
    from agent.conversations import ConversationError
    from agent.office.database import DatabaseError
    from agent.ops.settings import SettingsError, load_settings

    try:
        failed = run(record_prompts(load_settings(env_file), again=again, report=typer.echo))
    except (SettingsError, ConversationError, DatabaseError) as error:
        fail(str(error))
    raise typer.Exit(1 if failed else 0)


@app.command()
def sandbox(
    config: Annotated[Path | None, typer.Option(help="JSON file of settings")] = None,
    engines: Annotated[str | None, typer.Option(help="speech engines: real, tones or script")] = None,
    deepgram_port: Annotated[
        int | None, typer.Option(help="port of the emulated Deepgram; any free one unless given")
    ] = None,
    groq_port: Annotated[int | None, typer.Option(help="port of the emulated Groq; any free one unless given")] = None,
    cartesia_port: Annotated[
        int | None, typer.Option(help="port of the emulated Cartesia; any free one unless given")
    ] = None,
    profile: Annotated[
        Literal["published", "practice"] | None,
        typer.Option(help="the vendors' latencies: as published, or as they show in practice; none unless given"),
    ] = None,
    published: Annotated[bool, typer.Option("--published", hidden=True, help="as --profile published")] = False,
) -> None:
    """Emulate Deepgram, Groq and Cartesia on this machine, without a key or a network."""
    from agent.sandbox import command

    chosen = profile or ("published" if published else None)
    raise typer.Exit(command.start(config, engines, (deepgram_port, groq_port, cartesia_port), profile=chosen))


@app.command()
def call(
    script: Annotated[str, typer.Option(help="file, or name of a packaged script; leaking_tap by default")] = "",
    say: Annotated[list[str] | None, typer.Option(help="say this; again for what comes next")] = None,
    wav: Annotated[list[Path] | None, typer.Option(help="play this 16-bit WAV file")] = None,
    interrupt_after: Annotated[
        int | None, typer.Option(min=0, help="ms: the second --say interrupts the answer to the first")
    ] = None,
    dtmf: Annotated[str, typer.Option(help="keys to press at the end")] = "",
    did: Annotated[str, typer.Option(help="the number that is dialled")] = "+442079460123",
    caller_id: Annotated[str, typer.Option(help="the caller's number; empty for withheld")] = "+447700900123",
    host: Annotated[str, typer.Option(help="where the agent is")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="the agent's AudioSocket port")] = 9099,
    fastagi_port: Annotated[
        int, typer.Option(min=0, max=65535, help="the agent's FastAGI port; 0: do not announce the call")
    ] = 4573,
    engine: Annotated[
        Literal["hibari-low", "hibari", "pico", "tones"], typer.Option(help="the caller's voice")
    ] = "hibari-low",
    ears: Annotated[
        Literal["moonshine", "tones", "none", ""],
        typer.Option(help="what understands the agent; empty: what suits the voice", show_choices=True),
    ] = "",
    rate: Rate = 8000,
    type_: Annotated[
        bool, typer.Option("--type", help="type what the caller says; so it is in a terminal, if nothing else is given")
    ] = False,
    save: Annotated[Path | None, typer.Option(help="directory for a stereo WAV, a JSON document and a picture")] = None,
) -> None:
    """Call a running agent as Asterisk would, with a simulated caller; exit 1 when no conversation comes about."""
    try:
        from agent.sandbox.caller.call import CallPlan
        from agent.sandbox.caller.command import Engines, call_command, choose_script
        from agent.sandbox.caller.script import ScriptError
        from agent.sandbox.caller.typed_command import typed_command
    except ImportError as error:
        fail_for_want_of(error, "the simulated caller needs")

    _check_rate(rate)
    scripted = bool(script or say or wav or dtmf or interrupt_after is not None)
    if type_ and scripted:
        fail("--type stands alone: what the caller says is typed")
    typed = type_ or (not scripted and sys.stdin.isatty() and sys.stdout.isatty())
    try:
        lines = choose_script(script, say or (), wav or (), interrupt_after, dtmf)
    except ScriptError as error:
        fail(str(error))
    try:
        if save is not None:
            save.mkdir(parents=True, exist_ok=True)  # after the call it would be too late to say
    except OSError as error:
        fail(f"cannot make the directory {save}: {error.strerror}")
    agi = fastagi_port or None
    plan = CallPlan(host=host, port=port, fastagi_port=agi, did=did, caller_id=caller_id, rate=rate)
    if typed:
        plan = dataclasses.replace(plan, quiet_s=0.5, longest_s=3600.0)
        raise typer.Exit(run(typed_command(plan, Engines(engine, ears), save)))
    raise typer.Exit(run(call_command(plan, lines, Engines(engine, ears), save)))


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="where recording, picture and record go")] = Path("demo-out"),
    tones: Annotated[bool, typer.Option("--tones", help="words in tones instead of speech: quick")] = False,
    rate: Rate = 8000,
) -> None:
    """Make a whole call on this machine, without a key or a network, and show what came of it."""
    try:
        from rich.console import Console

        from agent.demo import Demo, run_demo
    except ImportError as error:
        fail_for_want_of(error, "the demo needs")
    _check_rate(rate)
    raise typer.Exit(run(run_demo(Demo(out, "tones" if tones else "real", rate), Console())))


@app.command()
def report(
    call: Annotated[str, typer.Argument(help="UUID of a call that the agent has had, or the file of its record")],
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


@app.command()
def callers(
    only: Annotated[list[str] | None, typer.Option(help="name of a caller, or a .caller file; again for more")] = None,
    conversation: Annotated[
        str, typer.Option(help="whose callers: a packaged name or a directory; CONVERSATION unless given")
    ] = "",
    live: Annotated[bool, typer.Option("--live", help="with the real vendors and the keys of the env file")] = False,
    env_file: EnvFile = None,
    stt: Annotated[Literal["nova", "flux"], typer.Option(help="which of Deepgram's recognisers")] = "nova",
    engines: Annotated[
        Literal["tones", "real"], typer.Option(help="speech of the emulated vendors and the callers")
    ] = "tones",
    at_once: Annotated[int, typer.Option(min=1, max=50, help="calls at a time")] = 4,
    save: Annotated[Path | None, typer.Option(help="directory for what is kept of each call")] = None,
) -> None:
    """Let scripted callers ring an agent and judge what comes of each call; exit 1 when one is not as it must be."""
    try:
        from rich.console import Console

        from agent.conversations import ConversationError
        from agent.conversations.catalogue import find_conversation
        from agent.conversations.files import PACKAGED
        from agent.ops.private import make_private_directory
        from agent.ops.settings import SettingsError, load_settings
        from agent.sandbox.scenarios.command import callers_command
        from agent.sandbox.scenarios.rig import Options
    except ImportError as error:
        fail_for_want_of(error, "the callers need")
    try:
        settings = load_settings(env_file)
        directory = find_conversation(conversation or settings.conversation, settings.conversations_dir)
    except (SettingsError, ConversationError) as error:
        fail(str(error))
    options = Options(
        folder=Path(),
        conversation=directory.name,
        directory=None if directory.parent == PACKAGED else directory,
        engines=engines,
        stt=stt,
        live=live,
        env_file=env_file,
        at_once=at_once,
        save=save,
    )
    try:
        if save is not None:
            make_private_directory(save)
    except OSError as error:
        fail(f"cannot make the directory {save}: {error.strerror}")
    raise typer.Exit(run(callers_command(options, only or (), Console())))


def main() -> None:
    """Entry point of the command."""
    app()


if __name__ == "__main__":
    main()
