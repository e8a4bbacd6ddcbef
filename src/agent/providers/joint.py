"""The joint between the words that one model gave and those that another goes on with.

Words are given on whole, so that a reply breaks off between two words. Where the next model begins anew, or from a
little further back, instead of going on, what it repeats is left out.
"""

from __future__ import annotations

import re

LONGEST_WORD = 60
"""Characters without a space that are given on all the same: not every language has spaces."""
SURELY = 3
"""A reply that is over and only repeats has so many words at least; fewer ("right?") are new ones."""
_ENDS_SENTENCE = re.compile(r"[.!?…]['\")\]]*$")
_MARKS = re.compile(r"[^\w']+")
_LEAD = re.compile(r"\A(?:\s|…|\.\.\.)+")
_NUMBERS = frozenset("zero oh one two three four five six seven eight nine ten double treble triple".split())


class Joint:
    """Text of one model goes in as it comes, what may be given on comes out: whole words, none of them said before."""

    def __init__(self, said: str = "") -> None:
        """`said` is what was given on of the reply already; it ends where a word ends."""
        self._said = said.split()
        self._apart = bool(said) and not said[-1].isspace()
        self._text = ""
        self._joined = not self._said

    def take(self, text: str) -> str:
        """Add some text; the words that are whole now, with the space behind them."""
        self._text += text
        if not self._joined and not self._join(over=False):
            return ""
        end = len(self._text) if len(self._text) > LONGEST_WORD else 0
        for index in range(len(self._text) - 1, -1, -1):
            if self._text[index].isspace():
                end = index + 1
                break
        return self._give(end)

    def rest(self) -> str:
        """What is left at the end of the reply."""
        if not self._joined:
            self._join(over=True)
        return self._give(len(self._text))

    def _give(self, end: int) -> str:
        words, self._text = self._text[:end], self._text[end:]
        if words and self._apart:
            self._apart = False
            if not words[0].isspace():
                words = f" {words}"
        return words

    def _join(self, *, over: bool) -> bool:
        """Leave out what is repeated; False while that cannot be told."""
        text = _LEAD.sub("", self._text)
        whole = text.split()
        if not over and whole and not text[-1].isspace():
            whole.pop()
        repeated = self._repeated(whole, over=over) if whole else 0 if over else None
        if repeated is None:
            return False
        self._text = re.sub(rf"\A(?:\S+\s*){{{repeated}}}", "", text)
        self._joined = True
        return True

    def _repeated(self, words: list[str], *, over: bool) -> int | None:
        """How many of the words were said before; None while more of them are needed to tell."""
        plain = [_plain(word) for word in words]
        for start in range(len(self._said)):
            end = self._said[start:]
            common = min(len(end), len(words))
            if plain[:common] != [_plain(word) for word in end[:common]] or not self._means_it(start, words):
                continue
            if common == len(end) or (over and common >= SURELY):
                return common
            if not over:
                return None
        return 0

    def _means_it(self, start: int, words: list[str]) -> bool:
        """Whether words that are those said from `start` on are a repetition, and no accident ("four" behind "four").

        At the beginning of the reply or of a sentence one word says so if it is the same to the letter. Within a
        sentence it takes two, which are neither the same nor parts of a number or a code.
        """
        end = self._said[start:]
        if start == 0 or _ENDS_SENTENCE.search(self._said[start - 1]):
            return len(end) > 1 or end[0] == words[0]
        return len({_plain(word) for word in end}) > 1 and not any(map(_of_a_code, end))


def _plain(word: str) -> str:
    """A word as it is compared: without marks, in small letters."""
    return _MARKS.sub("", word).casefold() or word


def _of_a_code(word: str) -> bool:
    """Whether a word may be a part of a number or a code, where the same may well come twice."""
    plain = _plain(word)
    return plain in _NUMBERS or (len(plain) == 1 and word != "a") or any(letter.isdigit() for letter in plain)
