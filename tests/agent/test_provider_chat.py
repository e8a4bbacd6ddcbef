"""The chat client against the emulated vendor, and against a server that cuts its stream anywhere."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.providers.base import Finished, LlmEvent, Message, ProviderError, Text, ToolCall
from agent.providers.metering import METER, Meter
from agent.providers.openai_chat import ChatModel, ChatOptions
from agent.sandbox import Sandbox
from agent.tools.call_control import STANDARD_TOOLS, standard_tools

KEY = "groq-secret-key"
MODEL = "openai/gpt-oss-120b"
SYSTEM: Message = {"role": "system", "content": "Company: Acme\nTrade: plumber\nCallout fee: £65"}


def said(*texts: str) -> list[Message]:
    """A conversation: caller and agent in turns, the caller first."""
    roles = ("user", "assistant")
    return [SYSTEM, *({"role": roles[i % 2], "content": text} for i, text in enumerate(texts))]


ASKS_FOR_A_PERSON = said("Can I speak to a person please?")


async def collect(model: ChatModel, messages: Sequence[Message], *, tools: bool = True) -> list[LlmEvent]:
    schemas = standard_tools().schemas() if tools else []
    return [event async for event in model.reply(messages, schemas)]


def text_of(events: Sequence[LlmEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, Text))


@pytest.fixture
def chat(sandbox: Sandbox, http: aiohttp.ClientSession) -> ChatModel:
    return ChatModel(ChatOptions(sandbox.groq_url, KEY, MODEL, silent_s=0.5), http)


# ---- against the emulated vendor ------------------------------------------------------------------------------------


async def test_a_reply_comes_word_by_word(chat: ChatModel, sandbox: Sandbox) -> None:
    events = await collect(chat, said("My tap is leaking"))
    finished = events[-1]
    assert "£65" in text_of(events)
    assert sum(isinstance(event, Text) for event in events) > 10
    assert all(event.text for event in events if isinstance(event, Text)), "the first, empty chunk is no word"
    assert isinstance(finished, Finished)
    assert (finished.reason, finished.model) == ("stop", MODEL)
    assert finished.prompt_tokens > 0
    assert finished.completion_tokens > 10
    assert sandbox.groq.counters["streams_completed"] == 1


async def test_the_tokens_of_a_reply_that_is_let_go_are_told_behind_it(chat: ChatModel, sandbox: Sandbox) -> None:
    """Its end comes a moment later, when nobody wants it any more; only the meter does."""
    sandbox.groq.config.tokens_per_second = 300
    meter = Meter()
    mine = METER.set(meter)
    try:
        async with aclosing(chat.reply(said("My tap is leaking"), [])) as events:
            async for event in events:
                if isinstance(event, Text):
                    break
    finally:
        METER.reset(mine)
    assert meter.usage == {"llm": {MODEL: {"requests": 1}}}
    async with asyncio.timeout(3.0):
        await asyncio.gather(*chat._running_out)
    assert sandbox.groq.counters["streams_completed"] == 1
    counted = sandbox.groq.counters
    told = {name: counted[name] for name in ("tokens_in", "tokens_out")}
    assert meter.usage == {"llm": {MODEL: {"requests": 1, **told}}}


async def test_a_tool_call(chat: ChatModel) -> None:
    events = await collect(chat, ASKS_FOR_A_PERSON)
    (call,) = (event for event in events if isinstance(event, ToolCall))
    assert call.name == "transfer_to_human"
    assert json.loads(call.arguments) == {"reason": "the caller asked for a person"}
    assert call.id
    assert isinstance(events[-1], Finished)
    assert events[-1].reason == "tool_calls"


async def test_a_call_that_the_vendor_refuses_for_us_is_given_on(chat: ChatModel, sandbox: Sandbox) -> None:
    """Arguments that break the schema: HTTP 400 from Groq, and no reason for another model or an apology."""
    schemas = json.loads(json.dumps(standard_tools().schemas()))
    for schema in schemas:
        if schema["function"]["name"] == "transfer_to_human":
            schema["function"]["parameters"]["required"] = ["branch"]
            schema["function"]["parameters"]["properties"]["branch"] = {"type": "string"}
    events = [event async for event in chat.reply(ASKS_FOR_A_PERSON, schemas)]
    (call,) = (event for event in events if isinstance(event, ToolCall))
    assert call.name == "transfer_to_human"
    assert "branch" not in json.loads(call.arguments)
    assert events[-1] == Finished("tool_calls", 0, 0, MODEL)
    assert chat.counters["refused_calls"] == 1


async def test_a_wrong_key_is_an_error_that_does_not_show_it(chat: ChatModel, http: aiohttp.ClientSession) -> None:
    wrong = ChatModel(replace(chat.options, api_key="wrong-secret"), http)
    with pytest.raises(ProviderError) as caught:
        await collect(wrong, said("hi"))
    assert caught.value.status == 401
    assert str(caught.value).endswith("/openai/v1/chat/completions answered HTTP 401 invalid_api_key")
    assert "wrong-secret" not in repr(caught.value.__cause__)


@pytest.mark.parametrize("fault", ["error", "close", "silent"])
async def test_a_reply_that_breaks_off_after_words_is_an_error(chat: ChatModel, sandbox: Sandbox, fault: str) -> None:
    events: list[LlmEvent] = []
    setattr(sandbox.groq.faults, f"{fault}_times", 1)
    setattr(sandbox.groq.faults, f"{fault}_after", 12)

    async def listen() -> None:
        async for event in chat.reply(said("My tap is leaking"), []):
            events.append(event)  # noqa: PERF401 (what came before the error counts)

    with pytest.raises(ProviderError) as caught:
        await listen()
    assert text_of(events)
    assert not any(isinstance(event, Finished) for event in events)
    assert KEY not in str(caught.value)


async def test_a_whole_reply_without_done_is_whole(chat: ChatModel, sandbox: Sandbox) -> None:
    sandbox.groq.faults.omit_done_times = 1
    events = await collect(chat, said("My tap is leaking"))
    assert isinstance(events[-1], Finished)


async def test_a_reply_that_nobody_wants_any_more_is_cancelled(chat: ChatModel, sandbox: Sandbox) -> None:
    sandbox.groq.config.tokens_per_second = 20.0
    async with aclosing(chat.reply(said("My tap is leaking"), [])) as events:
        async for event in events:
            assert isinstance(event, Text)
            break
    limit = time.monotonic() + 2
    while sandbox.groq.gauges["requests"]:
        assert time.monotonic() < limit, "the vendor goes on generating"
        await asyncio.sleep(0.01)
    assert sandbox.groq.counters["streams_cancelled"] == 1


async def test_a_reply_that_nobody_wants_any_more_leaves_its_connection(sandbox: Sandbox) -> None:
    """A connection made anew would cost the next turn its handshakes."""
    made: list[object] = []
    trace = aiohttp.TraceConfig()

    async def note(*about: object) -> None:
        made.append(about)

    trace.on_connection_create_end.append(note)
    async with aiohttp.ClientSession(trace_configs=[trace]) as http:
        model = ChatModel(ChatOptions(sandbox.groq_url, KEY, MODEL), http)
        for _ in range(5):
            async with aclosing(model.reply(said("My tap is leaking"), [])) as events:
                async for _ in events:
                    break
            limit = time.monotonic() + 2
            while sandbox.groq.gauges["requests"]:
                assert time.monotonic() < limit
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.02)
    assert len(made) == 1
    assert sandbox.groq.counters["streams_cancelled"] == 0


# ---- against a server of the test's own -----------------------------------------------------------------------------


def chunk(delta: dict[str, Any], reason: str | None = None) -> bytes:
    return b"data: " + json.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}).encode()


def part(index: int, arguments: str = "", **more: str) -> dict[str, Any]:
    function = {"arguments": arguments} | ({"name": more["name"]} if "name" in more else {})
    return {"index": index, "function": function} | ({"id": more["id"]} if "id" in more else {})


class Server:
    """Answers every request with these bytes, in these pieces."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.url = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.bodies.append(await request.json())
        self.headers.append(dict(request.headers))
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for piece in self.pieces:
            await response.write(piece)
            await asyncio.sleep(0)
        return response


@asynccontextmanager
async def a_server() -> AsyncIterator[tuple[Server, ChatModel]]:
    server, app = Server(), web.Application()
    app.router.add_post("/v1/chat/completions", server.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    try:
        async with aiohttp.ClientSession() as session:
            yield server, ChatModel(ChatOptions(url, KEY, "local-model", temperature=0.1, max_tokens=99), session)
    finally:
        await runner.cleanup()


STREAM = [
    chunk({"role": "assistant", "content": ""}),
    chunk({"reasoning": "hm"}),
    chunk({"content": "Let me "}),
    chunk({"content": "see. "}),
    chunk({"tool_calls": [part(0, id="a", name="check_availability")]}),
    chunk({"tool_calls": [part(0, '{"post'), part(1, '{"reason"', id="b", name="end_call")]}),
    chunk({"tool_calls": [part(1, ':"done"}')]}),
    chunk({"tool_calls": [part(0, 'code":"M14"}')]}),
    chunk({}, "tool_calls"),
    b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3}}',
    b"data: [DONE]",
]
EXPECTED = [
    Text("Let me "),
    Text("see. "),
    ToolCall("a", "check_availability", '{"postcode":"M14"}'),
    ToolCall("b", "end_call", '{"reason":"done"}'),
    Finished("tool_calls", 7, 3, "local-model"),
]


@given(st.sampled_from([b"\n", b"\r\n"]), st.lists(st.integers(0, 2000), max_size=40), st.booleans())
@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
def test_a_stream_cut_anywhere_is_the_same_reply(newline: bytes, cuts: list[int], last_line: bool) -> None:
    async def run() -> None:
        whole = (newline + newline).join([b": a comment", *STREAM]) + (newline + newline if last_line else b"")
        places = sorted({0, len(whole), *(cut % len(whole) for cut in cuts)})
        async with a_server() as (server, model):
            server.pieces = [whole[a:b] for a, b in itertools.pairwise(places)]
            assert await collect(model, said("hi")) == EXPECTED

    asyncio.run(run())


async def test_what_is_asked() -> None:
    async with a_server() as (server, model):
        server.pieces = [piece + b"\n\n" for piece in STREAM]
        await collect(model, said("hi"))
        await collect(model, said("hi"), tools=False)
    first, second = server.bodies
    assert (first["model"], first["stream"], first["temperature"]) == ("local-model", True, 0.1)
    assert (first["max_completion_tokens"], first["messages"]) == (99, said("hi"))
    assert [tool["function"]["name"] for tool in first["tools"]] == list(STANDARD_TOOLS)
    assert "reasoning_effort" not in first, "a server that is not Groq's may refuse it"
    assert "tools" not in second
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert server.headers[0]["User-Agent"] == "fastaudio-agent"


async def test_gpt_oss_gets_room_for_its_reasoning(http: aiohttp.ClientSession) -> None:
    model = ChatModel(ChatOptions("http://x", KEY, MODEL, max_tokens=250, reasoning_effort="low"), http)
    body = model._body([], [])
    assert (body["reasoning_effort"], body["max_completion_tokens"]) == ("low", 650)


async def test_a_stream_that_just_ends_is_an_error() -> None:
    async with a_server() as (server, model):
        server.pieces = [chunk({"content": "Let me"}) + b"\n\n"]
        with pytest.raises(ProviderError, match="broke off"):
            await collect(model, said("hi"))


async def test_a_call_without_an_id_gets_one_of_its_own() -> None:
    async with a_server() as (server, model):
        server.pieces = [chunk({"tool_calls": [part(0, "{}", name="end_call")]}, "stop") + b"\n\n"]
        ids = [e.id for _ in range(2) for e in await collect(model, said("hi")) if isinstance(e, ToolCall)]
    assert all(ids)
    assert len(set(ids)) == 2


async def test_a_call_that_is_refused_for_us_inside_the_stream_is_given_on() -> None:
    written = {"name": "end_call", "arguments": {"why": 1}}
    error = {"message": "no", "code": "tool_use_failed", "failed_generation": json.dumps(written)}
    async with a_server() as (server, model):
        line = b"event: error\ndata: " + json.dumps({"error": error}).encode()
        server.pieces = [chunk({"content": "Bye. "}) + b"\n\n", line + b"\n\n"]
        text, call, finished = await collect(model, said("hi"))
    assert text == Text("Bye. ")
    assert isinstance(call, ToolCall)
    assert (call.name, call.arguments) == ("end_call", '{"why":1}')
    assert finished == Finished("tool_calls", 0, 0, "local-model")


@pytest.mark.parametrize(
    "line",
    [
        b"data: {garbage", b"data: [1]", b"data: 7", b'data: {"choices":7}', b'data: {"choices":["x"]}',
        b'data: {"choices":[{"delta":["x"]}]}', b'data: {"choices":[{"delta":{"tool_calls":[{"index":"x"}]}}]}',
        b'data: {"choices":[{"delta":{"tool_calls":[{"function":"x"}]}}]}', b'data: {"error":"overloaded"}',
        b'data: {"x_groq":{"error":"over"},"choices":[]}', b"data: " + b"x" * (300 * 1024),
    ],
)  # fmt: skip
async def test_every_shape_that_is_wrong_is_a_providers_error(line: bytes) -> None:
    async with a_server() as (server, model):
        server.pieces = [line + b"\n\n", chunk({"content": "x"}, "stop") + b"\n\n"]
        with pytest.raises(ProviderError):
            await collect(model, said("hi"))


async def test_nobody_there(http: aiohttp.ClientSession) -> None:
    model = ChatModel(ChatOptions("http://127.0.0.1:1/v1", KEY, "m"), http)
    with pytest.raises(ProviderError, match=r"no answer from http://127\.0\.0\.1:1/v1"):
        await collect(model, said("hi"))
