"""Cuts a stream of words into clauses, so that the first is spoken while the rest is still thought."""

from __future__ import annotations

import re

FIRST_WORDS = 3
NEXT_WORDS = 5
MOST_WORDS = 14
_BREAK = re.compile(r"[,.;:!?…–—]['\")\]]*\s")  # with a space behind it: never inside "9.30" or "£65.50"


class ClauseSplitter:
    """Text goes in as it comes, clauses come out; put together again they are the text, letter by letter.

    A clause ends at punctuation once it has a few words, and at a space when it grows too long without any. The first
    one may be short, since the caller waits for it.
    """

    def __init__(self) -> None:
        self._text = ""
        self._first = True

    def feed(self, text: str) -> list[str]:
        """Add some text; the clauses that are complete."""
        self._text += text
        clauses = []
        while (end := self._end()) > 0:
            clauses.append(self._text[:end])
            self._text = self._text[end:]
            self._first = False
        return clauses

    def rest(self) -> str:
        """What is left at the end."""
        text, self._text = self._text, ""
        return text

    def _end(self) -> int:
        least = FIRST_WORDS if self._first else NEXT_WORDS
        for match in _BREAK.finditer(self._text):
            if len(self._text[: match.end()].split()) >= least:
                return match.end()
        words = list(re.finditer(r"\S+\s+", self._text))
        return words[MOST_WORDS - 1].end() if len(words) >= MOST_WORDS else 0
