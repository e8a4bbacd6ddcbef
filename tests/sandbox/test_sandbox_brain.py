"""The scripted receptionist walks the eight steps, whatever the caller does."""

from __future__ import annotations

import copy
from typing import Any

import orjson
import pytest

from agent.sandbox.brain import Answer, answer

PROMPT = (
    "You answer the telephone, one short sentence a reply.\nCompany: Smith & Sons\nTrade: plumber\n- Callout fee: £89\n"
)


def tool(name: str, *fields: str) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": {field: {"type": "string"} for field in fields},
        "required": list(fields),
        "additionalProperties": False,
    }
    return {"type": "function", "function": {"name": name, "parameters": schema}}


TOOLS = [
    tool("create_booking", "customer_name", "postcode", "address", "problem_description"),
    tool("check_availability", "postcode", "urgency"),
    tool("transfer_to_human"),
    tool("end_call"),
]
BOOKED = '{"status":"booked","booking_id":"B-1"}'


class Call:
    """A conversation; `say` gives the reply to one turn and keeps the history."""

    def __init__(self, prompt: str = PROMPT + "Caller ID: 020 7946 0000", tools: list[dict[str, Any]] = TOOLS) -> None:
        self.tools = tools
        self.messages: list[dict[str, Any]] = [
            {"role": "system", "content": prompt},
            {"role": "assistant", "content": "Hello, Smith & Sons, good morning."},
        ]

    def say(self, text: str) -> Answer:
        self.messages.append({"role": "user", "content": text})
        return self._answer()

    def result(self, content: str) -> Answer:
        call_id = self.messages[-1]["tool_calls"][0]["id"]
        self.messages.append({"role": "tool", "tool_call_id": call_id, "content": content})
        return self._answer()

    def _answer(self) -> Answer:
        before = copy.deepcopy(self.messages)
        reply = answer(self.messages, self.tools)
        assert self.messages == before
        assert answer(copy.deepcopy(self.messages), self.tools) == reply
        message: dict[str, Any] = {"role": "assistant", "content": reply.text}
        if reply.call is not None:
            function = {"name": reply.call.name, "arguments": orjson.dumps(reply.call.arguments).decode()}
            message["tool_calls"] = [{"id": f"fc_{len(self.messages)}", "type": "function", "function": function}]
        self.messages.append(message)
        assert reply.text.count(".") + reply.text.count("?") + reply.text.count("!") <= 1 or "£" in reply.text
        return reply

    def to(self, step: str) -> Call:
        """Go on until the question of a step has been asked."""
        turns = {
            "quote": "My kitchen tap is leaking",
            "postcode": "Yes, that's fine",
            "readback": "It's M one four B T",
            "address": "Yes",
            "name": "twelve Mill Lane",
            "book": "Sarah Jones",
        }
        for name, words in turns.items():
            self.say(words)
            if name == step:
                break
        return self


def test_the_whole_call() -> None:
    call = Call()
    quote = call.say("Hi there, my kitchen tap is leaking.")
    assert "a plumber" in quote.text
    assert "thirty minutes to an hour" in quote.text
    assert "£89" in quote.text
    assert "postcode" in call.say("Yeah, that's fine.").text
    assert "Mike 1, 4 Bravo Tango" in call.say("It's em one four bee tea").text
    assert "house number and street" in call.say("Yes, that's right").text
    assert "name" in call.say("It's twelve Mill Lane").text
    booking = call.say("Sarah Jones.")
    assert booking.text == ""
    assert booking.call is not None
    assert booking.call.name == "create_booking"
    assert booking.call.arguments == {
        "customer_name": "Sarah Jones",
        "postcode": "M1 4BT",
        "address": "12 Mill Lane",
        "problem_description": "my kitchen tap is leaking.",
    }
    confirmed = call.result(BOOKED)
    assert "booked" in confirmed.text
    assert "Sarah" not in confirmed.text
    bye = call.say("No, that's all, thank you. Bye.")
    assert "bye" in bye.text.lower()
    assert bye.call is not None
    assert bye.call.name == "end_call"


def test_greets_when_nobody_has_spoken() -> None:
    assert "Smith & Sons" in answer([{"role": "system", "content": PROMPT}], TOOLS).text


def test_a_vague_problem_is_asked_after_once() -> None:
    call = Call()
    assert "problem" in call.say("Hello, I need a plumber please.").text
    assert "£89" in call.say("Er, please can you come out").text


def test_a_greeting_alone_is_no_problem_told() -> None:
    call = Call()
    assert "problem" in call.say("Hello?").text
    assert "problem" in call.say("I need help").text
    assert "£89" in call.say("The boiler is off").text


def test_the_wrong_postcode_is_corrected() -> None:
    call = Call().to("readback")
    assert "Mike 2, 5 Bravo Tango" in call.say("No, it's M two five B T").text
    assert "postcode again" in call.say("No, that's wrong").text
    assert "Mike 1, 4 Bravo Tango" in call.say("M1 4BT").text
    assert "house number" in call.say("yes").text


def test_yes_and_the_address_at_once() -> None:
    assert "name" in Call().to("readback").say("Yes, it's twelve Mill Lane").text


def test_a_postcode_that_is_not_understood_three_times_is_passed_on() -> None:
    call = Call().to("postcode")
    assert "spell" in call.say("somewhere in Manchester").text
    assert "spell" in call.say("I said Manchester").text
    reply = call.say("Manchester!")
    assert reply.call is not None
    assert reply.call.name == "transfer_to_human"


@pytest.mark.parametrize("step", ["quote", "postcode", "readback", "address", "name"])
def test_asides_are_answered_and_the_question_asked_again(step: str) -> None:
    price = Call().to(step).say("How much will it cost in total?")
    assert "quoted on site with no obligation" in price.text
    assert "£89" in price.text
    machine = Call().to(step).say("Are you a machine?")
    assert "automated assistant" in machine.text
    assert machine.text.endswith("?")
    local = Call().to(step).say("Are you local?")
    assert "nearby" in local.text
    call = Call().to(step)
    asked = call.messages[-1]["content"].split(", ")[-1].rstrip("?")
    assert asked.lower() in call.say("Sorry?").text.lower()


def test_the_price_is_asked_with_the_problem() -> None:
    call = Call()
    assert "£89" in call.say("How much do you charge for a leaking tap?").text
    assert "postcode" in call.say("ok").text


@pytest.mark.parametrize("step", ["quote", "postcode", "readback", "address", "name"])
@pytest.mark.parametrize(
    "words", ["Can I speak to a human please?", "I want to talk to a real person", "Put me through to someone"]
)
def test_a_human_is_asked_for(step: str, words: str) -> None:
    reply = Call().to(step).say(words)
    assert reply.call is not None
    assert reply.call.name == "transfer_to_human"
    assert reply.text


def test_a_failed_transfer_goes_on() -> None:
    call = Call().to("postcode")
    call.say("I want a human")
    assert "postcode" in call.result('{"error":"nobody answers"}').text


@pytest.mark.parametrize("words", ["Goodbye", "Actually I'll leave it, bye", "bye bye"])
def test_goodbye_ends_the_call_at_any_step(words: str) -> None:
    reply = Call().to("postcode").say(words)
    assert reply.call is not None
    assert reply.call.name == "end_call"


def test_too_expensive_and_no_are_let_go() -> None:
    for words in ("That's too expensive", "No, not at that price"):
        call = Call().to("quote")
        assert call.say(words).text == "No worries, thanks for calling."
        reply = call.say("ok")
        assert reply.call is not None
        assert reply.call.name == "end_call"


def test_an_emergency_gets_its_number_first() -> None:
    assert "0800 111 999" in Call().say("I can smell gas in the kitchen").text
    assert "999" in Call().say("Someone is hurt here").text


def test_abuse_ends_it() -> None:
    call = Call()
    assert "not able to help further" in call.say("fuck off").text
    reply = call.say("what")
    assert reply.call is not None
    assert reply.call.name == "end_call"


def test_when_asks_the_diary_once_the_postcode_is_known() -> None:
    assert "thirty minutes" in Call().to("quote").say("How soon can you come?").text
    call = Call().to("address")
    reply = call.say("When can you be here?")
    assert reply.call is not None
    assert reply.call.name == "check_availability"
    assert reply.call.arguments == {"postcode": "M1 4BT", "urgency": "standard"}
    assert "house number" in call.result('{"available":true}').text


def test_an_answer_and_a_question_in_one_breath_are_two_calls_in_one_reply() -> None:
    reply = Call().to("name").say("Sarah Jones, and how soon can they come?")
    assert [call.name for call in reply.calls] == ["check_availability", "create_booking"]
    assert reply.calls[1].arguments["customer_name"] == "Sarah Jones"
    reply = Call().to("address").say("twelve Mill Lane and how soon can you be here?")
    assert reply.calls == ()
    assert "thirty minutes" in reply.text
    assert "name" in reply.text


def test_things_that_come_along_are_not_asked_for() -> None:
    call = Call()
    call.say("Hi, my tap is leaking and I'm in M1 4BT.")
    assert "Mike 1" in call.say("Yes, fine").text
    call.say("Yes")
    booking = call.say("It's twelve Mill Lane, and the name is Sarah Jones")
    assert booking.call is not None
    assert (booking.call.arguments["address"], booking.call.arguments["customer_name"]) == (
        "12 Mill Lane",
        "Sarah Jones",
    )


def test_an_address_is_corrected_when_the_name_is_asked_for() -> None:
    call = Call().to("name")
    assert "name" in call.say("Sorry, not twelve, the address is fourteen Mill Lane").text
    booking = call.say("Sarah Jones")
    assert booking.call is not None
    assert booking.call.arguments["address"] == "14 Mill Lane"


def test_a_quote_that_the_caller_broke_off_before_anything_of_it_is_made_again() -> None:
    call = Call()
    call.say("My kitchen tap")
    call.messages[-1]["content"] = "We … [the caller interrupted here and heard no more]"
    assert "£89" in call.say("is leaking").text


def test_a_withheld_number_is_asked_for_and_booked() -> None:
    call = Call(PROMPT + "Caller ID: withheld").to("book")
    assert "number" in call.messages[-1]["content"]
    assert "missed" in call.say("oh seven").text
    reply = call.say("oh seven seven double oh nine oh oh one two three")
    assert reply.call is not None
    assert "07700900123" in reply.call.arguments["problem_description"]
    tools = [tool("create_booking", "customer_name", "postcode", "address", "problem_description", "phone_number")]
    call = Call(PROMPT + "Caller ID: withheld", tools).to("book")
    reply = call.say("07700 900123")
    assert reply.call is not None
    assert reply.call.arguments["phone_number"] == "07700900123"


def test_a_refused_booking_is_mended() -> None:
    call = Call().to("book")
    assert "postcode" in call.result('{"error":"postcode: is not served"}').text
    call.say("M2 5BT")
    reply = call.say("yes")
    assert reply.call is not None
    assert reply.call.arguments["postcode"] == "M2 5BT"
    assert reply.call.arguments["customer_name"] == "Sarah Jones"
    assert "booked" in call.result(BOOKED).text


def test_a_booking_that_fails_is_owned_up_to() -> None:
    call = Call().to("book")
    reply = call.result('{"error":"the booking system is not reachable"}')
    assert reply.call is None
    assert "ring you back" in reply.text


def test_a_booking_is_not_made_twice() -> None:
    call = Call().to("book")
    call.result(BOOKED)
    for words in ("Is it booked?", "ok so Sarah Jones then", "and the tap?"):
        reply = call.say(words)
        assert reply.call is None or reply.call.name != "create_booking"


def test_turns_that_came_without_a_reply_are_one() -> None:
    call = Call()
    call.messages.append({"role": "user", "content": "My tap"})
    assert "£89" in call.say("is leaking").text


def test_a_caller_who_says_nothing_is_asked_again() -> None:
    call = Call().to("postcode")
    assert call.say("").text == "What's the postcode there?"
    assert answer(call.messages, TOOLS).text == "What's the postcode there?"
    call = Call().to("book")
    call.result(BOOKED)
    assert call.say("").call is None


def test_an_interrupted_reply_may_be_cut_anywhere() -> None:
    call = Call().to("quote")
    call.messages[-1]["content"] = "We can have a"
    assert "postcode" in call.say("Yes yes").text


def test_no_tools_and_no_prompt_still_answer() -> None:
    call = Call("Be nice.", [])
    assert "someone with you" in call.say("My tap is leaking").text
    call.say("yes")
    call.say("M1 4BT")
    call.say("yes")
    call.say("12 Mill Lane")
    assert "taken all that down" in call.say("Sarah").text
    assert call.say("bye").call is None


def test_fee_and_trade_in_other_wordings() -> None:
    prompt = "## Facts\n* **Company:** Volt Ltd\n* **Trade label:** electrician\n* **Callout fee:** 75\n"
    text = Call(prompt).say("All the sockets are dead").text
    assert "an electrician" in text
    assert "£75" in text
