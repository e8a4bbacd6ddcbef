"""Where a conversation stands: its steps, and how far a call has come, by what the agent asks, says and does."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from agent.language.asked import Tokens, last_question, longest, tokens_of
from agent.language.turn_words import Phrases


@dataclass(frozen=True, slots=True)
class Step:
    """One step, and how it is known that a call is at it."""

    name: str
    asks: Phrases = frozenset()
    """Words of which the agent's question has some."""
    says: Phrases = frozenset()
    """Words of which anything that the agent says has some, where its question belongs to no step."""
    tools: frozenset[str] = frozenset()
    """Tools that are used in it."""


class Progress:
    """How far one call has come. It begins with the first step, the greeting; what the caller answers to that belongs
    to the second one. It may go back: a postcode that is refused is asked for again.
    """

    def __init__(self, steps: Sequence[Step] = ()) -> None:
        self.steps = steps
        self.at = 0
        """The present step's number, from 0."""
        self._seen = ("", 0)

    @property
    def name(self) -> str:
        """The present step's name; empty for a conversation without steps."""
        return self.steps[self.at].name if self.steps else ""

    def answered(self) -> bool:
        """The caller has said something; returns whether that is another step."""
        return self._enter(1 if self.at == 0 and len(self.steps) > 1 else None)

    def said(self, text: str) -> bool:
        """The caller has heard the agent say this; returns whether that is another step."""
        return self._enter(_place(self.steps, text))

    def used(self, tool: str) -> bool:
        """A tool has run; returns whether that is another step."""
        return self._enter(_first(self.steps, {tool}))

    def ahead(self, text: str, tools: Collection[str] = (), *, answers: bool = False) -> int:
        """The number of the step that the call is about to be at: by what is being said, and the tools that run.

        `answers` tells that the caller is saying something.
        """
        if tools and (place := _first(self.steps, tools)) is not None:
            return place
        if text != self._seen[0]:
            place = _place(self.steps, text)
            self._seen = text, -1 if place is None else place
        place = self._seen[1] if text and self._seen[1] >= 0 else self.at
        return 1 if place == 0 and answers and len(self.steps) > 1 else place

    def _enter(self, place: int | None) -> bool:
        moved = place is not None and place != self.at
        if place is not None:
            self.at = place
        return moved


def _first(steps: Iterable[Step], tools: Collection[str]) -> int | None:
    return next((number for number, step in enumerate(steps) if not step.tools.isdisjoint(tools)), None)


def _place(steps: Sequence[Step], text: str) -> int | None:
    if not steps or not text:
        return None
    asked = _best([step.asks for step in steps], tokens_of(last_question(text)))
    return asked if asked is not None else _best([step.says for step in steps], tokens_of(text))


def _best(phrases: Sequence[Phrases], tokens: Tokens) -> int | None:
    """Whose phrase is in them; the longest decides, then the first."""
    lengths = [longest(tokens, each) if each else 0 for each in phrases]
    return lengths.index(max(lengths)) if any(lengths) else None
