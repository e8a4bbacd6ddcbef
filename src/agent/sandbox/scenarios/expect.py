"""What must come of a call: each kind of expectation judges the evidence and says in words what is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from agent.call.history import CUT
from agent.sandbox.scenarios.evidence import Evidence, ToolUse, normal


class Check(Protocol):
    """An expectation."""

    def failures(self, seen: Evidence) -> list[str]:
        """Return what is wrong, one text a fault; none when all is well."""


@dataclass(frozen=True, slots=True)
class Range:
    """How often."""

    least: int
    most: int | None = None

    def __contains__(self, number: int) -> bool:
        return self.least <= number and (self.most is None or number <= self.most)

    def __str__(self) -> str:
        if self.most is None:
            return f"{self.least} or more"
        return str(self.least) if self.least == self.most else f"{self.least} to {self.most}"


@dataclass(frozen=True, slots=True)
class Field:
    """What must hold of one argument."""

    name: str
    how: Literal["=", "~", "absent"]
    value: str = ""

    def fault(self, arguments: Mapping[str, Any]) -> str:
        """Return what is wrong with the arguments; empty when nothing is."""
        given = arguments.get(self.name)
        if self.how == "absent":
            return f"{self.name} is {given!r} and should not be there" if given not in (None, "") else ""
        if given is None:
            return f"{self.name} is missing"
        if self.how == "=":
            return "" if normal(given) == normal(self.value) else f"{self.name} is {given!r}, not {self.value!r}"
        found = re.search(self.value, str(given), re.IGNORECASE)
        return "" if found else f"{self.name} is {given!r} and does not match /{self.value}/"


# ---- steps ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Says:
    """The caller hears something."""

    pattern: re.Pattern[str]

    def __str__(self) -> str:
        return f"says /{self.pattern.pattern}/"


@dataclass(frozen=True, slots=True)
class Calls:
    """A tool runs, with these arguments."""

    tool: str
    fields: tuple[Field, ...] = ()
    ok: bool = True

    def __str__(self) -> str:
        return f"{'calls' if self.ok else 'tries'} {self.tool}"

    def fault(self, use: ToolUse) -> str:
        """Return what is wrong with a use of the tool."""
        faults = [fault for field in self.fields if (fault := field.fault(use.arguments))]
        if use.ok != self.ok:
            faults.append("it was refused" if self.ok else "it was not refused")
        return "; ".join(faults)


@dataclass(frozen=True, slots=True)
class Steps:
    """What must happen, in this order. Within one exchange words and tools may come in any order."""

    steps: tuple[Says | Calls, ...]

    def failures(self, seen: Evidence) -> list[str]:
        """Judge a call."""
        turns = [turn.heard or turn.agent for turn in seen.record.turns]
        tools = seen.tools()
        said, used, place = 0, 0, 0
        before = "at the beginning"
        for step in self.steps:
            if isinstance(step, Says):
                found = next((i for i in range(max(said, place), len(turns)) if step.pattern.search(turns[i])), None)
                if found is None:
                    told = " / ".join(turns[max(said, place) :]) or "nothing"
                    return [f"{before}, the agent never {step}; from there it said: {told}"]
                said, place = found + 1, found
            else:
                left = [(i, use) for i, use in enumerate(tools) if i >= used and use.turn >= place]
                same = [(i, use, step.fault(use)) for i, use in left if use.name == step.tool]
                hit = next(((i, use) for i, use, fault in same if not fault), None)
                if hit is None:
                    why = "; ".join(fault for _, _, fault in same) or f"called: {_names(tools)}"
                    return [f"{before}, the agent never {step} as it should ({why})"]
                used, place = hit[0] + 1, hit[1].turn
            before = f"after it {step}"
        return []


def _names(tools: list[ToolUse]) -> str:
    return ", ".join(use.name for use in tools) or "nothing"


# ---- what must not be -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Never:
    """The agent says no such thing, heard or not."""

    pattern: re.Pattern[str]

    def failures(self, seen: Evidence) -> list[str]:
        """Judge a call."""
        said = [turn.agent for turn in seen.record.turns if self.pattern.search(turn.agent)]
        return [f"the agent must never say /{self.pattern.pattern}/: {text!r}" for text in said]


@dataclass(frozen=True, slots=True)
class NeverCalls:
    """The agent does not call that tool."""

    tool: str

    def failures(self, seen: Evidence) -> list[str]:
        """Judge a call."""
        return [f"the agent must not call {self.tool}" for use in seen.tools() if use.name == self.tool]


@dataclass(frozen=True, slots=True)
class OneStepAReply:
    """No reply asks two of these."""

    asks: Mapping[str, re.Pattern[str]]

    def failures(self, seen: Evidence) -> list[str]:
        """Judge a call."""
        faults = []
        for turn in seen.record.turns:
            asked = [what for what, pattern in self.asks.items() if pattern.search(turn.agent)]
            if len(asked) > 1:
                faults.append(f"two steps at once ({', '.join(asked)}): {turn.agent!r}")
        return faults


@dataclass(frozen=True, slots=True)
class NeverRepeats:
    """No reply has a word of what a tool was given in this field."""

    field: str

    def failures(self, seen: Evidence) -> list[str]:
        """Judge a call."""
        given = " ".join(str(use.arguments.get(self.field, "")) for use in seen.tools())
        words = {word for word in re.findall(r"[^\W\d_]{3,}", given.lower())}
        return [
            f"the agent must not repeat {self.field} ({word}): {turn.agent!r}"
            for turn in seen.record.turns
            for word in sorted(words)
            if re.search(rf"\b{re.escape(word)}\b", turn.agent, re.IGNORECASE)
        ]


@dataclass(frozen=True, slots=True)
class NeverTogether:
    """No reply sums up: it has at most one of these fields as a tool was given them."""

    fields: tuple[str, ...]

    def failures(self, seen: Evidence) -> list[str]:
        """Judge a call."""
        faults = []
        for turn in seen.record.turns:
            text = normal(turn.agent)
            told = {
                name
                for use in seen.tools()
                for name in self.fields
                if len(value := normal(use.arguments.get(name, ""))) > 3 and value in text
            }
            if len(told) > 1:
                faults.append(f"the agent sums up ({', '.join(sorted(told))}): {turn.agent!r}")
        return faults


# ---- counts and ends ------------------------------------------------------------------------------------------------


def turns_of(seen: Evidence) -> int:
    """Return how many things the caller said that were answered."""
    return sum(bool(turn.caller) for turn in seen.record.turns)


def interruptions_of(seen: Evidence) -> int:
    """Return how often the caller cut the agent off."""
    return sum(turn.interrupted for turn in seen.record.turns)


@dataclass(frozen=True, slots=True)
class Counted:
    """How often something happened."""

    what: str
    count: Callable[[Evidence], int]
    wanted: Range

    def failures(self, seen: Evidence) -> list[str]:
        """Judge a call."""
        number = self.count(seen)
        return [] if number in self.wanted else [f"{self.what}: {number}, not {self.wanted}"]


@dataclass(frozen=True, slots=True)
class Ends:
    """How the call ended, by one of its traits."""

    what: str
    value: Callable[[Evidence], str]
    wanted: str

    def failures(self, seen: Evidence) -> list[str]:
        """Judge a call."""
        value = self.value(seen)
        return [] if value == self.wanted else [f"{self.what}: {value or 'none'}, not {self.wanted}"]


@dataclass(frozen=True, slots=True)
class Booked:
    """A booking stands in the back office as it should."""

    fields: tuple[Field, ...]

    def failures(self, seen: Evidence) -> list[str]:
        """Judge a call."""
        faults = ["; ".join(f for field in self.fields if (f := field.fault(row))) for row in seen.bookings]
        if not faults:
            return ["nothing is booked in the back office"]
        return [] if "" in faults else [f"the booking in the back office: {fault}" for fault in faults]


@dataclass(frozen=True, slots=True)
class InHistory:
    """What the LLM is told of the call."""

    pattern: re.Pattern[str]
    how: Literal["some", "cut", "none"] = "some"

    def failures(self, seen: Evidence) -> list[str]:
        """Judge a call."""
        texts = [str(m.get("content") or "") for m in seen.history if m.get("role") in ("user", "assistant")]
        if self.how == "cut":
            texts = [text.removesuffix(CUT) for text in texts if text.endswith(CUT)]
        found = any(self.pattern.search(text) for text in texts)
        if found == (self.how != "none"):
            return []
        where = "what was cut off in the history" if self.how == "cut" else "the history"
        return [f"{where} {'has' if found else 'lacks'} /{self.pattern.pattern}/: {' / '.join(texts) or 'nothing'}"]


@dataclass(frozen=True, slots=True)
class Expectations:
    """All that must come of a call."""

    checks: tuple[Check, ...] = ()
    rules: Mapping[str, Check] = field(default_factory=dict)
    """Of every call of the conversation, by name."""

    def failures(self, seen: Evidence) -> list[str]:
        """Return what is wrong with a call, in words; first of all why it was no conversation."""
        faults = [f"no conversation: {seen.failure}"] if seen.failure else []
        return faults + [fault for check in (*self.checks, *self.rules.values()) for fault in check.failures(seen)]
