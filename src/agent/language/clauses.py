"""Cuts a stream of words into clauses, so that the first is spoken while the rest is still thought."""

from __future__ import annotations

import itertools
import re

FIRST_WORDS = 3
NEXT_WORDS = 5
FIRST_MOST_WORDS = 6
MOST_WORDS = 14
_TOKEN = re.compile(r"\s*\S+\s")  # with a space behind it: never inside "9.30" or "£65.50"
_BREAK = re.compile(r"[,.;:!?…–—]['\")\]]*\s$")
_PIECE = re.compile(r"\+?\(?\d[\d()\u2010\u2011\u2013-]*|[A-Z]{1,2}\d[A-Z\d]?|[A-Z]", re.IGNORECASE)
"""A word that a postcode or a telephone number may begin or go on with: "M14", "0161", "(020)", "M"."""


class ClauseSplitter:
    """Text goes in as it comes, clauses come out; put together again they are the text, letter by letter.

    A clause ends at punctuation once it has a few words, and at a space when it grows too long without any, but never
    within a postcode or a telephone number. The first one may be short, since the caller waits for it.
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
        """Where the first clause ends; 0 while that cannot be told."""
        least = FIRST_WORDS if self._first else NEXT_WORDS
        most = FIRST_MOST_WORDS if self._first else MOST_WORDS
        tokens = list(itertools.islice(_TOKEN.finditer(self._text), MOST_WORDS + 1))
        last_whole = 0  # the last place that cuts no code in two
        for count, token in enumerate(tokens[:MOST_WORDS], 1):
            if count < least:
                continue
            glued = _glued(token[0].strip(), tokens[count][0].strip() if count < len(tokens) else None)
            if glued is False:
                last_whole = token.end()
            if count >= most or _BREAK.search(token[0]):
                if glued is None:
                    return 0
                if not glued:
                    return token.end()
        return last_whole or tokens[-1].start() if len(tokens) > MOST_WORDS else 0


class AsItComes:
    """In the place of a splitter: text goes out as it comes in."""

    def feed(self, text: str) -> list[str]:
        """The text."""
        return [text]

    def rest(self) -> str:
        """Nothing is kept."""
        return ""


def _glued(word: str, following: str | None) -> bool | None:
    """Whether two words belong to one postcode or telephone number; None when that is for the next word to say."""
    if not _PIECE.fullmatch(word.removesuffix(",")):
        return False
    if following is None:
        return None
    alone = len(word.removesuffix(",")) == 1 and len(following.strip(",.;:!?")) == 1
    return following.lstrip("(")[:1].isdigit() or alone
