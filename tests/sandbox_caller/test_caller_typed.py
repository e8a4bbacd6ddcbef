"""A caller whose words are typed: what is said, over whom, and what there is where a voice is missing."""

from __future__ import annotations

import asyncio
import sys
import wave
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent.sandbox.caller import Heard
from agent.sandbox.caller import typed as typed_module
from agent.sandbox.caller import typed_command as command
from agent.sandbox.caller.command import Engines
from agent.sandbox.caller.script import Line, ScriptError, typed_line
from agent.sandbox.caller.typed import TypedCaller
from agent.sandbox.caller.typed_screen import LineInput, TypedScreen
from agent.speech_engines import EngineMissing
from tests.sandbox_caller.test_caller_call import EARS, VOICE, TonesAgent, understood

if TYPE_CHECKING:
    from textual.pilot import Pilot

    from agent.sandbox.caller import CallResult


@asynccontextmanager
async def calling(
    agent: TonesAgent, heard: list[Heard] | None = None, *, speaks: bool = True
) -> AsyncIterator[tuple[TypedCaller, asyncio.Task[CallResult]]]:
    """A call that goes on."""
    async with agent.listening() as plan:
        noted = [] if heard is None else heard
        caller = TypedCaller(replace(plan, quiet_s=0.3, longest_s=30.0), VOICE if speaks else None, EARS, noted.append)
        task = asyncio.create_task(caller.run())
        yield caller, task
        await asyncio.wait({task}, timeout=30)
        assert task.done()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("Hello there", Line("say", "Hello there")),
        ("  my code is <900ms> M1 \n", Line("say", "my code is <900ms> M1")),
        ("/dtmf 1 2#", Line("dtmf", "12#")),
        ("/play <cough>", Line("play", "<cough>", recorded=True)),
        ("/wait 2s", Line("wait", seconds=2.0)),
        ("/hangup", Line("hangup")),
        ("/quit", Line("hangup")),
        ("   ", None),
    ],
)
def test_what_is_typed(text: str, line: Line | None) -> None:
    assert typed_line(text) == line


@pytest.mark.parametrize(
    "text", ["/", "/dtmf", "/dtmf x", "/dance", "/hangup now", "/wait long", "<900ms>", "/say hello"]
)
def test_what_cannot_be_typed(text: str) -> None:
    with pytest.raises(ScriptError):
        typed_line(text)


async def test_lines_are_spoken_as_they_are_typed() -> None:
    heard: list[Heard] = []
    agent = TonesAgent("Hi", ["One", "Two"], hangs_up=False)
    async with calling(agent, heard) as (caller, task):
        await until(lambda: any(one.text == "Hi" for one in heard))
        caller.type("tap")
        await until(lambda: any(one.text == "One" for one in heard))
        caller.type("/dtmf 12")
        caller.type("/play no such file.wav")
        caller.type("yes")
        await until(lambda: any(one.text == "Two" for one in heard))
        caller.hang_up()
        result = await task
    assert [one.text for one in heard if one.who != "line"] == ["Hi", "tap", "One", "yes", "Two"]
    assert result.said_by("caller") == ["tap", "yes"]
    assert (result.ok, result.ended_by, result.interruptions) == (True, "caller", [])
    said = [one.text for one in heard if one.who == "line"]
    assert "the caller presses 12" in said
    assert any("no such file" in text for text in said), "the call goes on without it"


async def test_typing_while_the_agent_speaks_interrupts_it() -> None:
    heard: list[Heard] = []
    agent = TonesAgent("A greeting that is so long that nobody waits for its end", hangs_up=False)
    async with calling(agent, heard) as (caller, task):
        await until(lambda: caller.state == "the agent speaks")
        caller.type("stop it now")
        await until(lambda: caller.state == "quiet" and any(one.who == "caller" for one in heard))
        caller.hang_up()
        result = await task
    (interruption,) = result.interruptions
    assert interruption.stopped_after_ms is not None
    assert "the caller interrupts" in [one.text for one in heard]


async def test_so_many_lines_wait_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(typed_module, "MOST_LINES", 3)
    async with calling(TonesAgent("Hi", hangs_up=False)) as (caller, task):
        caller.type("/wait 60s")
        await until(lambda: caller._lines.empty())
        for _ in range(3):
            caller.type("/dtmf 1")
        assert caller.state.endswith("3 more to say")
        with pytest.raises(ScriptError, match="3 lines wait"):
            caller.type("more")
        waiting = asyncio.create_task(caller.type_in_turn("more"))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        waiting.cancel()
        task.cancel()


async def test_without_a_voice_there_are_keys_and_files(monkeypatch: pytest.MonkeyPatch) -> None:
    async with calling(TonesAgent("Hi", hangs_up=False), speaks=False) as (caller, task):
        with pytest.raises(ScriptError, match="nobody can speak here"):
            caller.type("Hello")
        caller.type("/dtmf 1")
        caller.type("/play <cough>")
        caller.type("/wait 1s")
        caller.type("/hangup")
        result = await task
    assert result.said_by("caller") == ["(<cough>)"]

    def missing(name: str) -> None:
        raise EngineMissing(name, "x")

    monkeypatch.setattr(command, "load_voice", missing)
    monkeypatch.setattr("agent.sandbox.caller.command.load_recogniser", missing)
    voice, ears, told = command.load_what_there_is(Engines())
    assert (voice, ears) == (None, None)
    assert "hibari-low" in told[0]
    assert "moonshine" in told[1]
    assert "/dtmf" in told[0]


async def test_a_pipe_types_line_by_line(tmp_path: Path) -> None:
    """The command as a process: the lines of its standard input, then it hangs up."""
    async with TonesAgent("Hi", ["One"], hangs_up=False).listening() as plan:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "agent", "call", "--type", "--engine", "tones", "--fastagi-port", "0"),
            *("--port", str(plan.port), "--save", str(tmp_path / "kept")),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, error = await asyncio.wait_for(process.communicate(b"/wait 2s\ntap\n/what\n/wait 3s\n"), 50)
    text = out.decode()
    assert process.returncode == 0, (text, error)
    assert [word for word in ("Hi", "tap", "One", "the caller hung up", "saved") if word not in text] == []
    assert b"is none of /dtmf 1" in error


async def test_the_screen_shows_who_says_what_and_takes_lines_however_quick() -> None:
    agent = TonesAgent("Hi", ["One", "Two"], hangs_up=False)
    async with agent.listening() as plan:
        screens: list[TypedScreen] = []
        lines: list[str] = []

        def heard(what: Heard) -> None:
            lines.append(f"{what.who} {what.text}")
            screens[0].heard(what, lines[-1])

        screen = TypedScreen(TypedCaller(replace(plan, quiet_s=0.3, longest_s=30.0), VOICE, EARS, heard), ["no ears"])
        screens.append(screen)
        async with screen.run_test(size=(80, 24)) as pilot:
            await shown(pilot, lambda: "agent Hi" in lines)
            field = screen.query_one(LineInput)
            await pilot.press(*"/nothing", "enter", *"tap", "enter", *"left over")
            assert field.value == "left over"
            await shown(pilot, lambda: "agent One" in lines)
            log = "\n".join(strip.text for strip in screen.query_one("#said").lines)  # type: ignore[attr-defined]
            for text in ("no ears", "agent Hi", "is none of", "caller tap", "agent One"):
                assert text in log
            await pilot.press("ctrl+d")
            await shown(pilot, lambda: screen.return_value is not None)
        screen.say("the screen is gone")
        result = screen.return_value
    assert result is not None
    assert (result.ended_by, result.said_by("caller")) == ("caller", ["tap"])


async def shown(pilot: Pilot[CallResult], condition: Callable[[], object]) -> None:
    for _ in range(400):
        if condition():
            return
        await pilot.pause(0.05)
    raise AssertionError("it does not come about")


async def until(condition: Callable[[], object], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


BARE = """
import sys
import wave
for name in ("numpy", "scipy", "matplotlib", "onnxruntime", "hibari_tts"):
    sys.modules[name] = None  # as if it were not installed
from agent.cli import app
app()
"""


async def test_without_the_extra_it_does_what_it_can(tmp_path: Path) -> None:
    """Keys, recordings at the line's rate, and who speaks: and it says what is missing."""
    sound = tmp_path / "tap.wav"
    with wave.open(str(sound), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(VOICE.speak("tap", 8000).samples.astype("<i2").tobytes())
    agent = TonesAgent("Hi", ["One"], hangs_up=False)
    async with agent.listening() as plan:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", BARE, "call", "--type", "--fastagi-port", "0", "--port", str(plan.port)),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        typed = f"/wait 2s\nHello\n/dtmf 12\n/play {sound}\n/play <cough>\n/wait 3s\n".encode()
        out, error = await asyncio.wait_for(process.communicate(typed), 50)
    text = out.decode()
    assert process.returncode == 0, (text, error)
    assert text.count("agent   (not understood)") == 2, "it greets, and answers the recording"
    assert agent.keys == "12"
    assert understood(agent.heard) == "tap"
    for words in (b"nothing can be said", b"fastaudio-agent[local]", b"not what it says", b"nobody can speak here"):
        assert words in error, error
    assert "to play <cough> the package 'numpy' is needed" in text
