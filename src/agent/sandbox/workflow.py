"""What a system prompt tells a receptionist to do: its steps in their order, stock answers, facts, and the tools."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from agent.sandbox import heard, intents, when

Tools = Mapping[str, Mapping[str, Any]]
"""The JSON schema of each tool's arguments, by its name."""


@dataclass(frozen=True, slots=True)
class Slot:
    """Something that the caller is asked for."""

    name: str
    asked: str
    """By which a line of the prompt asks for it: a pattern."""
    argument: str
    """By which a tool's argument is known to want it: a pattern."""
    question: str
    find: Callable[[str], str | None]
    """What an answer gives, or none."""
    volunteered: Callable[[str], str | None] = lambda text: None
    """The same, where it was not asked for."""
    missed: str = "Sorry, I missed that"


def _anything(text: str) -> str | None:
    return text.strip(" .,!?") or None


SLOTS = (
    Slot("postcode", r"postcode", r"postcode", "what's the postcode there?", heard.find_postcode, heard.find_postcode),
    Slot(
        "address",
        r"house number|street|address",
        r"address",
        "what's the house number and street?",
        heard.find_address,
        heard.told_address,
    ),
    Slot(
        "birth",
        r"date of birth|born",
        r"birth|dob",
        "what's the date of birth?",
        when.find_date,
    ),
    Slot(
        "patient",
        r"registered|new patient|been (?:to us|here)",
        r"patient|registered",
        "have you been to us before?",
        lambda text: {True: "yes", False: "no", None: None}[heard.yes_or_no(text)],
    ),
    Slot(
        "day", r"\bday\b", r"^(?:on|day|date|appointment_date)$", "what day would suit?", when.find_day, when.find_day
    ),
    Slot(
        "urgent",
        r"urgent|in pain",
        r"urgen",
        "is there any pain, swelling or bleeding?",
        intents.is_urgent,
        intents.sounds_urgent,
    ),
    Slot(
        "name",
        r"\bname\b",
        r"name",
        "what name shall I put it under?",
        heard.find_name,
        heard.told_name,
    ),
    Slot(
        "number",
        r"(?:phone|contact) number|number to",
        r"phone|number|caller",
        "what's the best number to reach you on?",
        heard.find_number,
        missed="Sorry, I missed some of it",
    ),
)
"""In the order in which an argument of a tool is tried."""
BY_NAME = {slot.name: slot for slot in SLOTS}
ARGUMENTS = {slot.name: slot.argument for slot in SLOTS} | {
    "problem": r"problem|reason|description|treatment|symptom|complaint",
    "time": r"^(?:at|time|appointment_time)$",
}
"""By which a tool's argument is known to want something that is known: patterns."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step: what is wrong, the quote, or something to ask for."""

    kind: Literal["problem", "quote", "slot"]
    text: str = ""
    """The prompt's own words for it, without its number."""
    slot: str = ""
    lookup: str = ""
    """The tool that the answer is looked up with; it says which times there are."""


EIGHT_STEPS = (
    Step("problem"),
    Step("quote"),
    Step("slot", slot="postcode"),
    Step("slot", slot="address"),
    Step("slot", slot="name"),
)
"""What a prompt without numbered steps is taken to want."""
TOPICS = {
    "price": r"price|cost|how much|charge",
    "expensive": r"expensive",
    "local": r"\blocal|where",
    "soon": r"soon|when",
    "machine": r"machine|robot",
    "human": r"\bperson\b|\bhuman\b",
    "abuse": r"abus",
    "cancel": r"cancel|mov(?:e|ing)|change",
}
"""What a stock answer is about, by its heading in the prompt."""
DEFAULT_ANSWERS = {
    "price": "every job differs so it's quoted on site with no obligation",
    "expensive": "no worries, thanks for calling",
    "local": "yes, we've someone nearby",
    "soon": "usually within thirty minutes to an hour",
    "machine": "I'm the automated assistant here",
    "abuse": "I'm not able to help further on this call",
}


@dataclass(frozen=True, slots=True)
class Workflow:
    """A prompt and the tools, understood."""

    steps: tuple[Step, ...]
    facts: Mapping[str, str]
    """Lines "Company: X", by their names in lower case."""
    tools: Tools
    booking: str = ""
    """The tool that books; empty for none."""
    writes_postcodes: bool = False
    """Postcodes are to be written, and are spoken by somebody else."""
    confirmation: str = ""
    """What is said when it is booked, in the prompt's words."""
    words: Mapping[str, str] = field(default_factory=dict)
    """Stock answers as they are spoken, by topic."""
    other_answers: Mapping[str, str] = field(default_factory=dict)
    """Those of no such topic, as they are spoken, by heading."""

    def takes(self, slot: str) -> str:
        """The argument of the booking tool that takes a slot; empty for none."""
        return next((name for name in self.properties if re.search(ARGUMENTS[slot], name)), "")

    @property
    def properties(self) -> Mapping[str, Any]:
        """The arguments of the booking tool."""
        properties: Mapping[str, Any] = self.tools.get(self.booking, {}).get("properties", {})
        return properties

    def find_tool(self, *parts: str) -> str:
        """The first tool whose name has one of these parts; empty for none."""
        return next((name for part in parts for name in self.tools if part in name), "")


def read_workflow(prompt: str, tools: Tools) -> Workflow:
    """Understand a system prompt and the tools that come with it."""
    facts = _facts(prompt)
    lines = re.findall(r"^\s*\d+[.)]\s+(.+?)\s*$", prompt, re.MULTILINE)
    answers = _answers(prompt)
    booking = next((name for name in tools if re.match(r"create_booking|book", name)), "")
    withheld = facts.get("caller id", "").lower() in ("withheld", "anonymous", "private", "unknown", "none")
    steps = tuple(_steps(lines, tools)) or EIGHT_STEPS
    if withheld and not any(step.slot == "number" for step in steps):
        steps += (Step("slot", slot="number"),)
    elif not withheld:
        steps = tuple(step for step in steps if step.slot != "number")
    confirm = next((line for line in lines if re.match(r"confirm", line, re.IGNORECASE)), "")
    return Workflow(
        steps=steps,
        facts=facts,
        tools=tools,
        booking=booking,
        writes_postcodes=re.search(r"postcode.*\bwritten as\b", prompt) is not None,
        confirmation=_clauses(confirm.partition(":")[2].partition(";")[0], tools) if ":" in confirm else "",
        words=DEFAULT_ANSWERS | _spoken_answers(answers, tools),
        other_answers={
            heading: words
            for heading, text in answers.items()
            if not any(re.search(pattern, heading) for pattern in TOPICS.values()) and (words := _clauses(text, tools))
        },
    )


def fill(schema: Mapping[str, Any], values: Mapping[str, str]) -> dict[str, Any]:
    """The arguments of a tool: what is known of what its schema asks for, in the schema's types."""
    arguments: dict[str, Any] = {}
    for known, pattern in ARGUMENTS.items():
        properties = schema.get("properties", {})
        name = next((name for name in properties if re.search(pattern, name) and name not in arguments), "")
        if not name or known not in values:
            continue
        value: Any = values[known]
        if choices := properties[name].get("enum"):
            value = next((choice for choice in choices if str(choice) in value), choices[0])
        elif properties[name].get("type") == "boolean":
            value = value == "yes"
        arguments[name] = value
    return arguments


def _facts(prompt: str) -> dict[str, str]:
    lines = re.findall(r"^[\s*#-]*([A-Za-z][A-Za-z ]{1,24}?)\**\s*:\**\s*(\S.*?)\s*$", prompt, re.MULTILINE)
    return {name.lower(): value.rstrip(".") for name, value in reversed(lines)}


def _steps(lines: Sequence[str], tools: Tools) -> list[Step]:
    steps: list[Step] = []
    for line in lines:
        if re.match(r"(?:greet|book|confirm)\b", line, re.IGNORECASE):
            continue
        if re.match(r"quote", line, re.IGNORECASE):
            steps.append(Step("quote", line))
        elif found := _asked(line):
            lookup = next((tool for tool in tools if tool in line), "")
            steps += [Step("slot", line, name, lookup) for name in found]
        elif re.search(r"understand|\bwhat\b|reason|problem", line, re.IGNORECASE):
            steps.append(Step("problem", line))
    return steps


def _asked(line: str) -> list[str]:
    """The slots that a line of the prompt asks for, in its order."""
    if not re.search(r"\bask\b", line, re.IGNORECASE):
        return []
    places = {slot.name: match.start() for slot in SLOTS if (match := re.search(slot.asked, line))}
    return sorted(places, key=places.__getitem__)


def _answers(prompt: str) -> dict[str, str]:
    """The bullets under "If asked:"."""
    block = re.search(r"^if asked\W*\n((?:\s*[-*].*\n?)+)", prompt, re.MULTILINE | re.IGNORECASE)
    bullets = re.findall(r"^\s*[-*]\s*(.+?)\s*:\s+(.+?)\s*$", block[1], re.MULTILINE) if block else []
    return {heading.strip("\"' ?").lower(): text for heading, text in bullets}


def _spoken_answers(answers: Mapping[str, str], tools: Tools) -> dict[str, str]:
    spoken = {}
    for topic, pattern in TOPICS.items():
        text = next((text for heading, text in answers.items() if re.search(pattern, heading)), "")
        if words := _clauses(text, tools):
            spoken[topic] = words
    return spoken


def _clauses(text: str, tools: Tools) -> str:
    """An answer as it is spoken: the words in quotation marks, or what is no instruction of it."""
    if quoted := re.search(r'"([^"]+)"', text):
        return quoted[1].rstrip(".")
    kept = []
    for clause in re.split(r"[;,]\s*", text.strip(" .")):
        if any(tool in clause for tool in tools) or re.match(r"(?:then|and go on|once|ask|say|take|offer)\b", clause):
            break
        kept.append(clause)
    words = ", ".join(kept)
    return f"I'm {words}" if words.startswith("not able") else words
