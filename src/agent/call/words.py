"""What the words alone tell of a turn: whether it sounds finished, and whether it only says "go on"."""

from __future__ import annotations

import enum
import re

BACKCHANNELS = frozenset(
    "mm mmm mhm mmhm hm hmm uh huh uhhuh mm-hm uh-huh yeah yep yes ok okay right sure alright".split()
)
BACKCHANNEL_WORDS = 2

_OPENERS = frozenset("hello hi hey sorry well so um uh er oh".split())
_HANGING = frozenset(
    "a an the my your our his her their and or but so because to of at in on for with from by is are was it's that's "
    "there's i i'm we we're it its um uh er number postcode name".split()
)


class Completeness(enum.Enum):
    """How complete a turn sounds: how long the caller's silence must be before it is answered."""

    BARE = "bare"
    """A "yes", a name, a number that was asked for: there is nothing to add."""
    COMPLETE = "complete"
    """A whole sentence."""
    UNSURE = "unsure"
    """It could be over."""
    INCOMPLETE = "incomplete"
    """It breaks off in mid-phrase."""


def completeness(text: str, asked: str = "") -> Completeness:
    """How complete `text` sounds as an answer to what the agent `asked` last."""
    words = re.findall(r"[\w'-]+", text.lower())
    if not words or text.rstrip().endswith((",", ";", ":", "-", "…", "...")):
        return Completeness.INCOMPLETE
    if all(word in _OPENERS for word in words):
        return Completeness.INCOMPLETE
    if words[-1] in _HANGING and not text.rstrip().endswith("?"):
        return Completeness.INCOMPLETE
    return Completeness.COMPLETE if text.rstrip().endswith((".", "?", "!")) else Completeness.UNSURE


def is_backchannel(text: str) -> bool:
    """Whether it only says "go on": one or two words such as "mm-hm" or "yeah"."""
    words = re.findall(r"[\w'-]+", text.lower())
    return 0 < len(words) <= BACKCHANNEL_WORDS and all(word in BACKCHANNELS for word in words)


def same_words(one: str, other: str) -> bool:
    """Whether two texts differ in nothing but case, punctuation and spaces, as an interim and its final may."""
    return re.findall(r"\w+", one.lower()) == re.findall(r"\w+", other.lower())
