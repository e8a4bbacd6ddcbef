"""The scripted receptionist does another trade by its prompt and tools alone."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from agent.sandbox.brain import Answer, answer

PROMPT = """You answer the telephone of a dental practice. One short sentence a reply, in this order:

1. Greet (already said).
2. Ask what the appointment is for.
3. If it may be urgent, ask whether they are in pain, swollen or bleeding; then it is urgent.
4. Ask for the day that suits them; look it up with free_times and offer at most two times.
5. Ask for the patient's full name.
6. Ask for the date of birth.
7. Book with book_appointment, saying nothing.
8. Confirm day and time; anything else? If not, say goodbye and call end_call.

If asked:
- cost: it depends on the treatment; the dentist explains it before anything is done.
- new patient?: yes, we are taking new patients.
- abuse: not able to help further on this call, then end_call.

Practice: Bright Smile
Caller ID: known
"""


def tool(name: str, **fields: dict[str, Any]) -> dict[str, Any]:
    schema = {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}
    return {"type": "function", "function": {"name": name, "parameters": schema}}


TEXT = {"type": "string"}
DATE = {"type": "string", "format": "date"}
DAYS = {"type": "string", "enum": ["today", "tomorrow", "monday", "tuesday", "wednesday", "thursday", "friday"]}
TOOLS = [
    tool("free_times", day=DAYS, urgent={"type": "boolean"}),
    tool(
        "book_appointment",
        patient_name=TEXT, date_of_birth=DATE, reason=TEXT, urgent={"type": "boolean"}, on=DATE, at=TEXT,
    ),
    tool("transfer_to_human"),
    tool("end_call"),
]  # fmt: skip
FREE = '{"date":"2026-11-26","weekday":"Thursday","free":["10:00","10:30","11:00"]}'


class Call:
    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = [
            {"role": "system", "content": PROMPT},
            {"role": "assistant", "content": "Good morning, Bright Smile."},
        ]

    def say(self, text: str) -> Answer:
        self.messages.append({"role": "user", "content": text})
        return self._answer()

    def result(self, content: str) -> Answer:
        call = self.messages[-1]["tool_calls"][0]["id"]
        self.messages.append({"role": "tool", "tool_call_id": call, "content": content})
        return self._answer()

    def _answer(self) -> Answer:
        reply = answer(self.messages, TOOLS)
        message: dict[str, Any] = {"role": "assistant", "content": reply.text}
        if reply.call is not None:
            function = {"name": reply.call.name, "arguments": orjson.dumps(reply.call.arguments).decode()}
            message["tool_calls"] = [{"id": f"fc_{len(self.messages)}", "type": "function", "function": function}]
        self.messages.append(message)
        return reply


def called(reply: Answer) -> tuple[str, dict[str, Any]]:
    assert reply.call is not None
    return reply.call.name, reply.call.arguments


def test_an_appointment_is_booked() -> None:
    call = Call()
    assert "what day" in call.say("I'd like a check-up, please.").text, "nobody has a check-up urgently"
    assert called(call.say("Thursday would be good")) == ("free_times", {"day": "thursday", "urgent": False})
    assert "10 o'clock or half past 10 on Thursday" in call.result(FREE).text
    assert "name" in call.say("Half past ten, please").text
    assert "date of birth" in call.say("Tom Baker").text
    assert called(call.say("The third of May nineteen eighty five")) == (
        "book_appointment",
        {
            "patient_name": "Tom Baker", "date_of_birth": "1985-05-03", "reason": "I'd like a check-up, please.",
            "urgent": False, "on": "2026-11-26", "at": "10:30",
        },
    )  # fmt: skip
    booked = call.result('{"status":"booked","booking_id":"A1"}').text
    assert "booked for half past 10 on Thursday" in booked
    assert "1985" not in booked
    assert called(call.say("No, that's all, bye"))[0] == "end_call"


def test_toothache_is_urgent() -> None:
    call = Call()
    assert "what day" in call.say("I've a terrible toothache").text, "it need not be asked"
    assert called(call.say("Today, as soon as you can"))[1] == {"day": "today", "urgent": True}


def test_what_may_be_urgent_is_asked_about() -> None:
    call = Call()
    assert "pain" in call.say("My crown came off").text
    assert "what day" in call.say("Yes, it is").text
    assert called(call.say("tomorrow"))[1] == {"day": "tomorrow", "urgent": True}


def test_a_day_without_free_times_and_a_time_that_is_gone() -> None:
    call = Call()
    call.say("A check-up please")
    call.say("Monday")
    assert "half past 9 on Tuesday" in call.result('{"free":[],"next":"Tuesday 09:30","date":"2026-12-01"}').text
    assert called(call.say("No, Thursday instead"))[1]["day"] == "thursday"
    call.result(FREE)
    call.say("the first one")
    call.say("Tom Baker")
    call.say("3rd of May 1985")
    assert "what day" in call.result('{"error":"that time is not free; ask free_times again and offer another"}').text


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("How much is it?", "depends on the treatment"),
        ("Are you taking new patients?", "taking new patients"),
        ("My face is swollen and I can't breathe", "999"),
    ],
)
def test_questions_get_the_prompts_own_answers(words: str, told: str) -> None:
    assert told in Call().say(words).text
    assert "callout" not in Call().say(words).text


def test_who_wants_to_cancel_is_put_through() -> None:
    assert called(Call().say("I need to cancel my appointment"))[0] == "transfer_to_human"
