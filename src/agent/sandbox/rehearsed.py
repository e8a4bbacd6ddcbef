"""A conversation that is always the same: what the caller says in turn, and what the agent answers to each.

It is for load: the recogniser does not listen to what is said, only to when, and the LLM looks its answer up by the
caller's words. So an answer that fits shows that the words went all the way through the agent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agent.sandbox.brain import Answer, ToolCall

_BOOKING = {
    "customer_name": "Alex Morgan",
    "postcode": "SW1A 2AA",
    "address": "10 Downing Street",
    "problem_description": "a leaking tap in the kitchen",
    "phone": "+447700900123",
}
EXCHANGES: tuple[tuple[str, Answer], ...] = (
    ("Hello, my kitchen tap is leaking.", Answer("Oh dear, that's no good. Is it dripping, or is it running?")),
    ("It's been dripping since this morning.", Answer("Right, we can have a plumber with you within the hour.")),
    ("How much is that going to be?", Answer("The callout is seventy-nine pounds, the rest is quoted on site.")),
    ("Okay, that sounds alright to me.", Answer("Lovely, can I take your postcode, please?")),
    ("It's SW1A 2AA.", Answer("S for Sierra, W for Whiskey, one, A for Alpha, two, double Alpha. Is that right?")),
    ("Yes, that's exactly right.", Answer("Great, and what's the house number and street?")),
    ("It's 10 Downing Street.", Answer("Thank you, and what name shall I put it under?")),
    ("My name is Alex Morgan.", Answer(calls=(ToolCall("create_booking", _BOOKING),))),
    ("Are they local to me?", Answer("Yes, there's someone nearby. Is there anything else?")),
    ("Should I turn the water off?", Answer("If you can reach the stopcock, yes, that would help.")),
)
"""After the last the first one comes again."""
BOOKED = Answer("That's all booked for you, somebody is on the way.")
LOST = Answer("Sorry, I didn't quite catch that.")
"""To words of the caller that are not in the script: something was lost, doubled or joined on the way."""

LINES = tuple(said for said, _ in EXCHANGES)
_ANSWERS = dict(EXCHANGES)


def answer(messages: Sequence[dict[str, Any]], tools: Sequence[dict[str, Any]] = ()) -> Answer:
    """The answer to the last message of a conversation in OpenAI's format."""
    last = messages[-1]
    if last.get("role") == "tool":
        return BOOKED
    return _ANSWERS.get(str(last.get("content") or "").strip(), LOST)
