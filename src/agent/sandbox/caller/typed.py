"""A caller whose words are typed while the call goes on: each line is spoken as it comes, over the agent if need be."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

from agent.sandbox.caller.call import CallPlan, OnHeard, SimulatedCaller
from agent.sandbox.caller.result import CallResult, Interruption
from agent.sandbox.caller.script import Line, Script, ScriptError, typed_line
from agent.sandbox.caller.speak import played, spoken
from agent.sandbox.caller.wire import AudioSocketCaller
from agent.speech_engines import Recogniser, Voice

MOST_LINES: Final = 32
"""That wait to be said."""


class TypedCaller(SimulatedCaller):
    """`type` what it is to say, at any time; `run` makes the call and returns when one of the two has hung up."""

    def __init__(
        self, plan: CallPlan, voice: Voice | None, recogniser: Recogniser | None = None, on_heard: OnHeard = print
    ) -> None:
        """Without a `voice` nothing can be said, but keys pressed and files played; `recogniser` may be None."""
        super().__init__(plan, Script(()), voice, recogniser, on_heard)
        self._lines: asyncio.Queue[Line] = asyncio.Queue(MOST_LINES)
        self._speech = ThreadPoolExecutor(1, thread_name_prefix="typed-speech")  # never behind what is understood

    async def run(self) -> CallResult:
        """Make the call; what fails is in its result."""
        try:
            return await super().run()
        finally:
            self._speech.shutdown(wait=False, cancel_futures=True)

    def type(self, text: str) -> None:
        """Have this done once what was typed before is done. Raises `ScriptError` for what cannot be."""
        if self._lines.full():
            raise ScriptError(f"{MOST_LINES} lines wait to be said already")
        if (line := self._read(text)) is not None:
            self._lines.put_nowait(line)

    async def type_in_turn(self, text: str) -> None:
        """The same, once there is room for one more line."""
        if (line := self._read(text)) is not None:
            await self._lines.put(line)

    def _read(self, text: str) -> Line | None:
        line = typed_line(text)
        if line is not None and line.action == "say" and self._voice is None:
            raise ScriptError("nobody can speak here (see above); there is /dtmf 1, /play FILE, /hangup")
        return line

    def hang_up(self) -> None:
        """Say no more than what is being said, and hang up."""
        while not self._lines.empty():
            self._lines.get_nowait()
        self._lines.put_nowait(Line("hangup"))

    @property
    def state(self) -> str:
        """Who speaks just now, and how much is still to be said, in words."""
        agent, caller = self._ear.speaking_since is not None, self._mouth.speaking
        who = "both speak" if agent and caller else "the agent speaks" if agent else "you speak" if caller else "quiet"
        return f"{who}; {self._lines.qsize()} more to say" if self._lines.qsize() else who

    async def _converse(self, wire: AudioSocketCaller) -> None:
        while True:
            await self._until(wire, lambda: not self._lines.empty())
            line = self._lines.get_nowait()
            if line.action == "hangup":
                return
            try:
                await self._make(wire, line)
            except ScriptError as error:
                self._tell(wire.now, "line", str(error))
                continue
            interruption = self._interruption(wire) if line.action in ("say", "play") else None
            try:
                await self._do(wire, line)
            finally:
                if interruption is not None and self._mouth.began_s is not None:
                    interruption.at_s = self._mouth.began_s

    async def _make(self, wire: AudioSocketCaller, line: Line) -> None:
        """Have the sound of a line, while the call goes on. Raises `ScriptError`."""
        if line.action not in ("say", "play") or line.text in self._sounds:
            return
        rate, voice = self._plan.rate, self._voice
        make = partial(played, line.text, rate) if line.recorded else partial(spoken, line.text, voice, rate)
        making = asyncio.get_running_loop().run_in_executor(self._speech, make)
        await self._until(wire, making.done)
        self._sounds[line.text] = making.result()

    def _interruption(self, wire: AudioSocketCaller) -> Interruption | None:
        if self._ear.speaking_since is None:
            return None
        interruption = Interruption(wire.now)
        self._result.interruptions.append(interruption)
        self._tell(wire.now, "line", "the caller interrupts")
        return interruption
