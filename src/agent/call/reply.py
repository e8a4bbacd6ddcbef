"""One answer: the LLM's words to speech as they come, its tools run, until it has nothing more to say."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

from agent.call.history import History
from agent.call.record import TurnRecord
from agent.call.speech import Speech
from agent.conversations import Phrases
from agent.language.clauses import AsItComes, ClauseSplitter
from agent.providers.base import LanguageModel, ProviderError, Text, ToolCall
from agent.tools.registry import Effect, ToolContext, ToolRegistry, ToolResult

log = logging.getLogger(__name__)

ROUNDS = 4  # text, tool, text, tool: more is a loop
AT_ONCE = 4  # tools that only look something up
FILLER_S = 0.8
NOT_RUN = '{"error":"not run: the caller went on speaking"}'
RESULT_CHARS = 4000  # of a tool's answer in the call's record
RUNNING = '{"status":"still running"}'


class Reply:
    """Makes one answer.

    Nothing that it does is let out before `certain` is set: no audio (that is for the speech), and no tool. `on_act`
    is told when tools are about to run, `on_result` of each that has run, with its name, at once, also of one that ran
    on while the caller went on speaking.
    `filler` gives the words to say when a tool takes longer than a moment.
    `tool_tasks` holds the tools that are running, for the session to wait for at the end. `failed` tells that the LLM
    broke off or gave no answer, `unanswered` that not a word came of it. `apology` is said then, if anything.
    """

    def __init__(
        self,
        llm: LanguageModel,
        tools: ToolRegistry,
        history: History,
        speech: Speech,
        turn: TurnRecord,
        context: ToolContext,
        *,
        clock_ms: Callable[[], int],
        phrases: Phrases,
        filler: Callable[[], str],
        pronounce: Callable[[str], str],
        apology: str,
        certain: asyncio.Event,
        on_act: Callable[[], None],
        on_result: Callable[[str, ToolResult], None],
        tool_tasks: set[asyncio.Task[ToolResult]],
    ) -> None:
        self._llm = llm
        self._tools = tools
        self._phrases = phrases
        self._in_words = pronounce
        self._filler = filler
        self._history = history
        self._speech = speech
        self._turn = turn
        self._context = context
        self._clock_ms = clock_ms
        self._apology = apology
        self._certain = certain
        self._on_act = on_act
        self._on_result = on_result
        self._effect: Effect | None = None
        self._tool_tasks = tool_tasks
        self.failed = False
        self.unanswered = False

    async def run(self) -> None:
        """Think, speak and act to the end of the answer; the speech is then complete, and still being heard."""
        try:
            await self._rounds()
        except ProviderError as error:
            error.forget_where()
            log.warning("%s: no answer", error)
            self.failed = True
            self.unanswered = not self._speech.text.strip()
            if self._apology:
                self._history.said_aside(self._apology)
                await self._speech.say(self._apology)
        await self._speech.end()

    async def _rounds(self) -> None:
        for _ in range(ROUNDS):
            calls = await self._think()
            if not calls:
                return
            await self._run_tools(calls)
            if self._effect in ("end", "transfer"):
                if not self._speech.text.strip():
                    await self._say(self._phrases.goodbye if self._effect == "end" else self._phrases.transferring)
                return

    async def _think(self) -> list[ToolCall]:
        times = self._turn.times
        times.llm_request = times.llm_request or self._clock_ms()
        splitter = ClauseSplitter() if self._speech.in_clauses else AsItComes()
        said = ""
        calls: list[ToolCall] = []
        try:
            async with aclosing(self._llm.reply(self._history.messages(), self._tools.schemas())) as events:
                async for event in events:
                    if isinstance(event, Text):
                        times.first_token = times.first_token or self._clock_ms()
                        for clause in splitter.feed(event.text):
                            said += await self._pronounce(clause)
                    elif isinstance(event, ToolCall):
                        calls.append(event)
            said += await self._pronounce(splitter.rest())
        except (asyncio.CancelledError, ProviderError):
            # What was said so far is part of the conversation, also when it broke off; no tool was run of it, and a
            # clause that was not whole was not said.
            if said:
                self._history.agent_said(said)
            raise
        if not said.strip() and not calls:
            raise ProviderError("LLM", "an empty reply")  # nothing to hear is as bad as no answer
        self._history.agent_said(said, calls)
        return calls

    async def _pronounce(self, clause: str) -> str:
        """Say a clause as a person would; the history holds it so too, word for word as it is heard.

        A vendor that gathers tokens itself gets them as they are: half a postcode is not known for one.
        """
        words = self._in_words(clause) if self._speech.in_clauses else clause
        await self._speech.say(words)
        return words

    async def _say(self, text: str) -> None:
        """Words of our own."""
        self._history.agent_said(text)
        await self._speech.say(text)

    async def _run_tools(self, calls: list[ToolCall]) -> None:
        """Run what the LLM asked for, in its order; those that only look something up, one behind the other, together.

        Each call gets its answer in the history, whatever happens.
        """
        left = list(calls)
        running: list[asyncio.Task[ToolResult]] = []  # of the first calls that are left
        try:
            await self._speech.pause()
            while not self._certain.is_set():
                await self._certain.wait()
            while left:
                self._on_act()
                if not running:
                    looking_up = itertools.takewhile(lambda call: not self._tools.acts(call.name), left[:AT_ONCE])
                    running = [self._start(call) for call in looking_up] or [self._start(left[0])]
                call = left.pop(0)
                self._mind(call, await self._run_tool(call, running.pop(0)))
        except asyncio.CancelledError:
            for call, task in itertools.zip_longest(left, running):
                if task is not None:
                    self._leave_running(call, task)
                else:
                    self._history.tool_answered(call, NOT_RUN)
            raise

    def _start(self, call: ToolCall) -> asyncio.Task[ToolResult]:
        running = asyncio.create_task(
            self._tools.run(call.name, call.arguments, self._context), name=f"tool {call.name}"
        )
        self._tool_tasks.add(running)
        running.add_done_callback(self._tool_tasks.discard)
        return running

    async def _run_tool(self, call: ToolCall, running: asyncio.Task[ToolResult]) -> ToolResult:
        """Wait for a tool; when it takes longer than a moment the caller hears that someone is there."""
        begun = time.monotonic()
        try:
            done, _ = await asyncio.wait({running}, timeout=FILLER_S)
            if not done:
                filler = f"{self._filler()} "
                self._history.said_aside(filler)
                await self._speech.say(filler)
                await self._speech.pause()
            result = await asyncio.shield(running)
        except asyncio.CancelledError:
            self._leave_running(call, running)
            raise
        self._note(call, result, begun)
        return result

    def _leave_running(self, call: ToolCall, running: asyncio.Task[ToolResult]) -> None:
        """The caller interrupts while a tool runs: what it does is done all the same, and is told when it is done."""
        begun = time.monotonic()
        self._history.tool_answered(call, RUNNING)

        def done(task: asyncio.Task[ToolResult]) -> None:
            if not task.cancelled():
                result = task.result()
                self._history.tool_amended(call, result.content)
                self._note(call, result, begun)
                self._heed(call, result)

        running.add_done_callback(done)

    def _note(self, call: ToolCall, result: ToolResult, begun: float) -> None:
        took_ms = round(1000 * (time.monotonic() - begun))
        entry: dict[str, Any] = {
            "name": call.name,
            "arguments": call.arguments,
            "result": result.content[:RESULT_CHARS],
            "ok": result.ok,
            "at_ms": self._clock_ms() - took_ms,
            "ms": took_ms,
        }
        if not result.ok:
            entry["reason"] = result.reason
        self._turn.tools.append(entry)

    def _mind(self, call: ToolCall, result: ToolResult) -> None:
        self._history.tool_answered(call, result.content)
        self._heed(call, result)

    def _heed(self, call: ToolCall, result: ToolResult) -> None:
        self._effect = result.effect or self._effect
        self._on_result(call.name, result)
