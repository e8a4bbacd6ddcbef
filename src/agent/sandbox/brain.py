"""A scripted receptionist behind the emulated LLM: it does what the system prompt says, with the tools at hand.

`answer` is a pure function of the request. It replays what the caller said through the prompt's steps, so it has no
state between requests, and the same history always gives the same answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import orjson

from agent.sandbox.receptionist import Answer, Receptionist, ToolCall
from agent.sandbox.workflow import Workflow, read_workflow

__all__ = ["Answer", "Message", "ToolCall", "answer"]

Message = dict[str, Any]
_CUT = "interrupted"
"""By which a reply is known that the caller broke off: the prompt says so too."""


def answer(messages: Sequence[Message], tools: Sequence[dict[str, Any]] = ()) -> Answer:
    """The next reply to a conversation in OpenAI's format."""
    prompt = "\n".join(_text(message) for message in messages if message.get("role") in ("system", "developer"))
    receptionist = Receptionist(_workflow(prompt, orjson.dumps(tools).decode()))
    result = receptionist.greet()
    pending, cut = "", False
    for message in messages:
        role, content = message.get("role"), _text(message)
        if role == "user":
            pending = f"{pending} {content}".strip()
            continue
        if role not in ("assistant", "tool"):
            continue
        if pending:
            receptionist.hear(pending, cut=cut)
            pending = ""
        result = receptionist.learn(_called(messages, message), content) if role == "tool" else receptionist.ask()
        cut = role == "assistant" and content.rstrip("]").endswith("no more") and _CUT in content
    return receptionist.hear(pending, cut=cut) if pending else result


def _text(message: Message) -> str:
    """The text of a message, whose content may be a string, parts, or nothing."""
    content = message.get("content")
    if isinstance(content, list):
        return " ".join(part.get("text", "") for part in content if isinstance(part, dict))
    return content or ""


def _called(messages: Sequence[Message], result: Message) -> str:
    """Name of the tool that a tool message answers."""
    for message in messages:
        for call in message.get("tool_calls") or ():
            if call.get("id") == result.get("tool_call_id"):
                return str(call["function"]["name"])
    return str(result.get("name", ""))


@lru_cache(maxsize=256)
def _workflow(prompt: str, tools: str) -> Workflow:
    schemas = {
        tool["function"]["name"]: tool["function"].get("parameters") or {}
        for tool in orjson.loads(tools)
        if tool.get("type") == "function"
    }
    return read_workflow(prompt, schemas)
