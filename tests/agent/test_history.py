"""The conversation as the LLM reads it: what was heard, never what was only made; each tool call answered once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.call.history import CUT, History
from agent.providers.base import Message, ToolCall

CALL = ToolCall("c1", "check_availability", "{}")


def contents(history: History) -> list[str]:
    return [str(message["content"]) for message in history.messages()[1:]]


@pytest.fixture
def history() -> History:
    history = History("system prompt")
    history.agent_began()
    history.agent_said("Hello, Thames Plumbing, good morning.")
    history.caller_said("My tap is leaking.")
    return history


def test_the_system_prompt_stays_first(history: History) -> None:
    assert history.messages()[0] == {"role": "system", "content": "system prompt"}
    history.messages().clear()
    assert len(history.messages()) == 3


def test_the_caller_heard_half_of_it(history: History) -> None:
    history.agent_said("We can be there in an hour, is that all right?")
    history.cut("We can be there")
    assert contents(history)[-1] == "We can be there" + CUT
    assert contents(history)[0] == "Hello, Thames Plumbing, good morning.", "earlier turns stay as they were"


def test_the_caller_heard_nothing_of_it(history: History) -> None:
    history.agent_said("We can be there in an hour.")
    history.cut("")
    assert contents(history)[-1] == CUT


def test_the_caller_heard_all_of_it(history: History) -> None:
    history.agent_said("We can be there in an hour.")
    history.cut("We can be there in an hour.")
    assert contents(history)[-1] == "We can be there in an hour."


def two_parts(history: History, aside: str = "") -> None:
    history.agent_said("Let me have a look. ", [CALL])
    if aside:
        history.said_aside(aside)
    history.tool_answered(CALL, '{"slots":1}')
    history.agent_said("Yes, there is a man at nine.")


@pytest.mark.parametrize(
    ("heard", "first", "second"),
    [
        ("", CUT, CUT),
        ("Let me have", "Let me have" + CUT, CUT),
        ("Let me have a look.", "Let me have a look. ", CUT),
        ("Let me have a look. Yes, there", "Let me have a look. ", "Yes, there" + CUT),
        ("Let me have a look. Yes, there is a man at nine.", "Let me have a look. ", "Yes, there is a man at nine."),
    ],
)
def test_a_cut_across_two_messages_of_a_turn(history: History, heard: str, first: str, second: str) -> None:
    two_parts(history)
    history.cut(heard)
    assert (contents(history)[2], contents(history)[-1]) == (first, second)
    assert history.messages()[3]["tool_calls"][0]["id"] == "c1", "the call stays, though the words are cut"


@pytest.mark.parametrize(
    ("heard", "second"),
    [
        ("Let me have a look. Bear with", CUT),
        ("Let me have a look. Bear with me. Yes, there", "Yes, there" + CUT),
        ("Let me have a look. Bear with me. Yes, there is a man at nine.", "Yes, there is a man at nine."),
    ],
)
def test_words_of_our_own_that_the_llm_does_not_see_are_counted(history: History, heard: str, second: str) -> None:
    two_parts(history, aside="Bear with me. ")
    history.cut(heard)
    assert contents(history)[2] == "Let me have a look. "
    assert contents(history)[-1] == second


def test_spaces_do_not_count(history: History) -> None:
    history.agent_said("One  two\nthree four five.")
    history.cut("One two three four")
    assert contents(history)[-1] == "One two three four" + CUT


def test_what_is_thought_in_a_branch_leaves_no_trace(history: History) -> None:
    before = history.messages()
    branch = history.branch()
    branch.caller_said("my tap is leaking")
    branch.agent_said("Oh dear.")
    branch.caller_meant("My tap is leaking.")
    assert history.messages() == before
    assert branch.messages() == [
        *before,
        {"role": "user", "content": "My tap is leaking."},
        {"role": "assistant", "content": "Oh dear."},
    ]


def test_a_branch_is_cut_like_the_history(history: History) -> None:
    branch = history.branch()
    branch.caller_said("How much?")
    branch.said_aside("Bear with me.")
    branch.agent_said("It is sixty five pounds.")
    branch.cut("Bear with me. It is")
    assert branch.messages()[-1]["content"] == "It is" + CUT
    assert history.messages() == history.branch().messages()


def test_a_tool_that_finished_late_amends_its_own_answer(history: History) -> None:
    other = ToolCall("c2", "x", "{}")
    history.agent_said("", [CALL, other])
    history.tool_answered(CALL, "running")
    history.tool_answered(other, "done")
    history.caller_said("And the sink.")
    history.tool_amended(CALL, "booked")
    assert [m["content"] for m in history.messages() if m["role"] == "tool"] == ["booked", "done"]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("caller"), st.sampled_from(["yes", "no"])),
        st.tuples(st.just("agent"), st.sampled_from(["one two three", "", "four, five."])),
        st.tuples(st.just("tool"), st.sampled_from(["", "let me see "])),
        st.tuples(st.just("cut"), st.sampled_from(["", "one", "one two", "let me see four"])),
        st.tuples(st.just("branch"), st.just("")),
        st.tuples(st.just("began"), st.just("")),
    ),
    max_size=25,
)


def answered_once(messages: list[Message]) -> bool:
    asked = [call["id"] for message in messages for call in message.get("tool_calls", ())]
    return asked == [message["tool_call_id"] for message in messages if message["role"] == "tool"]


@given(STEPS)
def test_each_tool_call_stays_answered_exactly_once(steps: list[tuple[str, str]]) -> None:
    history = History("system")
    for number, (step, text) in enumerate(steps):
        match step:
            case "caller":
                history.caller_said(text)
            case "agent":
                history.agent_said(text)
            case "tool":
                call = ToolCall(f"c{number}", "tool", "{}")
                history.agent_said(text, [call])
                history.tool_answered(call, "{}")
            case "cut":
                history.cut(text)
            case "began":
                history.agent_began()
            case _:
                history = history.branch()
        assert answered_once(history.messages())
        assert history.messages()[0]["role"] == "system"
