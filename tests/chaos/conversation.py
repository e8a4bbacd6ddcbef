"""What the callers of the trials say, and what the emulated LLM answers: a booking in three turns.

The LLM's part is a pure function of the request, so an answer that had to be asked for again is the same one, and the
words that a caller must have heard are known.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import orjson

from agent.office.store import NewCompany
from agent.sandbox.brain import Answer, ToolCall

GREETING = "Hello, Thames Plumbing."
ASKS = "Oh dear, that is a nuisance for you. What name shall I put it under?"
BOOKED = "That is all booked for you now. Is there anything else?"
KEPT = "I have kept that for the office. Is there anything else?"
NOT_BOOKED = "Sorry, that did not go through. Is there anything else?"
GOODBYE = "Lovely, thank you for calling, goodbye."
LOST = "Sorry, what was that?"

WITH_TARGET = NewCompany(
    name="Thames Plumbing",
    trade_type="plumbing",
    trade_label="plumber",
    callout_fee="£65",
    numbers=("+442079460123",),
    greeting=GREETING,
    transfer_targets={"office": "2001"},
)
WITHOUT_TARGET = NewCompany(
    name="Lone Star Plumbing",
    trade_type="plumbing",
    trade_label="plumber",
    callout_fee="£65",
    numbers=("+442079460199",),
    greeting=GREETING,
)
SURNAMES = "Arden Bolton Carver Dawson Elwood Farley Garner Holden Irving Jarvis Keller Lawson Marlow Norton".split()


def name_of(caller: int) -> str:
    """The name that a caller gives, by number."""
    return f"Alex {SURNAMES[caller]}"


def lines_of(name: str) -> tuple[str, str, str]:
    """What a caller says."""
    return "Hello, my tap is leaking.", f"Put it under {name}.", "No, that is all."


def script_of(caller: int) -> str:
    """The same, and when; at the end of it the caller waits for the goodbye."""
    first, second, third = lines_of(name_of(caller))
    return f"""
say: {first}
when "what name": say: {second}
when "anything else": say: {third}
"""


def answer(messages: Sequence[dict[str, Any]], tools: Sequence[dict[str, Any]] = ()) -> Answer:
    """The LLM's answer to the last message."""
    last = messages[-1]
    text = str(last.get("content") or "")
    if last.get("role") == "tool":
        status = orjson.loads(text).get("status", "")
        return Answer({"booked": BOOKED, "kept": KEPT, "ending": ""}.get(status, NOT_BOOKED))
    if "that is all" in text.lower():
        return Answer(GOODBYE, (ToolCall("end_call", {}),))
    if match := re.search(r"under (\w+ \w+)", text):
        booking = {
            "customer_name": match[1],
            "postcode": "SW1A 2AA",
            "address": "10 Downing Street",
            "problem_description": "a leaking tap",
        }
        return Answer(calls=(ToolCall("create_booking", booking),))
    return Answer(ASKS if "leaking" in text else LOST)
