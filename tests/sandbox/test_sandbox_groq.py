"""The emulated Groq streams, answers and refuses as the vendor does."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import orjson
import pytest

from agent.providers.openai_chat import GO_ON
from agent.sandbox import Sandbox
from agent.sandbox.groq import tokens_of

AUTH = {"Authorization": "Bearer groq-key"}
BOOKING = {
    "type": "function",
    "function": {
        "name": "create_booking",
        "description": "Book a visit",
        "parameters": {
            "type": "object",
            "properties": {
                name: {"type": "string"} for name in ("customer_name", "postcode", "address", "problem_description")
            },
            "required": ["customer_name", "postcode", "address", "problem_description"],
        },
    },
}
TAP = [
    {"role": "system", "content": "Company: Smith\nCallout fee: £89\nTrade: plumber"},
    {"role": "user", "content": "My tap is leaking"},
]
BAD_CALL = {"id": "fc_1", "type": "function", "function": {"name": "end_call", "arguments": "{"}}
TO_THE_BOOKING = [
    *TAP,
    *(
        {"role": role, "content": content}
        for content in ("yes", "M1 4BT", "yes", "12 Mill Lane", "Sarah Jones")
        for role, content in (("assistant", "?"), ("user", content))
    ),
]


def request(**changes: Any) -> dict[str, Any]:
    return {"model": "openai/gpt-oss-120b", "messages": TAP, "stream": True, "reasoning_effort": "low"} | changes


async def post(sandbox: Sandbox, http: aiohttp.ClientSession, **changes: Any) -> tuple[int, Any, bytes]:
    async with http.post(f"{sandbox.groq_url}/chat/completions", json=request(**changes), headers=AUTH) as answer:
        return answer.status, answer.headers, await answer.read()


def events(body: bytes) -> list[Any]:
    data = [event.removeprefix(b"data: ") for event in body.split(b"\n\n") if event]
    return [event.decode() if event == b"[DONE]" else orjson.loads(event) for event in data]


async def stream(sandbox: Sandbox, http: aiohttp.ClientSession, **changes: Any) -> list[Any]:
    status, headers, body = await post(sandbox, http, **changes)
    assert status == 200, body
    assert headers["content-type"].startswith("text/event-stream")
    return events(body)


async def test_the_stream_as_it_was_recorded(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    chunks = await stream(sandbox, http)
    assert chunks.pop() == "[DONE]"
    first, *middle, last = chunks
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert first["choices"][0]["finish_reason"] is None
    assert first["choices"][0]["logprobs"] is None
    assert first["x_groq"]["id"].startswith("req_")
    assert {chunk["id"] for chunk in chunks} == {first["id"]}
    assert first["id"].startswith("chatcmpl-")
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}

    deltas = [chunk["choices"][0]["delta"] for chunk in middle]
    reasoning = [delta for delta in deltas if "reasoning" in delta]
    content = [delta for delta in deltas if "content" in delta]
    assert deltas == reasoning + content
    assert len(reasoning) == 6
    assert all(delta["channel"] == "analysis" for delta in reasoning)
    assert "£89" in "".join(delta["content"] for delta in content)

    assert last["choices"][0]["delta"] == {}
    assert last["choices"][0]["finish_reason"] == "stop"
    assert last["usage"] == last["x_groq"]["usage"]
    usage = last["usage"]
    assert usage["completion_tokens"] == len(deltas)
    assert usage["completion_tokens_details"]["reasoning_tokens"] == 6
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert {"queue_time", "prompt_time", "completion_time", "total_time"} <= usage.keys()


async def test_a_tool_call_is_whole_and_its_finish_follows(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    chunks = await stream(sandbox, http, messages=TO_THE_BOOKING, tools=[BOOKING])
    with_call = [chunk for chunk in chunks[:-1] if "tool_calls" in chunk["choices"][0]["delta"]]
    assert len(with_call) == 1
    assert chunks.index(with_call[0]) == len(chunks) - 3
    assert with_call[0]["choices"][0]["finish_reason"] is None
    (call,) = with_call[0]["choices"][0]["delta"]["tool_calls"]
    assert call["index"] == 0
    assert call["id"].startswith("fc_")
    assert call["type"] == "function"
    assert call["function"]["name"] == "create_booking"
    assert orjson.loads(call["function"]["arguments"])["postcode"] == "M1 4BT"
    assert chunks[-2]["choices"][0]["finish_reason"] == "tool_calls"


async def test_the_result_of_a_tool_goes_on(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    function = {"name": "create_booking", "arguments": "{}"}
    messages = [
        *TO_THE_BOOKING,
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "fc_1", "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": "fc_1", "content": '{"booking_id":"B-1"}'},
    ]
    chunks = await stream(sandbox, http, messages=messages, tools=[BOOKING])
    assert "booked" in "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks[:-1])


async def test_not_streamed(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    status, _, body = await post(sandbox, http, stream=False, messages=TO_THE_BOOKING, tools=[BOOKING])
    answer = orjson.loads(body)
    assert status == 200
    assert answer["object"] == "chat.completion"
    assert answer["choices"][0]["finish_reason"] == "tool_calls"
    assert answer["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "create_booking"
    assert answer["choices"][0]["message"]["reasoning"]
    _, _, body = await post(sandbox, http, stream=False)
    assert "£89" in orjson.loads(body)["choices"][0]["message"]["content"]


async def test_reasoning_follows_effort_model_and_wish(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    async def count(**changes: Any) -> tuple[int, int]:
        chunks = await stream(sandbox, http, **changes)
        shown = sum("reasoning" in chunk["choices"][0]["delta"] for chunk in chunks[:-1])
        return shown, chunks[-2]["usage"]["completion_tokens_details"]["reasoning_tokens"]

    assert await count(reasoning_effort="high") == (120, 120)
    assert await count(reasoning_effort=None) == (34, 34)
    assert await count(include_reasoning=False) == (0, 6)
    assert await count(reasoning_format="hidden") == (0, 6)
    assert await count(model="qwen/qwen3.6-27b", reasoning_effort="none") == (0, 0)


async def test_the_token_limit_counts_reasoning(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    chunks = await stream(sandbox, http, max_completion_tokens=10)
    assert chunks[-2]["choices"][0]["finish_reason"] == "length"
    assert chunks[-2]["usage"]["completion_tokens"] == 10
    assert sum("content" in chunk["choices"][0]["delta"] for chunk in chunks[1:-1]) == 4
    chunks = await stream(sandbox, http, max_tokens=3)
    assert chunks[-2]["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize("header", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Token groq-key"}])
async def test_a_wrong_key(sandbox: Sandbox, http: aiohttp.ClientSession, header: dict[str, str]) -> None:
    url = f"{sandbox.groq_url}/chat/completions"
    async with http.post(url, json=request(), headers=header) as answer:
        assert answer.status == 401
        assert (await answer.json())["error"]["code"] == "invalid_api_key"
    async with http.get(f"{sandbox.groq_url}/models", headers=header) as answer:
        assert answer.status == 401


@pytest.mark.parametrize(
    "model", ["llama-3.3-70b-versatile", "llama-3.1-8b-instant", "llama-3.3-70b-specdec", "gpt-4o", ""]
)
async def test_a_model_that_is_gone(sandbox: Sandbox, http: aiohttp.ClientSession, model: str) -> None:
    status, _, body = await post(sandbox, http, model=model)
    error = orjson.loads(body)["error"]
    assert status == 404
    assert error["code"] == "model_not_found"
    assert error["type"] == "invalid_request_error"
    assert model in error["message"]


async def test_the_models_that_there_are(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    async with http.get(f"{sandbox.groq_url}/models", headers=AUTH) as answer:
        names = [model["id"] for model in (await answer.json())["data"]]
    assert names[:2] == ["openai/gpt-oss-120b", "openai/gpt-oss-20b"]
    assert not any("llama" in name for name in names)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"reasoning_effort": "none"}, "reasoning_effort"),
        ({"reasoning_effort": "default"}, "reasoning_effort"),
        ({"reasoning_format": "parsed", "include_reasoning": True}, "cannot specify both"),
        ({"logprobs": True}, "logprobs"),
        ({"logit_bias": {"1": 2}}, "logit_bias"),
        ({"presence_penalty": 0.5}, "presence_penalty"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"n": 2}, "'n'"),
        ({"temperature": 3}, "temperature"),
        ({"max_completion_tokens": 0}, "max_completion_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user"}]}, "content"),
        ({"messages": [{"role": "robot", "content": "hi"}]}, "role"),
        ({"messages": [*TAP, {"role": "tool", "tool_call_id": "fc_9", "content": "x"}]}, "tool_call_id"),
        ({"messages": [*TAP, {"role": "assistant", "tool_calls": [{"id": "fc_1"}]}]}, "tool_calls"),
        ({"messages": [{"role": "assistant", "tool_calls": [BAD_CALL]}]}, "tool_calls"),
        ({"tools": [{"type": "function"}]}, "tools.0"),
        ({"tools": [{"type": "function", "function": {"name": "x", "parameters": {"type": "thing"}}}]}, "schema"),
        ({"colour": "red"}, "'colour' is unsupported"),
    ],
)
async def test_wrong_requests(
    sandbox: Sandbox, http: aiohttp.ClientSession, changes: dict[str, Any], says: str
) -> None:
    status, _, body = await post(sandbox, http, **changes)
    error = orjson.loads(body)["error"]
    assert status == 400
    assert says in error["message"]
    assert error["type"] == "invalid_request_error"


async def test_arguments_that_break_the_schema(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    strict = orjson.loads(orjson.dumps(BOOKING))
    strict["function"]["parameters"]["properties"]["postcode"]["maxLength"] = 3
    status, _, body = await post(sandbox, http, messages=TO_THE_BOOKING, tools=[strict])
    error = orjson.loads(body)["error"]
    assert status == 400
    assert error["code"] == "tool_use_failed"
    assert orjson.loads(error["failed_generation"])["name"] == "create_booking"
    status, _, _ = await post(sandbox, http, messages=TO_THE_BOOKING, tools=[strict], disable_tool_validation=True)
    assert status == 200


async def test_rate_limits(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    sandbox.groq.config.requests_per_minute = 2
    for _ in range(2):
        status, headers, _ = await post(sandbox, http)
        assert status == 200
        assert "retry-after" not in headers
        assert int(headers["x-ratelimit-limit-tokens"]) == 250_000
        assert int(headers["x-ratelimit-remaining-tokens"]) < 250_000
        assert headers["x-ratelimit-reset-tokens"].endswith("s")
        assert int(headers["x-ratelimit-limit-requests"]) > int(headers["x-ratelimit-remaining-requests"])
    status, headers, body = await post(sandbox, http)
    assert status == 429
    assert 1 <= int(headers["retry-after"]) <= 60
    assert orjson.loads(body)["error"]["code"] == "rate_limit_exceeded"
    assert orjson.loads(body)["error"]["type"] == "requests"


async def test_token_limits(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    sandbox.groq.config.tokens_per_minute = 50
    status, headers, body = await post(sandbox, http)
    assert status == 429
    assert "retry-after" in headers
    assert orjson.loads(body)["error"]["type"] == "tokens"


async def test_a_prefix_seen_before_is_cached(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    first = (await stream(sandbox, http))[-2]["usage"]
    second = (await stream(sandbox, http))[-2]["usage"]
    assert "prompt_tokens_details" not in first
    assert second["prompt_tokens_details"]["cached_tokens"] > 0


async def test_the_pace_is_the_settings(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    sandbox.groq.config.queue = 100.0
    sandbox.groq.config.prompt = 50.0
    sandbox.groq.config.tokens_per_second = 100.0
    loop = asyncio.get_running_loop()
    begun = loop.time()
    async with http.post(f"{sandbox.groq_url}/chat/completions", json=request(), headers=AUTH) as answer:
        headers_after = loop.time() - begun
        arrivals = [
            loop.time() - begun async for line in answer.content if b'"content"' in line and b'"role"' not in line
        ]
    assert 0.095 < headers_after < 0.5
    assert 0.15 + 0.065 < arrivals[0] < 0.7  # queue, prompt, six tokens of reasoning and its own
    assert 0.8 < (arrivals[-1] - arrivals[0]) / ((len(arrivals) - 1) / 100) < 1.6


async def test_a_client_that_goes_away_is_noticed(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    sandbox.groq.config.tokens_per_second = 20.0
    async with http.post(f"{sandbox.groq_url}/chat/completions", json=request(), headers=AUTH) as answer:
        await answer.content.readline()
        answer.close()
    for _ in range(50):
        if sandbox.groq.counters["streams_cancelled"]:
            break
        await asyncio.sleep(0.02)
    assert sandbox.groq.counters["streams_cancelled"] == 1
    assert sandbox.groq.gauges["requests"] == 0


def text_of(chunks: list[Any]) -> str:
    return "".join(c["choices"][0]["delta"].get("content", "") for c in chunks if isinstance(c, dict) and c["choices"])


@pytest.mark.parametrize("words", [1, 3, 100])
async def test_an_unfinished_message_is_gone_on_with(sandbox: Sandbox, http: aiohttp.ClientSession, words: int) -> None:
    whole = text_of(await stream(sandbox, http))
    begun = " ".join(whole.split()[:words])
    unfinished = [*TAP, {"role": "assistant", "content": begun}]
    assert begun + text_of(await stream(sandbox, http, messages=unfinished)) == whole
    other = [*TAP, {"role": "assistant", "content": "Well, hello"}]
    assert text_of(await stream(sandbox, http, messages=other)) == whole, "what it would not say it does not go on with"


async def test_what_else_may_become_of_an_unfinished_message(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    whole = text_of(await stream(sandbox, http))
    begun = " ".join(whole.split()[:3])
    unfinished = [*TAP, {"role": "assistant", "content": begun}]
    in_words = [*unfinished, {"role": "user", "content": GO_ON}]
    for way, said in (("anew", whole), ("nothing", "")):
        sandbox.groq.config.unfinished = way  # type: ignore[assignment]
        assert text_of(await stream(sandbox, http, messages=unfinished)) == said
        assert begun + text_of(await stream(sandbox, http, messages=in_words)) == whole
    sandbox.groq.config.unfinished = "refuse"
    assert (await post(sandbox, http, messages=unfinished))[0] == 400
    assert begun + text_of(await stream(sandbox, http, messages=in_words)) == whole


def test_tokens_join_to_the_text() -> None:
    text = "We're £89, all-in: 12_3 naïve  words…\nok"
    assert "".join(tokens_of(text)) == text
