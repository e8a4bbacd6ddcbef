"""What a caller meant: postcodes as they are spelled, numbers as they are said, names, addresses, yes and no.

Works on what a recogniser makes of a telephone line, so "em one for bee tea" is a postcode too.
"""

from __future__ import annotations

import re

_DIGITS = {
    "zero": "0", "nought": "0", "oh": "0", "one": "1", "won": "1", "two": "2", "to": "2", "too": "2", "three": "3",
    "tree": "3", "four": "4", "for": "4", "fore": "4", "five": "5", "six": "6", "seven": "7", "eight": "8", "ate": "8",
    "nine": "9", "ten": "10", "eleven": "11", "twelve": "12", "thirteen": "13", "fourteen": "14", "fifteen": "15",
    "sixteen": "16", "seventeen": "17", "eighteen": "18", "nineteen": "19",
}  # fmt: skip
_TENS = {
    "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90,
}  # fmt: skip
NATO = dict(
    zip(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        "Alpha Bravo Charlie Delta Echo Foxtrot Golf Hotel India Juliet Kilo Lima Mike November Oscar Papa Quebec Romeo "
        "Sierra Tango Uniform Victor Whiskey X-ray Yankee Zulu".split(),
        strict=True,
    )
)
_LETTERS = {
    "ay": "A", "bee": "B", "be": "B", "see": "C", "sea": "C", "cee": "C", "dee": "D", "ee": "E", "eff": "F", "gee": "G",
    "aitch": "H", "haitch": "H", "eye": "I", "jay": "J", "kay": "K", "okay": "K", "el": "L", "ell": "L", "em": "M",
    "am": "M", "en": "N", "pee": "P", "pea": "P", "queue": "Q", "cue": "Q", "are": "R", "ar": "R", "ess": "S",
    "tee": "T", "tea": "T", "you": "U", "yu": "U", "vee": "V", "ex": "X", "why": "Y", "wye": "Y", "zed": "Z", "zee": "Z",
    "alfa": "A", "juliett": "J", "whisky": "W", "xray": "X",
}  # fmt: skip
_LETTERS |= {word.lower(): letter for letter, word in NATO.items()}
_AREAS = frozenset(
    "AB AL B BA BB BD BH BL BN BR BS BT CA CB CF CH CM CO CR CT CV CW DA DD DE DG DH DL DN DT DY E EC EH EN EX FK FY G GL "
    "GU GY HA HD HG HP HR HS HU HX IG IM IP IV JE KA KT KW KY L LA LD LE LL LN LS LU M ME MK ML N NE NG NN NP NR NW OL OX "
    "PA PE PH PL PO PR RG RH RM S SA SE SG SK SL SM SN SO SP SR SS ST SW SY TA TD TF TN TQ TR TS TW UB W WA WC WD WF WN WR "
    "WS WV YO ZE".split()
)
_POSTCODE = re.compile(r"([A-Z]{1,2})([0-9][0-9A-Z]?)([0-9][A-Z]{2})")
_TOKEN = re.compile(r"[a-z0-9]+(?:'[a-z]+)?", re.IGNORECASE)


def _characters(token: str) -> str | None:
    """The characters of a postcode that a token may stand for; none when it is an ordinary word."""
    low = token.lower()
    if low in _DIGITS:
        return _DIGITS[low]
    if low in _TENS:
        return str(_TENS[low])
    if low in _LETTERS:
        return _LETTERS[low]
    if len(token) == 1 or (any(c.isdigit() for c in token) and len(token) <= 7) or len(token) <= 3:
        return token.upper()
    return None


def find_postcode(text: str) -> str | None:
    """The UK postcode in `text`, as "M1 4BT"; none when there is none. The last one wins: a caller corrects himself."""
    text = re.sub(r"\bdouble[ -]?(you|u)\b", "w", text, flags=re.IGNORECASE)
    text = re.sub(r"\b([a-z]) (?:for|as in) (\w)\w+", _spelled, text, flags=re.IGNORECASE)
    text = re.sub(r"\bx-ray\b", "x", text, flags=re.IGNORECASE)
    text = re.sub(r"\bdouble (\w+)", r"\1 \1", text, flags=re.IGNORECASE)
    text = re.sub(r"\btriple (\w+)", r"\1 \1 \1", text, flags=re.IGNORECASE)
    pieces = [_characters(token) for token in _TOKEN.findall(text)]
    found = None
    for first in range(len(pieces)):
        code = ""
        for piece in pieces[first : first + 8]:
            if piece is None or len(code) > 7:
                break
            code += piece
            match = _as_postcode(code)
            if match is not None:
                found = match
    return found


def _spelled(match: re.Match[str]) -> str:
    """ "B for bravo" is B; "one for Bill" is not."""
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
            if match and match.group(1) in _AREAS:
                return f"{match.group(1)}{match.group(2)} {match.group(3)}"
    return None


def say_postcode(postcode: str) -> str:
    """A postcode by the phonetic alphabet: "Mike 1, 4 Bravo Tango"."""
    halves = (" ".join(NATO.get(c, c) for c in half) for half in postcode.split())
    return ", ".join(halves)


def digits_in(text: str) -> str:
    """All digits of `text`, spoken ones too: for telephone numbers."""
    text = re.sub(r"\bdouble (\w+)", r"\1 \1", text, flags=re.IGNORECASE)
    found = ""
    for token in _TOKEN.findall(text):
        low = token.lower()
        found += _DIGITS.get(low, str(_TENS[low]) if low in _TENS else "".join(c for c in token if c.isdigit()))
    return found


_ADDRESS_START = re.compile(
    r"^(?:(?:yes|yeah|yep|ok|okay|sure|right|um|uh|er|oh|so|well|it's|its|it is|that's|that is|i'm at|i am at|we're at|"
    r"i live at|the address is|my address is|address is|at|number|no|flat's|is)\b[\s,.]*)+",
    re.IGNORECASE,
)


def find_address(text: str) -> str | None:
    """House number and street, "12 Mill Lane"; none when there is nothing of the kind."""
    text = _ADDRESS_START.sub("", text.strip()).strip(" .,!?")
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
            number += str(_TENS[low])
        elif low in _DIGITS and low not in ("to", "too", "for", "won", "ate", "fore", "tree"):
            digit = _DIGITS[low]
            number = number[:-1] + digit if number.endswith("0") and len(digit) == 1 and used else number + digit
        else:
            break
        used += 1
    return " ".join([number, *words[used:]]).strip() if number else text


_NAME_START = re.compile(
    r"^(?:(?:yes|yeah|yep|ok|okay|sure|um|uh|er|oh|so|well|hi|hello|my name is|my name's|my name|name's|the name is|"
    r"the name's|it's|its|it is|this is|i'm|i am|that's|that is|call me|is)\b[\s,.]*)+",
    re.IGNORECASE,
)


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
    r"\b(?:yes|yeah|yep|yup|correct|right|exactly|perfect|fine|sure|ok|okay|please|sounds good|go ahead|great|lovely|"
    r"all right|alright|spot on|that's it|absolutely|of course)\b",
    re.IGNORECASE,
)
_NO = re.compile(
    r"\b(?:no|nope|nah|not|wrong|isn't|don't|incorrect|never mind|leave it)\b",
    re.IGNORECASE,
)


def yes_or_no(text: str) -> bool | None:
    """True for yes, False for no, none for neither. "No, that's right" counts as it begins."""
    no, yes = _NO.search(text), _YES.search(text)
    if no and (not yes or no.start() < yes.start() or "not right" in text.lower()):
        if re.search(r"\bno (?:problem|worries)\b|\bdon't mind\b|\bnot a problem\b", text, re.IGNORECASE):
            return True
        return False
    return True if yes else None


def one_of(text: str, *patterns: str) -> bool:
    """Whether a pattern is in `text`, whatever its case."""
    return any(re.search(pattern, text, re.IGNORECASE) for pattern in patterns)
