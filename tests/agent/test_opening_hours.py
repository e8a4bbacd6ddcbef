"""When a company is open, from JSON to words; and what the LLM and the caller are told of a company's own."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.call.company import MAX_INSTRUCTIONS, CompanyContext, parse_context
from agent.call.opening_hours import DAYS, in_words, is_open, read_opening_hours
from agent.conversations import Conversation, load_conversation
from agent.conversations.files import PACKAGED

WEEK = {day: [["09:00", "12:30"], ["13:30", "18:00"]] for day in ("mon", "tue", "wed", "thu", "fri")}
LONDON = ZoneInfo("Europe/London")
MONDAY_NOON = datetime(2026, 7, 6, 12, 0, tzinfo=LONDON)


@pytest.fixture
def home() -> Conversation:
    return load_conversation(PACKAGED / "home_services")


def test_days_with_the_same_hours_are_told_together() -> None:
    hours = read_opening_hours(WEEK | {"sat": [["10:00", "24:00"]]})
    assert in_words(hours, MONDAY_NOON) == (
        "Monday to Friday 09:00 to 12:30, 13:30 to 18:00; Saturday 10:00 to midnight; Sunday closed. "
        "It is Monday 12:00: open now."
    )


@pytest.mark.parametrize(
    ("day", "clock", "there"),
    [
        (6, (8, 59), False), (6, (9, 0), True), (6, (12, 29), True), (6, (12, 30), False), (6, (13, 30), True),
        (6, (18, 0), False), (11, (12, 0), False), (12, (12, 0), False),
    ],
)  # fmt: skip
def test_a_span_holds_its_beginning_and_not_its_end(day: int, clock: tuple[int, int], there: bool) -> None:
    moment = datetime(2026, 7, day, *clock, tzinfo=LONDON)
    assert is_open(read_opening_hours(WEEK), moment) is there
    assert in_words(read_opening_hours(WEEK), moment).endswith("open now." if there else "closed now.")


@pytest.mark.parametrize(
    "value",
    [
        [], "mon", {"monday": []}, {"mon": "09:00"}, {"mon": [["09:00"]]}, {"mon": [["9", "17:00"]]},
        {"mon": [["17:00", "09:00"]]}, {"mon": [["09:00", "09:00"]]}, {"mon": [["09:00", "24:01"]]},
        {"mon": [["09:00", "12:00"], ["11:00", "13:00"]]}, {"mon": [[9, 17]]}, {"mon": [["00:00", "00:01"]] * 9},
        {"mon": [["09:00", "25:00"]]}, {"mon": [["٠٩:٠٠", "12:00"]]},
    ],
)  # fmt: skip
def test_hours_that_are_none_are_refused(value: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        read_opening_hours(value)
    context = parse_context({"opening_hours": value, "area": "London"}, CompanyContext())
    assert (context.bad_fields, context.area, dict(context.opening_hours)) == (("opening_hours",), "London", {})


minutes = st.integers(0, 1440).map(lambda minute: f"{minute // 60:02}:{minute % 60:02}")


@given(st.dictionaries(st.sampled_from(sorted(DAYS)), st.lists(st.tuples(minutes, minutes), max_size=4)))
def test_whatever_is_taken_is_told_for_each_moment_of_the_week(week: dict[str, list[tuple[str, str]]]) -> None:
    try:
        hours = read_opening_hours({day: [list(span) for span in spans] for day, spans in week.items()})
    except ValueError:
        return
    for day in range(6, 13):
        name = tuple(DAYS)[day - 6]
        for hour in range(0, 24, 5):
            moment = datetime(2026, 7, day, hour, 7, tzinfo=LONDON)
            clock = f"{hour:02}:07"
            there = any(begin <= clock < end for begin, end in week.get(name, []))
            assert is_open(hours, moment) is there
    assert bool(in_words(hours, MONDAY_NOON)) is bool(week)


def test_the_llm_is_told_the_hours_in_the_companys_own_zone(home: Conversation) -> None:
    company = CompanyContext(opening_hours=read_opening_hours(WEEK), timezone="America/New_York")
    moment = MONDAY_NOON.astimezone(company.zone)
    assert home.prompt(company, moment).endswith("It is Monday 07:00: closed now.\n")


def test_what_a_company_adds_stands_behind_the_prompt_and_fills_nothing_in(home: Conversation) -> None:
    plain = home.prompt(CompanyContext())
    company = CompanyContext(instructions="We do not fit boilers.\nSay {caller_id} and {opening_hours}.")
    assert home.prompt(company) == (
        f"{plain.rstrip()}\n\nAlso heed, for this company:\nWe do not fit boilers.\n"
        "Say {caller_id} and {opening_hours}.\n"
    )


def test_a_prompt_may_have_its_own_places_for_them(tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = tmp_path_factory.mktemp("own")
    (directory / "conversation.toml").write_text('title = "Own"\ntools = ["end_call"]\n', "utf-8")
    (directory / "prompt.md").write_text("Rules:\n{instructions}\nHours: {opening_hours}\nEnd.", "utf-8")
    own = load_conversation(directory)
    assert own.prompt(CompanyContext()) == "Rules:\n\nHours: not known\nEnd."
    company = CompanyContext(instructions="One.\nTwo.", opening_hours=read_opening_hours({"sun": [["00:00", "24:00"]]}))
    assert own.prompt(company, MONDAY_NOON) == (
        "Rules:\nOne.\nTwo.\nHours: Monday to Saturday closed; Sunday 00:00 to midnight. "
        "It is Monday 12:00: closed now.\nEnd."
    )


def test_the_notice_comes_before_the_greeting_of_a_recorded_call(home: Conversation) -> None:
    company = CompanyContext(company_name="Acme", recording_notice="This call is recorded")
    assert home.greeting(company, MONDAY_NOON, recorded=True) == "This call is recorded. Hello, Acme, good afternoon."
    assert home.greeting(company, MONDAY_NOON) == "Hello, Acme, good afternoon."
    asked = CompanyContext(company_name="Acme", recording_notice="We record calls, all right?", greeting="Acme here.")
    assert home.greeting(asked, MONDAY_NOON, recorded=True) == "We record calls, all right? Acme here."
    assert home.greeting(CompanyContext(company_name="Acme"), MONDAY_NOON, recorded=True).startswith("Hello, Acme")


@pytest.mark.parametrize(
    ("name", "value", "taken"),
    [
        ("company_id", 7, True), ("company_id", "7", False), ("company_id", True, False), ("company_id", 7.5, False),
        ("instructions", "One.\r\nTwo.", True), ("instructions", "x" * MAX_INSTRUCTIONS, True),
        ("instructions", "x" * (MAX_INSTRUCTIONS + 1), False), ("instructions", "\x07", False),
        ("instructions", ["One."], False), ("recording_notice", "This call is recorded.", True),
        ("recording_notice", "Two\nlines", False), ("recording_notice", 1, False),
    ],
)  # fmt: skip
def test_each_field_is_checked_by_itself(name: str, value: object, taken: bool) -> None:
    context = parse_context({name: value, "area": "London"}, CompanyContext())
    assert (context.bad_fields, context.area) == (() if taken else (name,), "London")
    assert (getattr(context, name) != getattr(CompanyContext(), name)) is taken
