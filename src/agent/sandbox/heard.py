"""What a caller meant: postcodes as they are spelled, numbers as they are said, names, addresses, yes and no.

Works on what a recogniser makes of a telephone line, so "em one for bee tea" is a postcode too.
"""

from __future__ import annotations

import re

from agent.language.spoken import ALPHABET, POSTCODE_AREAS


def _table(text: str) -> dict[str, str]:
    """Lines "meaning: word word ..." as a table from word to meaning."""
    lines = (line.split(":") for line in text.strip().splitlines())
    return {word: meaning.strip() for meaning, words in lines for word in words.split()}


_DIGITS = _table("""
0: zero nought oh
1: one won
2: two to too
3: three tree
4: four for fore
5: five
6: six
7: seven
8: eight ate
9: nine
10: ten
11: eleven
12: twelve
13: thirteen
14: fourteen
15: fifteen
16: sixteen
17: seventeen
18: eighteen
19: nineteen
""")
_AMBIGUOUS = frozenset({"to", "too", "for", "fore", "won", "ate", "tree"})
"""Digits only where a code is spelled."""
_TENS = {
    word: str(20 + 10 * i) for i, word in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split())
}
_LETTERS = _table("""
A: ay alfa
B: bee be
C: see sea cee
D: dee
E: ee
F: eff
G: gee
H: aitch haitch
I: eye
J: jay juliett juliette
K: kay okay
L: el ell
M: em am
N: en
P: pee pea
Q: queue cue
R: are ar
S: ess
T: tee tea
U: you yu
V: vee
W: whisky
X: ex xray
Y: why wye
Z: zed zee
""")
_LETTERS |= {word.lower(): letter for letter, word in ALPHABET.items()}
_POSTCODE = re.compile(r"([A-Z]{1,2})([0-9][0-9A-Z]?)([0-9][A-Z]{2})")
_TOKEN = re.compile(r"[a-z0-9]+(?:'[a-z]+)?", re.IGNORECASE)


def _characters(token: str) -> str | None:
    """The characters of a postcode that a token may stand for; none when it is an ordinary word."""
    low = token.lower()
    if low in _DIGITS:
        return _DIGITS[low]
    if low in _TENS:
        return _TENS[low]
    if low in _LETTERS:
        return _LETTERS[low]
    if len(token) == 1 or (any(c.isdigit() for c in token) and len(token) <= 7) or len(token) <= 3:
        return token.upper()
    return None


def find_postcode(text: str) -> str | None:
    """The UK postcode in `text`, as "M1 4BT", or none. The last one wins: callers correct themselves."""
    text = re.sub(r"\bdouble[ -]?(you|u)\b", "w", text, flags=re.IGNORECASE)
    text = re.sub(r"\bx-ray\b", "xray", text, flags=re.IGNORECASE)
    text = re.sub(r"\b([a-z]) (?:for|as in) (\w)\w+", _spelled, text, flags=re.IGNORECASE)
    text = re.sub(r"\bdouble (\w+)", r"\1 \1", text, flags=re.IGNORECASE)
    text = re.sub(r"\btriple (\w+)", r"\1 \1 \1", text, flags=re.IGNORECASE)
    pieces = [_characters(token) for token in _TOKEN.findall(text)]
    found: tuple[int, int, str] | None = None
    for first in range(len(pieces)):
        code = ""
        for last, piece in enumerate(pieces[first : first + 8], first):
            if piece is None or len(code) > 7:
                break
            code += piece
            match = _as_postcode(code)
            # Of two that end alike the longer: SW1A 2AA ends with W1A 2AA.
            if match is not None and (found is None or (last, -first) > found[:2]):
                found = (last, -first, match)
    return found[2] if found else None


def _spelled(match: re.Match[str]) -> str:
    """As in "B for bravo", which is B, while "one for Bill" is not."""
    letter = match.group(1)
    return letter if letter.lower() == match.group(2).lower() else match.group(0)


def _as_postcode(code: str) -> str | None:
    """`code` as a postcode, where O and 0, I and 1 may have been taken for each other."""
    if not 5 <= len(code) <= 7:
        return None
    outward, inward = code[:-3], code[-3:]
    to_digit = str.maketrans("OI", "01")
    to_letter = str.maketrans("01", "OI")
    inward = inward[0].translate(to_digit) + inward[1:].translate(to_letter)
    for size in (1, 2):
        candidate = outward[:size].translate(to_letter) + outward[size:]
        for district in {candidate[size:], candidate[size:].translate(to_digit)}:
            match = _POSTCODE.fullmatch(candidate[:size] + district + inward)
            if match and match.group(1) in POSTCODE_AREAS:
                return f"{match.group(1)}{match.group(2)} {match.group(3)}"
    return None


def say_postcode(postcode: str) -> str:
    """A postcode by the phonetic alphabet: "Mike 1, 4 Bravo Tango"."""
    halves = (" ".join(ALPHABET.get(c, c) for c in half) for half in postcode.split())
    return ", ".join(halves)


def digits_in(text: str) -> str:
    """All digits of `text`, spoken ones too: for telephone numbers."""
    text = re.sub(r"\bdouble (\w+)", r"\1 \1", text, flags=re.IGNORECASE)
    found = ""
    for token in _TOKEN.findall(text):
        low = token.lower()
        found += _DIGITS.get(low, _TENS[low] if low in _TENS else "".join(c for c in token if c.isdigit()))
    return found


def find_number(text: str) -> str | None:
    """A telephone number, as digits; none when there are too few of them."""
    digits = digits_in(text)
    return digits if len(digits) >= 9 else None


_LEAD_IN = r"yes|yeah|yep|ok|okay|sure|right|um|uh|er|oh|so|well|it's|its|it is|that's|that is|is"
_ADDRESS_START = re.compile(
    rf"^(?:(?:{_LEAD_IN}|i'm at|i am at|we're at|i live at|(?:the |my )?address is|at|number|no)\b[\s,.]*)+",
    re.IGNORECASE,
)


_NAME_FOLLOWS = re.compile(r"[\s,.;]*(?:\band )?(?:\b(?:my|the) )?\bname(?:'s| is)\b.*", re.IGNORECASE)
_ADDRESS_TOLD = re.compile(r".*\b(?:address is|(?:i|we) live at|i'm at|we're at)\s+(.+)", re.IGNORECASE)


def told_address(text: str) -> str | None:
    """An address that nobody asked for: one that is called so."""
    match = _ADDRESS_TOLD.fullmatch(text.strip(" .!?"))
    return find_address(match[1]) if match else None


def find_address(text: str) -> str | None:
    """House number and street, "12 Mill Lane"; none when there is nothing of the kind."""
    text = _ADDRESS_START.sub("", _NAME_FOLLOWS.sub("", text.strip())).strip(" .,!?")
    text = _numbers_to_digits(text)
    if not re.search(r"[A-Za-z]{3,}", text):
        return None
    if not re.search(r"\d", text) and not re.search(_STREET, text, re.IGNORECASE):
        return None
    return text[0].upper() + text[1:]


_STREET = (
    r"\b(?:street|road|lane|avenue|close|drive|way|court|place|crescent|gardens|terrace|house|cottage|farm|hill|row|"
    r"square|mews|grove|park|walk|rise|flat)\b"
)


def _numbers_to_digits(text: str) -> str:
    """House numbers said as words, in digits: "twenty two Mill Lane" is "22 Mill Lane"."""
    words = text.replace("-", " ").split(" ")
    number = ""
    used = 0
    for word in words:
        low = word.lower().strip(",.")
        if low in _TENS:
            number += _TENS[low]
        elif low in _DIGITS and low not in _AMBIGUOUS:
            digit = _DIGITS[low]
            number = number[:-1] + digit if number.endswith("0") and len(digit) == 1 and used else number + digit
        else:
            break
        used += 1
    return " ".join([number, *words[used:]]).strip() if number else text


_NAME_START = re.compile(
    rf"^(?:(?:{_LEAD_IN}|hi|hello|(?:my |the )?name(?: is|'s)|this is|i'm|i am|call me|(?:put it )?under)\b[\s,.]*)+",
    re.IGNORECASE,
)


_NAME_TOLD = re.compile(r".*\bname(?:'s| is)\s+(.+)", re.IGNORECASE)


def told_name(text: str) -> str | None:
    """A name that nobody asked for: one that is called so."""
    match = _NAME_TOLD.fullmatch(text.strip(" .!?"))
    return find_name(match[1]) if match else None


def find_name(text: str) -> str | None:
    """A person's name of at most four words; none when there is none."""
    text = _NAME_START.sub("", text.strip())
    text = re.split(r"[.,;!?]", text.strip(" .,!?"), maxsplit=1)[0]
    words = re.findall(r"[A-Za-zÀ-ÿ][A-Za-zÀ-ÿ'’-]*", text)
    words = [word for word in words if word.lower() not in ("please", "thanks", "thank", "you", "and")][:4]
    if not words or (len(words) == 1 and words[0].lower() in _NO_NAMES):
        return None
    return " ".join(word if not word.islower() else word.capitalize() for word in words)


_NO_NAMES = frozenset("yes no what why sorry pardon hello okay right sure maybe nothing".split())

_YES = re.compile(
    r"\b(?:yes|yeah|yep|yup|correct|right|exactly|perfect|fine|sure|ok|okay|please|sounds good|go ahead|great|lovely"
    r"|all right|alright|spot on|that's it|absolutely|of course)\b",
    re.IGNORECASE,
)
_NO = re.compile(r"\b(?:no|nope|nah|not|wrong|isn't|don't|incorrect|never mind|leave it)\b", re.IGNORECASE)
_HARMLESS_NO = re.compile(r"\b(?:no (?:problem|worries)|don't mind|not a problem)\b", re.IGNORECASE)


def yes_or_no(text: str) -> bool | None:
    """True for yes, False for no, none for neither. "No, that's right" counts as it begins."""
    no, yes = _NO.search(_HARMLESS_NO.sub("yes", text)), _YES.search(_HARMLESS_NO.sub("yes", text))
    if no and (not yes or no.start() < yes.start() or "not right" in text.lower()):
        return False
    return True if yes else None
