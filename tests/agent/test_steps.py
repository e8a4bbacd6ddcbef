"""Where a call stands: by what the agent asks, says and does, forward and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.conversations import Conversation, ConversationError, load_conversation
from agent.conversations.files import PACKAGED
from agent.conversations.steps import Progress, Step
from agent.language.asked import last_question, sentences_of
from tests.agent.scripts import BOOKING

if TYPE_CHECKING:
    from pathlib import Path

    from tests.agent.conftest import Rig

HOME = load_conversation(PACKAGED / "home_services")
DENTIST = load_conversation(PACKAGED / "dentist")


def step_of(conversation: Conversation, text: str) -> str:
    progress = Progress(conversation.steps)
    assert progress.said(text) is (progress.at != 0)
    return progress.name


def test_home_services_has_its_eight_steps() -> None:
    names = [step.name for step in HOME.steps]
    assert names == ["Greeting", "Problem", "Quote", "Postcode", "Address", "Name", "Booking", "Confirmation"]


@pytest.mark.parametrize(
    ("conversation", "text", "step"),
    [
        (HOME, "Hello, Thames Plumbing, good morning.", "Greeting"),
        (HOME, "Of course, what seems to be the problem?", "Problem"),
        (HOME, "A plumber can be there within thirty minutes to an hour, the callout fee is £65, all right?", "Quote"),
        (HOME, "Every job differs, it's quoted on site with no obligation, what's the postcode there?", "Postcode"),
        (HOME, "Lovely. Could I take the postcode, please.", "Postcode"),
        (HOME, "Yes, we've someone nearby, what's the house number and street?", "Address"),
        (HOME, "Thanks, what name shall I put it under?", "Name"),
        (HOME, "And who am I speaking to?", "Name"),
        (HOME, "That's all booked, somebody's on the way. Is there anything else?", "Confirmation"),
        (HOME, "Thanks for calling, bye for now.", "Greeting"),
        (HOME, "That's S for Sierra, W for Whiskey, four, is that right?", "Greeting"),
        (DENTIST, "Good morning, Mill Lane Dental.", "Greeting"),
        (DENTIST, "Of course, what's the appointment for?", "Reason"),
        (DENTIST, "Is there any pain, swelling or bleeding?", "Urgency"),
        (DENTIST, "Thanks, what day would suit?", "Day"),
        (DENTIST, "Lovely, and what name shall I put it under?", "Name"),
        (DENTIST, "Thank you, what's the date of birth?", "Date of birth"),
        (DENTIST, "That's booked, see you on Tuesday at ten. Anything else?", "Confirmation"),
    ],
)
def test_what_is_asked_tells_the_step(conversation: Conversation, text: str, step: str) -> None:
    assert step_of(conversation, text) == step


def test_the_callers_answer_to_the_greeting_is_another_step_and_no_later_one_is() -> None:
    progress = Progress(HOME.steps)
    assert progress.answered()
    assert progress.name == "Problem"
    assert not progress.answered()
    assert progress.used("create_booking")
    assert progress.name == "Booking"
    assert not progress.answered()
    assert not progress.used("check_availability")
    assert progress.said("Sorry, what was the postcode again?"), "it goes back"
    assert not progress.said("I mean the postcode?"), "it is there already"
    assert progress.name == "Postcode"


def test_what_is_being_said_and_done_is_ahead_of_what_was_heard() -> None:
    progress = Progress(HOME.steps)
    assert progress.ahead("What's the postcode?") == 3
    assert progress.ahead("What's the postcode?", {"create_booking"}) == 6
    assert progress.ahead("Right.") == progress.at == 0
    assert progress.ahead("") == 0
    assert progress.ahead("Hello.", answers=True) == 1
    assert progress.ahead("What's the postcode?", answers=True) == 3
    assert Progress().ahead("", answers=True) == 0


def test_the_longest_phrase_decides_and_then_the_first_step() -> None:
    steps = (
        Step("none"),
        Step("one", asks=frozenset({"the day"})),
        Step("two", asks=frozenset({"the day before"})),
        Step("three", asks=frozenset({"the day"})),
    )
    progress = Progress(steps)
    assert progress.said("Which was it, the day before?")
    assert progress.name == "two"
    assert progress.said("And on the day?")
    assert progress.name == "one"


def test_words_are_whole() -> None:
    assert step_of(HOME, "What's the postcodes?") == "Greeting"
    assert step_of(HOME, "WHAT'S THE POSTCODE?") == "Postcode"


@given(st.text(max_size=200), st.sampled_from([HOME, DENTIST]))
def test_nothing_that_is_said_is_too_much(text: str, conversation: Conversation) -> None:
    progress = Progress(conversation.steps)
    ahead = progress.ahead(text)
    moved = progress.said(text)
    assert progress.at == ahead
    assert moved is (ahead != 0)
    assert 0 <= progress.at < len(conversation.steps)


@given(st.text(max_size=200))
def test_the_last_question_is_a_sentence_of_the_text(text: str) -> None:
    assert last_question(text) in sentences_of(text)


def test_a_conversation_without_steps_has_none() -> None:
    progress = Progress()
    assert not progress.answered()
    assert not progress.used("x")
    assert not progress.said("What's the postcode?")
    assert (progress.name, progress.ahead("What's the postcode?")) == ("", 0)


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        ('[[steps]]\nname="A"\n[[steps]]\nname="A"', "steps.A is there twice"),
        ('[[steps]]\nname="A"\n[[steps]]\nname="B"\n[[steps]]\nname="C"', "steps.C is never reached"),
        ('[[steps]]\nname="A"\ntools=["end_cal"]', "steps.A.tools has 'end_cal'; there are end_call"),
        ('[[steps]]\nname="A"\nasks=["one two three four five six"]', "steps.A.asks: .* has 6 words; 1 to 5"),
        ('[[steps]]\nname="A"\nsays=["?!"]', "steps.A.says: .* has 0 words"),
        ('[[steps]]\nname="A"\nask=["x"]', "steps.0.ask is no key; is asks meant"),
        ("[[steps]]\nasks=['x']", "steps.0.name is missing"),
    ],
)
def test_a_mistake_in_the_steps_is_named(tmp_path: Path, steps: str, told: str) -> None:
    (tmp_path / "conversation.toml").write_text(f'title="Own"\ntools=["end_call"]\n{steps}\n', "utf-8")
    (tmp_path / "prompt.md").write_text("Talk.", "utf-8")
    with pytest.raises(ConversationError, match=told):
        load_conversation(tmp_path)


async def test_a_booking_goes_through_all_of_them(rig: Rig) -> None:
    script = "say: Hello, I need a plumber" + BOOKING
    result, record = await rig.call(script, rig.plan(quiet_s=0.5, patience_s=10.0, longest_s=80.0))
    assert result.failure == ""
    assert [mark.detail for mark in record.marks if mark.what == "step"] == [step.name for step in HOME.steps[1:]]
