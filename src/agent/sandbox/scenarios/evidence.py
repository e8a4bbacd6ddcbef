"""What is known of a call that is over: the agent's record, the caller's side, the LLM's history, the bookings."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agent.call.record import CallRecord
from agent.providers.base import Message


@dataclass(frozen=True, slots=True)
class ToolUse:
    """A tool that ran. `turn` is the exchange, by number from 0."""

    turn: int
    name: str
    arguments: Mapping[str, Any]
    ok: bool


@dataclass(frozen=True, slots=True)
class Evidence:
    """A call that is over. The caller's side is empty where there is none."""

    record: CallRecord
    verdict: str = ""
    """What the dialplan was told: hangup, transfer and so on; empty when the caller hung up."""
    target: str = ""
    ended_by: str = ""
    """ "agent" or "caller"."""
    failure: str = ""
    """Why it was no conversation; empty when it was one."""
    history: Sequence[Message] = ()
    """What the LLM was last told."""
    bookings: Sequence[Mapping[str, Any]] = field(default_factory=tuple)
    """The rows of the back office."""

    def tools(self) -> list[ToolUse]:
        """Return the tools that ran, in their order."""
        return [
            ToolUse(index, str(tool["name"]), arguments_of(tool.get("arguments", "")), bool(tool["ok"]))
            for index, turn in enumerate(self.record.turns)
            for tool in turn.tools
        ]


def arguments_of(text: str | Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the arguments of a tool call; none when they are no JSON object."""
    if isinstance(text, Mapping):
        return text
    try:
        arguments = json.loads(text or "{}")
    except ValueError:
        return {}
    return arguments if isinstance(arguments, dict) else {}


def normal(value: object) -> str:
    """Return a value without case, spaces and punctuation: "sw4 7dq." and "SW47DQ" are alike."""
    return re.sub(r"[^0-9a-z£]", "", str(value).lower())
