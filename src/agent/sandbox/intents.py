"""What a turn of the caller's is about, by patterns."""

from __future__ import annotations

import re

from agent.sandbox import heard


def _pattern(*alternatives: str) -> re.Pattern[str]:
    return re.compile("|".join(alternatives), re.IGNORECASE)


ABUSE = _pattern(r"\b(?:f+u+c+k\w*|bastard|wanker|piss off|bitch)\b")
MACHINE = _pattern(
    r"\b(?:are you|is this|am i (?:talking|speaking) to|you're) (?:just )?(?:a |an |some kind of )?"
    r"(?:robot|machine|bot|ai|a\.i|computer|recording|real person|human|automated|actual)\b"
)
"""Asks whether it is a machine."""
HUMAN = _pattern(
    r"\b(?:speak|talk|put me through|connect me) (?:to|with) (?:a |an |some|the )?\w*"
    r"(?:person|human|body|one|manager|owner|boss|operator)",
    r"\b(?:real|actual) (?:person|human)\b",
    r"\btransfer me\b|\ba human\b|\bput me through\b",
)
"""Wants a person. Look for `MACHINE` first: "are you a human" is the other question."""
CANCEL = _pattern(r"\bcancel\b|\b(?:move|change|rearrange) (?:my|the|our) (?:appointment|booking|visit)\b")
GOODBYE = _pattern(r"\b(?:good ?bye|bye(?:[ -]bye)?|i'll leave it|i have to go|ring back later)\b")
THANKS = _pattern(
    r"\b(?:thank|thanks|cheers|that's (?:all|it|everything|great)|that is all|lovely|perfect|brilliant|ta)\b"
)
TOO_EXPENSIVE = _pattern(r"too (?:expensive|much|dear|steep)|bit (?:expensive|much|dear|steep)|can't afford")
PRICE = _pattern(
    r"\bhow much\b|\bwhat(?:'s|'ll| is| are| do| would| will)\b.{0,24}\b(?:price|cost|charges?|rate|fee)\b|\bcost me\b",
    r"\bprice\?",
)
LOCAL = _pattern(r"\bare you (?:guys |a )?local\b|\bwhere are you (?:based|calling)\b|\bnear me\b")
WHEN = _pattern(
    r"\bhow (?:soon|long|quick\w*)\b|\bwhen (?:can|will|could)\b|\bavailable (?:today|tonight|now)\b|\bwhat time\b"
)
GAS = _pattern(r"\bsmell\w*\W+(?:of )?gas\b|\bgas (?:leak|smell)|\bleak\w*\W+gas\b|\bcarbon monoxide\b")
FIRE = _pattern(r"\bon fire\b|\bthere's a fire\b")
DANGER = _pattern(
    r"\bcan(?:'t| not|not) breathe|\btrouble breathing|\b(?:won't|doesn't|not) stop bleeding|\bbleeding\b.*n't stop",
    r"\b(?:someone|somebody|he|she|i)(?:'s| is|'m| am) (?:badly )?hurt\b",
)
_PAIN = _pattern(r"\b(?:pain\w*|ach\w+|toothache|swollen|swell\w*|bleed\w*|hurt\w*|abscess|agony|knocked out|broken)\b")
_ROUTINE = _pattern(r"\b(?:check[ -]?up|clean\w*|hygienist|polish|whiten\w*|routine)\b")
AGAIN = _pattern(r"^\W*(?:sorry|pardon|what|come again|hello)\W*$", r"say that again|repeat that|didn't (?:catch|hear)")
"""Wants the last question again."""
_SMALL_WORDS = frozenset(
    "a an the or and of for to in on at is are do does you your my i can what how when where with about there somebody"
    " someone asked".split()
)
_GREETING = _pattern(r"^\W*(?:(?:hi|hello|hiya|hey|good (?:morning|afternoon|evening)|there|yes|yeah|um|so)\b[^\w£]*)+")
_PADDING = frozenset(
    """hi hello hiya hey good morning afternoon evening there yes yeah um uh er i i'd i've we need want would like a an
    the please plumber electrician someone somebody help with can you could to come out get have got is it my for me
    some and engineer now today book how much price cost do charge what does soon""".split()
)


def without_greeting(text: str) -> str:
    """A turn without the "hello, yes" that it begins with."""
    return _GREETING.sub("", text)


def ends(text: str) -> bool:
    """Whether the caller says goodbye."""
    return GOODBYE.search(text) is not None


def is_content(text: str) -> bool:
    """Whether a caller who was asked for anything else has nothing more."""
    return heard.yes_or_no(text) is False or THANKS.search(text) is not None


def split_question(text: str) -> tuple[str, str, str]:
    """A turn at the "and" before a question of its own: what is before, the "and", and the question."""
    match = re.fullmatch(r"(.+?)([,.;]? (?:and |but )?)((?:how|when|what time)\b.*)", text, re.IGNORECASE)
    return (match[1], match[2], match[3]) if match else (text, "", "")


def mentions(text: str, heading: str) -> bool:
    """Whether a turn has every word of a heading such as "new patients" that means something."""
    said = set(_stems(text))
    words = [word for word in _stems(heading) if word not in _SMALL_WORDS]
    return bool(words) and all(word in said for word in words)


def sounds_urgent(text: str) -> str | None:
    """Whether something that nobody asked about is urgent: "yes" or "no", or none where it cannot be told."""
    if _PAIN.search(text):
        return "yes"
    return "no" if _ROUTINE.search(text) else None


def is_urgent(text: str) -> str | None:
    """The same in answer to the question."""
    agreed = heard.yes_or_no(text)
    return sounds_urgent(text) if agreed is None else "yes" if agreed else "no"


def _stems(text: str) -> list[str]:
    """Words without the endings by which "park" and "parking", "tooth" and "tooth's" differ."""
    return [re.sub(r"(?:'s|ing|s)$", "", word) for word in re.findall(r"[a-z']+", text.lower())]


def is_vague(text: str) -> bool:
    """Whether a description says nothing of a problem: no word but padding."""
    return not set(re.findall(r"[a-z']+", text.lower())) - _PADDING
