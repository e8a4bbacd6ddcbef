"""What a minute of a call takes of the vendors, and what that costs."""

from __future__ import annotations

from dataclasses import dataclass

from agent.ops.prices import PriceTable


@dataclass(frozen=True, slots=True)
class Use:
    """Of one minute of a call, on average.

    The defaults are those of calls in which one side or the other speaks nearly all the time, and every turn has an
    answer: docs/capacity.md says how they were measured. Calls with pauses take less.
    """

    heard_s: float = 35.0
    """Audio to the STT, which hears nothing while the agent speaks."""
    requests: float = 11.8
    """To the LLM, answers that were thrown away and those around tools included."""
    tokens_in: float = 14_300.0
    tokens_cached: float = 10_600.0
    """Of them: found in the vendor's cache."""
    tokens_out: float = 245.0
    characters: float = 516.0
    """To the TTS."""
    speaking: float = 0.42
    """Share of the time in which the agent speaks, and has a context of the TTS."""


def cost_a_minute(
    prices: PriceTable,
    use: Use | None = None,
    *,
    stt: str = "nova-3",
    llm: str = "openai/gpt-oss-120b",
    tts: str = "sonic-3",
) -> dict[str, float]:
    """By vendor, in the currency of the prices."""
    use = use or Use()
    tokens = {"tokens_in": use.tokens_in, "tokens_cached": use.tokens_cached, "tokens_out": use.tokens_out}
    return {
        "stt": prices.cost("stt", stt, "seconds", use.heard_s),
        "llm": sum(prices.cost("llm", llm, unit, amount) for unit, amount in tokens.items()),
        "tts": prices.cost("tts", tts, "characters", use.characters),
    }
