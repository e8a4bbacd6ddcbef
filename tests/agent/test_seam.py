"""Where speech is cut, and with what it goes on."""

from __future__ import annotations

import numpy as np
import pytest

from agent.call.seam import (
    HalfWord,
    TimedWord,
    fade,
    last_joint,
    reckoned_length,
    silent_place,
    spoken_length,
)

TEXT = 'Well, that\'s £65.50 plus "VAT", to be paid on the day.'


@pytest.mark.parametrize(
    ("words", "rest"),
    [
        ([], TEXT),
        (["Well,"], TEXT[6:]),
        (["Well", "that", "s"], '£65.50 plus "VAT", to be paid on the day.'),
        (["well,", "that's", "£65.50"], 'plus "VAT", to be paid on the day.'),
        (["Well,", "that's", "65", ".", "50", "plus"], '"VAT", to be paid on the day.'),
        (["Well,", "that's", "sixty-five", "plus"], '"VAT", to be paid on the day.'),
        (["Well,", "that's", "£65.50", "plus", "VAT"], "to be paid on the day."),
        (["Well,that's", "£65.50plus", '"VAT",', "to be"], "paid on the day."),
        (TEXT.split(), ""),
        ([*TEXT.split(), "more"], ""),
    ],
)
def test_a_vendors_words_are_found_in_the_text(words: list[str], rest: str) -> None:
    assert TEXT[spoken_length(TEXT, words) :].lstrip() == rest


@pytest.mark.parametrize(
    ("audio_ms", "joint"),
    [
        (40, (0, 40)), (200, (0, 100)), (400, (1, 400)), (450, (1, 450)), (700, (1, 500)), (900, (2, 900)),
        (1000, (2, 900)),
    ],
)  # fmt: skip
def test_a_joint_is_between_two_words(audio_ms: int, joint: tuple[int, int]) -> None:
    """In the pause between them too, and not behind the last: a word may follow that has no time yet."""
    assert last_joint([TimedWord("one", 100, 400), TimedWord("two", 500, 900)], audio_ms) == joint


def test_where_a_word_ends_is_told_by_the_next_one_if_by_nothing_else() -> None:
    words = [TimedWord("one", 100), TimedWord("two", 500)]
    assert last_joint(words, 499) == (0, 100)
    assert last_joint(words, 500) == (1, 500)
    assert last_joint(words, 799) == (1, 500)
    assert last_joint(words, 800) == (2, 800)


def test_a_word_goes_on_where_it_broke_off_also_when_it_is_spoken_faster() -> None:
    assert HalfWord(150, 300).out_of(300) == 150
    assert HalfWord(150, 300).out_of(200) == 100
    assert HalfWord(500, 300).out_of(200) == 200


def test_a_silent_place_is_the_last_one() -> None:
    loud = (3000 * np.sign(np.sin(np.arange(1600)))).astype("<i2").tobytes()
    assert silent_place(loud + bytes(1600) + loud, 8000) == pytest.approx(len(loud) + 1600 - 160, abs=160)
    assert silent_place(loud, 8000) is None
    assert silent_place(b"", 8000) is None


@pytest.mark.parametrize(
    ("spoken_ms", "said"), [(0, ""), (1150, "one two three four,"), (520, "one two"), (9000, "all")]
)
def test_without_times_a_pause_is_rather_at_a_comma(spoken_ms: int, said: str) -> None:
    text = "one two three four, five six"
    assert text[: reckoned_length(text, spoken_ms)] == (text if said == "all" else said)


def test_a_fade_takes_5_ms() -> None:
    loud = np.full(100, 10_000, "<i2")
    rising = np.frombuffer(fade(loud.tobytes(), 8000, rising=True), "<i2")
    assert (np.diff(rising[:40]) > 0).all()
    assert (rising[40:] == 10_000).all()
    assert (np.frombuffer(fade(loud.tobytes(), 8000, rising=False), "<i2") == rising[::-1]).all()
