"""An answer in hand: thought of, perhaps early, and let out only when the caller's turn is certain to be over."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field

import fastaudio
from agent.call.history import History
from agent.call.record import TurnRecord
from agent.call.reply import Reply
from agent.call.speech import Speech
from agent.conversations import Phrases
from agent.providers.base import LanguageModel, SpeakingVoice, TextToSpeech
from agent.tools.registry import ToolContext, ToolRegistry, ToolResult


@dataclass(slots=True)
class Crew:
    """What every answer of one call is made with. The callbacks are those of `Reply`."""

    call: fastaudio.Call
    llm: LanguageModel
    tts: TextToSpeech
    voice: SpeakingVoice
    tools: ToolRegistry
    context: ToolContext
    phrases: Phrases
    pronounce: Callable[[str], str]
    clock_ms: Callable[[], int]
    on_act: Callable[[], None]
    on_result: Callable[[str, ToolResult], None]
    tool_tasks: set[asyncio.Task[ToolResult]] = field(default_factory=set)
    """Tools that are running, also of answers that are gone."""
    fillers: int = 0
    """How many were said in this call."""

    def filler(self) -> str:
        """What to say when a tool takes longer than a moment: another one each time."""
        self.fillers += 1
        return self.phrases.filler(self.fillers - 1)


class Answer:
    """Makes one answer to what the caller said, in a branch of the history.

    The branch becomes the call's history when something of the answer is heard or a tool runs; an answer that is
    dropped before that leaves no trace in it.
    """

    def __init__(self, crew: Crew, history: History, text: str, *, early: bool, apology: str) -> None:
        """Begin to think. `text` is what the caller said; empty for an answer to what the history holds already."""
        self._call = crew.call
        self._certain = asyncio.Event()
        self.early = early
        self.released = False
        self.history = history.branch()
        if text:
            self.history.caller_said(text)
        self.exchange = TurnRecord(caller=text, start_ms=crew.clock_ms())
        self.speech = Speech(crew.call, crew.tts, crew.voice, self._certain)
        self.reply = Reply(
            crew.llm,
            crew.tools,
            self.history,
            self.speech,
            self.exchange,
            crew.context,
            clock_ms=crew.clock_ms,
            phrases=crew.phrases,
            filler=crew.filler,
            pronounce=crew.pronounce,
            apology=apology,
            certain=self._certain,
            on_act=crew.on_act,
            on_result=crew.on_result,
            tool_tasks=crew.tool_tasks,
        )
        self.task = asyncio.create_task(self.reply.run(), name="reply")

    def release(self, text: str) -> None:
        """The caller's turn is over, and `text` was all of it: speak, and run the tools."""
        if text:
            self.exchange.caller = text
            self.history.caller_meant(text)
        self.released = True
        self._certain.set()

    def keep_back(self) -> None:
        """A sound: let nothing out until it is released again, unless some of it is out already."""
        if self.speech.keep_back():
            self.released = False

    async def stop(self) -> None:
        """Think no further. A tool that runs is left running."""
        if not self.task.done():
            self.task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self.task

    async def drop(self) -> None:
        """Think no further, and throw away what was not heard."""
        await self.stop()
        self._call.flush()
        await self.speech.cancel()
