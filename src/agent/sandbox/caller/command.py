"""The command `voice-agent call`: a simulated caller in the terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from statistics import median
from typing import Literal

from rich.console import Console

from agent.ops.picture import CallPicture, PictureError, PictureMark, PictureTurn, draw_call
from agent.sandbox.caller.call import CallPlan, Heard, SimulatedCaller
from agent.sandbox.caller.result import CallResult, Interruption
from agent.sandbox.caller.script import Script, ScriptError, parse_script, read_script, script_of
from agent.speech_engines import (
    EngineMissing,
    Recogniser,
    RecogniserName,
    Voice,
    VoiceName,
    load_recogniser,
    load_voice,
)

PACKAGED = "agent.sandbox", "scripts"
"""Where the scripts that come along are."""


@dataclass(frozen=True, slots=True)
class Engines:
    """The caller's voice, and what it understands the agent with ("none": the script is taken in order)."""

    voice: VoiceName = "hibari-low"
    ears: RecogniserName | Literal["none", ""] = ""
    """Empty for the one that goes with the voice."""


def packaged_script(name: str) -> Script:
    """Return a script that comes with the package, such as "leaking_tap". Raises `ScriptError`."""
    file = files(PACKAGED[0]) / PACKAGED[1] / f"{name}.call"
    if not file.is_file():
        raise ScriptError(f"there is no script {name!r}: give a file")
    return parse_script(file.read_text(encoding="utf-8"), name=name)


def choose_script(
    script: str, says: Sequence[str], wavs: Sequence[Path], interrupt_after_ms: int | None, dtmf: str
) -> Script:
    """Return the script of a command line: a file or the name of a packaged one, or what is to be said.

    Raises `ScriptError`.
    """
    if script:
        if says or wavs or dtmf or interrupt_after_ms is not None:
            raise ScriptError("--script stands alone: write say:, play:, dtmf: and interrupt into the script")
        path = Path(script)
        return read_script(path) if path.suffix or path.exists() else packaged_script(script)
    if not (says or wavs or dtmf):
        return packaged_script("leaking_tap")
    after_s = None if interrupt_after_ms is None else interrupt_after_ms / 1000
    return script_of(says, interrupt_after_s=after_s, dtmf=dtmf, wavs=wavs)


def load_engines(engines: Engines, speaks: bool = True) -> tuple[Voice | None, Recogniser | None]:
    """Load voice (None unless somebody `speaks`) and recogniser, and show that it takes a while.

    Raises `EngineMissing`; without a recogniser named it goes on without one.
    """
    with loading("the caller's voice"):
        voice = load_voice(engines.voice) if speaks else None
    try:
        return voice, load_ears(engines)
    except EngineMissing as error:
        if engines.ears:
            raise
        print(f"{error}\nNobody understands the agent: the script is taken in order.", file=sys.stderr)
        return voice, None


def load_ears(engines: Engines) -> Recogniser | None:
    """Load what understands the agent; None where nothing is to. Raises `EngineMissing`."""
    if engines.ears == "none":
        return None
    with loading("what understands the agent (the first time on this machine: some 20 s)"):
        return load_recogniser(engines.ears or ("tones" if engines.voice == "tones" else "moonshine"))


def loading(what: str) -> AbstractContextManager[object]:
    """Say on the terminal's standard error that `what` is being loaded, while entered; nothing where there is none."""
    console = Console(stderr=True)
    return console.status(f"loading {what} …") if console.is_terminal else nullcontext()


def line_of(heard: Heard) -> str:
    """Return what happened as a line of a transcript: seconds, who, what, and how long the caller waited for it."""
    text = heard.text or "(not understood)"
    waited = heard.utterance.answered_after_ms if heard.utterance and heard.who == "agent" else None
    who = "--" if heard.who == "line" else heard.who
    return f"{heard.at_s:7.2f} s  {who:<6}  {text}" + (f"  (after {waited:.0f} ms)" if waited is not None else "")


async def call_command(plan: CallPlan, script: Script, engines: Engines, save: Path | None) -> int:
    """Make a call and print it as it goes; return the exit status: 1 without a conversation, 2 without a call."""
    try:
        voice, recogniser = load_engines(engines, speaks=bool(script.texts()))
        caller = SimulatedCaller(plan, script, voice, recogniser, lambda heard: print(line_of(heard), flush=True))
        result = await caller.run()
    except (EngineMissing, ScriptError) as error:
        print(error, file=sys.stderr)
        return 2
    return tell(result, save)


def tell(result: CallResult, save: Path | None) -> int:
    """Print how a call went, save it if it is to be; return the exit status: 1 without a conversation."""
    for line in summary(result):
        print(line)
    if save is not None and result.agent_track:
        for path in (*result.save(save), *draw(result, save)):
            print(f"saved {path}")
    if not result.ok:
        print(f"no conversation: {result.failure}", file=sys.stderr)
    return 0 if result.ok else 1


def draw(result: CallResult, folder: Path) -> list[Path]:
    """Draw the call as `<uuid>.png` into `folder`; without matplotlib it says so and draws nothing."""
    path = folder / f"{result.call}.png"
    turns = [
        PictureTurn("caller" if u.who == "caller" else "agent", u.start_s, u.end_s, u.text, u.answered_after_ms)
        for u in result.utterances
    ]
    marks = [
        PictureMark(i.at_s, "interruption" if i.stopped_after_ms is None else "barge-in", _how_it_stopped(i))
        for i in result.interruptions
    ]
    try:
        tracks = result.caller_track, result.agent_track
        draw_call(path, CallPicture(result.rate, *tracks, turns, marks, "As the caller heard it"))
    except PictureError as error:
        print(error, file=sys.stderr)
        return []
    return [path]


def _how_it_stopped(interruption: Interruption) -> str:
    stopped = interruption.stopped_after_ms
    return "the agent was silent already" if stopped is None else f"the agent fell silent after {stopped:.0f} ms"


def summary(result: CallResult) -> list[str]:
    """Return a few lines on how the call went."""
    answers = sorted(result.answers_ms())
    lines = [f"{result.duration_s:.1f} s; agent frames: {result.wire.frames_received}"]
    if answers:
        lines.append(f"answers: {len(answers)}, median {median(answers):.0f} ms, worst {max(answers):.0f} ms")
    lines += [f"interruption at {i.at_s:.2f} s: {_how_it_stopped(i)}" for i in result.interruptions]
    if result.unused_lines:
        lines.append(f"not used of the script: line {', '.join(str(number) for number in result.unused_lines)}")
    if result.wire.late_ms > 20:
        lines.append(f"this host was up to {result.wire.late_ms:.0f} ms late: its load blurs the times above")
    return lines
