"""What one call uses of its vendors, and what goes wrong with them: counted where it is sent, and nowhere else.

The vendors' clients ask `METER` for the call that they work for. A call's sums go into its record; each piece is also
told on at once (`on_use`), so that a day's spending is the sum of its calls and can be limited while they run.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, Literal, TypeAlias

Vendor: TypeAlias = Literal["stt", "llm", "tts"]
ErrorSource: TypeAlias = Literal["stt", "llm", "tts", "context", "booking"]
Unit: TypeAlias = Literal[
    "seconds", "requests", "tokens_in", "tokens_cached", "tokens_out", "tokens_estimated", "characters"
]
UsageByModel: TypeAlias = dict[str, dict[str, dict[str, float]]]
"""By vendor, model and unit: `{"stt": {"nova-3": {"seconds": 61.2}}}`."""

CHARACTERS_A_TOKEN = 4
"""For what a vendor does not tell. English text has between 4 and 5."""


class Meter:
    """One call's use of its vendors; `usage` and `errors` are sums so far.

    Each piece belongs to a call from the moment at which it goes out: audio to an STT with all that is sent again, text
    to a TTS whether it is heard or not, tokens of each answer that an LLM began, those that nobody waited for as well.
    """

    def __init__(self, on_use: Callable[[Vendor, str, Unit, float], None] | None = None) -> None:
        self.errors: Counter[ErrorSource] = Counter()
        """What went wrong, by whom."""
        self._on_use = on_use
        self._sums: defaultdict[tuple[Vendor, str, Unit], float] = defaultdict(float)
        self._answers: set[Answer] = set()

    @property
    def usage(self) -> UsageByModel:
        """The sums: seconds to the millisecond, all else whole numbers."""
        usage: UsageByModel = {}
        for (vendor, model, unit), amount in self._sums.items():
            usage.setdefault(vendor, {}).setdefault(model, {})[unit] = round(amount, 3)
        return usage

    def add(self, vendor: Vendor, model: str, unit: Unit, amount: float) -> None:
        """So much more of it was used."""
        if not amount:
            return
        self._sums[vendor, model, unit] += amount
        if self._on_use is not None:
            self._on_use(vendor, model, unit, amount)

    def failed(self, source: ErrorSource) -> None:
        """Something went wrong there."""
        self.errors[source] += 1

    def answer(self, model: str, prompt_characters: int) -> Answer:
        """A model has begun to answer a prompt of so many characters; `Answer.settle` is to follow."""
        answer = Answer(self, model, prompt_characters)
        self._answers.add(answer)
        return answer

    def close(self) -> None:
        """The call is over: of answers whose tokens nobody has told yet an estimate counts."""
        for answer in list(self._answers):
            answer.settle({})

    def _settled(self, answer: Answer) -> None:
        self._answers.discard(answer)


class Answer:
    """One answer of a language model, whose tokens are known when it is complete; often it is let go before that."""

    def __init__(self, meter: Meter, model: str, prompt_characters: int) -> None:
        self._meter = meter
        self._model = model
        self._prompt_characters = prompt_characters
        self._settled = False
        self.characters = 0
        """That came of it: words, reasoning and tool calls."""

    def settle(self, usage: Mapping[str, Any]) -> None:
        """Count it, once: by what the vendor told (`usage` in the chat API), or by an estimate where that is empty."""
        if self._settled:
            return
        self._settled = True
        told = "prompt_tokens" in usage
        tokens_in = _count(usage["prompt_tokens"]) if told else self._prompt_characters // CHARACTERS_A_TOKEN
        tokens_out = _count(usage.get("completion_tokens")) if told else -(-self.characters // CHARACTERS_A_TOKEN)
        details = usage.get("prompt_tokens_details")
        cached = _count(details.get("cached_tokens")) if isinstance(details, Mapping) else 0
        self._meter.add("llm", self._model, "tokens_in", tokens_in)
        self._meter.add("llm", self._model, "tokens_cached", min(tokens_in, cached))
        self._meter.add("llm", self._model, "tokens_out", tokens_out)
        if not told:
            self._meter.add("llm", self._model, "tokens_estimated", tokens_in + tokens_out)
        self._meter._settled(self)


def _count(value: object) -> int:
    return int(value) if isinstance(value, int | float) and 0 <= value < 1e9 else 0


METER: ContextVar[Meter] = ContextVar("METER", default=Meter())  # noqa: B039 - outside calls nobody reads it
"""Of the call that the running task works for, inherited by every task that is made for it."""
