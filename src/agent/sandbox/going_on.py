"""What a model makes of a request to go on with a reply that has begun.

An assistant message at the end: Groq goes on with it ("Assistant Message Prefilling" in its documentation), and so do
Ollama's and llama.cpp's servers; vLLM takes it for whole unless told otherwise, and llama.cpp refuses it for a model
that reasons. Asked in words behind it, any model goes on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

from agent.sandbox.groq_request import ChatRequest, RequestRefused
from agent.sandbox.receptionist import Answer

Brain = Callable[[Sequence[dict[str, Any]], Sequence[dict[str, Any]]], Answer]
"""What answers a request's messages, given its tools."""
Unfinished = Literal["continue", "anew", "nothing", "refuse"]
_ASKS = re.compile(r"cut off.*\bgo on\b", re.IGNORECASE | re.DOTALL)


def answer(think: Brain, chat: ChatRequest, unfinished: Unfinished) -> Answer:
    """The answer, or what is left of it. Raises `RequestRefused`."""
    messages, way = chat.messages, unfinished
    if len(messages) > 1 and messages[-1]["role"] == "user" and _is_text(messages[-2]) and _asks(messages[-1]):
        messages, way = messages[:-1], "continue"
    if not _is_text(messages[-1]):
        return think(messages, chat.tools)
    if way == "refuse":
        raise RequestRefused(400, "Assistant response prefill is incompatible with enable_thinking.")
    if way == "nothing":
        return Answer("")
    whole = think(messages[:-1], chat.tools)
    begun = str(messages[-1]["content"]).split()
    if way == "anew" or whole.text.split()[: len(begun)] != begun:
        return whole
    return replace(whole, text=re.sub(rf"\A(?:\s*\S+){{{len(begun)}}}", "", whole.text))


def _is_text(message: dict[str, Any]) -> bool:
    return message["role"] == "assistant" and not message.get("tool_calls")


def _asks(message: dict[str, Any]) -> bool:
    return _ASKS.search(str(message.get("content") or "")) is not None
