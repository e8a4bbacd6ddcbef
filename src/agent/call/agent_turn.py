"""What the agent says: answers, thought of early or not, and words of its own. One is heard at a time."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import fastaudio
from agent.call.answer import Answer, Crew
from agent.call.chronicle import Chronicle
from agent.call.greeting import Greetings
from agent.call.history import History
from agent.call.speech import Speech


@dataclass(frozen=True, slots=True)
class SpeechDone:
    """All of a speech was heard, or thrown away."""

    speech: Speech
    played: fastaudio.Played


class AgentTurn:
    """Holds the history, the answer in hand and what is being said; `on_done` is told when that is over."""

    def __init__(
        self,
        crew: Crew,
        history: History,
        log: Chronicle,
        counters: Counter[str],
        on_done: Callable[[SpeechDone], None],
    ) -> None:
        self.history = history
        self.unanswered = 0
        """Times in a row that the LLM gave no answer."""
        self._crew = crew
        self._log = log
        self._counters = counters
        self._on_done = on_done
        self._speech: Speech | None = None  # what is said now, or was said last
        self._answer: Answer | None = None  # what is thought of, waits or is said
        self._greeting: Speech | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def answering(self) -> bool:
        """Whether an answer has been let out that is not heard to its end."""
        return self._answer is not None and self._answer.released

    @property
    def question(self) -> str:
        """What is being said, or was said last; the greeting asks nothing, whatever its words: it opens a story."""
        return self._speech.text if self._speech is not None and self._speech is not self._greeting else ""

    @property
    def words(self) -> str:
        """What is being said, or was said last."""
        return self._speech.text if self._speech is not None else ""

    @property
    def tools(self) -> set[str]:
        """The tools that run."""
        return {task.get_name().removeprefix("tool ") for task in self._crew.tool_tasks}

    def says(self, generation: int) -> bool:
        """Whether this generation of the media core is what is being said."""
        return self._speech is not None and self._speech.generation == generation

    # -- answers -----------------------------------------------------------------------------------------------------

    async def think(self, text: str) -> None:
        """Begin an answer to these words early; nothing of it is let out."""
        await self.withdraw()
        self._begin(text, early=True)

    def respond(self, text: str, *, speech_end_ms: int | None, final_ms: int | None) -> None:
        """The caller's turn is over: let the answer out that was thought of, or begin one.

        Without a text it answers what the history holds already.
        """
        self._log.end_exchange(self._speech)
        answer = self._answer or self._begin(text, early=False)
        times = answer.exchange.times
        times.speech_end, times.final_transcript, times.turn_end = speech_end_ms, final_ms, self._log.now_ms()
        self._speech = answer.speech
        answer.release(text)
        self._log.adopt(answer.exchange)
        self._await(answer.speech)

    def keep_back(self) -> None:
        """A sound before the answer is heard: let nothing of it out."""
        if self._answer is not None:
            self._answer.keep_back()

    def take_hold(self) -> None:
        """Something of the answer is heard, or done: it is part of the conversation from now on."""
        answer = self._answer
        if answer is not None and answer.released and self.history is not answer.history:
            self.history = answer.history
            self._log.used(answer.exchange, early=answer.early)

    async def withdraw(self) -> None:
        """Throw the answer away, nothing of which was heard."""
        answer, self._answer = self._answer, None
        if answer is None:
            return
        await answer.drop()
        self._log.thrown_away(early=answer.early)
        if self._speech is answer.speech:
            self._speech = None
        if self.history is answer.history:
            self.history.cut("")  # a tool has run: that stays, and the words around it were not heard
        else:
            self._log.withdraw_exchange(answer.exchange)

    async def give_up(self) -> None:
        """No answer comes to what the caller said: it stays to be answered."""
        text = self._answer.exchange.caller if self._answer is not None else ""
        await self.withdraw()
        if text:
            self.history.caller_said(text)
        self.unanswered += 1

    async def interrupt(self) -> None:
        """The caller interrupts: late audio is dropped, and the history holds what was heard."""
        answer, self._answer = self._answer, None
        if answer is not None:
            await answer.drop()
        speech = self._speech
        if speech is None or (speech.done and not (await speech.finished()).flushed):
            return  # it was heard to its end
        self._crew.call.flush()
        await speech.cancel()
        if not speech.done:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.2):
                    await speech.finished()
        heard = speech.heard_text()
        if heard != speech.whole_text:
            self.history.cut(heard)
            self._log.interrupted()

    def _begin(self, text: str, *, early: bool) -> Answer:
        # It apologises once; a second failure in a row is the end.
        apology = "" if self.unanswered else self._crew.phrases.trouble
        self._answer = Answer(self._crew, self.history, text, early=early, apology=apology)
        self._log.thought(early=early)
        return self._answer

    # -- words of its own --------------------------------------------------------------------------------------------

    def greet(self, greetings: Greetings, text: str) -> None:
        """Speak the greeting, from memory or as it is made."""
        speech = self._greeting = self._speak(text)
        self._spawn(self._greet(greetings, speech, text), "greet")

    async def say(self, text: str) -> None:
        """Speak this; an answer in hand is thrown away."""
        await self.withdraw()
        speech = self._speak(text)
        await speech.say(text)
        await speech.end()

    async def recite(self, pcm: bytes, text: str) -> None:
        """Speak words whose audio is at hand, whatever has become of the voice; an answer in hand is thrown away."""
        await self.withdraw()
        speech = self._speak(text)
        self._spawn(self._recite(speech, pcm, text), "recite")

    async def _recite(self, speech: Speech, pcm: bytes, text: str) -> None:
        with contextlib.suppress(fastaudio.StaleGeneration, fastaudio.EngineClosed):
            await speech.say_recorded(pcm, None, text)
            await speech.end()

    def mention(self, pcm: bytes) -> None:
        """Let something be heard that is no part of the conversation: in the middle of what is being said, or alone."""
        self._spawn(self._mention(pcm), "mention")

    async def _mention(self, pcm: bytes) -> None:
        speech = self._speech
        if speech is not None and speech.unheard_ms is not None:
            await speech.interject(pcm)
            return
        with contextlib.suppress(fastaudio.StaleGeneration, fastaudio.EngineClosed):
            utterance = self._crew.call.begin()
            await utterance.play(pcm)
            await utterance.end()

    @property
    def unheard_ms(self) -> int | None:
        """Of what is being said: the audio that there is and that the caller has yet to hear; None before the first."""
        return self._speech.unheard_ms if self._speech is not None else None

    @property
    def silent(self) -> bool:
        """Whether something is to be said of which there is no audio yet."""
        return self._speech is not None and not self._speech.done and not self._speech.generation

    async def say_the_rest(self) -> None:
        """A noise cut the agent off: it goes on where it was."""
        rest = self._speech.rest_text() if self._speech is not None else ""
        if rest:
            self._log.mark("goes_on")
            await self.say(rest)

    def _speak(self, text: str) -> Speech:
        self._log.end_exchange(self._speech)
        self._log.begin_exchange()
        self.history.agent_began()
        self.history.agent_said(text)
        self._speech = Speech(self._crew.call, self._crew.tts, self._crew.voice)
        self._await(self._speech)
        return self._speech

    async def _greet(self, greetings: Greetings, speech: Speech, text: str) -> None:
        with contextlib.suppress(fastaudio.StaleGeneration, fastaudio.EngineClosed):  # interrupted, or gone
            await greetings.say(speech, text, self._crew.voice)

    # -- how it goes -------------------------------------------------------------------------------------------------

    def began(self, event: fastaudio.Event) -> None:
        """The first frame of what is said went out."""
        self.take_hold()
        self._log.first_frame(self._speech, event)

    async def done(self, done: SpeechDone) -> bool:
        """A speech is over; False when another one has taken its place."""
        if done.speech is not self._speech:
            return False
        answer = self._answer
        if answer is not None and answer.speech is done.speech:
            with contextlib.suppress(TimeoutError):  # the speech ends with the reply; its last steps take no time
                async with asyncio.timeout(1.0):
                    await asyncio.shield(answer.task)
            self._answer = None
            self.history = answer.history  # also when not a sound came of it
            self.unanswered = self.unanswered + 1 if answer.reply.unanswered else 0
            if answer.reply.failed:
                self._counters["replies_failed"] += 1
        return True

    def end_exchange(self) -> None:
        """The agent has said what it had to say, or was cut off."""
        self._log.end_exchange(self._speech)

    async def stop(self) -> None:
        """Think no further; what is made is still heard."""
        if self._answer is not None:
            await self._answer.stop()

    async def close(self) -> None:
        """The call is over. Tools that run are waited for: a booking that was begun is made, within its time limit."""
        await self.stop()
        if self._crew.tool_tasks:
            await asyncio.wait(self._crew.tool_tasks)
        for speech in {self._speech, self._answer and self._answer.speech}:
            if isinstance(speech, Speech):
                await speech.cancel()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.end_exchange()

    def _await(self, speech: Speech) -> None:
        self._spawn(self._report(speech), "await speech")

    async def _report(self, speech: Speech) -> None:
        self._on_done(SpeechDone(speech, await speech.finished()))

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
