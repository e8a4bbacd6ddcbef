"""Clauses: put together again they are the text, whatever the pieces it came in, and no number is cut in two."""

from __future__ import annotations

import itertools
import re

from hypothesis import given
from hypothesis import strategies as st

from agent.language.clauses import FIRST_WORDS, MOST_WORDS, NEXT_WORDS, ClauseSplitter

WORDS = st.sampled_from(
    ["the", "callout", "fee", "is", "£65.50,", "at", "9.30", "1,200", "3:45", "0800.", "postcode", "M14", "yes.", "—",
     "M14 6BT,", "SW1A, 1AA", "0161 496 0000,", "(020) 7946 0123.", "+44 20, 7946, 0123", "M 1, 4 6 B T?", "I", "A,",
     "right?", '"okay."', "(maybe)", "thanks!", "and…", "that's", "…", ",", "12.", "10,000.75,"]
)  # fmt: skip
TEXTS = st.lists(st.tuples(WORDS, st.sampled_from([" ", "  ", "\n"])), max_size=60).map(
    lambda pairs: "".join(word + space for word, space in pairs)
)
CODES = ["M14 6BT", "SW1A, 1AA", "0161 496 0000", "(020) 7946 0123", "+44 20, 7946, 0123", "M 1, 4 6 B T"]
NUMBER = re.compile(r"\d+(?:[.,:]\d+)+")


def split(text: str, cuts: list[int]) -> list[str]:
    splitter = ClauseSplitter()
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    clauses = [c for a, b in itertools.pairwise(places) for c in splitter.feed(text[a:b])]
    rest = splitter.rest()
    assert splitter.rest() == ""
    return [*clauses, *([rest] if rest else [])]


@given(st.one_of(TEXTS, st.text(max_size=300)), st.lists(st.integers(0, 2000), max_size=30))
def test_joined_clauses_are_the_text(text: str, cuts: list[int]) -> None:
    assert "".join(split(text, cuts)) == text


@given(TEXTS, st.lists(st.integers(0, 2000), max_size=60))
def test_no_number_is_cut_however_it_comes(text: str, cuts: list[int]) -> None:
    ends, at = set(), 0
    for clause in split(text, cuts)[:-1]:
        at += len(clause)
        ends.add(at)
    for match in NUMBER.finditer(text):
        assert not any(match.start() < end < match.end() for end in ends), match[0]


PLAIN = st.lists(st.sampled_from("that's lovely, so it is and then we will ring you back, okay".split()), max_size=40)


@given(PLAIN, st.sampled_from(CODES), st.sampled_from([" ", ". ", ", ", "? "]), PLAIN, st.lists(st.integers(0, 600)))
def test_no_postcode_or_telephone_number_is_cut(
    before: list[str], code: str, mark: str, after: list[str], cuts: list[int]
) -> None:
    text = f"{' '.join([*before, code])}{mark}{' '.join(after)}"
    assert any(code in clause for clause in split(text, cuts)), split(text, cuts)


def test_no_code_is_cut_wherever_the_limit_falls() -> None:
    for code in CODES:
        for words in range(2 * MOST_WORDS):
            assert any(code in clause for clause in split("so " * words + code + " is it then", [])), (words, code)


def test_what_looks_like_a_code_without_end_is_cut_all_the_same() -> None:
    assert [len(clause.split()) for clause in split("1 " * 40, [])] == [MOST_WORDS, MOST_WORDS, 12]


def test_a_word_that_a_code_may_begin_with_waits_for_the_next_one() -> None:
    splitter = ClauseSplitter()
    assert splitter.feed("So that is M14, ") == []
    assert splitter.feed("yes. ") == ["So that is M14, "]
    assert splitter.feed("And it is a M14, ") == []
    assert splitter.feed("6BT then? ") == ["yes. And it is a M14, 6BT then? "]


@given(TEXTS, st.lists(st.integers(0, 2000), max_size=60))
def test_clauses_begin_at_words_and_are_of_a_bearable_length(text: str, cuts: list[int]) -> None:
    clauses = split(text, cuts)
    for index, clause in enumerate(clauses[:-1]):
        assert clause[-1].isspace(), "the next clause must not be glued to this one"
        words = len(clause.split())
        assert (FIRST_WORDS if index == 0 else NEXT_WORDS) <= words <= MOST_WORDS


@given(TEXTS)
def test_words_one_at_a_time_or_all_at_once_give_the_same_clauses(text: str) -> None:
    by_letter = ClauseSplitter()
    assert [c for letter in text for c in by_letter.feed(letter)] == ClauseSplitter().feed(text)


def test_the_first_clause_comes_early() -> None:
    splitter = ClauseSplitter()
    assert splitter.feed("Of course, we can ") == []
    assert splitter.feed("be there, within") == ["Of course, we can be there, "]
    assert splitter.feed(" the hour. Is that all right?") == []
    assert splitter.feed(" ") == ["within the hour. Is that all right? "]


def test_punctuation_ends_a_clause_only_with_a_space_behind_it() -> None:
    splitter = ClauseSplitter()
    assert splitter.feed("The fee is £65.") == [], "more digits may come"
    assert splitter.feed("50 then. ") == ["The fee is £65.50 then. "]
