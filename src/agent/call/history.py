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

    def branch(self) -> History:
        """A copy to think in: what is said in it is said here only when it takes the place of this one."""
        copy = History("")
        copy._messages, copy._turn, copy._asides = list(self._messages), self._turn, list(self._asides)
        return copy

    def messages(self) -> list[Message]:
        """The messages in OpenAI's format."""
        return list(self._messages)

    def caller_said(self, text: str) -> None:
        """A turn of the caller begins the next exchange."""
        self._turn = len(self._messages)
        self._messages.append({"role": "user", "content": text})

    def caller_meant(self, text: str) -> None:
        """The words of the caller's turn, now that they are final."""
        if self._turn < len(self._messages) and self._messages[self._turn]["role"] == "user":
            self._messages[self._turn] = {"role": "user", "content": text}

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


def _plain(text: str) -> str:
    """Words with one space between them: as a vendor's word times give them."""
    return " ".join(text.split())
