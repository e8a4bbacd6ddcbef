"""How codes are said: every character heard, nothing else touched, and said twice the same as once."""

from __future__ import annotations

import itertools
import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.language.clauses import ClauseSplitter
from agent.language.spoken import ALPHABET, POSTCODE_AREAS, spoken
from agent.sandbox.heard import digits_in
from agent.tools.booking import normalise_postcode

INWARD = "ABDEFGHJLNPQRSTUWXYZ"
OUTWARD = st.builds(
    lambda area, district: area + district,
    st.sampled_from(sorted(POSTCODE_AREAS)),
    st.one_of(
        st.from_regex(r"[1-9][0-9]?", fullmatch=True),
        st.builds(lambda digit, letter: digit + letter, st.sampled_from("123"), st.sampled_from("ABCDEFGHJKPSTUW")),
    ),
)
POSTCODES = st.builds(
    lambda outward, digit, letters: (outward, f"{digit}{letters}"),
    OUTWARD,
    st.integers(0, 9),
    st.text(INWARD, min_size=2, max_size=2),
)
DIGITS = dict(zip("zero one two three four five six seven eight nine".split(), "0123456789", strict=True))
PLAIN = [
    "Lovely,", "the", "callout", "fee", "is", "£65,", "£999", "£1,200.50", "at", "9.30", "10:15", "30-60", "minutes,",
    "2nd", "12", "Mill", "Lane,", "Flat", "B1,", "M14", "007,", "20/02/2026", "03-04-2026", "BK-7F3K2Q9M", "24/7",
    "M", "for", "Mike,", "one", "four,", "six,", "0.5", "jo@0161.co.uk", "v1.2.3", "—", "“right”?", "o'clock.", "A1",
]  # fmt: skip
TEXTS = st.lists(st.sampled_from(PLAIN), max_size=12).map(" ".join)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("That's M14 6BT, right?", "That's M for Mike, one four, six, B for Bravo, T for Tango, right?"),
        ("sw1a 1aa.", "S for Sierra, W for Whiskey, one, A for Alpha, one, A for Alpha, A for Alpha."),
        ("(EX40BT)", "(E for Echo, X for X-ray, four, zero, B for Bravo, T for Tango)"),
        ("M 1 4 6 B T", "M for Mike, one four, six, B for Bravo, T for Tango"),
        ("0161 496 0000.", "oh one six one, four nine six, oh oh oh oh."),
        ("07700900123?", "oh seven seven oh oh, nine oh oh, one two three?"),
        ("(020) 7946 0123", "oh two oh, seven nine four six, oh one two three"),
        ("+44 (0)20 7946 0123", "plus four four, two oh, seven nine four six, oh one two three"),
        ("+442079460123", "plus four four, two oh, seven nine four six, oh one two three"),
        ("0161\u202f496\u00a00000", "oh one six one, four nine six, oh oh oh oh"),
        ("020\u20117946\u20110123", "oh two oh, seven nine four six, oh one two three"),
        ("M\u20111\u20114\u202f6\u2011B\u2011T", "M for Mike, one four, six, B for Bravo, T for Tango"),
        ("Ring 0800 111 999 or 999 now", "Ring oh eight oh oh, one one one, nine nine nine or nine nine nine now"),
        ("Dial 112, at 112 High Street", "Dial one one two, at 112 High Street"),
    ],
)
def test_what_is_spelled_out(written: str, said: str) -> None:
    assert spoken(written) == said


@given(TEXTS)
def test_other_words_stay_as_they_are(text: str) -> None:
    assert spoken(text) == text


@given(TEXTS, POSTCODES, st.sampled_from(["", " ", ", ", "-", "\u00a0", "\u202f", "\u2011"]), TEXTS)
def test_a_postcode_is_spelled_and_its_neighbours_are_not_touched(
    before: str, postcode: tuple[str, str], between: str, after: str
) -> None:
    said = spoken(f"{before}; {postcode[0]}{between}{postcode[1]}; {after}")
    assert said.startswith(f"{before}; ")
    assert said.endswith(f"; {after}")
    middle = said[len(before) + 2 : len(said) - len(after) - 2]
    assert not re.search(r"\d", middle)
    assert not [
        (letter, word) for letter, word in re.findall(r"([A-Z]) for ([\w-]+)", middle) if ALPHABET[letter] != word
    ]
    parts = re.sub(r" for [\w-]+", "", middle).replace(",", "").split()
    assert "".join(DIGITS.get(part, part) for part in parts) == "".join(postcode)


@given(st.from_regex(r"0[1-9][0-9]{8,9}", fullmatch=True), st.lists(st.integers(3, 9), max_size=2))
def test_a_number_is_said_digit_by_digit(number: str, spaces: list[int]) -> None:
    for place in sorted(set(spaces), reverse=True):
        number = f"{number[:place]} {number[place:]}"
    said = spoken(f"ring {number} then")
    assert said.startswith("ring oh ")
    assert digits_in(said) == number.replace(" ", "")
    assert not re.search(r"\d", said)


@given(st.one_of(st.text(max_size=80), st.text("0123456789MB +-(),.9aA ", max_size=80), TEXTS))
def test_saying_it_again_changes_nothing(text: str) -> None:
    once = spoken(text)
    assert spoken(once) == once


@given(POSTCODES, st.lists(st.integers(0, 200), max_size=20))
def test_clauses_as_they_come_are_spelled_as_the_whole_is(postcode: tuple[str, str], cuts: list[int]) -> None:
    text = f"Thanks, so the whole of that is {' '.join(postcode)}, on 0161 496 0000, is that right? "
    splitter = ClauseSplitter()
    places = sorted({0, len(text), *(cut % len(text) for cut in cuts)})
    clauses = [c for a, b in itertools.pairwise(places) for c in splitter.feed(text[a:b])]
    assert "".join(spoken(clause) for clause in [*clauses, splitter.rest()]) == spoken(text)


def test_a_long_row_of_digits_takes_no_time() -> None:
    """Each digit is looked at a bounded number of times: a pattern that tries every grouping would never end here."""
    for row in ("0" * 4000 + "@", "0 1" * 2000 + "@", "M 1 " * 2000 + "@", "+1" * 3000):
        assert len(spoken(row)) >= len(row)


def test_a_postcode_that_would_be_booked_is_one_that_is_spelled() -> None:
    for letters in (a + b for a in string.ascii_uppercase for b in string.ascii_uppercase):
        booked = normalise_postcode(f"M14 6{letters}") is not None
        assert booked == (spoken(f"M14 6{letters}") != f"M14 6{letters}")
    assert "".join(ALPHABET) == string.ascii_uppercase
    assert all(word.startswith(letter) for letter, word in ALPHABET.items())
