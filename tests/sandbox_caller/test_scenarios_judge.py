"""Each kind of expectation can be met and can fail, and says in words what is wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agent.call.history import CUT
from agent.call.record import CallRecord, Mark, TurnRecord
from agent.sandbox.scenarios.evidence import Evidence
from agent.sandbox.scenarios.reading import CallerError, parse_caller, parse_rules

BOOKING = (
    '{"customer_name":"Anna Smith","postcode":"sw47dq","address":"12 Baker Street.",'
    '"problem_description":"A leaking tap"}'
)


def turn(caller: str, agent: str, heard: str | None = None, tools: list[dict[str, Any]] | None = None) -> TurnRecord:
    cut = heard is not None and heard != agent
    return TurnRecord(caller, 0, agent, agent if heard is None else heard, interrupted=cut, tools=tools or [])


def used(name: str, arguments: str = "{}", ok: bool = True) -> dict[str, Any]:
    return {"name": name, "arguments": arguments, "ok": ok, "ms": 1}


def evidence() -> Evidence:
    """A call that went well: an interruption, a booking, a goodbye."""
    record = CallRecord("u", outcome="booked")
    record.turns = [
        turn("", "Hello, Thames Plumbing."),
        turn("My tap leaks", "A plumber can come, is that all right?", "A plumber"),
        turn("How soon?", "Within the hour, what's the postcode?"),
        turn("SW4 7DQ", "What name is it?"),
        turn(
            "Anna Smith", "That's all booked.", tools=[used("check", "{}", ok=False), used("create_booking", BOOKING)]
        ),
        turn("Thanks, bye", "Bye for now.", tools=[used("end_call")]),
    ]
    record.marks = [Mark(1, "hold"), Mark(2, "flush")]
    return Evidence(
        record,
        verdict="hangup",
        target="",
        ended_by="agent",
        history=[
            {"role": "system", "content": "sys"},
            {"role": "user", "content": "My tap leaks"},
            {"role": "assistant", "content": "A plumber" + CUT},
            {"role": "user", "content": "How soon?"},
        ],
        bookings=[{"postcode": "SW4 7DQ", "phone": ""}],
    )


def faults(expect: str, seen: Evidence | None = None, rules: str = "") -> list[str]:
    text = f"[says]\nsay: a\n[expect]\n{expect}\n"
    caller = parse_caller(text, "set/name.caller", parse_rules(rules, "rules"))
    return caller.expect.failures(seen or evidence())


@pytest.mark.parametrize(
    "met",
    [
        "says: hello\nsays: postcode\nsays: name",
        "says: name\ncalls create_booking: customer_name = anna smith; postcode = SW4 7DQ; problem_description ~ tap",
        "says: booked\ncalls create_booking: phone absent",
        "calls create_booking: anything\nsays: booked\ncalls end_call: anything\nsays: bye",
        "tries check: anything\ncalls create_booking: anything",
        "never: zip code",
        "never calls: transfer_to_human",
        "never repeats: customer_name",
        "never together: postcode address",
        "turns: 5",
        "turns: 4 to 6",
        "interruptions: 1 or more",
        "bookings: at most 1",
        "mark hold: 1",
        "mark resume: 0",
        "outcome: booked\nverdict: hangup\nended by: agent",
        "booked: postcode = sw4 7dq; phone absent",
        "history: how soon",
        "history cut: plumber$",
        "history never: all right",
    ],
)
def test_what_is_met(met: str) -> None:
    assert faults(met) == []


@pytest.mark.parametrize(
    ("failing", "told"),
    [
        ("says: goodbye", "at the beginning, the agent never says /goodbye/"),
        ("says: postcode\nsays: hello", "after it says /postcode/, the agent never says /hello/"),
        ("says: all right", "never says"),  # it was meant to be said, and the caller cut it off
        ("says: postcode\nsays: postcode", "never says"),  # one reply is one step
        ("calls transfer_to_human: anything", "called: check, create_booking, end_call"),
        ("calls create_booking: postcode = SW9 8HQ", "postcode is 'sw47dq', not 'SW9 8HQ'"),
        ("calls create_booking: problem_description ~ boiler", "does not match /boiler/"),
        ("calls create_booking: phone = 1", "phone is missing"),
        ("calls create_booking: address absent", "should not be there"),
        ("calls check: anything", "it was refused"),
        ("tries create_booking: anything", "it was not refused"),
        ("calls end_call: anything\ncalls create_booking: anything", "after it calls end_call"),
        ("says: bye\ncalls create_booking: anything", "after it says /bye/"),
        ("never: within the hour", "must never say"),
        ("never: all right", "must never say"),  # also what the caller did not hear
        ("never calls: end_call", "must not call end_call"),
        ("turns: 4", "turns: 5, not 4"),
        ("turns: 6 or more", "turns: 5, not 6 or more"),
        ("interruptions: 0", "interruptions: 1, not 0"),
        ("bookings: 0", "bookings: 1, not 0"),
        ("mark resume: 1", "mark resume: 0, not 1"),
        ("outcome: silent", "outcome: booked, not silent"),
        ("verdict: transfer", "verdict: hangup, not transfer"),
        ("target: 2001", "target: none, not 2001"),
        ("ended by: caller", "ended by: agent, not caller"),
        ("booked: postcode = M1 4BT", "the booking in the back office: postcode"),
        ("history: goodbye", "the history lacks /goodbye/"),
        ("history cut: soon", "what was cut off in the history lacks"),
        ("history never: how soon", "the history has"),
    ],
)
def test_what_fails(failing: str, told: str) -> None:
    (fault,) = faults(failing)
    assert told in fault


def test_no_conversation_is_told_first() -> None:
    assert faults("turns: 5", replace(evidence(), failure="the line broke")) == ["no conversation: the line broke"]


def test_nothing_booked_is_told() -> None:
    assert faults("booked: phone absent", replace(evidence(), bookings=[])) == ["nothing is booked in the back office"]


def test_rules_hold_in_every_call_unless_they_are_left_out() -> None:
    rules = "never (hour): within the hour"
    assert "must never say" in faults("turns: 5", rules=rules)[0]
    assert faults("turns: 5\nallow: hour", rules=rules) == []
    with pytest.raises(CallerError, match="no rule is called 'minute'"):
        faults("allow: minute", rules=rules)


def test_two_steps_at_once_a_name_repeated_and_a_summing_up_are_found() -> None:
    rules = "asks postcode: postcode.*\\?\nasks name: name.*\\?\nnever repeats: customer_name"
    seen = evidence()
    assert faults("turns: 5", rules=rules) == []
    seen.record.turns[3].agent = "What's the postcode, and what's the name?"
    assert "two steps at once (postcode, name)" in faults("turns: 5", seen, rules)[0]
    seen = evidence()
    seen.record.turns[4].agent = "Thanks Anna, that's booked."
    assert "must not repeat customer_name (anna)" in faults("turns: 5", seen, rules)[0]
    seen.record.turns[4].agent = "So SW4 7DQ, 12 Baker Street, thanks."
    assert "sums up (address, postcode)" in faults("never together: postcode address customer_name", seen)[0]
