"""Nobody waits in silence: when something is said, and what. In virtual time."""

from __future__ import annotations

import pytest

from agent.call.prompts import Prompt
from agent.call.waiting import AGAIN_MS, LONGEST_MS, PATIENT_MS, SAID, Waiting

A_SECOND = bytes(16_000)


def say(waiting: Waiting, now_ms: float, first: Prompt | None = None) -> Prompt:
    return waiting.next_words(now_ms, first, lambda _: A_SECOND, 16)[0]


@pytest.mark.parametrize(
    ("certain_ms", "due_ms"),
    [(10_300, 11_500), (10_700, 11_600), (11_500, 11_850), (13_000, 11_850)],
    ids=["at once certain", "a little later", "after a long pause", "after a longer one"],
)
def test_a_caller_who_waits_for_an_answer(certain_ms: float, due_ms: float) -> None:
    assert Waiting().due_ms(10_000, certain_ms) == due_ms


def test_nobody_hears_nothing_for_two_seconds() -> None:
    assert max(PATIENT_MS, LONGEST_MS, AGAIN_MS) <= 1900


def test_the_wait_goes_on_behind_what_was_said() -> None:
    waiting = Waiting()
    assert say(waiting, 11_500) is SAID[0]
    assert waiting.due_ms(10_000, 10_300) == 12_500 + AGAIN_MS
    assert say(waiting, 14_000) is SAID[1]
    assert waiting.due_ms(10_000, 10_300) == 15_000 + AGAIN_MS


def test_a_new_wait_is_a_wait_of_its_own() -> None:
    waiting = Waiting()
    say(waiting, 11_500)
    waiting.heard(20_000)
    assert waiting.due_ms(30_000, 30_300) == 31_500
    assert say(waiting, 31_500) is SAID[1], "not the same words twice in a row"


def test_a_caller_who_spoke_on_after_it_waits_anew() -> None:
    waiting = Waiting()
    say(waiting, 11_500)
    assert waiting.due_ms(15_000, 15_300) == 16_500


def test_the_wait_counts_from_the_agents_own_words() -> None:
    """After an apology, what the caller said before it is answered."""
    waiting = Waiting()
    waiting.heard(15_000)
    assert waiting.due_ms(10_000, 15_000) == 16_500


def test_in_the_middle_of_an_answer_it_counts_from_where_the_audio_ends() -> None:
    waiting = Waiting()
    waiting.heard(10_000)
    assert waiting.due_in_answer_ms(10_000, 700) == 10_740, "time to look again"
    assert waiting.due_in_answer_ms(10_740, 960) == 11_740, "more has come"
    assert waiting.due_in_answer_ms(11_740, 0) == 13_240, "it ran out, and nothing comes"
    assert waiting.due_in_answer_ms(12_500, 10) == 13_240
    say(waiting, 13_240)
    assert waiting.due_in_answer_ms(13_300, 940) == 14_280, "what was said is unheard audio too"
    assert waiting.due_in_answer_ms(14_280, 0) == 14_280 + PATIENT_MS


def test_the_end_of_an_answer_that_came_in_parts_is_no_wait() -> None:
    """Nobody tells of audio that came since the last look: the last of it is heard just as that is due."""
    waiting = Waiting()
    waiting.heard(10_000)
    now, end = 10_000.0, 16_000.0
    while now < end:
        due = waiting.due_in_answer_ms(now, min(4500.0, end - now))
        assert due > now
        now = due
    assert now <= end + 100
    assert waiting.due_in_answer_ms(now, 0) >= now + 1000


def test_a_greeting_has_words_of_its_own() -> None:
    waiting = Waiting()
    assert say(waiting, 1500, Prompt.HELLO) is Prompt.HELLO
    assert say(waiting, 5000) is SAID[1]
