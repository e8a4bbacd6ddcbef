"""One simulated call: the dialplan's part, the wire, and a caller who listens and speaks by a script."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from agent.sandbox.caller.agi import AgiFailed, Dialplan
from agent.sandbox.caller.listen import Ear, Utterance, at_rate, note_answers, stopped_after_ms
from agent.sandbox.caller.result import CallResult, Interruption
from agent.sandbox.caller.script import Line, Progress, Script, without_pauses
from agent.sandbox.caller.speak import NOISE_RMS, Mouth, prepare
from agent.sandbox.caller.wire import AudioSocketCaller, ConnectError
from agent.speech_engines import Recogniser, Voice

POLL_SECONDS = 0.01
"""How often the caller looks up; nothing is measured by it."""
HANGOVER_SECONDS = 0.3
"""What the agent still says within this time after the caller is no answer, but the rest of what it was saying."""


@dataclass(frozen=True, slots=True)
class CallPlan:
    """Whom to call, as whom, and with how much patience. Times in seconds."""

    host: str = "127.0.0.1"
    port: int = 9099
    fastagi_port: int | None = None
    """The agent's FastAGI port, to be asked `start` and `next`; None calls without a word."""
    did: str = ""
    caller_id: str = ""
    call: uuid.UUID = field(default_factory=uuid.uuid4)
    quiet_s: float = 0.7
    """How long the agent must be quiet before the caller takes it to have finished."""
    patience_s: float = 15.0
    """How long the caller waits for the agent to say something."""
    linger_s: float = 20.0
    """How long the caller stays on a silent line once the script is at its end, before it hangs up."""
    longest_s: float = 300.0
    noise_rms: float = NOISE_RMS
    rate: int = 8000
    """Samples a second of what the caller says and of what is kept of the call."""


@dataclass(frozen=True, slots=True)
class Heard:
    """For whoever watches: something happened at second `at_s`."""

    at_s: float
    who: str
    """ "caller", "agent", or "line" for what is neither."""
    text: str
    utterance: Utterance | None = None


OnHeard = Callable[[Heard], None]


class _NoConversation(Exception):
    """The two do not converse; the text says why."""


class SimulatedCaller:
    """A caller with a script. `run` makes one call; what fails is in its result."""

    def __init__(
        self,
        plan: CallPlan,
        script: Script,
        voice: Voice | None,
        recogniser: Recogniser | None = None,
        on_heard: OnHeard = lambda heard: None,
    ) -> None:
        """Speak with `voice` (None: only play and press); understand the agent with `recogniser`, or take the script in
        order without one.
        """
        self._plan = plan
        self._script = script
        self._progress = Progress(script)
        self._voice = voice
        self._recogniser = recogniser
        self._on_heard = on_heard
        self._result = CallResult(plan.call, plan.rate)
        self._mouth = Mouth(plan.noise_rms, plan.rate)
        self._ear = Ear(plan.quiet_s, self._utterance_ended, plan.rate)
        self._sounds: dict[str, bytes] = {}
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="caller-speech")
        self._understanding: list[asyncio.Task[None]] = []
        self._since = -HANGOVER_SECONDS
        """When the caller last did something: the agent's answer goes on after it."""
        self._fresh: list[Utterance] = []
        """What the agent has said since the caller last listened."""

    async def run(self) -> CallResult:
        """Make the call. Raises `ScriptError` when the script's sounds cannot be made; else it always returns."""
        plan, result = self._plan, self._result
        loop = asyncio.get_running_loop()
        dialplan = (
            Dialplan(plan.host, plan.fastagi_port, did=plan.did, caller_id=plan.caller_id)
            if plan.fastagi_port is not None
            else None
        )
        try:
            self._sounds = await loop.run_in_executor(self._worker, prepare, self._script, self._voice, plan.rate)
            if dialplan is not None:
                answer = await dialplan.start(plan.call)
                status = answer.get("VOICE_AGENT_STATUS", "")
                if status != "OK":
                    raise _NoConversation(f"the agent's start says {status or 'nothing'}: the fallback is next")
            await self._talk()
            if dialplan is not None and result.ended_by == "agent":
                answer = await dialplan.next(plan.call)
                result.verdict = answer.get("VOICE_AGENT_NEXT", "")
                result.verdict_target = answer.get("VOICE_AGENT_TARGET", "")
                self._tell(result.duration_s, "line", f"next: {result.verdict} {result.verdict_target}".strip())
                if result.verdict in ("", "UNKNOWN"):
                    raise _NoConversation("the agent's next has no verdict: the dialplan goes to its fallback")
        except (AgiFailed, ConnectError, _NoConversation) as error:
            result.failure = result.failure or str(error)
        finally:
            self._worker.shutdown(wait=False, cancel_futures=True)
        return result

    async def _talk(self) -> None:
        plan, result = self._plan, self._result
        wire = AudioSocketCaller(plan.call, self._mouth.next_frame, self._ear.hear, plan.rate)
        await wire.connect(plan.host, plan.port)
        wire.start()
        conversation = asyncio.create_task(self._converse(wire), name="caller-converse")
        try:
            either: set[asyncio.Future[Any]] = {conversation, wire.ended}
            await asyncio.wait(either, timeout=plan.longest_s, return_when=asyncio.FIRST_COMPLETED)
            if conversation.done() and not wire.ended.done():
                with contextlib.suppress(_NoConversation):
                    await conversation
                wire.hang_up()
            elif not wire.ended.done():
                result.failure = f"the call is not over after {plan.longest_s:g} s"
        finally:
            result.duration_s = wire.now
            conversation.cancel()
            done = await asyncio.gather(conversation, return_exceptions=True)
            await wire.close()
            self._ear.finish()
            await asyncio.gather(*self._understanding)
            self._gather(wire)
        self._judge(wire.ended.result(), done[0])

    def _judge(self, ended: str, conversation: BaseException | None) -> None:
        result = self._result
        spoke = any(utterance.who == "agent" for utterance in result.utterances)
        unsaid = self._progress.unsaid()
        if ended in ("agent", "caller"):
            result.ended_by = ended
            self._tell(result.duration_s, "line", f"the {ended} hung up")
        else:
            result.failure = result.failure or ended.removeprefix("failure: ")
            self._tell(result.duration_s, "line", ended)
        if result.failure:
            return
        if isinstance(conversation, _NoConversation):
            result.failure = str(conversation)
        elif isinstance(conversation, Exception):
            raise conversation
        elif not spoke:
            result.failure = "the agent never spoke"
        elif ended == "agent" and unsaid:
            result.failure = f"the agent hung up before the caller could use line {unsaid[0].number} of the script"

    def _gather(self, wire: AudioSocketCaller) -> None:
        """Put the tracks and what was measured into the result."""
        result = self._result
        length = max(len(self._mouth.track), len(self._ear.track))
        result.caller_track = bytes(self._mouth.track.ljust(length, b"\0"))
        result.agent_track = bytes(self._ear.track.ljust(length, b"\0"))
        result.wire = wire.counters
        result.agent_lead_ms = self._ear.lead_ms
        result.unused_lines = [line.number for line in self._progress.unused()]
        note_answers(result.utterances)
        result.utterances.sort(key=lambda utterance: utterance.start_s)
        for interruption in result.interruptions:
            interruption.stopped_after_ms = stopped_after_ms(self._ear.loud_times, interruption.at_s)

    async def _converse(self, wire: AudioSocketCaller) -> None:
        """Go through the script. Returns when it is time to hang up; raises `_NoConversation`."""
        first = self._script.lines[0]
        if first.action == "interrupt":
            self._progress.first_unused()
            await self._interrupt(wire, first)
        heard = await self._listen(wire, self._plan.patience_s)
        if heard is None:
            raise _NoConversation(f"the agent does not greet within {self._plan.patience_s:g} s")
        while True:
            line = self._choose(heard)
            while line is None:
                patience = self._plan.linger_s if self._progress.finished else self._plan.patience_s
                heard = await self._listen(wire, patience)
                if heard is not None:
                    line = self._choose(heard)
                elif (line := self._progress.first_unused()) is None:
                    return
            if line.action == "hangup":
                return
            await self._do(wire, line)
            if line.action == "wait":
                heard = await self._listen(wire, 0.0) or ""
                continue
            if (interruption := self._progress.following_interrupt(line)) is not None:
                await self._interrupt(wire, interruption)
            heard = await self._listen(wire, self._plan.patience_s)
            if heard is None:
                raise _NoConversation(f"the agent does not answer within {self._plan.patience_s:g} s")

    def _choose(self, heard: str) -> Line | None:
        return self._progress.choose(heard if self._recogniser is not None else None)

    async def _do(self, wire: AudioSocketCaller, line: Line) -> None:
        match line.action:
            case "say" | "play":
                await self._say(wire, line)
            case "interrupt":
                await self._interrupt(wire, line)
            case "dtmf":
                self._tell(wire.now, "line", f"the caller presses {line.text}")
                wire.press(line.text)
                await self._until(wire, lambda: not wire.pressing)
                self._since = wire.now - HANGOVER_SECONDS
            case "wait":
                until = wire.now + line.seconds
                await self._until(wire, lambda: wire.now >= until)

    async def _say(self, wire: AudioSocketCaller, line: Line) -> None:
        spoken = f"({line.text})" if line.recorded else without_pauses(line.text)
        self._mouth.say(self._sounds[line.text])
        utterance = Utterance("caller", wire.now, wire.now, spoken)
        self._result.utterances.append(utterance)
        self._tell(wire.now, "caller", spoken, utterance)
        try:
            await self._until(wire, lambda: not self._mouth.speaking)
        finally:
            if self._mouth.began_s is not None:
                utterance.start_s, utterance.end_s = self._mouth.began_s, self._mouth.ended_s
            self._since = self._mouth.ended_s

    async def _interrupt(self, wire: AudioSocketCaller, line: Line) -> None:
        """Let the agent speak for as long as the line says, and then speak over it."""
        patience_s = self._plan.patience_s
        if not await self._until(wire, self._agent_speaks, patience_s) or self._ear.speaking_since is None:
            raise _NoConversation(f"the agent does not speak within {patience_s:g} s")
        until = max(self._ear.speaking_since, self._since) + line.seconds
        await self._until(wire, lambda: wire.now >= until)
        interruption = Interruption(wire.now)
        self._result.interruptions.append(interruption)
        self._tell(wire.now, "line", "the caller interrupts")
        try:
            await self._say(wire, line)
        finally:
            if self._mouth.began_s is not None:
                interruption.at_s = self._mouth.began_s

    def _agent_speaks(self) -> bool:
        """Whether the agent is saying something that is not just the rest of what the caller spoke over."""
        return self._ear.speaking_since is not None and self._ear.loud_at > self._since + HANGOVER_SECONDS

    async def _listen(self, wire: AudioSocketCaller, patience_s: float) -> str | None:
        """Wait until the agent has said something and fallen silent; return what it said, None if it said nothing.

        The text is empty where nobody understands the agent.
        """

        def answered() -> bool:
            return any(u.end_s > self._since + HANGOVER_SECONDS for u in self._fresh)

        if not await self._until(wire, lambda: answered() or self._agent_speaks(), patience_s):
            return None
        await self._until(wire, lambda: answered() and self._ear.speaking_since is None)
        await self._until(wire, lambda: all(task.done() for task in self._understanding))
        heard = " ".join(u.text for u in self._fresh if u.end_s > self._since + HANGOVER_SECONDS)
        self._fresh.clear()
        return heard

    async def _until(
        self, wire: AudioSocketCaller, condition: Callable[[], bool], timeout_s: float | None = None
    ) -> bool:
        """Wait until `condition` holds, for `timeout_s` at most; return whether it does."""
        limit = None if timeout_s is None else wire.now + timeout_s
        while True:
            self._ear.pass_time(wire.now)
            if condition():
                return True
            if limit is not None and wire.now >= limit:
                return False
            await asyncio.sleep(POLL_SECONDS)

    def _utterance_ended(self, utterance: Utterance) -> None:
        """Note what the agent said, and have it understood on the side."""
        self._fresh.append(utterance)
        self._result.utterances.append(utterance)
        note_answers(self._result.utterances)
        self._understanding.append(asyncio.create_task(self._understand(utterance), name="caller-understand"))

    async def _understand(self, utterance: Utterance) -> None:
        if self._recogniser is not None:
            samples = self._ear.audio_of(utterance)
            loop = asyncio.get_running_loop()
            utterance.text = await loop.run_in_executor(
                self._worker, _transcribe, self._recogniser, samples, self._plan.rate
            )
        self._tell(utterance.start_s, "agent", utterance.text, utterance)

    def _tell(self, at_s: float, who: str, text: str, utterance: Utterance | None = None) -> None:
        self._on_heard(Heard(at_s, who, text, utterance))


def _transcribe(recogniser: Recogniser, samples: bytes, rate: int) -> str:
    import numpy as np

    wanted = np.frombuffer(at_rate(samples, rate, recogniser.sample_rate), np.int16)
    return " ".join(word.text for word in recogniser.transcribe(wanted))
