"""A chat completion request, checked as Groq checks it.

Source: Groq's API reference and error page (2026), and its SDK 1.7.0.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

_KNOWN = frozenset(
    """messages model temperature top_p stream stream_options stop seed user max_completion_tokens max_tokens tools
    tool_choice parallel_tool_calls response_format reasoning_effort reasoning_format include_reasoning service_tier n
    disable_tool_validation metadata store search_settings documents citation_options""".split()
)
_UNSUPPORTED = ("logprobs", "top_logprobs", "logit_bias", "presence_penalty", "frequency_penalty")
_ROLES = frozenset({"system", "developer", "user", "assistant", "tool"})


class RequestRefused(Exception):
    """The request is answered with an HTTP error."""

    def __init__(self, status: int, message: str, code: str | None = None, **fields: Any) -> None:
        super().__init__(message)
        self.status = status
        self.error: dict[str, Any] = {"message": message, "type": "invalid_request_error"}
        if code is not None:
            self.error["code"] = code
        self.error |= fields


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """What a client asked for."""

    model: str
    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]]
    stream: bool
    max_tokens: int
    effort: str | None
    """Of reasoning; none when the model does not reason for this request."""
    shows_reasoning: bool
    validates_tools: bool

    @property
    def schemas(self) -> dict[str, dict[str, Any]]:
        """The JSON schema of each tool's arguments."""
        return {tool["function"]["name"]: tool["function"].get("parameters") or {} for tool in self.tools}


def parse(body: bytes, models: tuple[str, ...]) -> ChatRequest:
    """Check a request. Raises `RequestRefused`."""
    try:
        request = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RequestRefused(400, f"could not parse request body as JSON: {error}") from None
    if not isinstance(request, dict):
        raise RequestRefused(400, "the request body must be a JSON object")
    for name in request:
        if name in _UNSUPPORTED and request[name]:
            raise RequestRefused(400, f"'{name}' is not supported")
        if name not in _KNOWN and name not in _UNSUPPORTED:
            raise RequestRefused(400, f"property '{name}' is unsupported")
    model = request.get("model")
    if not isinstance(model, str):
        raise RequestRefused(400, "property 'model' is missing")
    if model not in models:
        raise RequestRefused(
            404, f"The model `{model}` does not exist or you do not have access to it.", "model_not_found"
        )
    if request.get("n", 1) != 1:
        raise RequestRefused(400, "'n' : number must be at most 1")
    _number(request, "temperature", 0, 2)
    _number(request, "top_p", 0, 1)
    effort = _effort(request, model)
    limit = request.get("max_completion_tokens", request.get("max_tokens"))
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= 65536):
        raise RequestRefused(400, "`max_completion_tokens` must be a whole number from 1 to 65536")
    return ChatRequest(
        model=model,
        messages=_messages(request),
        tools=_tools(request),
        stream=request.get("stream") is True,
        max_tokens=limit or 65536,
        effort=effort,
        shows_reasoning=request.get("include_reasoning", True) and request.get("reasoning_format") != "hidden",
        validates_tools=not request.get("disable_tool_validation"),
    )


def check_call(request: ChatRequest, name: str, arguments: dict[str, Any]) -> None:
    """Check a tool call of the model's against the tool's schema. Raises `RequestRefused` (tool_use_failed)."""
    if not request.validates_tools:
        return
    schema = request.schemas.get(name)
    problem = "" if schema is not None else f"tool {name!r} was not in request.tools"
    if schema is not None:
        problem = "; ".join(error.message for error in Draft202012Validator(schema).iter_errors(arguments))
    if problem:
        raise RequestRefused(
            400,
            f"Tool call validation failed: {problem}",
            "tool_use_failed",
            failed_generation=orjson.dumps({"name": name, "arguments": arguments}).decode(),
        )


def _effort(request: dict[str, Any], model: str) -> str | None:
    if "reasoning_format" in request and "include_reasoning" in request:
        raise RequestRefused(400, "cannot specify both `reasoning_format` and `include_reasoning`")
    if request.get("reasoning_format", "parsed") not in ("parsed", "raw", "hidden"):
        raise RequestRefused(400, "`reasoning_format` must be one of `parsed`, `raw` or `hidden`")
    effort = request.get("reasoning_effort")
    allowed = ("low", "medium", "high") if "gpt-oss" in model else ("none", "default", "low", "medium", "high")
    if effort is not None and effort not in allowed:
        names = ", ".join(f"`{name}`" for name in allowed)
        raise RequestRefused(400, f"`reasoning_effort` must be one of {names} for model `{model}`")
    if effort == "none":
        return None
    return "medium" if effort in (None, "default") else str(effort)


def _number(request: dict[str, Any], name: str, low: float, high: float) -> None:
    value = request.get(name)
    if value is not None and (
        isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high
    ):
        raise RequestRefused(400, f"`{name}` must be a number from {low} to {high}")


def _messages(request: dict[str, Any]) -> list[dict[str, Any]]:
    messages = request.get("messages")
    if not isinstance(messages, list) or not messages:
        raise RequestRefused(400, "'messages' : minimum number of items is 1")
    calls: set[str] = set()
    for index, message in enumerate(messages):
        where = f"'messages.{index}'"
        if not isinstance(message, dict) or message.get("role") not in _ROLES:
            raise RequestRefused(400, f"{where} : discriminator property 'role' has invalid value")
        content, made = message.get("content"), message.get("tool_calls")
        if not isinstance(content, str | list) and not (message["role"] == "assistant" and made):
            raise RequestRefused(400, f"{where} : property 'content' is missing")
        for call in made or ():
            try:
                calls.add(call["id"])
                name, arguments = call["function"]["name"], orjson.loads(call["function"]["arguments"])
                if not isinstance(name, str) or not isinstance(arguments, dict):
                    raise TypeError
            except (TypeError, KeyError, orjson.JSONDecodeError):
                raise RequestRefused(400, f"{where} : property 'tool_calls' is malformed") from None
        if message["role"] == "tool" and message.get("tool_call_id") not in calls:
            raise RequestRefused(400, f"{where} : 'tool_call_id' does not match a previous tool call")
    return messages


def _tools(request: dict[str, Any]) -> list[dict[str, Any]]:
    tools = request.get("tools") or []
    if not isinstance(tools, list):
        raise RequestRefused(400, "'tools' : must be a list")
    for index, tool in enumerate(tools):
        function = tool.get("function") if isinstance(tool, dict) and tool.get("type") == "function" else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise RequestRefused(400, f"'tools.{index}' : must be a function with a name")
        if complaint := _complaint(orjson.dumps(function.get("parameters") or {})):
            raise RequestRefused(400, f"invalid JSON schema for tool {function['name']}: {complaint}")
    return tools if request.get("tool_choice") != "none" else []


@lru_cache(maxsize=64)
def _complaint(schema: bytes) -> str:
    """What is wrong with a JSON schema, if anything; it takes a millisecond to find out."""
    try:
        Draft202012Validator.check_schema(orjson.loads(schema))
    except SchemaError as error:
        return str(error.message)
    return ""
