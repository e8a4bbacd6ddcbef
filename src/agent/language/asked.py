"""What the agent's last words ask for, and the looking up of phrases that this and the caller's words share."""

from __future__ import annotations

import enum
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from agent.language.turn_words import PHRASE_WORDS, Phrases, TurnWords

_TOKEN = re.compile(r"\+|[^\W_]*\d[^\W_]*|[^\W\d_]+(?:'[^\W\d_]+)*")
_SENTENCE = re.compile(r"(?<=[.!?…])\s+")

Tokens = Sequence[str]


def tokens_of(text: str) -> list[str]:
    """Words and numbers in lower case: "M14 6BT, I've" gives m14, 6bt, i've. A hyphen parts words."""
    return _TOKEN.findall(text.lower().replace("\u2019", "'"))


def sentences_of(text: str) -> list[str]:
    """Sentences with what ends them."""
    return _SENTENCE.split(text.strip())


@lru_cache(maxsize=256)
def _outer(phrases: Phrases, which: int) -> Phrases:
    """The first (0) or last (-1) word of each: most tokens are none, and are done with at once."""
    return frozenset(phrase.split()[which] for phrase in phrases)


def starts(tokens: Tokens, phrases: Phrases) -> int:
    """How many tokens the longest of `phrases` takes that they start with; 0 for none."""
    if not tokens or tokens[0] not in _outer(phrases, 0):
        return 0
    for count in range(min(PHRASE_WORDS, len(tokens)), 0, -1):
        if " ".join(tokens[:count]) in phrases:
            return count
    return 0


def ends(tokens: Tokens, phrases: Phrases) -> int:
    """How many tokens the longest of `phrases` takes that they end with; 0 for none."""
    if not tokens or tokens[-1] not in _outer(phrases, -1):
        return 0
    for count in range(min(PHRASE_WORDS, len(tokens)), 0, -1):
        if " ".join(tokens[-count:]) in phrases:
            return count
    return 0


def without_start(tokens: Tokens, phrases: Phrases) -> Tokens:
    """What is left when every phrase at the start is taken off."""
    while count := starts(tokens, phrases):
        tokens = tokens[count:]
    return tokens


def without_end(tokens: Tokens, phrases: Phrases) -> Tokens:
    """What is left when every phrase at the end is taken off."""
    while count := ends(tokens, phrases):
        tokens = tokens[:-count]
    return tokens


def longest(tokens: Tokens, phrases: Phrases) -> int:
    """How many tokens the longest of `phrases` takes that is in them; 0 for none."""
    first = _outer(phrases, 0)
    return max((starts(tokens[at:], phrases) for at, token in enumerate(tokens) if token in first), default=0)


def holds(tokens: Tokens, phrases: Phrases) -> bool:
    """Whether one of `phrases` is in them."""
    first = _outer(phrases, 0)
    return any(token in first and starts(tokens[at:], phrases) for at, token in enumerate(tokens))


def last_question(text: str) -> str:
    """The question that the last two sentences of `text` come to; the last of them where there is none."""
    sentences = sentences_of(text)
    return next((one for one in reversed(sentences[-2:]) if one.endswith("?")), sentences[-1])


class Ask(enum.Flag):
    """What an answer may be."""

    NOTHING = 0
    YES_NO = enum.auto()
    CHOICE = enum.auto()
    """One of what the question names: "morning or afternoon?"."""
    OPEN = enum.auto()
    """Something that a yes is not."""
    MORE = enum.auto()
    """Whether there is anything else: a yes promises it, a no ends it."""
    POSTCODE = enum.auto()
    PHONE = enum.auto()
    NAME = enum.auto()
    FULL_NAME = enum.auto()
    ONE_NAME = enum.auto()
    ADDRESS = enum.auto()
    ALL = enum.auto()
    """All of an address, with the town."""
    HOUSE_NUMBER = enum.auto()
    CODE = enum.auto()
    """Digits of any kind."""
    TIME = enum.auto()
    """A time, a day, a number of something: a few words."""
    STORY = enum.auto()
    """What is the matter: its first sentence is seldom its last."""
    PART = enum.auto()
    """Half of a code is enough."""


@dataclass(frozen=True)
class Asked:
    """What is asked for."""

    wants: Ask
    digits: int
    """So many digits, 0 when the question does not say."""
    tokens: frozenset[str]
    """The question's words."""


def _topics(words: TurnWords) -> tuple[tuple[Ask, Phrases], ...]:
    return (
        (Ask.MORE, words.asks_more),
        (Ask.POSTCODE, words.asks_postcode),
        (Ask.PHONE, words.asks_phone),
        (Ask.NAME, words.asks_name),
        (Ask.FULL_NAME, words.asks_full_name),
        (Ask.ONE_NAME, words.asks_one_name),
        (Ask.ADDRESS, words.asks_address),
        (Ask.ALL, words.asks_all),
        (Ask.HOUSE_NUMBER, words.asks_house_number),
        (Ask.CODE, words.asks_code),
        (Ask.TIME, words.asks_time),
        (Ask.PART, words.asks_part),
        (Ask.STORY, words.asks_story),
    )


@lru_cache(maxsize=256)
def understand(asked: str, words: TurnWords) -> Asked:
    """What the last question of `asked` wants; where there is no question, its last sentence."""
    question = last_question(asked)
    tokens = tokens_of(question)
    wants = Ask.NOTHING
    for ask, phrases in _topics(words):
        if holds(tokens, phrases):
            wants |= ask
    if question.endswith("?"):
        requests = holds(tokens, words.requests)
        if not requests and not wants & Ask.STORY and _for_yes_or_no(question, words):
            wants |= Ask.CHOICE if holds(tokens, words.either_or) else Ask.YES_NO
        else:
            wants |= Ask.OPEN
    elif wants & ~Ask.PART:
        wants |= Ask.OPEN
    else:
        wants = Ask.NOTHING
    return Asked(wants, _digits(tokens, words), frozenset(tokens))


def _for_yes_or_no(question: str, words: TurnWords) -> bool:
    clauses = [tokens_of(clause) for clause in question.split(",")]
    if ends(clauses[-1], words.confirms) and clauses[-1][0] not in words.question_words:  # "which house is it?"
        return True
    begun = [without_start(clause, words.acknowledgements) for clause in clauses]
    if any(clause and clause[0] in words.auxiliaries for clause in begun):
        return True
    return not any(holds(clause, words.question_words) for clause in begun)  # "Friday at ten, then?"


def _digits(tokens: Tokens, words: TurnWords) -> int:
    """The number before "digits": "the last four digits"."""
    for before, token in itertools.pairwise(tokens):
        if token in words.asks_digits:
            said = words.digits.get(before, before)
            if said.isascii() and said.isdigit() and len(said) < 3:
                return int(said)
    return 0
