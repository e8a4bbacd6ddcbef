"""`voice-agent demo`: a whole call on one machine, without a key or a network, and the proof that it worked."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console
from rich.table import Table

from agent.call.record import CallRecord, TurnRecord
from agent.office.seed import LONDON_PLUMBER, seed_examples
from agent.ops.logs import set_up_logging
from agent.ops.picture import PictureTurn, draw_call
from agent.ops.private import make_private_directory, write_private
from agent.ops.recording import Tracks, read_tracks
from agent.ops.report import picture_of, write_report
from agent.ops.settings import UNLIMITED, Settings, load_settings
from agent.ops.waterfall import draw_waterfall
from agent.sandbox.process import ProcessError, part, sandbox_process
from agent.service import Agent
from agent.speech_engines import Recogniser, RecogniserName, load_recogniser
from agent.speech_engines.audio import resample, to_float, to_int16

CALLER_ID = "+447700900123"
CALL_LIMIT_S = 180.0
STOP_LIMIT_MS = 400
UNDERSTOOD = 0.7
"""The share of words that must be found again in the recording, each voice by itself."""


class DemoError(RuntimeError):
    """The demo cannot run, or something that it must show is missing."""


@dataclass(frozen=True, slots=True)
class Demo:
    """What the demo is to do.

    `engines`: real speech, or words in tones (quick, for tests). `rate`: samples a second, from end to end.
    """

    out: Path
    engines: Literal["real", "tones"] = "real"
    rate: int = 8000


async def run_demo(demo: Demo, console: Console) -> int:
    """Run it; 0 when everything is there that must be, 1 otherwise."""
    make_private_directory(demo.out)
    try:
        await _run(demo, console)
    except (DemoError, ProcessError) as error:
        console.print(f"[red]{error}[/red]")
        return 1
    return 0


async def _run(demo: Demo, console: Console) -> None:
    recogniser: RecogniserName = "moonshine" if demo.engines == "real" else "tones"
    if demo.engines == "real":
        console.print(
            "Loading the speech engines (the first time their weights are folded: about 20 s)", soft_wrap=True
        )
    with console.status("loading …"):
        ears = await asyncio.to_thread(load_recogniser, recogniser)
    over: asyncio.Future[CallRecord] = asyncio.get_running_loop().create_future()
    log = demo.out / "sandbox.log"
    async with sandbox_process(log, "--engines", demo.engines, "--profile", "practice") as vendors:
        settings = _settings(demo, vendors)
        set_up_logging(settings, demo.out / "agent.log")
        async with Agent(settings, on_record=over.set_result, on_turn=_printer(console)) as agent:
            await seed_examples(agent.store)
            console.print(f"The agent answers for {LONDON_PLUMBER.name}; a caller with a leaking tap rings.\n")
            await _call(demo, agent)
            try:
                async with asyncio.timeout(5):
                    record = await over
            except TimeoutError:
                raise DemoError(f"the agent has no record of the call: see {demo.out / 'agent.log'}") from None
            booking = await agent.store.find_booking(record.booking_id)
    if booking is None:
        raise DemoError(f"no booking came of the call ({record.outcome}): see {demo.out / 'agent.log'}")
    heard = _caller_side(demo, record)
    console.print("\n[bold]The booking, read back from the database[/bold]")
    _print_pairs(console, booking.as_dict())
    sound = _recording(record, demo.out)
    tracks = await asyncio.to_thread(read_tracks, sound)
    with console.status("listening to the recording, and drawing it …"):
        await asyncio.to_thread(_check_understood, tracks, record, heard, ears, console)
        _check_interruption(heard, console)
        await asyncio.to_thread(_draw, demo.out, tracks, record, heard)
    for name, file in (
        ("report", "call.html"),
        ("recording", "call.wav"),
        ("picture", "call.png"),
        ("waterfall", "waterfall.png"),
        ("record", "call.json"),
    ):
        console.print(f"{name:10} {demo.out / file}")
    console.print("\n[bold]Look at the call in the console[/bold] (Ctrl-C ends it)")
    console.print(f"{command_name()} console --data-dir {demo.out / 'data'}", soft_wrap=True)


def command_name() -> str:
    """How `voice-agent` is called from here: by its name where the shell finds this one, else by its path."""
    script = Path(sys.executable).with_name("voice-agent")
    if not script.exists():
        return f"{sys.executable} -m agent"
    found = shutil.which("voice-agent")
    if found is not None and Path(found).samefile(script):
        return "voice-agent"
    return os.path.relpath(script) if script.is_relative_to(Path.cwd()) else str(script)


# ---- the parts ------------------------------------------------------------------------------------------------------


def _settings(demo: Demo, vendors: dict[str, str]) -> Settings:
    values: dict[str, Any] = {name.lower(): value for name, value in vendors.items()}
    values |= {"data_dir": demo.out / "data", "listen_port": 0, "fastagi_port": 0, "http_port": 0, "console": False}
    values |= {"sample_rate": demo.rate, **UNLIMITED}
    # What the user has set for a real agent must not leak in: everything else has its default.
    for name in Settings.model_fields:
        os.environ.pop(name.upper(), None)
    return load_settings(**values)


async def _call(demo: Demo, agent: Agent) -> None:
    """The simulated caller, in a process of its own so that its speech engines do not disturb the agent."""
    arguments = ["call", "--script", "leaking_tap", "--engine", "hibari-low" if demo.engines == "real" else "tones"]
    arguments += ["--did", LONDON_PLUMBER.numbers[0], "--caller-id", CALLER_ID, "--save", str(demo.out / "caller")]
    arguments += ["--rate", str(demo.rate), "--port", str(agent.audio_port), "--fastagi-port", str(agent.fastagi_port)]
    log = demo.out / "caller.log"
    async with part(log, *arguments) as process:
        assert process.stdout is not None
        try:
            async with asyncio.timeout(CALL_LIMIT_S):
                said = await process.stdout.read()
                status = await process.wait()
        except TimeoutError:
            raise DemoError(f"the call did not end within {CALL_LIMIT_S:g} s: see {demo.out / 'agent.log'}") from None
    with log.open("ab") as file:
        file.write(said)
    if status != 0:
        raise DemoError(f"the caller gave up (status {status}): see {log}")


def _printer(console: Console) -> Any:
    """Each exchange as it is over: who said what, and the wait with its parts."""

    def show(_record: CallRecord, turn: TurnRecord) -> None:
        if turn.caller:
            console.print(f"[blue]caller[/blue]  {turn.caller}", soft_wrap=True)
        heard = turn.heard + (" [red]… interrupted[/red]" if turn.interrupted else "")
        console.print(f"[yellow]agent[/yellow]   {heard}", soft_wrap=True)
        if wait := turn.times.summary():
            whole, _, stages = wait.partition(" ms")
            stages = stages.replace(" (", "\n        (")
            console.print(f"        [dim]{whole} ms from the end of speech to the answer{stages}[/dim]", soft_wrap=True)

    return show


# ---- the proof ------------------------------------------------------------------------------------------------------


def _caller_side(demo: Demo, record: CallRecord) -> dict[str, Any]:
    path = demo.out / "caller" / f"{record.uuid}.json"
    try:
        document = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise DemoError(f"the caller left no account of the call: {path}") from error
    assert isinstance(document, dict)
    return document


def _recording(record: CallRecord, out: Path) -> Path:
    source = Path(record.recording)
    if not record.recording or not source.is_file() or source.stat().st_size < 100_000:
        raise DemoError("the call was not recorded")
    write_private(out / "call.wav", source.read_bytes())
    write_private(out / "call.json", json.dumps(record.as_dict(), indent=2, ensure_ascii=False) + "\n")
    return out / "call.wav"


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9']+", text.lower())


def _share_found(said: Sequence[str], understood: Sequence[str]) -> float:
    words = [word for text in said for word in _words(text)]
    found = set(_words(" ".join(understood)))
    return sum(word in found for word in words) / len(words) if words else 0.0


def _check_understood(
    tracks: Tracks, record: CallRecord, heard: dict[str, Any], ears: Recogniser, console: Console
) -> None:
    """Transcribe both sides of the recording and compare with what was said."""
    rate = tracks.rate
    caller, agent = (np.frombuffer(track, "<i2") for track in (tracks.caller, tracks.agent))
    spoken = [u for u in heard["utterances"] if u["who"] == "caller"]
    spans = {
        "caller": (caller, [(u["start_s"], u["end_s"]) for u in spoken], [u["text"] for u in spoken]),
        "agent": (
            agent,
            [
                (turn.times.first_frame / 1000, turn.end_ms / 1000)
                for turn in record.turns
                if turn.times.first_frame is not None and turn.end_ms is not None
            ],
            [turn.heard for turn in record.turns],
        ),
    }
    for who, (track, times, said) in spans.items():
        understood = []
        for start, end in times:
            piece = track[max(0, int((start - 0.2) * rate)) : int((end + 0.3) * rate)]
            if len(piece):
                at_rate = to_int16(resample(to_float(piece), rate, ears.sample_rate))
                understood.append(" ".join(word.text for word in ears.transcribe(at_rate)))
        share = _share_found(said, understood)
        console.print(f"the {who} in the recording: {share:.0%} of the words understood")
        if share < UNDERSTOOD:
            raise DemoError(f"the {who} cannot be understood in the recording: {' / '.join(understood)}")


def _check_interruption(heard: dict[str, Any], console: Console) -> None:
    stops = [i["stopped_after_ms"] for i in heard["interruptions"] if i["stopped_after_ms"] is not None]
    if not stops:
        raise DemoError("the caller interrupted nobody")
    console.print(f"interrupted: the agent fell silent {stops[0]:.0f} ms after the caller began")
    if stops[0] > STOP_LIMIT_MS:
        raise DemoError(f"that took longer than {STOP_LIMIT_MS} ms")


def _draw(out: Path, tracks: Tracks, record: CallRecord, heard: dict[str, Any]) -> None:
    caller = [
        PictureTurn("caller", u["start_s"], u["end_s"], u["text"]) for u in heard["utterances"] if u["who"] == "caller"
    ]
    draw_call(out / "call.png", picture_of(record, tracks, caller))
    draw_waterfall(out / "waterfall.png", record.turns, "What each answer waited for")
    write_report(record, out / "call.html", sound=out / "call.wav")


def _print_pairs(console: Console, values: dict[str, Any]) -> None:
    table = Table(show_header=False, box=None)
    for name, value in values.items():
        table.add_row(f"[dim]{name}[/dim]", str(value))
    console.print(table)
