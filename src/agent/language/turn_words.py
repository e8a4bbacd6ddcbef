"""The words of a language by which a turn sounds finished or not: read from a file, so that a user can bring others."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from importlib.resources import files
from types import MappingProxyType
from typing import get_type_hints

Phrases = frozenset[str]
"""Words, and phrases of several with one space between: lower case, no punctuation but the apostrophe."""
PHRASE_WORDS = 5
"""The longest phrase that is looked for."""


@dataclass(frozen=True, eq=False)
class TurnWords:
    """One language's words; what each is for is said where they are, in `turn_words_en_gb.toml`."""

    hesitations: Phrases
    openers: Phrases
    courtesies: Phrases
    yes: Phrases
    no: Phrases
    whole: Phrases
    hanging: Phrases
    hanging_endings: tuple[str, ...]
    negations: tuple[str, ...]
    endings: Phrases
    tags: Phrases
    announced: Phrases
    introductions: Phrases
    titles: Phrases
    particles: Phrases
    closers: Phrases
    moves: Phrases
    verbs: Phrases
    verb_endings: tuple[str, ...]
    subjects: Phrases
    auxiliaries: Phrases
    question_words: Phrases
    joins: Phrases
    backchannels: Phrases
    stops: Phrases
    asks_postcode: Phrases
    asks_phone: Phrases
    asks_name: Phrases
    asks_full_name: Phrases
    asks_one_name: Phrases
    asks_address: Phrases
    asks_all: Phrases
    asks_house_number: Phrases
    asks_code: Phrases
    asks_time: Phrases
    asks_more: Phrases
    asks_part: Phrases
    names_house: Phrases
    asks_story: Phrases
    asks_for: Phrases
    asks_digits: Phrases
    requests: Phrases
    confirms: Phrases
    streets: Phrases
    dwellings: Phrases
    determiners: Phrases
    strands: Phrases
    either_or: Phrases
    embedders: Phrases
    subordinators: Phrases
    likened: Phrases
    postcode_shapes: Phrases
    digits: Mapping[str, str]
    """Digits by the word for them."""
    letters: Mapping[str, str]
    """Letters by the word for them."""
    loose_letters: Mapping[str, str]
    loose_digits: Mapping[str, str]
    multipliers: Mapping[str, int]
    phone_lengths: Mapping[str, tuple[int, int]]

    @cached_property
    def answers(self) -> Phrases:
        """A yes or a no."""
        return self.yes | self.no

    @cached_property
    def beginnings(self) -> Phrases:
        """What may stand before a sentence."""
        return self.openers | self.joins | self.answers

    @cached_property
    def asides(self) -> Phrases:
        """What may stand behind one."""
        return self.courtesies | self.tags

    @cached_property
    def acknowledgements(self) -> Phrases:
        """What may stand before a question."""
        return self.beginnings | self.backchannels

    @cached_property
    def leads(self) -> Phrases:
        """What a code may come after and still be all that the turn says: "yes, it's"."""
        single = frozenset(word for word in self.hanging if " " not in word)
        return self.beginnings | self.introductions | self.announced | self.asks_postcode | single

    @cached_property
    def small(self) -> Phrases:
        """Words of two letters are among these, where they do not begin a code."""
        return self.hanging | self.particles | self.openers | self.answers | self.verbs | self.subjects


def turn_words(own: Mapping[str, object], base: TurnWords | None = None) -> TurnWords:
    """Return the words of `own`, as a file of the form of `turn_words_en_gb.toml` has them.

    Args:
        own: By the names of `TurnWords`. Words are text parted by commas, or a list of text.
        base: Where what `own` leaves out comes from; British English without it.

    Raises:
        ValueError: A name that there is not, or a value that is not what belongs there; it says which.

    """
    base = base or BRITISH
    unknown = own.keys() - {one.name for one in fields(TurnWords)}
    if unknown:
        known = ", ".join(one.name for one in fields(TurnWords))
        raise ValueError(f"turn words: there is no {', '.join(sorted(unknown))}; there are {known}")
    return replace(base, **{name: _read(name, value) for name, value in own.items()})  # type: ignore[arg-type]


def _read(name: str, value: object) -> object:
    if _KINDS[name] == Phrases:
        return _phrases(name, value)
    if _KINDS[name] == tuple[str, ...]:
        return tuple(sorted(_phrases(name, value)))
    if not isinstance(value, Mapping):
        raise ValueError(f"turn words: {name} is a table, not {value!r}")
    if name in ("letters", "loose_letters"):
        return MappingProxyType({word: letter for letter, said in value.items() for word in _phrases(name, said)})
    return MappingProxyType({word: _entry(name, word, one) for word, one in value.items()})


def _phrases(name: str, value: object) -> Phrases:
    said = value.split(",") if isinstance(value, str) else value
    if not isinstance(said, list) or not all(isinstance(one, str) for one in said):
        raise ValueError(f"turn words: {name} is text parted by commas, or a list of text, not {value!r}")
    return frozenset(" ".join(one.split()) for one in said) - {""}


def _entry(name: str, word: str, value: object) -> object:
    match name, value:
        case "digits" | "loose_digits", str() if value.isascii() and value.isdigit():
            return value
        case "multipliers", int() if 2 <= value <= 9:
            return value
        case "phone_lengths", [int() as least, int() as most] if 0 < least <= most:
            return least, most
    wanted = {"multipliers": "2 to 9", "phone_lengths": "[fewest, most]"}.get(name, 'digits ("12")')
    raise ValueError(f"turn words: {name}.{word} is {wanted}, not {value!r}")


_KINDS = get_type_hints(TurnWords)


def _british() -> TurnWords:
    own = tomllib.loads((files("agent.language") / "turn_words_en_gb.toml").read_text(encoding="utf-8"))
    return TurnWords(**{one.name: _read(one.name, own[one.name]) for one in fields(TurnWords)})  # type: ignore[arg-type]


BRITISH = _british()
"""British English."""
