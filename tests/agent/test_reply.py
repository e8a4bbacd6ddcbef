"""One answer: clauses as they come, tools in their order, and a history that stays whole wherever it is cut short."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from typing import Any, cast

import aiohttp
import pytest

from agent.call import reply as replies
from agent.call.answer import Crew
from agent.call.company import CompanyContext
from agent.call.history import History
from agent.call.record import TurnRecord
from agent.call.reply import ROUNDS, Reply
from agent.call.speech import Speech
from agent.conversations import Phrases
from agent.language.spoken import spoken
from agent.providers.base import Finished, LlmEvent, Message, ProviderError, Text, ToolCall
from agent.tools.registry import Endpoints, Tool, ToolContext, ToolRegistry, ToolResult

PHRASES = Phrases()
FILLER = "Bear with me. "


class ScriptedLlm:
    """Answers one list of events after the other; an exception among them is raised."""

    def __init__(self, *answers: Sequence[LlmEvent | Exception]) -> None:
        self._answers = list(answers)
        self.asked: list[list[Message]] = []

    async def reply(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> AsyncGenerator[LlmEvent]:
        self.asked.append([dict(message) for message in messages])
        for event in self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]:
            if isinstance(event, Exception):
                raise event
            yield event
        yield Finished("stop", 1, 1, "scripted")


class HeardSpeech:
    """Takes the place of a speech: notes what is said, and can be made to wait in `pause`."""

    def __init__(self) -> None:
        self.text = ""
        self.clauses: list[str] = []
        self.ended = False
        self.stuck = False
        self.in_clauses = True

    async def say(self, text: str) -> None:
        if text:
            self.text += text
            self.clauses.append(text)

    async def pause(self) -> None:
        if self.stuck:
            await asyncio.Event().wait()

    async def end(self) -> None:
        self.ended = True


class Bench:
    """A reply and everything around it."""

    def __init__(self, llm: ScriptedLlm, tool_s: float = 0.0) -> None:
        self.llm = llm
        self.history = History("system")
        self.history.caller_said("hello")
        self.speech = HeardSpeech()
        self.turn = TurnRecord("hello", 0)
        self.results: list[ToolResult] = []
        self.ran: list[str] = []
        self.looking = self.most_looking = 0
        self.two_look = asyncio.Event()
        self.tool_tasks: set[asyncio.Task[ToolResult]] = set()
        self.certain = asyncio.Event()
        self.certain.set()
        self.acts = 0

        async def look(arguments: Any, context: ToolContext) -> ToolResult:
            self.ran.append("look")
            self.looking += 1
            self.most_looking = max(self.most_looking, self.looking)
            if self.looking == 2:
                self.two_look.set()
            await asyncio.sleep(tool_s)
            self.looking -= 1
            return ToolResult.success({"found": 1})

        async def end(arguments: Any, context: ToolContext) -> ToolResult:
            self.ran.append("end")
            assert self.looking == 0, "what acts waits for its turn"
            return ToolResult.success({}, effect="end")

        schema = {"type": "object"}
        tools = ToolRegistry([Tool("look", "", schema, look), Tool("end", "", schema, end, acts=True)])
        context = ToolContext("uuid", CompanyContext(), cast(aiohttp.ClientSession, None), Endpoints("", ""))
        self.reply = Reply(
            llm,
            tools,
            self.history,
            cast(Speech, self.speech),
            self.turn,
            context,
            clock_ms=lambda: 42,
            phrases=PHRASES,
            filler=lambda: FILLER.strip(),
            pronounce=spoken,
            apology=PHRASES.trouble,
            certain=self.certain,
            on_act=self._on_act,
            on_result=lambda _name, result: self.results.append(result),
            tool_tasks=self.tool_tasks,
        )

    def _on_act(self) -> None:
        self.acts += 1

    def answers(self) -> dict[str, Any]:
        """What each tool call was answered; fails when a call has none, or more than one."""
        messages = self.history.messages()
        asked = [call["id"] for message in messages for call in message.get("tool_calls", ())]
        answered = [message["tool_call_id"] for message in messages if message["role"] == "tool"]
        assert asked == answered
        return {m["tool_call_id"]: json.loads(m["content"]) for m in messages if m["role"] == "tool"}


def call(name: str, number: int = 1) -> ToolCall:
    return ToolCall(f"c{number}", name, "{}")


async def test_clauses_are_said_as_they_come() -> None:
    bench = Bench(ScriptedLlm([Text("Of course, we can "), Text("come, within "), Text("the hour.")]))
    await bench.reply.run()
    assert bench.speech.clauses == ["Of course, we can come, ", "within the hour."]
    assert bench.speech.ended
    assert bench.history.messages()[-1] == {"role": "assistant", "content": "Of course, we can come, within the hour."}
    assert (bench.turn.times.llm_request, bench.turn.times.first_token) == (42, 42)


async def test_a_tool_runs_and_the_llm_goes_on() -> None:
    bench = Bench(ScriptedLlm([Text("Let me see. "), call("look")], [Text("Yes, there is one.")]))
    await bench.reply.run()
    assert bench.answers() == {"c1": {"found": 1}}
    assert bench.speech.text == "Let me see. Yes, there is one."
    assert [tool["name"] for tool in bench.turn.tools] == ["look"]
    assert len(bench.llm.asked) == 2


async def test_what_only_looks_runs_together_and_what_acts_in_its_order() -> None:
    calls = [call("look", 1), call("look", 2), call("end", 3), call("look", 4)]
    bench = Bench(ScriptedLlm([*calls]), tool_s=0.02)
    await bench.reply.run()
    assert bench.ran == ["look", "look", "end", "look"]
    assert bench.most_looking == 2
    assert list(bench.answers()) == ["c1", "c2", "c3", "c4"]
    assert bench.acts == 4


async def test_not_too_many_look_at_once() -> None:
    bench = Bench(ScriptedLlm([call("look", number) for number in range(10)], [Text("Yes.")]), tool_s=0.01)
    await bench.reply.run()
    assert (len(bench.ran), bench.most_looking) == (10, replies.AT_ONCE)


async def test_an_interruption_while_tools_run_together_leaves_them_running() -> None:
    bench = Bench(ScriptedLlm([call("look", 1), call("look", 2), call("end", 3)]), tool_s=0.4)
    task = asyncio.create_task(bench.reply.run())
    await bench.two_look.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    running, not_run = json.loads(replies.RUNNING), json.loads(replies.NOT_RUN)
    assert bench.answers() == {"c1": running, "c2": running, "c3": not_run}
    await asyncio.wait(set(bench.tool_tasks))
    await asyncio.sleep(0)
    assert bench.answers() == {"c1": {"found": 1}, "c2": {"found": 1}, "c3": not_run}
    assert bench.ran == ["look", "look"]


async def test_the_end_is_never_without_a_goodbye() -> None:
    bench = Bench(ScriptedLlm([call("end")]))
    await bench.reply.run()
    assert bench.speech.text == PHRASES.goodbye
    assert [result.effect for result in bench.results] == ["end"]
    assert len(bench.llm.asked) == 1, "after the end nothing is thought"


async def test_a_loop_of_tools_comes_to_an_end() -> None:
    bench = Bench(ScriptedLlm([call("look")]))
    await bench.reply.run()
    assert bench.ran == ["look"] * ROUNDS
    assert bench.speech.ended


async def test_a_slow_tool_is_bridged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replies, "FILLER_S", 0.02)
    bench = Bench(ScriptedLlm([call("look")], [Text("Yes.")]), tool_s=0.1)
    await bench.reply.run()
    assert bench.speech.clauses == [FILLER, "Yes."]
    assert FILLER not in [message["content"] for message in bench.history.messages()]


async def test_a_tool_that_failed_has_its_reason_in_the_record() -> None:
    bench = Bench(ScriptedLlm([call("look"), call("nothing")], [Text("Yes.")]))
    await bench.reply.run()
    assert [(tool["name"], tool["ok"], tool.get("reason")) for tool in bench.turn.tools] == [
        ("look", True, None),
        ("nothing", False, "unknown_tool"),
    ]


def test_a_call_hears_each_filler_in_turn() -> None:
    """Also when each is said in an answer of its own."""
    nothing = cast(Any, None)
    crew = Crew(nothing, nothing, nothing, nothing, nothing, nothing, PHRASES, spoken, nothing, nothing, nothing)
    assert [crew.filler() for _ in range(3)] == ["Bear with me.", "Just a moment.", "Bear with me."]


@pytest.mark.parametrize("words", ["", "We can have somebody there, yes, "])
async def test_no_answer_is_told_to_the_caller(words: str) -> None:
    answer: list[LlmEvent | Exception] = [Text(words)] if words else []
    bench = Bench(ScriptedLlm([*answer, ProviderError("LLM", "down")]))
    await bench.reply.run()
    assert bench.reply.failed
    assert bench.speech.clauses[-1] == PHRASES.trouble
    assert bench.speech.ended
    assert bench.reply.unanswered is (words == "")
    # The LLM is not told of the apology: it may be asked the same again.
    assert [message["content"] for message in bench.history.messages()[2:]] == bench.speech.clauses[:-1]


@pytest.mark.parametrize("words", ["", " "])
async def test_an_answer_without_a_word_is_none(words: str) -> None:
    bench = Bench(ScriptedLlm([Text(words), Finished("stop", 0, 0, "m")]))
    await bench.reply.run()
    assert bench.reply.failed
    assert bench.reply.unanswered
    assert bench.speech.text.strip() == PHRASES.trouble


async def test_a_tool_of_a_reply_that_broke_off_does_not_run() -> None:
    bench = Bench(ScriptedLlm([Text("Bye. "), call("end"), ProviderError("LLM", "broke off")]))
    await bench.reply.run()
    assert bench.ran == []
    assert bench.answers() == {}


async def cancelled_after(bench: Bench, seconds: float) -> None:
    running = asyncio.create_task(bench.reply.run())
    await asyncio.sleep(seconds)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_cut_short_before_the_tools_run_each_call_is_answered() -> None:
    bench = Bench(ScriptedLlm([Text("Let me see. "), call("look", 1), call("end", 2)]))
    bench.speech.stuck = True
    await cancelled_after(bench, 0.02)
    assert bench.ran == []
    assert all("not run" in answer["error"] for answer in bench.answers().values())
    assert len(bench.answers()) == 2


async def test_cut_short_while_a_tool_runs_it_runs_on_and_its_answer_is_amended() -> None:
    bench = Bench(ScriptedLlm([call("look", 1), call("end", 2)]), tool_s=0.1)
    await cancelled_after(bench, 0.03)
    assert bench.answers()["c1"] == {"status": "still running"}
    assert "not run" in bench.answers()["c2"]["error"]
    await asyncio.wait(bench.tool_tasks)
    await asyncio.sleep(0)
    assert bench.answers()["c1"] == {"found": 1}
    assert bench.ran == ["look"], "what was not begun is not done any more"
    assert len(bench.results) == 1


async def test_no_tool_runs_before_the_callers_turn_is_certain() -> None:
    bench = Bench(ScriptedLlm([call("look"), call("look", 2)], [Text("Found.")]))
    bench.certain.clear()
    running = asyncio.create_task(bench.reply.run())
    await asyncio.sleep(0.02)
    assert (bench.ran, bench.acts) == ([], 0)
    bench.certain.set()
    await running
    assert (bench.ran, bench.acts, len(bench.results)) == (["look", "look"], 2, 2)


async def test_thrown_away_before_it_is_certain_it_runs_no_tool() -> None:
    bench = Bench(ScriptedLlm([call("end")]))
    bench.certain.clear()
    running = asyncio.create_task(bench.reply.run())
    await asyncio.sleep(0.02)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    bench.certain.set()
    await asyncio.sleep(0.02)
    assert (bench.ran, bench.acts, bench.results) == ([], 0, [])


async def test_a_vendor_that_gathers_tokens_itself_gets_them_as_they_come() -> None:
    tokens = [Text("It's "), Text("SW4"), Text(" 7DQ.")]
    bench = Bench(ScriptedLlm(tokens))
    bench.speech.in_clauses = False
    await bench.reply.run()
    assert bench.speech.clauses == ["It's ", "SW4", " 7DQ."]
    assert bench.history.messages()[-1]["content"] == "It's SW4 7DQ."
