"""Keys that the caller presses: 0 asks for a person, digits are an answer where a number was asked for. Pure."""

from __future__ import annotations

import enum

from agent.language.asked import Ask, understand
from agent.language.turn_words import BRITISH, TurnWords

PAUSE_MS = 2000
"""No key for so long after a digit: that was all of them."""
MOST_KEYS = 32


class Pressed(enum.Enum):
    """What a key comes to."""

    NOTHING = "nothing"
    PERSON = "person"
    """The caller wants a person."""
    MORE = "more"
    """One of several."""
    ALL = "all"
    """The last one: `take` gives the number."""


class Keypad:
    """Gathers keys; times are ms on any one monotonic scale."""

    def __init__(self, language: TurnWords = BRITISH) -> None:
        self._language = language
        self._keys = ""
        self.deadline_ms: float | None = None
        """When the keys so far are all there are, unless another comes."""

    def press(self, key: str, question: str, now_ms: float) -> Pressed:
        """A key (0-9, *, #), after the agent has said `question`; `#` ends a number, `*` begins it again."""
        if not self._keys and not self._asks_for_digits(question):
            return Pressed.PERSON if key == "0" else Pressed.NOTHING
        if key == "*":
            self._keys, self.deadline_ms = "", None
            return Pressed.MORE
        self._keys += key if key.isdigit() else ""
        if not self._keys:
            return Pressed.NOTHING
        self.deadline_ms = now_ms + PAUSE_MS
        return Pressed.ALL if key == "#" or len(self._keys) >= MOST_KEYS else Pressed.MORE

    def take(self) -> str:
        """The number that was typed."""
        keys, self._keys, self.deadline_ms = self._keys, "", None
        return keys

    def _asks_for_digits(self, question: str) -> bool:
        return bool(understand(question, self._language).wants & (Ask.PHONE | Ask.HOUSE_NUMBER | Ask.CODE))
