"""The chain of language models against the emulated vendor, which fails in every way that it knows."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Any, cast

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from agent.ops.settings import Settings, SettingsError
from agent.providers import llm_chain
from agent.providers.base import Finished, LlmEvent, Message, ProviderError, Text, ToolCall
from agent.providers.breaker import Breakers, BreakerState
from agent.providers.llm_chain import LlmChain
from agent.providers.openai_chat import ChatModel, ChatOptions
from agent.sandbox import Sandbox
from agent.sandbox.brain import answer
from agent.sandbox.groq import tokens_of
from agent.tools.call_control import standard_tools
from agent.vendors import language_model

KEY = "groq-secret-key"
FIRST, SECOND, THIRD = "openai/gpt-oss-120b", "openai/gpt-oss-20b", "qwen/qwen3.6-27b"
SYSTEM: Message = {"role": "system", "content": "Company: Acme\nTrade: plumber\nCallout fee: £65"}
LEAK: list[Message] = [SYSTEM, {"role": "user", "content": "My tap is leaking"}]
PERSON: list[Message] = [SYSTEM, {"role": "user", "content": "Can I speak to a person please?"}]
TOOLS = standard_tools().schemas()
WHOLE, WHOLE_PERSON = answer(LEAK, TOOLS).text, answer(PERSON, TOOLS).text
BEFORE_WORDS = 1 + 6
"""The first, empty chunk, and the reasoning."""

Maker = Callable[..., LlmChain]


@pytest.fixture
def chain_of(sandbox: Sandbox, http: aiohttp.ClientSession) -> Maker:
    """Makes a chain of these models; one may be given as a URL."""

    def make(*models: str, breakers: Breakers | None = None) -> LlmChain:
        options = [
            ChatOptions(model, KEY, FIRST) if "://" in model else ChatOptions(sandbox.groq_url, KEY, model)
            for model in models or (FIRST, SECOND)
        ]
        return LlmChain([ChatModel(option, http) for option in options], breakers or Breakers())

    return make


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A silence is noticed sooner."""
    monkeypatch.setattr(llm_chain, "SILENT_S", 0.15)
    monkeypatch.setattr(llm_chain, "FIRST_WORD_S", 0.2)


async def collect(chain: LlmChain, messages: Sequence[Message] = LEAK) -> list[LlmEvent]:
    return [event async for event in chain.reply(messages, TOOLS)]


def text_of(events: Sequence[LlmEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, Text))


def calls_of(events: Sequence[LlmEvent]) -> list[ToolCall]:
    return [event for event in events if isinstance(event, ToolCall)]


def model_of(events: Sequence[LlmEvent]) -> str:
    assert isinstance(events[-1], Finished)
    return events[-1].model


# ---- before the first word ------------------------------------------------------------------------------------------


async def test_the_first_answers_alone(chain_of: Maker, sandbox: Sandbox) -> None:
    chain = chain_of()
    events = await collect(chain)
    assert (text_of(events), model_of(events)) == (WHOLE, FIRST)
    assert (sandbox.groq.counters["requests"], chain.counters["hedges"], chain.counters["replies"]) == (1, 0, 1)
    assert chain.links[0].breaker.counters["succeeded"] == 1


@pytest.mark.parametrize("status", [400, 401, 403, 413, 429, 498, 499, 500, 502, 503])
async def test_a_refusal_is_answered_by_the_next(chain_of: Maker, sandbox: Sandbox, status: int) -> None:
    chain = chain_of()
    sandbox.groq.faults.refuse_times, sandbox.groq.faults.refuse_status = 1, status
    events = await collect(chain)
    assert (text_of(events), model_of(events)) == (WHOLE, SECOND)
    assert (chain.counters["fallbacks"], chain.counters["errors"]) == (1, 1)


@pytest.mark.parametrize(
    "fault",
    [{"error_times": 1}, {"close_times": 1}, {"garbage_times": 1}, {"cut_times": 1, "cut_after": 3}],
)
async def test_a_stream_without_a_word_is_replaced(chain_of: Maker, sandbox: Sandbox, fault: dict[str, int]) -> None:
    for name, value in fault.items():
        setattr(sandbox.groq.faults, name, value)
    chain = chain_of()
    events = await collect(chain)
    assert (text_of(events), model_of(events), chain.counters["fallbacks"]) == (WHOLE, SECOND, 1)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/v1", "http://nowhere.invalid/v1", "https://{plain}/v1"])
async def test_nobody_there_no_name_no_tls(chain_of: Maker, sandbox: Sandbox, url: str) -> None:
    plain = sandbox.groq_url.split("/")[2]
    chain = chain_of(url.format(plain=plain), SECOND)
    events = await collect(chain)
    assert (text_of(events), model_of(events)) == (WHOLE, SECOND)


async def test_nobody_takes_the_connection(chain_of: Maker, quick: None) -> None:
    """A server that takes connections, and nothing else."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        chain = chain_of(f"http://127.0.0.1:{server.getsockname()[1]}/v1", SECOND)
        events = await collect(chain)
    assert (text_of(events), model_of(events)) == (WHOLE, SECOND)
    assert (chain.counters["hedges"], chain.counters["hedges_won"], chain.counters["silent"]) == (1, 1, 1)
    assert chain.links[0].breaker.counters["failed"] == 1, "others need not find it out by waiting"


async def test_a_silence_is_waited_for_a_second_and_no_longer(chain_of: Maker, sandbox: Sandbox) -> None:
    sandbox.groq.faults.silent_times = 1
    begun = time.monotonic()
    first = None
    async for event in chain_of().reply(LEAK, TOOLS):
        first = first or (time.monotonic() - begun if isinstance(event, Text) else None)
    assert first is not None
    assert 0.9 < first < 2.0


async def test_the_one_who_was_late_may_still_be_heard(chain_of: Maker, sandbox: Sandbox, quick: None) -> None:
    sandbox.groq.faults.delay_times, sandbox.groq.faults.delay_ms = 2, 400
    silent = socket.create_server(("127.0.0.1", 0))
    with silent:
        chain = chain_of(FIRST, f"http://127.0.0.1:{silent.getsockname()[1]}/v1")
        events = await collect(chain)
    assert (text_of(events), model_of(events)) == (WHOLE, FIRST)
    assert chain.counters["hedges"] >= 1
    assert chain.counters["hedges_won"] == 0


async def test_reasoning_without_an_end_is_not_waited_for(chain_of: Maker, sandbox: Sandbox, quick: None) -> None:
    """Something comes all the time, and no word."""
    sandbox.groq.config.reasoning_tokens, sandbox.groq.config.tokens_per_second = {"low": 400, "medium": 1}, 100
    chain = chain_of(FIRST, THIRD)
    events = await collect(chain)
    assert (text_of(events), model_of(events)) == (WHOLE, THIRD)
    assert chain.counters["hedges"] == 1


async def test_all_are_asked_in_their_order(chain_of: Maker, sandbox: Sandbox) -> None:
    sandbox.groq.faults.refuse_times = 2
    events = await collect(chain_of(FIRST, SECOND, THIRD))
    assert model_of(events) == THIRD


async def test_when_all_refuse_it_is_an_error(chain_of: Maker, sandbox: Sandbox) -> None:
    sandbox.groq.faults.refuse_times = 2
    with pytest.raises(ProviderError) as caught:
        await collect(chain_of())
    assert caught.value.status == 503
    assert sandbox.groq.counters["requests"] == 2


async def test_when_all_break_off_one_is_asked_again(chain_of: Maker, sandbox: Sandbox) -> None:
    sandbox.groq.faults.close_times = 2
    assert model_of(await collect(chain_of())) == FIRST
    sandbox.groq.faults.close_times = 3
    with pytest.raises(ProviderError):
        await collect(chain_of())
    assert sandbox.groq.counters["requests"] == 6


async def test_an_empty_reply_is_no_reply(chain_of: Maker, sandbox: Sandbox) -> None:
    """gpt-oss may spend its tokens on reasoning: the caller would hear nothing at all."""
    sandbox.groq.config.reasoning_tokens = {"low": 700, "medium": 1}
    chain = chain_of(FIRST, THIRD)
    events = await collect(chain)
    assert (text_of(events), model_of(events)) == (WHOLE, THIRD)
    assert chain.counters["fallbacks"] == 1


async def test_a_connection_that_was_closed_between_turns_is_no_failure(chain_of: Maker, sandbox: Sandbox) -> None:
    chain = chain_of()
    await collect(chain)
    sandbox.groq.faults.drop_times = 1
    assert model_of(await collect(chain)) == FIRST
    assert (chain.counters["sent_anew"], chain.counters["errors"]) == (1, 0)


# ---- limits, and what all calls share -------------------------------------------------------------------------------


async def test_a_limited_model_rests_for_as_long_as_it_asked(chain_of: Maker, sandbox: Sandbox) -> None:
    chain = chain_of()
    sandbox.groq.faults.refuse_times, sandbox.groq.faults.refuse_status = 1, 429
    sandbox.groq.faults.retry_after_s = 0.4
    models = []
    for pause in (0, 0, 0.45):
        await asyncio.sleep(pause)
        models.append(model_of(await collect(chain)))
    assert models == [SECOND, SECOND, FIRST]
    assert sandbox.groq.counters["requests"] == 4, "while it rests it is not asked"
    assert chain.counters["rested"] == 1


async def test_where_every_model_is_limited_the_shortest_rest_is_waited_for(chain_of: Maker, sandbox: Sandbox) -> None:
    sandbox.groq.faults.refuse_times, sandbox.groq.faults.refuse_status = 2, 429
    sandbox.groq.faults.retry_after_s = 0.3
    begun = time.monotonic()
    assert text_of(await collect(chain_of())) == WHOLE
    assert time.monotonic() - begun > 0.25


async def test_where_every_model_is_limited_for_long_nobody_is_asked(chain_of: Maker, sandbox: Sandbox) -> None:
    chain = chain_of()
    sandbox.groq.faults.refuse_times, sandbox.groq.faults.refuse_status = 2, 429
    sandbox.groq.faults.retry_after_s = 60
    for _ in range(2):
        with pytest.raises(ProviderError) as caught:
            await collect(chain)
        assert caught.value.status == 429
    assert sandbox.groq.counters["requests"] == 2


@pytest.mark.parametrize(
    ("value", "rest_s"), [(1e9, 600.0), (float("inf"), 600.0), (float("nan"), 0.0), (-3.0, 0.0), (7.0, 7.0)]
)
async def test_no_limit_lasts_for_ever(chain_of: Maker, sandbox: Sandbox, value: float, rest_s: float) -> None:
    sandbox.groq.faults.refuse_times, sandbox.groq.faults.refuse_status = 1, 429
    sandbox.groq.faults.retry_after_s = value
    chain = chain_of()
    await collect(chain)
    assert chain.links[0].breaker.rest_s == pytest.approx(rest_s, abs=1.0)


async def test_what_one_call_finds_out_another_knows(chain_of: Maker, sandbox: Sandbox) -> None:
    breakers = Breakers()
    sandbox.groq.config.models = (SECOND,)
    assert model_of(await collect(chain_of(breakers=breakers))) == SECOND
    assert model_of(await collect(chain_of(breakers=breakers))) == SECOND
    assert sandbox.groq.counters["requests"] == 3
    assert {breaker.name: breaker.state for breaker in breakers.all()} == {
        f"llm {FIRST}": BreakerState.OPEN,
        f"llm {SECOND}": BreakerState.CLOSED,
    }


async def test_failures_open_it_and_nobody_else_left_is_asked_all_the_same(chain_of: Maker, sandbox: Sandbox) -> None:
    chain = chain_of(FIRST)
    sandbox.groq.faults.refuse_times = 3
    for _ in range(3):
        with pytest.raises(ProviderError):
            await collect(chain)
    states = [chain.links[0].breaker.state]
    assert text_of(await collect(chain)) == WHOLE, "a caller has nothing to lose"
    assert [*states, chain.links[0].breaker.state] == [BreakerState.OPEN, BreakerState.CLOSED]


async def test_one_conversation_that_is_refused_keeps_nobody_away(chain_of: Maker, sandbox: Sandbox) -> None:
    chain = chain_of()
    sandbox.groq.faults.refuse_times, sandbox.groq.faults.refuse_status = 1, 400
    await collect(chain)
    assert chain.links[0].breaker.state is BreakerState.CLOSED


# ---- in mid-reply ---------------------------------------------------------------------------------------------------


FAULTS = ("close", "error", "garbage", "cut", "silent")


def break_after(sandbox: Sandbox, fault: str, chunks: int) -> None:
    setattr(sandbox.groq.faults, f"{fault}_times", 1)
    setattr(sandbox.groq.faults, f"{fault}_after", chunks)


@pytest.mark.parametrize("unfinished", ["continue", "anew", "refuse", "nothing"])
@pytest.mark.parametrize("fault", FAULTS)
async def test_each_word_once_wherever_it_breaks_off(
    chain_of: Maker, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, fault: str, unfinished: Any
) -> None:
    if fault == "silent":
        monkeypatch.setattr(llm_chain, "SILENT_S", 0.12)  # a host that stands still is not silent so soon
    sandbox.groq.config.unfinished = unfinished
    chunks = BEFORE_WORDS + len(tokens_of(WHOLE)) + 1
    for after in range(chunks):
        break_after(sandbox, fault, after)
        chain = chain_of()
        events = await collect(chain)
        text = text_of(events)
        # A model that takes a sentence for all there is to say is believed, if it is a whole one.
        whole_sentence = unfinished == "nothing" and WHOLE.startswith(text) and text.rstrip()[-1:] in ("?", ".")
        assert text == WHOLE or whole_sentence, after
        assert isinstance(events[-1], Finished)
        assert sum(isinstance(event, Finished) for event in events) == 1
        if BEFORE_WORDS + 2 < after < chunks - 2:
            assert chain.counters["went_on"] == 1 or whole_sentence, after


@pytest.mark.parametrize("unfinished", ["continue", "anew", "refuse"])
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_tool_is_called_once_wherever_it_breaks_off(
    chain_of: Maker, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, fault: str, unfinished: Any
) -> None:
    if fault == "silent":
        monkeypatch.setattr(llm_chain, "SILENT_S", 0.12)  # as above
    sandbox.groq.config.unfinished = unfinished
    chunks = BEFORE_WORDS + len(tokens_of(WHOLE_PERSON)) + 1 + 1
    for after in range(chunks):
        break_after(sandbox, fault, after)
        chain = chain_of()
        asked = sandbox.groq.counters["requests"]
        events = await collect(chain, PERSON)
        (call,) = calls_of(events)
        assert (call.name, text_of(events)) == ("transfer_to_human", WHOLE_PERSON), after
        assert json.loads(call.arguments)
        whole = after == chunks - 1
        if whole:
            assert chain.counters["whole_calls"] == 1
            assert sandbox.groq.counters["requests"] == asked + 1, "a whole call is not asked for anew"


async def test_what_the_next_one_is_asked(http: aiohttp.ClientSession, sandbox: Sandbox) -> None:
    """To go on with a message that ends where a word does."""
    asked: list[list[Message]] = []
    given: list[str] = []

    class Noted(ChatModel):
        def _body(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> dict[str, Any]:
            asked.append(list(messages))
            given.append(text_of(events))
            return super()._body(messages, tools)

    break_after(sandbox, "close", 12)
    events: list[LlmEvent] = []
    models = [Noted(ChatOptions(sandbox.groq_url, KEY, model), http) for model in (FIRST, SECOND)]
    async for event in LlmChain(models, Breakers()).reply(LEAK, TOOLS):
        events.append(event)  # noqa: PERF401 (it is read meanwhile)
    assert asked == [LEAK, [*LEAK, {"role": "assistant", "content": given[1].rstrip()}]]
    assert given[1].split() == WHOLE.split()[: len(given[1].split())]
    assert given[1]


async def test_a_server_that_refuses_the_message_is_asked_in_words_at_once_from_then_on(
    chain_of: Maker, sandbox: Sandbox
) -> None:
    sandbox.groq.config.unfinished = "refuse"
    chain = chain_of()
    for requests in (3, 2):
        sandbox.groq.counters.clear()
        break_after(sandbox, "close", 12)
        assert text_of(await collect(chain)) == WHOLE
        assert sandbox.groq.counters["requests"] == requests
    assert chain.links[1].breaker.counters["failed"] == 0


async def test_twice_broken_off_is_still_one_reply(chain_of: Maker, sandbox: Sandbox) -> None:
    break_after(sandbox, "close", 11)
    sandbox.groq.faults.close_times = 2
    chain = chain_of()
    assert text_of(await collect(chain)) == WHOLE
    assert chain.counters["went_on"] == 2


async def test_a_reply_that_nobody_goes_on_with_is_an_error(chain_of: Maker, sandbox: Sandbox) -> None:
    break_after(sandbox, "error", 12)
    sandbox.groq.faults.error_times = 9
    events: list[LlmEvent] = []

    async def listen() -> None:
        async for event in chain_of().reply(LEAK, TOOLS):
            events.append(event)  # noqa: PERF401 (what came before the error counts)

    with pytest.raises(ProviderError) as caught:
        await listen()
    assert text_of(events)
    assert WHOLE.startswith(text_of(events))
    assert not any(isinstance(event, Finished) for event in events)
    assert KEY not in str(caught.value)
    assert sandbox.groq.counters["requests"] == 3


async def test_nothing_is_left_of_a_reply_that_nobody_wants(chain_of: Maker, sandbox: Sandbox, quick: None) -> None:
    sandbox.groq.config.tokens_per_second, sandbox.groq.config.first_token = 4.0, 0.0
    before = asyncio.all_tasks()
    async with aclosing(chain_of().reply(LEAK, TOOLS)) as events:
        async for event in events:
            assert isinstance(event, Text)
            break
    limit = time.monotonic() + 3
    while sandbox.groq.gauges["requests"] or any(t.get_name().startswith("llm") for t in asyncio.all_tasks() - before):
        assert time.monotonic() < limit
        await asyncio.sleep(0.01)


# ---- another server -------------------------------------------------------------------------------------------------


async def test_the_settings_make_the_chain(
    agent_settings: Callable[..., Settings], http: aiohttp.ClientSession
) -> None:
    """Groq's two models, then a local server, which is asked as such a server is: without a key, with `max_tokens`."""
    seen: list[web.Request] = []
    bodies: list[dict[str, Any]] = []

    async def reply(request: web.Request) -> web.Response:
        seen.append(request)
        bodies.append(await request.json())
        delta = {"choices": [{"index": 0, "delta": {"content": "Hello."}, "finish_reason": "stop"}]}
        return web.Response(text=f"data: {json.dumps(delta)}\n\ndata: [DONE]\n\n")

    app = web.Application()
    app.router.add_post("/v1/chat/completions", reply)
    async with TestServer(app) as server:
        url = str(server.make_url("/v1/"))
        settings = agent_settings(
            groq_url="http://127.0.0.1:1/v1", llm_fallback_url=url, llm_fallback_model="llama3.2", llm_max_tokens=99
        )
        breakers = Breakers()
        chain = language_model(settings, http, breakers)
        assert text_of(await collect(chain)) == "Hello."
    assert "Authorization" not in seen[0].headers
    assert (bodies[0]["model"], bodies[0]["max_tokens"]) == ("llama3.2", 99)
    assert "max_completion_tokens" not in bodies[0]
    assert [breaker.name for breaker in breakers.all()] == [
        f"llm {FIRST}", f"llm {SECOND}", f"llm {url.split('/')[2]} llama3.2",
    ]  # fmt: skip


def test_a_fallback_needs_a_model(agent_settings: Callable[..., Settings]) -> None:
    settings = agent_settings(llm_fallback_url="http://127.0.0.1:11434/v1")
    with pytest.raises(SettingsError, match="LLM_FALLBACK_MODEL is missing"):
        settings.require_keys()
    with pytest.raises(SettingsError, match="LLM_FALLBACK_URL"):
        agent_settings(llm_fallback_url="localhost:11434")


def test_no_fallback_is_a_chain_of_one(agent_settings: Callable[..., Settings]) -> None:
    chain = language_model(agent_settings(groq_fallback_model="none"), cast(aiohttp.ClientSession, None), Breakers())
    assert [link.model.options.model for link in chain.links] == [FIRST]
