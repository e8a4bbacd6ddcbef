"""`voice-agent demo`, `call`, `callers` and `sandbox`: calls without a telephone, a key or a network."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from agent.cli_complete import callers_of, conversations, scripts
from agent.cli_shared import EnvFile, fail, fail_for_want_of, run

Rate = Annotated[int, typer.Option(help="samples a second: 8000, or 16000 as with SAMPLE_RATE=16000")]


def _check_rate(rate: int) -> None:
    if rate not in (8000, 16000):
        fail(f"--rate is 8000 or 16000, not {rate}")


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


def call(
    script: Annotated[
        str, typer.Option(help="file, or name of a packaged script; leaking_tap by default", autocompletion=scripts)
    ] = "",
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


def callers(
    only: Annotated[
        list[str] | None,
        typer.Option(help="name of a caller, or a .caller file; again for more", autocompletion=callers_of),
    ] = None,
    conversation: Annotated[
        str,
        typer.Option(
            help="whose callers: a packaged name or a directory; CONVERSATION unless given",
            autocompletion=conversations,
        ),
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
