"""What is spelled out, letter by letter and digit by digit: is a postcode or a telephone number whole, or cut short."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from agent.language.asked import Tokens, ends, starts
from agent.language.turn_words import TurnWords

_CODE = re.compile(r"(?=\D*\d)[a-z0-9]+|\+")
_ORDINAL_OR_TIME = re.compile(r"\d+(?:st|nd|rd|th|am|pm|k|s)")
_MOST_TOKENS = 30


@dataclass(frozen=True)
class Run:
    """The letters and digits that a turn ends with."""

    characters: str
    """Capital letters and digits; a "+" first."""
    start: int
    """The token that it starts with."""
    dangling: bool
    """It ends in "double" or in "M for"."""

    @property
    def number(self) -> str:
        """It as digits, with the letter O for a nought; empty when it holds other letters."""
        digits = self.characters.replace("O", "0")
        return digits if digits.lstrip("+").isdigit() else ""


def last_run(tokens: Tokens, words: TurnWords, *, code: bool = False) -> Run | None:
    """What is spelled at the end of `tokens`, None when they end otherwise; `code`: two letters may be one begun."""
    if not _may_spell(tokens, words):
        return None
    run: _Speller | None = None
    at = max(0, len(tokens) - _MOST_TOKENS)
    while at < len(tokens):
        if run is None:
            run = _Speller(words, at, code)
        taken = run.take(tokens, at)
        if taken == 0:
            run = None
        at += max(taken, 1)
    if run is None or not (run.characters or run.dangling):
        return None
    return Run(run.characters, run.start, run.dangling)


def _may_spell(tokens: Tokens, words: TurnWords) -> bool:
    """Whether the last token can belong to a run, which most turns are done with at once."""
    if not tokens:
        return False
    last = tokens[-1]
    if len(last) <= 2 or last in words.digits or last in words.letters or last in words.multipliers:
        return True
    if last in words.loose_letters or _CODE.fullmatch(last):
        return True
    return bool(ends(tokens, words.likened) or ends(tokens[:-1], words.likened))


class _Speller:
    """One run, as its tokens come."""

    def __init__(self, words: TurnWords, start: int, code: bool) -> None:
        self._words = words
        self._code = code
        self.start = start
        self.characters = ""
        self._times = 1
        self._tens = False
        self._letter = False
        self.dangling = False

    def take(self, tokens: Tokens, at: int) -> int:
        """How many tokens belong to the run from `at` on; 0 ends it."""
        words, token = self._words, tokens[at]
        if self._letter and (likened := starts(tokens[at:], words.likened)):
            self.dangling = at + likened == len(tokens)
            self._letter = False
            return likened + 1 if not self.dangling else likened
        if token in words.multipliers:
            self._times = words.multipliers[token]
            self.dangling = True
            return 1
        if token in words.digits:
            self._add_number(words.digits[token])
            return 1
        if token in words.loose_digits and self.characters and _may_spell(tokens[at + 1 : at + 2], words):
            self._add_number(words.loose_digits[token])
            return 1
        letter = self._letter_of(token)
        if letter:
            self._add(letter)
            self._letter = True
            return 1
        if _CODE.fullmatch(token) and (self.characters or not _ORDINAL_OR_TIME.fullmatch(token)):
            self._add(token.upper())
            self._letter = token[-1].isalpha()
            return 1
        if len(token) == 2 and self._begins_a_code(token, tokens[at + 1 : at + 2]):
            self._add(token.upper())
            return 1
        return 0

    def _begins_a_code(self, pair: str, following: Tokens) -> bool:
        """Whether it is the first two letters of one, as in "LS 11": no word, and a digit follows."""
        words = self._words
        if not (pair.isascii() and pair.isalpha()) or pair in words.small:
            return False
        if not following:
            return self._code
        return following[0] in words.digits or _CODE.fullmatch(following[0]) is not None

    def _letter_of(self, token: str) -> str:
        words = self._words
        if len(token) == 1 and token.isascii() and token.isalpha():
            return token.upper()
        if token in words.letters:
            return words.letters[token]
        return words.loose_letters.get(token, "") if self.characters else ""

    def _add_number(self, digits: str) -> None:
        if self._tens and len(digits) == 1 and digits != "0":
            self.characters = self.characters[:-1] + digits  # "twenty one"
            self._tens = False
            return
        self._add(digits)
        self._tens = len(digits) == 2 and digits[1] == "0" and digits != "00" and digits != "10"

    def _add(self, characters: str) -> None:
        self.characters += characters * self._times
        self._times = 1
        self._tens = self._letter = self.dangling = False


class Form(enum.Enum):
    """How much of a postcode there is."""

    WHOLE = enum.auto()
    FIRST_HALF = enum.auto()
    SECOND_HALF = enum.auto()
    CUT_SHORT = enum.auto()
    NONE = enum.auto()
    """Its like is no postcode."""


def postcode_form(characters: str, words: TurnWords) -> Form:
    """How much of a postcode `characters` are; before it there may be a house number, or a first try at it."""
    shapes = words.postcode_shapes
    if any(_fits(characters[-len(shape) :], shape) for shape in shapes if len(shape) <= len(characters)):
        return Form.WHOLE
    if any(_fits(characters, shape[:-3]) for shape in shapes):
        return Form.FIRST_HALF
    if any(_fits(characters, shape[-3:]) for shape in shapes):
        return Form.SECOND_HALF
    begun = any(_begins(characters[start:], shape) for start in _tries(characters) for shape in shapes)
    return Form.CUT_SHORT if begun else Form.NONE


def _tries(characters: str) -> Iterator[int]:
    """Where a postcode may begin: at the start, after leading digits, and where the first letter comes again."""
    letters = characters.lstrip("0123456789")
    yield 0
    for at in range(len(characters) - len(letters), len(characters)):
        if characters[at] == letters[0]:
            yield at


def _begins(characters: str, shape: str) -> bool:
    return len(characters) < len(shape) and _fits(characters, shape[: len(characters)])


def _fits(characters: str, shape: str) -> bool:
    """Whether they have this shape, where a nought and the letter O are the same."""
    return len(characters) == len(shape) and all(
        (one.isdigit() or one == "O") if place == "9" else (one.isalpha() or one == "0")
        for one, place in zip(characters, shape, strict=True)
    )


def phone_limits(number: str, lengths: Mapping[str, tuple[int, int]]) -> tuple[int, int]:
    """The fewest and the most digits that a telephone number has which begins like `number`; E.164 allows 15."""
    longest = max((start for start in lengths if number.startswith(start)), key=len, default="")
    return lengths.get(longest, (1, 15))
