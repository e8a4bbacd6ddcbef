"""Keys: a person, or a number that was asked for."""

from __future__ import annotations

import pytest

from agent.call.keypad import MOST_KEYS, PAUSE_MS, Keypad, Pressed

ASKED = "What's the best number to reach you on?"


def test_0_asks_for_a_person_unless_a_number_was_asked_for() -> None:
    assert Keypad().press("0", "What can we do for you?", 0) is Pressed.PERSON
    assert Keypad().press("0", ASKED, 0) is Pressed.MORE


@pytest.mark.parametrize(
    "question", [ASKED, "And your date of birth?", "Can you type the code?", "Which house number?"]
)
def test_digits_are_gathered_until_no_more_come(question: str) -> None:
    keypad = Keypad()
    for at, key in enumerate("0770"):
        assert keypad.press(key, question, 300 * at) is Pressed.MORE
    assert keypad.deadline_ms == 900 + PAUSE_MS
    assert keypad.take() == "0770"
    assert keypad.deadline_ms is None


def test_a_hash_ends_it_and_a_star_begins_it_again() -> None:
    keypad = Keypad()
    keypad.press("1", ASKED, 0)
    assert keypad.press("*", ASKED, 100) is Pressed.MORE
    assert keypad.deadline_ms is None
    keypad.press("4", ASKED, 200)
    keypad.press("2", ASKED, 300)
    assert keypad.press("#", ASKED, 400) is Pressed.ALL
    assert keypad.take() == "42"


def test_keys_that_nobody_asked_for_are_nothing() -> None:
    keypad = Keypad()
    assert keypad.press("5", "What can we do for you?", 0) is Pressed.NOTHING
    assert keypad.press("#", ASKED, 0) is Pressed.NOTHING
    assert keypad.deadline_ms is None


def test_keys_have_a_limit() -> None:
    keypad = Keypad()
    pressed = [keypad.press("7", ASKED, at) for at in range(MOST_KEYS)]
    assert pressed[-1] is Pressed.ALL
    assert len(keypad.take()) == MOST_KEYS
