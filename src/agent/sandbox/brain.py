"""A scripted receptionist behind the emulated LLM: it follows the eight steps of the system prompt.

`answer` is a pure function of the request. It replays what the caller said through the steps, so it has no state
between requests, and the same history always gives the same answer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from agent.sandbox import heard, intents

Message = dict[str, Any]
Step = Literal["problem", "quote", "postcode", "readback", "address", "name", "number", "book", "booked", "over"]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of one of the request's tools."""

    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the brain says and calls; either may be missing."""

    text: str = ""
    call: ToolCall | None = None


def answer(messages: Sequence[Message], tools: Sequence[dict[str, Any]] = ()) -> Answer:
    """The next reply to a conversation in OpenAI's format."""
    receptionist = _Receptionist(_facts(messages), _schemas(tools))
    result = receptionist.greet()
    pending = ""
    for message in messages:
        role, content = message.get("role"), _text(message)
        if role == "user":
            pending = f"{pending} {content}".strip()
            continue
        if role not in ("assistant", "tool"):
            continue
        if pending:
            receptionist.hear(pending)
            pending = ""
        result = receptionist.learn(_called(messages, message), content) if role == "tool" else receptionist.ask()
    return receptionist.hear(pending) if pending else result


def _text(message: Message) -> str:
    """The text of a message, whose content may be a string, parts, or nothing."""
    content = message.get("content")
    if isinstance(content, list):
        return " ".join(part.get("text", "") for part in content if isinstance(part, dict))
    return content or ""


def _called(messages: Sequence[Message], result: Message) -> str:
    """Name of the tool that a tool message answers."""
    for message in messages:
        for call in message.get("tool_calls") or ():
            if call.get("id") == result.get("tool_call_id"):
                return str(call["function"]["name"])
    return str(result.get("name", ""))


def _facts(messages: Sequence[Message]) -> dict[str, str]:
    """Lines "Company: X" of the system prompt, by their names in lower case."""
    prompt = "\n".join(_text(message) for message in messages if message.get("role") in ("system", "developer"))
    lines = re.findall(r"^[\s*#-]*([A-Za-z][A-Za-z ]{1,24}?)\**\s*:\**\s*(\S.*?)\s*$", prompt, re.MULTILINE)
    return {name.lower(): value.rstrip(".") for name, value in reversed(lines)}


def _schemas(tools: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {
        tool["function"]["name"]: tool["function"].get("parameters") or {}
        for tool in tools
        if tool.get("type") == "function"
    }


class _Receptionist:
    """The steps. `hear` and `learn` go one turn on and give the reply to it."""

    def __init__(self, facts: dict[str, str], tools: dict[str, dict[str, Any]]) -> None:
        self._facts = facts
        self._tools = tools
        self.step: Step = "problem"
        self._slots: dict[str, str] = {}
        self._followed_up = False
        self._misses = 0
        withheld = facts.get("caller id", "").lower()
        self._asks_number = withheld in ("withheld", "anonymous", "private", "unknown", "none")

    # What is said at each step.

    def greet(self) -> Answer:
        """The first words, when nobody has spoken yet."""
        company = self._facts.get("company", self._facts.get("company name", "Home Services"))
        return Answer(f"Hello, {company}, what can we do for you?")

    def _question(self) -> str:
        """The question of the present step."""
        match self.step:
            case "problem":
                return "what's the problem you've got?"
            case "quote":
                return f"the callout fee is {self._fee()}, is that all right?"
            case "postcode":
                return "what's the postcode there?"
            case "readback":
                return f"that's {heard.say_postcode(self._slots['postcode'])}, is that right?"
            case "address":
                return "what's the house number and street?"
            case "name":
                return "what name shall I put it under?"
            case "number":
                return "what's the best number to reach you on?"
            case "book" | "booked" | "over":
                return "is there anything else?"

    def ask(self, before: str = "") -> Answer:
        """The question of the present step, after a few words."""
        question = self._question()
        if before:
            return Answer(f"{before}, {question}")
        return Answer(question[0].upper() + question[1:])

    def _fee(self) -> str:
        fee = self._facts.get("callout fee", self._facts.get("call-out fee", "quoted when we call"))
        return f"£{fee}" if re.fullmatch(r"\d+(\.\d\d)?", fee) else fee

    def _who(self) -> str:
        """Who comes: "a plumber", from the trade."""
        trade = self._facts.get("trade label", self._facts.get("trade", "")).lower()
        if not re.fullmatch(r"[a-z]+(?: [a-z]+)?", trade) or trade in ("general", "home services"):
            return "someone"
        trade = {"plumbing": "plumber", "electrical": "electrician", "heating": "heating engineer"}.get(trade, trade)
        return f"an {trade}" if trade[0] in "aeiou" else f"a {trade}"

    # The caller spoke.

    def hear(self, text: str) -> Answer:
        """Take in one turn of the caller."""
        if self.step == "over":
            return self._end("Bye for now.")
        if intents.ABUSE.search(text):
            self.step = "over"
            return Answer("I'm not able to help further on this call.")
        if intents.MACHINE.search(text):
            return self.ask("I'm the automated assistant here")
        if intents.HUMAN.search(text):
            return self._transfer()
        if intents.GOODBYE.search(text) or (self.step == "booked" and _is_content(text)):
            return self._end("Thanks for calling, bye for now.")
        if intents.TOO_EXPENSIVE.search(text):
            self.step = "over"
            return Answer("No worries, thanks for calling.")
        aside = self._aside(text)
        if aside is not None:
            return aside
        if self.step != "problem" and intents.AGAIN.search(text):
            return self.ask()
        return self._forward(text)

    def _aside(self, text: str) -> Answer | None:
        """A question of the caller's, answered before the step goes on; an emergency gets its number first."""
        gas = intents.GAS.search(text)
        if gas or intents.DANGER.search(text):
            self._remember_problem(text)
            number = "0800 111 999 for the gas emergency line" if gas else "999"
            return Answer(f"Please get everyone out and ring {number} first.")
        if intents.PRICE.search(text):
            self._remember_problem(text)
            fee = "" if self.step == "quote" else f", on top of the {self._fee()} callout"
            return self.ask(f"Every job differs so it's quoted on site with no obligation{fee}")
        if intents.LOCAL.search(text):
            return self.ask("Yes, we've someone nearby")
        if intents.WHEN.search(text):
            self._remember_problem(text)
            if "postcode" in self._slots and "check_availability" in self._tools and "available" not in self._slots:
                return self._call("check_availability", postcode=self._slots["postcode"], urgency="standard")
            return self.ask("Usually within thirty minutes to an hour")
        return None

    def _remember_problem(self, text: str) -> None:
        """A first turn that asks something may tell the problem too."""
        if self.step == "problem" and not intents.is_vague(text):
            self._slots["problem"] = intents.without_greeting(text)
            self.step = "quote"

    def _forward(self, text: str) -> Answer:
        """The caller answered, or told something: the step's own business."""
        match self.step:
            case "problem":
                return self._hear_problem(text)
            case "quote":
                if heard.yes_or_no(text) is False and heard.find_postcode(text) is None:
                    self.step = "over"
                    return Answer("No worries, thanks for calling.")
                self.step = "postcode"
                return self._hear_postcode(text, asked=False)
            case "postcode":
                return self._hear_postcode(text, asked=True)
            case "readback":
                return self._hear_confirmation(text)
            case "address":
                return self._hear_slot("address", heard.find_address(text), "Sorry, I missed that")
            case "name":
                return self._hear_slot("name", heard.find_name(text), "Sorry, I missed that")
            case "number":
                number = heard.digits_in(text)
                return self._hear_slot("number", number if len(number) >= 9 else None, "Sorry, I missed some of it")
            case _:
                return self.ask()

    def _hear_problem(self, text: str) -> Answer:
        told = f"{self._slots.get('problem', '')} {intents.without_greeting(text)}".strip()
        if intents.is_vague(told) and not self._followed_up:
            if intents.without_greeting(text):
                self._slots["problem"] = told
                self._followed_up = True
            return Answer("Of course, what seems to be the problem?")
        self._slots["problem"] = told
        self.step = "quote"
        return Answer(
            f"We can have {self._who()} with you within thirty minutes to an hour, the callout fee is {self._fee()} "
            "and the rest is quoted on site, is that all right?"
        )

    def _hear_postcode(self, text: str, *, asked: bool) -> Answer:
        postcode = heard.find_postcode(text)
        if postcode is None:
            if not asked:
                return self.ask("Lovely")
            self._misses += 1
            if self._misses >= 3 and "transfer_to_human" in self._tools:
                return self._transfer("Sorry, I'll put you through to someone.")
            return Answer("Sorry, I didn't get that, could you spell the postcode for me?")
        self._slots["postcode"] = postcode
        self.step = "readback"
        return self.ask("Thanks" if asked else "Lovely")

    def _hear_confirmation(self, text: str) -> Answer:
        postcode, agreed = heard.find_postcode(text), heard.yes_or_no(text)
        if postcode is not None and postcode != self._slots["postcode"]:
            self._slots["postcode"] = postcode
            return self.ask("Sorry")
        if agreed is False and postcode is None:
            self.step = "postcode"
            return Answer("Sorry about that, what's the postcode again?")
        if agreed is None and postcode is None and heard.find_address(text) is None:
            return self.ask("Sorry")
        address = heard.find_address(text) if postcode is None else None
        if address is not None:
            self._slots["address"] = address
        return self._next_question("Great")

    def _hear_slot(self, slot: Literal["address", "name", "number"], value: str | None, missed: str) -> Answer:
        if value is None:
            return self.ask(missed)
        self._slots[slot] = value
        return self._next_question("Thanks")

    def _next_question(self, before: str) -> Answer:
        for step in ("address", "name", "number"):
            if step not in self._slots and (step != "number" or self._asks_number):
                self.step = step
                return self.ask(before)
        return self._book()

    # Tools.

    def _book(self) -> Answer:
        self.step = "book"
        if "create_booking" not in self._tools:
            self.step = "booked"
            return Answer("I've taken all that down and someone will ring you back, is there anything else?")
        problem = self._slots.get("problem", "not said").rstrip(" ,;")
        arguments = {
            "customer_name": self._slots["name"],
            "postcode": self._slots["postcode"],
            "address": self._slots["address"],
            "problem_description": problem,
        }
        if "number" in self._slots:
            properties = self._tools["create_booking"].get("properties", {})
            field = next((name for name in properties if re.search(r"phone|number|caller", name)), None)
            if field is not None:
                arguments[field] = self._slots["number"]
            else:
                arguments["problem_description"] = f"{problem} (ring back on {self._slots['number']})"
        return self._call("create_booking", **arguments)

    def learn(self, tool: str, content: str) -> Answer:
        """Take in a tool's result."""
        try:
            result = orjson.loads(content)
        except orjson.JSONDecodeError:
            result = content
        failed = _failed(result)
        match tool:
            case "create_booking" if failed:
                return self._mend_booking(content)
            case "create_booking":
                self.step = "booked"
                return Answer(
                    "That's all booked, someone will be with you within thirty minutes to an hour, "
                    "is there anything else?"
                )
            case "check_availability":
                self._slots["available"] = content
                before = "I can't see that just now" if failed else "Yes, within thirty minutes to an hour"
                return self.ask(before)
            case "transfer_to_human" if failed:
                return self.ask("Sorry, nobody's free just now but I can help")
            case "transfer_to_human":
                return Answer("Putting you through now.")
            case "end_call":
                return Answer("Bye for now.")
            case _:
                return self.ask()

    def _mend_booking(self, error: str) -> Answer:
        """The booking was refused: ask again for what it complains about, else own up."""
        for field, slot in (("postcode", "postcode"), ("address", "address"), ("customer_name", "name")):
            if field in error.lower() and slot in self._slots:
                del self._slots[slot]
                self.step = "postcode" if slot == "postcode" else "address" if slot == "address" else "name"
                return self.ask("Sorry")
        self.step = "booked"
        return Answer("I've taken all that down and someone will ring you back to confirm, is there anything else?")

    def _transfer(self, words: str = "Of course, I'll put you through.") -> Answer:
        if "transfer_to_human" not in self._tools:
            return self.ask("There's nobody free just now but I can help")
        return self._call("transfer_to_human", words, reason="the caller asked for a person")

    def _end(self, words: str) -> Answer:
        self.step = "over"
        return (
            self._call("end_call", words, reason="the caller said goodbye")
            if "end_call" in self._tools
            else Answer(words)
        )

    def _call(self, tool: str, words: str = "", /, **arguments: str) -> Answer:
        """Call a tool, with those arguments that it has, and nothing that it lacks."""
        properties = self._tools[tool].get("properties", {})
        known = {name: value for name, value in arguments.items() if name in properties}
        return Answer(words, ToolCall(tool, known))


def _failed(result: Any) -> bool:
    """Whether a tool's result tells of an error."""
    if isinstance(result, dict):
        status = str(result.get("status", "")).lower()
        return bool(result.get("error") or result.get("errors")) or result.get("ok") is False or status in (
            "error", "failed", "refused", "invalid",
        )  # fmt: skip
    return isinstance(result, str) and "error" in result.lower()


def _is_content(text: str) -> bool:
    """Whether a caller who was asked for anything else has nothing more."""
    return heard.yes_or_no(text) is False or intents.THANKS.search(text) is not None
