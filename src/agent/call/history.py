"""What was said in a call, in the form that the LLM reads: after an interruption, what the caller heard."""

from __future__ import annotations

from collections.abc import Sequence

from agent.providers.base import Message, ToolCall

CUT = " … [the caller interrupted here and heard no more]"


class History:
    """The conversation. The system prompt comes first and never changes, so that the vendor can cache it."""

    def __init__(self, system: str) -> None:
        self._messages: list[Message] = [{"role": "system", "content": system}]
        self._turn = 1  # index of the first message of the current turn
        self._asides: list[tuple[int, str]] = []  # words that no message holds, and before which message they were said

    def messages(self) -> list[Message]:
        """The messages in OpenAI's format."""
        return list(self._messages)

    def caller_said(self, text: str) -> None:
        """A turn of the caller begins the next exchange."""
        self._turn = len(self._messages)
        self._messages.append({"role": "user", "content": text})

    def agent_began(self) -> None:
        """The agent speaks without being asked: the greeting, or a question into the silence."""
        self._turn = len(self._messages)

    def agent_said(self, text: str, calls: Sequence[ToolCall] = ()) -> None:
        """What the agent says, and the tools that it calls."""
        message: Message = {"role": "assistant", "content": text}
        if calls:
            message["tool_calls"] = [
                {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                for call in calls
            ]
        self._messages.append(message)

    def said_aside(self, text: str) -> None:
        """Words of our own that the LLM is not told of ("bear with me"): they count for what the caller heard."""
        self._asides.append((len(self._messages), text))

    def tool_answered(self, call: ToolCall, content: str) -> None:
        """What came of a tool call."""
        self._messages.append({"role": "tool", "tool_call_id": call.id, "content": content})

    def tool_amended(self, call: ToolCall, content: str) -> None:
        """A tool that ran on while the caller spoke has finished: its answer takes the place of the provisional one."""
        for message in self._messages:
            if message["role"] == "tool" and message["tool_call_id"] == call.id:
                message["content"] = content

    def cut(self, heard: str) -> None:
        """The agent was interrupted: of what it said in this turn only `heard` reached the caller."""
        left = len(_plain(heard))
        for index in range(self._turn, len(self._messages)):
            for place, aside in self._asides:
                if place == index:
                    left -= len(_plain(aside)) + 1  # and the space behind it
            message = self._messages[index]
            if message["role"] != "assistant" or not message["content"]:
                continue
            text = _plain(message["content"])
            if left >= len(text):
                left -= len(text) + 1
                continue
            self._messages[index] = {**message, "content": text[: max(0, left)].rstrip() + CUT}
            left = 0

    def withdraw(self) -> str | None:
        """Undo the caller's turn, which went on: the text of it, or None when a tool has run in it and it must stay."""
        turn = self._messages[self._turn :]
        if not turn or turn[0]["role"] != "user" or any(message["role"] == "tool" for message in turn):
            return None
        del self._messages[self._turn :]
        return str(turn[0]["content"])


def _plain(text: str) -> str:
    """Words with one space between them: as a vendor's word times give them."""
    return " ".join(text.split())
