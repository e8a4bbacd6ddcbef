"""Where one model broke off and another goes on: each word once."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.providers.joint import Joint

REPLY = "Right, we can have a plumber with you within the hour. It's £65 for the callout. Is that all right?"


def all_of(joint: Joint, pieces: list[str]) -> str:
    return "".join([*(joint.take(piece) for piece in pieces), joint.rest()])


def cut(text: str, cuts: list[int]) -> list[str]:
    places = sorted({0, len(text), *(place % (len(text) + 1) for place in cuts)})
    return [text[a:b] for a, b in itertools.pairwise(places)]


@given(st.text(max_size=200), st.lists(st.integers(0, 300)))
def test_a_reply_of_one_model_stays_as_it_is(text: str, cuts: list[int]) -> None:
    assert all_of(Joint(), cut(text, cuts)) == text


def test_words_are_given_on_whole() -> None:
    joint = Joint()
    assert [joint.take(piece) for piece in ("Right, we", " can ha", "ve")] == ["Right, ", "we can ", ""]
    assert joint.rest() == "have"


@given(st.integers(0, 300), st.lists(st.integers(0, 300)), st.lists(st.integers(0, 300)), st.sampled_from("cab"))
def test_each_word_once_wherever_it_breaks_off(at: int, cuts: list[int], others: list[int], way: str) -> None:
    """The next model goes on (c), begins anew (a), or from the beginning of the sentence (b)."""
    first = Joint()
    said = "".join(first.take(piece) for piece in cut(REPLY[: at % len(REPLY)], cuts))
    rest = REPLY[len(said.rstrip()) :]
    if way == "a":
        rest = REPLY
    elif way == "b":
        before, dot, _ = said.rstrip().rpartition(". ")
        rest = REPLY[len(before + dot) :]
    assert said + all_of(Joint(said), cut(rest, others)) == REPLY


@pytest.mark.parametrize(
    ("said", "then", "whole"),
    [
        ("It's double four ", "four two.", "It's double four four two."),
        ("0161 4 4 ", "4 4 2", "0161 4 4 4 4 2"),
        ("S for Sierra, W for ", "W for Whiskey", "S for Sierra, W for W for Whiskey"),  # a letter may come twice
        ("we can have a plumber ", "a plumber with you", "we can have a plumber with you"),
        ("Right, we can have a ", "Sorry, we can come today.", "Right, we can have a Sorry, we can come today."),
        ("Right, we can have a ", "right we can have a plumber", "Right, we can have a plumber"),
        ("No, ", "no problem.", "No, no problem."),
        ("No, ", "No, we don't.", "No, we don't."),
        ("Okay. We can have ", "...a plumber", "Okay. We can have a plumber"),
        ("That's all booked. ", "That's all booked.", "That's all booked. "),
        ("That's all booked.", "Goodbye.", "That's all booked. Goodbye."),
        ("That's all booked. ", "", "That's all booked. "),
        ("Right, ", "", "Right, "),
    ],
)
def test_what_is_a_repetition(said: str, then: str, whole: str) -> None:
    for pieces in ([then], list(then), cut(then, [3, 7])):
        assert said + all_of(Joint(said), pieces) == whole


def test_a_language_without_spaces_is_not_kept_to_the_end() -> None:
    assert Joint().take("字" * 61) == "字" * 61
