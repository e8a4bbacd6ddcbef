"""The registry: what the LLM is told, and that every failure comes back as a result it can read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
import pytest

from agent.call.company import CompanyContext
from agent.tools.call_control import standard_tools
from agent.tools.registry import Endpoints, Tool, ToolContext, ToolRegistry, ToolResult

PARAMETERS = {
    "type": "object",
    "properties": {"word": {"type": "string", "pattern": r"\S", "maxLength": 5}, "count": {"type": "integer"}},
    "required": ["word"],
    "additionalProperties": False,
}


@pytest.fixture
async def context() -> AsyncIterator[ToolContext]:
    async with aiohttp.ClientSession() as http:
        yield ToolContext("u-1", CompanyContext(), http, Endpoints("http://127.0.0.1:1/create_booking", "key"))


def tool(handler: Any, *, name: str = "echo", timeout_s: float = 10.0) -> Tool:
    return Tool(name, "Say it again.", PARAMETERS, handler, timeout_s=timeout_s)


async def echo(arguments: Mapping[str, Any], context: ToolContext) -> ToolResult:
    return ToolResult.success({"word": arguments["word"], "call": context.call_uuid})


async def test_a_tool_runs_with_checked_arguments(context: ToolContext) -> None:
    registry = ToolRegistry([tool(echo)])
    result = await registry.run("echo", '{"word": "hé"}', context)
    assert result.ok
    assert result.content == '{"word":"hé","call":"u-1"}'
    assert registry.counters == {"ok": 1}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("{}", "word is missing"),
        ("", "word is missing"),
        ('{"word": "  "}', "word is empty"),
        ('{"word": "toolong"}', "word is longer than 5 characters"),
        ('{"word": 3}', "word: 3 is not of type 'string'"),
        ('{"word": "a", "count": "x"}', "count: 'x' is not of type 'integer'"),
        ('{"word": "a", "other": 1}', "other"),
        ('{"word": ', "no valid JSON"),
        ('["a"]', "one JSON object"),
        ("null", "one JSON object"),
        ('{"word": "' + "x" * 20_000 + '"}', "longer than"),
        ("[" * 16_000, "no valid JSON"),
    ],
)
async def test_bad_arguments_never_reach_the_handler(context: ToolContext, arguments: str, told: str) -> None:
    async def handler(arguments: Mapping[str, Any], context: ToolContext) -> ToolResult:
        pytest.fail("the handler ran")

    result = await ToolRegistry([tool(handler)]).run("echo", arguments, context)
    assert not result.ok
    assert result.effect is None
    assert told in json.loads(result.content)["error"]


async def test_an_unknown_tool_is_told_what_there_is(context: ToolContext) -> None:
    result = await ToolRegistry([tool(echo)]).run("shout", "{}", context)
    assert not result.ok
    assert "echo" in result.content


async def test_a_slow_tool_is_given_up(context: ToolContext) -> None:
    async def slow(arguments: Mapping[str, Any], context: ToolContext) -> ToolResult:
        await asyncio.Event().wait()
        raise AssertionError

    registry = ToolRegistry([tool(slow, timeout_s=0.01)])
    async with asyncio.timeout(1):
        result = await registry.run("echo", '{"word": "a"}', context)
    assert not result.ok
    assert registry.counters == {"timeout": 1}


async def test_a_failing_tool_is_a_result_and_its_text_stays_out_of_the_log(
    context: ToolContext, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(arguments: Mapping[str, Any], context: ToolContext) -> ToolResult:
        raise RuntimeError("07700 900123")

    result = await ToolRegistry([tool(broken)]).run("echo", '{"word": "a"}', context)
    assert not result.ok
    assert "07700" not in result.content + caplog.text
    assert "RuntimeError" in caplog.text


async def test_cancellation_goes_through(context: ToolContext) -> None:
    started = asyncio.Event()

    async def slow(arguments: Mapping[str, Any], context: ToolContext) -> ToolResult:
        started.set()
        await asyncio.Event().wait()
        raise AssertionError

    task = asyncio.create_task(ToolRegistry([tool(slow)]).run("echo", '{"word": "a"}', context))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_schemas_are_openais_form_and_always_the_same_bytes() -> None:
    first, second = (json.dumps(standard_tools().schemas()) for _ in range(2))
    assert first == second
    for schema in json.loads(first):
        assert schema["type"] == "function"
        assert set(schema["function"]) == {"name", "description", "parameters"}
    names = [schema["function"]["name"] for schema in json.loads(first)]
    assert names == ["create_booking", "check_availability", "transfer_to_human", "end_call"]


def test_every_standard_tool_acts() -> None:
    registry = standard_tools()
    assert all(registry.acts(name) for name in ("create_booking", "transfer_to_human", "end_call"))
    assert not registry.acts("nonesuch")


def test_a_bad_declaration_is_refused() -> None:
    with pytest.raises(ValueError, match="two tools"):
        ToolRegistry([tool(echo), tool(echo)])
    with pytest.raises(ValueError, match="no JSON schema"):
        ToolRegistry([Tool("x", "", {"type": "object", "required": 3}, echo)])
    with pytest.raises(ValueError, match="object"):
        ToolRegistry([Tool("x", "", {"type": "string"}, echo)])
