"""What the LLM writes, as a person says it on the telephone: postcodes by the phonetic alphabet, numbers by digits.

English, since the alphabet and the digits' words are. All else is left to the TTS: "£65", "9.30" and "12 Mill Lane"
come out as they went in.
"""

from __future__ import annotations

import re

import phonenumbers

ALPHABET = dict(
    zip(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        """Alpha Bravo Charlie Delta Echo Foxtrot Golf Hotel India Juliet Kilo Lima Mike November Oscar Papa Quebec
        Romeo Sierra Tango Uniform Victor Whiskey X-ray Yankee Zulu""".split(),
        strict=True,
    )
)
"""The phonetic alphabet, by letter, in the spelling that English voices say well (ICAO's own has Alfa and Juliett)."""
POSTCODE_AREAS = frozenset(
    """AB AL B BA BB BD BH BL BN BR BS BT CA CB CF CH CM CO CR CT CV CW DA DD DE DG DH DL DN DT DY E EC EH EN EX FK FY G
    GL GU GY HA HD HG HP HR HS HU HX IG IM IP IV JE KA KT KW KY L LA LD LE LL LN LS LU M ME MK ML N NE NG NN NP NR NW
    OL OX PA PE PH PL PO PR RG RH RM S SA SE SG SK SL SM SN SO SP SR SS ST SW SY TA TD TF TN TQ TR TS TW UB W WA WC WD
    WF WN WR WS WV YO ZE""".split()
)
"""The letters that a UK postcode may begin with."""

_DIGITS = "zero one two three four five six seven eight nine".split()
# LLMs write typographic spaces and hyphens too: no-break, thin, narrow no-break; hyphen, no-break hyphen, en dash.
_SPACE = " \u00a0\u2009\u202f"
_GAP = f"[{_SPACE}\u2010\u2011\u2013-]"
_NO_PART = r"(?<![\w£$€#@.,:/+-])"  # in front: not the rest of a longer word, sum or code
_WHOLE = r"(?![\w@/]|[-.,:]\w)"  # behind: nothing that would go on with it
_INWARD = r"[0-9][ABD-HJLNP-UW-Z]{2}"
_POSTCODE = re.compile(
    rf"{_NO_PART}([A-Z]{{1,2}})([0-9][0-9A-Z]?)(?:,[{_SPACE}]|{_GAP})?({_INWARD}){_WHOLE}", re.IGNORECASE
)
_SPELLED = re.compile(rf"{_NO_PART}[A-Z0-9](?:(?:,[{_SPACE}]|{_GAP})[A-Z0-9]){{4,6}}{_WHOLE}")
_ORDINAL = re.compile(r"1st|2nd|3rd|[04-9]th")
# "0" and an area code, or "+" and a country, with the brackets of "(020) 7946" and "+44 (0)20"; then groups of digits.
_PHONE = re.compile(
    rf"{_NO_PART}(?:\+ ?[1-9]|\(?0)[0-9]*+(?:{_GAP}?(?:\(0\)|\)){_GAP}?[0-9]++)?(?:{_GAP}[0-9]++){{0,8}}"
    r"(?![\w@/%]|[-.,:][0-9])"
)
_EMERGENCY = re.compile(
    rf"{_NO_PART}(?:999|(?<=\bring )(?:112|111|101)|(?<=\b(?:call|dial) )(?:112|111|101)){_WHOLE}", re.IGNORECASE
)
_MAY_HOLD = re.compile(r"[0-9]")


def spoken(text: str) -> str:
    """Return `text` with what a person would spell out spelled out; saying that again changes nothing more.

    "M14 6BT" becomes "M for Mike, one four, six, B for Bravo, T for Tango", "0161 496 0000" becomes "oh one six one,
    four nine six, oh oh oh oh", and "999" becomes "nine nine nine". Every other word stays as it is.
    """
    if not _MAY_HOLD.search(text):
        return text
    text = _POSTCODE.sub(_postcode, text)
    text = _SPELLED.sub(_spelled, text)
    text = _PHONE.sub(_phone, text)
    return _EMERGENCY.sub(lambda match: _digits(match[0]), text)


def spoken_postcode(outward: str, inward: str) -> str:
    """Return the two halves of a postcode by the phonetic alphabet, each digit apart."""
    halves = (re.sub(r"[0-9]+|[A-Z]", _character, half.upper()).strip(" ,") for half in (outward, inward))
    return ", ".join(halves)


def _character(match: re.Match[str]) -> str:
    part = match[0]
    return f"{part} for {ALPHABET[part]}, " if part in ALPHABET else f"{_digits(part, 'zero')}, "


def _postcode(match: re.Match[str]) -> str:
    area, district, inward = match.groups()
    # "Flat B1, 2nd floor" has the form of a postcode.
    if area.upper() not in POSTCODE_AREAS or _ORDINAL.fullmatch(inward):
        return match[0]
    return spoken_postcode(area + district, inward)


def _spelled(match: re.Match[str]) -> str:
    """Letters and digits apart, "M 1 4 6 B T": said so that B is not taken for D."""
    packed = re.sub(r"[^A-Z0-9]", "", match[0])
    whole = _POSTCODE.fullmatch(packed)
    return _postcode(whole) if whole is not None and _postcode(whole) != packed else match[0]


def _phone(match: re.Match[str]) -> str:
    written = match[0]
    groups = re.findall(r"[0-9]+", written.replace("(0)", ""))
    count = sum(len(group) for group in groups)
    international = written.startswith("+")
    # A date such as "03-04-2026" begins with 0 too; area codes have three digits at least.
    if not (8 if international else 9) <= count <= 15 or (not international and len(groups[0]) < 3):
        return written
    if len(groups) == 1:
        groups = _grouped(("+" if international else "") + groups[0])
    said = ", ".join(_digits(part) for group in groups for part in _bearable(group))
    return f"plus {said}" if international else said


def _grouped(number: str) -> list[str]:
    """The groups in which people say a number that was written without any."""
    try:
        parsed = phonenumbers.parse(number, "GB")
    except phonenumbers.NumberParseException:
        return [number.lstrip("+")]
    international = number.startswith("+")
    form = phonenumbers.PhoneNumberFormat.INTERNATIONAL if international else phonenumbers.PhoneNumberFormat.NATIONAL
    groups = re.findall(r"[0-9]+", phonenumbers.format_number(parsed, form))
    # A number of no known plan may be written with a digit more or less: what was written is said.
    return groups if "".join(groups) == number.lstrip("+") else [number.lstrip("+")]


def _bearable(group: str) -> list[str]:
    """A group in pieces of at most five digits, as nobody says or keeps more in one breath."""
    if len(group) <= 5:
        return [group]
    return [group[at : at + 3] for at in range(0, len(group), 3)]


def _digits(number: str, zero: str = "oh") -> str:
    return " ".join(zero if digit == "0" else _DIGITS[int(digit)] for digit in number)
