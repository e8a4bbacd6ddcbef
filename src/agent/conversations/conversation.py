"""A conversation as the agent uses it: what the LLM is told, what is said without it, and which tools there are."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from datetime import datetime

from agent.call.company import CompanyContext
from agent.call.opening_hours import in_words
from agent.conversations.steps import Step
from agent.language.spoken import spoken
from agent.language.turn_words import BRITISH, TurnWords
from agent.tools.registry import ToolRegistry

FIELDS = frozenset({"company_name", "trade_label", "trade_type", "callout_fee", "area", "caller_id", "repeat_caller"})
"""Placeholders that are filled for each call, in the prompt and in phrases."""
PROMPT_FIELDS = FIELDS | {"instructions", "opening_hours"}
"""Those of the prompt; these two are put behind it where it has no place for them."""
PLACEHOLDER = re.compile(r"\{(\w+)\}")
WORD_TOKENS = 1.35  # tokens of a word of English prose, marks included, counted high
TOKEN_BYTES = 4.0  # where words are long, or hardly separated


class ConversationError(ValueError):
    """A conversation's files are wrong; each line of the text names a file, a place in it, and what would be right."""


@dataclass(frozen=True, slots=True)
class Phrases:
    """What the agent says by itself: the table `phrases` of `conversation.toml`. The defaults are English."""

    greeting: str = "Hello, {company_name}, good {time_of_day}."
    """The first words; the one phrase that may hold `{time_of_day}`."""
    morning: str = "morning"
    """What `{time_of_day}` is until noon."""
    afternoon: str = "afternoon"
    """Until six."""
    evening: str = "evening"
    still_there: str = "Are you still there?"
    """After some seconds in which nobody spoke."""
    silent_goodbye: str = "I can't hear you, so I'll let you go. Please call again. Goodbye."
    """After that was asked twice."""
    fillers: tuple[str, ...] = ("Bear with me.", "Just a moment.")
    """While a tool takes longer than a moment; in turn, where it happens again."""
    trouble: str = "Bear with me, I'm having a small technical issue."
    """When a vendor gives no answer."""
    goodbye: str = "Thanks for calling, goodbye."
    """When the LLM ends the call without a word."""
    too_long: str = "I'm sorry, I have to end the call here. Goodbye."
    """When the call reaches its longest time."""
    transferring: str = "I'll put you through now."
    """When the caller asked for a person by key, or the LLM transfers without a word."""
    nobody_free: str = "Sorry, nobody can take the call just now, but I can book somebody in for you."
    """When there is nobody to transfer to."""
    hello: str = "Hello, bear with me a moment."
    """The first words where the greeting is late."""
    sorry: str = "Sorry, we're experiencing issues."
    """When a vendor is gone for good, before the caller is put through."""
    sorry_goodbye: str = "Sorry, we're experiencing issues. Please call again a little later. Goodbye."
    """When there is nobody to put the caller through to either."""
    not_heard: str = "Sorry, I can't hear you very well, could you say that again?"
    """When the caller's words were lost."""
    closing: str = "I'm sorry, I have to end the call now. Please call again in a few minutes. Goodbye."
    """When the agent stops and the call has gone on for too long after that."""
    limit: str = "I'm sorry, we can't take your call just now. Please call again another time. Goodbye."
    """When a limit against abuse turns the call away."""

    def time_of_day(self, moment: datetime) -> str:
        """Morning until noon, afternoon until six, then evening; the small hours are morning."""
        return self.morning if moment.hour < 12 else self.afternoon if moment.hour < 18 else self.evening

    def filler(self, count: int) -> str:
        """The filler to say when `count` have been said in this call."""
        return self.fillers[count % len(self.fillers)]


@dataclass(frozen=True, slots=True)
class Conversation:
    """One directory of files, read and checked; shared by all calls that are answered so."""

    name: str
    """The directory's name: what the setting CONVERSATION and a company call it."""
    title: str
    language: str
    """BCP 47: "en-GB"."""
    voice_id: str
    """The TTS vendor's voice; empty for the agent's default one."""
    template: str
    """The prompt, with placeholders out of `PROMPT_FIELDS`."""
    phrases: Phrases
    tools: ToolRegistry
    boosted_terms: tuple[str, ...] = ()
    """Words that the STT is to prefer."""
    words: TurnWords = BRITISH
    """By which a caller's turn sounds finished, or only says "go on"."""
    steps: tuple[Step, ...] = ()
    """What a call goes through, the greeting first."""

    def prompt(self, company: CompanyContext, moment: datetime | None = None) -> str:
        """The system prompt of one call that comes at `moment`, now by default, with what the company has to add."""
        hours = in_words(company.opening_hours, moment or datetime.now(company.zone))
        prompt = fill(self.template, company, instructions=company.instructions, opening_hours=hours or "not known")
        if hours and "{opening_hours}" not in self.template:
            prompt = f"{prompt.rstrip()}\n\nOpening hours: {hours}\n"
        if company.instructions and "{instructions}" not in self.template:
            prompt = f"{prompt.rstrip()}\n\nAlso heed, for this company:\n{company.instructions}\n"
        return prompt

    def phrases_for(self, company: CompanyContext) -> Phrases:
        """The phrases of one call, filled in; the greeting keeps its `{time_of_day}`."""
        filled = {
            field.name: fill(value, company)
            for field in fields(Phrases)
            if isinstance(value := getattr(self.phrases, field.name), str)
        }
        return replace(self.phrases, **filled, fillers=tuple(fill(text, company) for text in self.phrases.fillers))

    def greeting(self, company: CompanyContext, moment: datetime | None = None, *, recorded: bool = False) -> str:
        """What the caller hears first: the company's own greeting, or the conversation's.

        Where the call is `recorded` and the company has a notice of that, it comes before it.
        """
        phrases = self.phrases_for(company)
        part = phrases.time_of_day(moment or datetime.now(company.zone))
        greeting = (company.greeting or phrases.greeting).replace("{time_of_day}", part)
        notice = company.recording_notice if recorded else ""
        return f"{notice}{'' if notice[-1] in '.!?…' else '.'} {greeting}" if notice else greeting

    def spoken(self, text: str) -> str:
        """`text` of the LLM as a person would say it: codes spelled out, where the language is English."""
        return spoken(text) if self.language.partition("-")[0] == "en" else text


def fill(template: str, company: CompanyContext, **more: str) -> str:
    """`template` with the values of one call. They are of the company's own making, and one line each; those of `more`
    stay as they are.
    """
    values = {
        "company_name": company.company_name,
        "trade_label": company.trade_label,
        "trade_type": company.trade_type,
        "callout_fee": company.callout_fee or "quoted by the company",
        "area": company.area or "not stated",
        "caller_id": "withheld" if company.withheld else "known",
        "repeat_caller": "yes" if company.repeat_caller else "no",
    }

    def value(match: re.Match[str]) -> str:
        if match[1] in more:
            return more[match[1]]
        return " ".join(values[match[1]].split()) if match[1] in values else match[0]

    return PLACEHOLDER.sub(value, template)


def estimated_tokens(text: str) -> int:
    """About how many tokens an LLM makes of `text`, counted rather high: no vendor's tokenizer is needed for it."""
    return round(max(WORD_TOKENS * len(text.split()), len(text.encode()) / TOKEN_BYTES))
