"""Listens in on what the LLM is told and asked, call by call."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from agent.call.current import CALL_UUID
from agent.providers.base import Finished, LanguageModel, LlmEvent, Message


@dataclass(slots=True)
class Asked:
    """What one call asked of the LLM."""

    history: list[Message] = field(default_factory=list)
    """The messages of the latest request."""
    requests: int = 0
    unfinished: int = 0
    """Requests that were broken off: the caller went on, or interrupted."""
    tokens: int = 0
    """Of the finished requests: prompts and replies."""


class NotedModel:
    """A language model that notes what each call asks of it."""

    def __init__(self, inner: LanguageModel) -> None:
        self._inner = inner
        self.by_call: dict[str, Asked] = {}

    async def reply(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> AsyncGenerator[LlmEvent]:
        """Stream the inner model's reply."""
        asked = self.by_call.setdefault(CALL_UUID.get(), Asked())
        asked.history = [dict(message) for message in messages]
        asked.requests += 1
        asked.unfinished += 1
        async with aclosing(self._inner.reply(messages, tools)) as events:
            async for event in events:
                if isinstance(event, Finished):
                    asked.unfinished -= 1
                    asked.tokens += event.prompt_tokens + event.completion_tokens
                yield event
