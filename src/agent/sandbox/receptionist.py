"""A scripted receptionist: walks the steps of a prompt with one caller, turn by turn."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from agent.sandbox import heard, intents, when
from agent.sandbox.diary import Offer, read_offer
from agent.sandbox.workflow import BY_NAME, Step, Workflow, fill

Phase = Literal["steps", "booked", "over"]
TAKEN_DOWN = "I've taken all that down and someone will ring you back to confirm, is there anything else?"


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of one of the request's tools."""

    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """What is said, and what is called, in this order; either may be missing."""

    text: str = ""
    calls: tuple[ToolCall, ...] = ()

    @property
    def call(self) -> ToolCall | None:
        """The first call."""
        return self.calls[0] if self.calls else None


class Receptionist:
    """`hear` takes in a turn of the caller, `learn` a tool's result, and `ask` asks again; each gives the reply."""

    def __init__(self, workflow: Workflow) -> None:
        self._flow = workflow
        self._phase: Phase = "steps"
        self._slots: dict[str, str] = {}
        self._agreed = False
        self._confirmed = ""  # the postcode that the caller said yes to
        self._followed_up = False
        self._misses = 0
        self._diary_asked = False
        self._offer: Offer | None = None  # times that the caller may take

    # What is said at each step.

    def greet(self) -> Answer:
        """The first words, when nobody has spoken yet."""
        facts = self._flow.facts
        company = facts.get("company", facts.get("company name", "Home Services"))
        return Answer(f"Hello, {company}, what can we do for you?")

    def _step(self) -> Step | None:
        """The step that comes next; none when everything is known."""
        for step in self._flow.steps:
            done = {
                "problem": "problem" in self._slots,
                "quote": self._agreed,
                "slot": step.slot in self._slots
                and (step.slot != "postcode" or self._slots["postcode"] == self._confirmed)
                and (not step.lookup or "time" in self._slots),
            }[step.kind]
            if not done:
                return step
        return None

    def _question(self) -> str:
        """The question of the present step."""
        step = self._step()
        if self._phase != "steps" or step is None:
            return "is there anything else?"
        if step.kind == "problem":
            return "what's the appointment for?" if "appointment" in step.text else "what's the problem you've got?"
        if step.kind == "quote":
            return f"the callout fee is {self._fee()}, is that all right?"
        if step.lookup and self._offer is not None:
            return self._offer.question
        if step.slot == "postcode" and "postcode" in self._slots:
            written = self._slots["postcode"]
            said = written if self._flow.writes_postcodes else heard.say_postcode(written)
            return f"that's {said}, is that right?"
        return BY_NAME[step.slot].question

    def ask(self, before: str = "") -> Answer:
        """The question of the present step, after a few words."""
        question = self._question()
        return Answer(f"{_upper(before)}, {question}" if before else _upper(question))

    def _quote(self) -> Answer:
        step = self._step()
        if step is not None and ":" in step.text:
            offer = re.sub(r";\s*", ", ", step.text.partition(":")[2].strip(" ."))
            return Answer(f"{_upper(offer)}, is that all right?")
        return Answer(
            f"We can have {self._who()} with you within thirty minutes to an hour, the callout fee is {self._fee()} "
            "and the rest is quoted on site, is that all right?"
        )

    def _fee(self) -> str:
        facts = self._flow.facts
        fee = facts.get("callout fee", facts.get("call-out fee", "quoted when we call"))
        return f"£{fee}" if re.fullmatch(r"\d+(\.\d\d)?", fee) else fee

    def _who(self) -> str:
        """Who comes: "a plumber", from the trade."""
        trade = self._flow.facts.get("trade label", self._flow.facts.get("trade", "")).lower()
        if not re.fullmatch(r"[a-z]+(?: [a-z]+)?", trade) or trade in ("general", "home services"):
            return "someone"
        trade = {"plumbing": "plumber", "electrical": "electrician", "heating": "heating engineer"}.get(trade, trade)
        return f"an {trade}" if trade[0] in "aeiou" else f"a {trade}"

    # The caller spoke.

    def hear(self, text: str, *, cut: bool = False) -> Answer:
        """Take in one turn of the caller. `cut`: it broke off what we were saying."""
        words = self._flow.words
        if self._phase == "over":
            return self._end("Bye for now.")
        if intents.ABUSE.search(text):
            self._phase = "over"
            return Answer(f"{_upper(words['abuse'])}.")
        if intents.MACHINE.search(text):
            return self.ask(words["machine"])
        if intents.HUMAN.search(text):
            return self._transfer()
        if given := self._before_a_question(text):
            answer = self._forward(given, cut=cut)
            return Answer(answer.text, (*self._diary(), *answer.calls)) if answer.calls else self.ask(words["soon"])
        aside = self._aside(text)
        if aside is not None:
            return aside
        if intents.ends(text) or (self._phase == "booked" and intents.is_content(text)):
            return self._end("Thanks for calling, bye for now.")
        if intents.TOO_EXPENSIVE.search(text):
            self._phase = "over"
            return Answer(f"{_upper(words['expensive'])}.")
        if "problem" in self._slots and intents.AGAIN.search(text):
            return self.ask()
        return self._forward(text, cut=cut)

    def _before_a_question(self, text: str) -> str:
        """What the caller was asked for, where the question when somebody comes follows it in the same breath."""
        step = self._step()
        given, _, question = intents.split_question(text)
        if step is None or step.kind != "slot" or not intents.WHEN.search(question):
            return ""
        return given if BY_NAME[step.slot].find(given) is not None else ""

    def _aside(self, text: str) -> Answer | None:
        """A question of the caller's, answered before the step goes on; an emergency gets its number first."""
        if (first := self._emergency(text)) is not None:
            self._remember_problem(text)
            return first
        words = self._flow.words
        if intents.PRICE.search(text):
            quoted = "problem" in self._slots and not self._agreed
            self._remember_problem(text)
            fee = f", on top of the {self._fee()} callout" if "callout fee" in self._flow.facts and not quoted else ""
            return self.ask(f"{words['price']}{fee}")
        if intents.LOCAL.search(text):
            return self.ask(words["local"])
        if intents.CANCEL.search(text):
            return self._cancel(words.get("cancel", "I'll put you through to somebody who can do that"))
        if intents.WHEN.search(text):
            self._remember_problem(text)
            diary = self._diary()
            return Answer(calls=diary) if diary else self.ask(words["soon"])
        return self._stock_answer(text)

    def _emergency(self, text: str) -> Answer | None:
        if intents.GAS.search(text):
            return Answer("Please get everyone out and ring 0800 111 999 for the gas emergency line first.")
        if intents.FIRE.search(text):
            return Answer("Please get everyone out and ring 999 first.")
        return Answer("Please ring 999 first.") if intents.DANGER.search(text) else None

    def _stock_answer(self, text: str) -> Answer | None:
        """An answer of the prompt's own, to a question whose heading the caller names in full."""
        if "?" not in text:
            return None
        for heading, told in self._flow.other_answers.items():
            if intents.mentions(text, heading):
                return self.ask(told)
        return None

    def _diary(self) -> tuple[ToolCall, ...]:
        """The call that asks the diary, once what it needs is known."""
        tool = self._flow.find_tool("availab")
        needed = self._flow.tools.get(tool, {}).get("required", ())
        known = {"postcode": self._slots.get("postcode", ""), "urgency": "standard", **self._slots}
        given = {name: known.get(name, "") for name in needed}
        if not tool or self._diary_asked or not all(given.values()):
            return ()
        self._diary_asked = True
        return (ToolCall(tool, given),)

    def _remember_problem(self, text: str) -> None:
        """A first turn that asks something may tell the problem too."""
        if "problem" not in self._slots and not intents.is_vague(text):
            self._slots["problem"] = intents.without_greeting(text)

    def _give(self, text: str, *, unasked: bool = False) -> bool:
        """Take in what was asked for and whatever else comes along; whether what was asked for is among it."""
        step = self._step()
        asked = step.slot if step is not None and step.kind == "slot" and not unasked else ""
        found = BY_NAME[asked].find(text) if asked else None
        for other in self._flow.steps:
            told = BY_NAME[other.slot].volunteered(text) if other.kind == "slot" and other.slot != asked else None
            if told is None or (other.slot in self._slots and other.slot not in ("address", "urgent")):
                continue
            self._slots[other.slot] = told
            if other.slot == "address" and asked == "name":
                found = heard.told_name(text)  # it was about the address, unless a name is in it by name
        if found is not None:
            self._slots[asked] = found
        return found is not None

    def _forward(self, text: str, *, cut: bool) -> Answer:
        """The caller answered, or told something: the step's own business."""
        step = self._step()
        if step is None or self._phase == "booked":
            return self.ask()
        if step.kind == "problem":
            return self._hear_problem(text)
        if step.kind == "quote":
            agreed = heard.yes_or_no(text)
            if agreed is False and heard.find_postcode(text) is None:
                self._phase = "over"
                return Answer(f"{_upper(self._flow.words['expensive'])}.")
            if cut and agreed is None:
                self._slots["problem"] += f" {text}"
                return self._quote()
            self._agreed = True
            self._give(text, unasked=True)
            return self._next_question("Lovely")
        if step.slot == "postcode":
            return self._hear_postcode(text)
        if step.lookup and self._offer is not None:
            return self._hear_choice(text, self._offer)
        if not self._give(text):
            return self.ask(BY_NAME[step.slot].missed) if self._step() == step else self._next_question("Thanks")
        return self._next_question("Thanks")

    def _hear_problem(self, text: str) -> Answer:
        told = f"{self._slots.get('told', '')} {intents.without_greeting(text)}".strip()
        if intents.is_vague(told) and not self._followed_up:
            if intents.without_greeting(text):
                self._slots["told"] = told
                self._followed_up = True
            return Answer("Of course, what seems to be the problem?")
        self._slots["problem"] = told
        self._give(text, unasked=True)
        step = self._step()
        return self._quote() if step is not None and step.kind == "quote" else self._next_question("Of course")

    def _hear_postcode(self, text: str) -> Answer:
        postcode, agreed = heard.find_postcode(text), heard.yes_or_no(text)
        asked_back = self._slots.get("postcode", "")
        if not asked_back and postcode is None:
            self._misses += 1
            if self._misses >= 3 and self._flow.find_tool("transfer"):
                return self._transfer("Sorry, I'll put you through to someone.")
            return Answer("Sorry, I didn't get that, could you spell the postcode for me?")
        if postcode is not None and postcode != asked_back:
            self._slots["postcode"] = postcode
            return self.ask("Sorry" if asked_back else "Thanks")
        if agreed is False and postcode is None:
            del self._slots["postcode"]
            return Answer("Sorry about that, what's the postcode again?")
        address = heard.find_address(text) if postcode is None else None
        if agreed is None and postcode is None and address is None:
            return self.ask("Sorry")
        if address is not None:
            self._slots["address"] = address
        self._confirmed = self._slots["postcode"]
        return self._next_question("Great")

    def _hear_choice(self, text: str, offer: Offer) -> Answer:
        """The caller takes one of the times offered, or names another day."""
        taken = offer.taken(text)
        if taken is not None:
            self._slots |= {"time": taken, "day": offer.date}
            return self._next_question("Lovely")
        if (day := when.find_day(text)) is not None:
            self._slots["day"] = day
            self._offer = None
            return self._next_question("Of course")
        return self.ask("Sorry")

    def _next_question(self, before: str) -> Answer:
        step = self._step()
        if step is None:
            return self._book()
        if step.lookup and step.slot in self._slots and self._offer is None:
            return Answer(calls=self._filled(step.lookup, {**self._slots, "urgent": self._slots.get("urgent", "no")}))
        return self.ask(before)

    # Tools.

    def _book(self) -> Answer:
        flow = self._flow
        if not flow.booking:
            self._phase = "booked"
            return Answer("I've taken all that down and someone will ring you back, is there anything else?")
        problem = self._slots.get("problem", "not said").rstrip(" ,;")
        number = self._slots.get("number", "")
        if number and not flow.takes("number"):
            problem = f"{problem} (ring back on {number})"
        return Answer(calls=self._filled(flow.booking, {**self._slots, "problem": problem}))

    def _filled(self, tool: str, values: Mapping[str, str]) -> tuple[ToolCall, ...]:
        """Call a tool with what is known of what it asks for."""
        return (ToolCall(tool, fill(self._flow.tools[tool], values)),)

    def learn(self, tool: str, content: str) -> Answer:
        """Take in a tool's result."""
        failed = _failed(content)
        if tool == self._flow.booking:
            if failed:
                return self._mend_booking(content)
            self._phase = "booked"
            if _object(content).get("status") == "kept":
                return Answer(TAKEN_DOWN)
            if self._offer is not None:
                at = when.say_time(self._slots["time"])
                return Answer(f"That's all booked for {at} on {self._offer.weekday}, is there anything else?")
            then = self._flow.confirmation or "someone will be with you within thirty minutes to an hour"
            return Answer(f"That's all booked, {then}, is there anything else?")
        if any(step.lookup == tool for step in self._flow.steps):
            return self._learn_offer(content)
        if "availab" in tool:
            return self.ask("I can't see that just now" if failed else "Yes, within thirty minutes to an hour")
        if "transfer" in tool:
            return self.ask("Sorry, nobody's free just now but I can help") if failed else Answer("Putting you through")
        return Answer("Bye for now.") if tool == "end_call" else self.ask()

    def _learn_offer(self, content: str) -> Answer:
        self._offer = None if _failed(content) else read_offer(_object(content))
        if self._offer is None:
            self._slots.pop("day", None)
            return self.ask("I'm sorry, there's nothing then")
        return self.ask()

    def _mend_booking(self, error: str) -> Answer:
        """The booking was refused: ask again for what it complains about, else own up."""
        if self._offer is not None and "not free" in error:
            self._offer = None
            del self._slots["time"], self._slots["day"]
            return self.ask("Sorry, that time has just gone")
        for slot in [step.slot for step in self._flow.steps if step.kind == "slot"]:
            if slot in self._slots and self._flow.takes(slot) and self._flow.takes(slot) in error.lower():
                del self._slots[slot]
                return self.ask("Sorry")
        self._phase = "booked"
        return Answer(TAKEN_DOWN)

    def _transfer(self, words: str = "Of course, I'll put you through.") -> Answer:
        tool = self._flow.find_tool("transfer")
        if not tool:
            return self.ask("There's nobody free just now but I can help")
        return Answer(words, self._known(tool, reason="the caller asked for a person"))

    def _cancel(self, words: str) -> Answer:
        tool = self._flow.find_tool("cancel", "transfer")
        return Answer(f"{_upper(words)}.", self._known(tool, reason="wants to cancel") if tool else ())

    def _end(self, words: str) -> Answer:
        self._phase = "over"
        tool = self._flow.find_tool("end_call")
        return Answer(words, self._known(tool, reason="the caller said goodbye") if tool else ())

    def _known(self, tool: str, **arguments: str) -> tuple[ToolCall, ...]:
        """Call a tool, with those arguments that it has, and nothing that it lacks."""
        properties = self._flow.tools[tool].get("properties", {})
        return (ToolCall(tool, {name: value for name, value in arguments.items() if name in properties}),)


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def _object(content: str) -> dict[str, Any]:
    """A tool's result; its bare text as an error or an answer where it is no object."""
    try:
        result = orjson.loads(content)
    except orjson.JSONDecodeError:
        result = content
    return result if isinstance(result, dict) else {"error" if "error" in str(result).lower() else "answer": result}


def _failed(content: str) -> bool:
    """Whether a tool's result tells of an error."""
    result = _object(content)
    wrong = str(result.get("status", "")).lower() in ("error", "failed", "refused", "invalid")
    return bool(result.get("error") or result.get("errors")) or result.get("ok") is False or wrong
