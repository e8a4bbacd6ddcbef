"""`voice-agent call --type`: somebody types what the simulated caller says, in a terminal or through a pipe."""

from __future__ import annotations

import asyncio
import sys
import threading
from concurrent.futures import CancelledError
from itertools import chain
from pathlib import Path

from agent.sandbox.caller.call import CallPlan, Heard
from agent.sandbox.caller.command import Engines, line_of, load_ears, loading, tell
from agent.sandbox.caller.result import CallResult
from agent.sandbox.caller.script import ScriptError
from agent.sandbox.caller.typed import TypedCaller
from agent.speech_engines import EngineMissing, Recogniser, Voice, load_voice


async def typed_command(plan: CallPlan, engines: Engines, save: Path | None) -> int:
    """Make a call; return the exit status: 1 without a conversation."""
    voice, recogniser, missing = load_what_there_is(engines)
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    result = await (_on_screen if terminal else _by_lines)(plan, voice, recogniser, missing)
    return 1 if result is None else tell(result, save)


def load_what_there_is(engines: Engines) -> tuple[Voice | None, Recogniser | None, list[str]]:
    """The caller's voice and ears as far as they are installed, and what is missing, in words."""
    voice: Voice | None = None
    recogniser: Recogniser | None = None
    missing = []
    try:
        with loading("the caller's voice"):
            voice = load_voice(engines.voice)
    except EngineMissing as error:
        missing.append(f"{error}: nothing can be said; /dtmf 1, /play FILE.wav, /wait 2s and /hangup work")
    try:
        recogniser = load_ears(engines)
    except EngineMissing as error:
        missing.append(f"{error}: when the agent speaks is shown, and not what it says")
    return voice, recogniser, missing


async def _on_screen(
    plan: CallPlan, voice: Voice | None, recogniser: Recogniser | None, missing: list[str]
) -> CallResult | None:
    from agent.sandbox.caller.typed_screen import TypedScreen

    lines: list[str] = []

    def heard(what: Heard) -> None:
        lines.append(line_of(what))
        screen.heard(what, lines[-1])

    screen = TypedScreen(TypedCaller(plan, voice, recogniser, heard), missing)
    result = await screen.run_async()
    for line in (*missing, *lines):  # the screen is gone, and what was said is to stay
        print(line)
    return result


async def _by_lines(
    plan: CallPlan, voice: Voice | None, recogniser: Recogniser | None, missing: list[str]
) -> CallResult:
    for text in missing:
        print(text, file=sys.stderr)
    caller = TypedCaller(plan, voice, recogniser, lambda what: print(line_of(what), flush=True))
    loop = asyncio.get_running_loop()

    async def typed(text: str) -> None:
        try:
            await caller.type_in_turn(text)
        except ScriptError as error:
            print(error, file=sys.stderr)

    def read() -> None:
        for line in chain(sys.stdin, ["/hangup"]):
            try:
                asyncio.run_coroutine_threadsafe(typed(line), loop).result()
            except (RuntimeError, CancelledError):
                return  # the call is over

    # A thread that waits for a line cannot be ended: a daemon goes with the process.
    threading.Thread(target=read, name="typed lines", daemon=True).start()
    return await caller.run()
