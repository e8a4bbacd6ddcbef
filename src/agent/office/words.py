"""Words as calls are found by them: the same on every database, because they are made here and not there.

A word is a run of letters and digits, without accents, in lower case; apostrophes are left out ("don't" is "dont").
What is not ASCII then is written as ASCII, one fixed form a character, so that the beginning of a word stays one. What
comes out is made of a to z and 0 to 9 alone: nothing that a database could take for an operator.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import phonenumbers

from agent.office.call_query import Snippet
from agent.telephony.numbers import normalise_number

LONGEST = 64
MOST_WORDS = 16
"""No more words of a query are heeded."""
SNIPPET_CHARS = 140

_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*")
_APOSTROPHES = str.maketrans("", "", "'\u2019")
_NUMBER = re.compile(r"[+(]?[\d\s().\-/]{5,}")


@dataclass(frozen=True, slots=True)
class Term:
    """One word of a query: any of these spellings, whole, or as the beginning of a word."""

    spellings: tuple[str, ...]
    beginning: bool = False

    def fits(self, word: str) -> bool:
        """Whether a word of a call is what is looked for."""
        if self.beginning:
            return word.startswith(self.spellings)
        return word in self.spellings


def spans(text: str) -> Iterator[tuple[str, int, int]]:
    """Each word of `text`, which is in NFC, with the characters from and to which it stands there."""
    for found in _WORD.finditer(text):
        word = _plain(found[0])
        if word:
            yield word, found.start(), found.end()


def words_of(text: str) -> list[str]:
    """The words of any text, in their order."""
    return [word for word, _, _ in spans(unicodedata.normalize("NFC", text))]


def code_words(code: str) -> list[str]:
    """The words of a booking's ID or a postcode, and those of it without blanks and hyphens: "M14 6BT" is "m146bt"."""
    parts = words_of(code)
    return [*parts, "".join(parts)[:LONGEST]] if len(parts) > 1 else parts


def number_words(number: str, region: str) -> list[str]:
    """The forms in which somebody looks for a number: in full, and as it is dialled within the country."""
    digits = "".join(character for character in number if character.isdecimal() and character.isascii())
    if not digits:
        return words_of(number)
    if not number.startswith("+"):
        return [digits[:LONGEST]]
    return [digits[:LONGEST], *_national(number, region)]


def terms_of(query: str, region: str) -> list[Term]:
    """What is looked for: all of these must be there. Empty where the query has neither a letter nor a digit."""
    query = query.strip()
    if _NUMBER.fullmatch(query) and sum(character.isdecimal() for character in query) >= 5:
        return [Term(_number_spellings(query, region), beginning=True)]
    words = words_of(query)[:MOST_WORDS]
    return [
        Term((word,), beginning=place == len(words) - 1 and _is_beginning(word)) for place, word in enumerate(words)
    ]


def snippet_of(said: Iterable[tuple[str, str]], terms: list[Term]) -> Snippet | None:
    """The place where most of the terms are: of (`who`, text) pairs, the first of the best. None without any."""
    best: tuple[int, str, str, list[tuple[int, int]]] | None = None
    for who, raw in said:
        text = unicodedata.normalize("NFC", raw)
        marks = []
        found = set()
        for word, begin, end in spans(text):
            fitting = [place for place, term in enumerate(terms) if term.fits(word)]
            if fitting:
                marks.append((begin, end))
                found.update(fitting)
        if found and (best is None or len(found) > best[0]):
            best = (len(found), who, text, marks)
            if len(found) == len(terms):
                break
    return _cut(*best[1:]) if best is not None else None


def _cut(who: str, text: str, marks: list[tuple[int, int]]) -> Snippet:
    """No more than `SNIPPET_CHARS` of a text, around the first mark, cut between words."""
    if len(text) <= SNIPPET_CHARS:
        return Snippet(who, text, tuple(marks))
    first, first_end = marks[0]
    begin = max(0, min(first - SNIPPET_CHARS // 4, len(text) - SNIPPET_CHARS))
    if begin:
        blank = text.find(" ", begin, first)
        begin = blank + 1 if blank >= 0 else first
    end = max(begin + SNIPPET_CHARS, first_end)
    if end < len(text):
        blank = text.rfind(" ", first_end, end)
        end = blank if blank >= 0 else end
    before, after = "…" if begin else "", "…" if end < len(text) else ""
    shift = len(before) - begin
    kept = tuple((at + shift, to + shift) for at, to in marks if at >= begin and to <= end)
    return Snippet(who, before + text[begin:end].rstrip() + after, kept)


def _plain(word: str) -> str:
    if word.isascii():  # nearly every one
        return word.translate(_APOSTROPHES).lower()[:LONGEST]
    letters = unicodedata.normalize("NFKD", word.translate(_APOSTROPHES)).casefold()
    plain = "".join(
        character if character.isascii() else f"u{ord(character):05x}" for character in letters if character.isalnum()
    )
    return plain[:LONGEST]


def _is_beginning(word: str) -> bool:
    """Nearly every call has a word that begins with a given letter: such a one is taken for a whole word."""
    return len(word) > 1 or word.isdecimal()


def _national(number: str, region: str) -> list[str]:
    """The form with the trunk prefix, "07700900123", where the number is of this region."""
    try:
        parsed = phonenumbers.parse(number, region)
    except phonenumbers.NumberParseException:
        return []
    if phonenumbers.country_code_for_region(region) != parsed.country_code:
        return []
    form = phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.NATIONAL)
    return ["".join(character for character in form if character.isdecimal())]


def _number_spellings(query: str, region: str) -> tuple[str, ...]:
    """A whole number in its forms; the beginning of one as it was typed, without the sign of a foreign prefix."""
    full = normalise_number(query, region)
    if full.startswith("+"):
        return tuple(number_words(full, region))
    digits = "".join(character for character in query if character.isdecimal())
    return (digits.removeprefix("00"),)
