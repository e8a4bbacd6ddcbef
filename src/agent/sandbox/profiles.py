"""Latencies of the three vendors as profiles: as they are published, and as they show in practice.

What each figure counts from is what the emulator's settings say (`config.py`). Sleeping through one holds up nothing
that comes in: audio is heard while a result is on its way.
"""

from __future__ import annotations

from typing import Final, Literal

from agent.sandbox.config import SandboxConfig
from agent.sandbox.latency import Percentiles

Profile = Literal["published", "practice"]
PROFILES: Final[tuple[Profile, ...]] = ("published", "practice")

STT_FINAL: Final = Percentiles(p50=170, p90=220, p99=350)
"""From audio, or `Finalize`, to the final result that covers it. An interim takes as long: it is the same pipeline."""

MANY: Final = 1_000_000_000

FLUX: Final = Percentiles(p50=20, p90=60, p99=150)
"""From audio to what Flux says of it; with it the ends of turns come when its maker says (`flux_turns.py`)."""


def profiled(config: SandboxConfig, profile: Profile) -> SandboxConfig:
    """The same settings with the latencies of a profile.

    Both: Flux's turns end when its maker says, 260 ms after the speech at the median.

    published: STT final 170/220/350 ms, first token 35/55/120 ms, first audio 60/85/150 ms at P50/P90/P99, the figures
    that published tutorials for this chain of vendors reckon with. The first token is the first word of the answer: a
    reasoning model's reasoning is part of the 35 ms, as if there were none to wait for.

    practice: the same STT. Groq: a queue of 40 to 470 ms, which dominates (`usage.queue_time` in recorded streams of
    the repositories agentjido/req_llm and vercel/ai), then the prompt, then gpt-oss's reasoning at 500 tokens a second
    (console.groq.com/docs/models) before the first word. Cartesia: 90 ms at the median, which its own pages give as
    typical for Sonic, 300 ms at worst, and audio in chunks of 50 ms at five times the speed of speech; how long its
    chunks really are was not established.
    """
    config = config.model_copy(deep=True)
    config.deepgram.interim_latency = config.deepgram.final_latency = STT_FINAL
    config.deepgram.flux_latency = FLUX
    if profile == "published":
        config.groq.first_token = Percentiles(p50=35, p90=55, p99=120)
        config.cartesia.first_audio = Percentiles(p50=60, p90=85, p99=150)
    else:
        config.groq.first_token = None
        config.groq.queue = Percentiles(p50=100, p90=300, p99=470)
        config.groq.prompt = Percentiles(p50=5, p90=8, p99=10)
        config.groq.tokens_per_second = 500.0
        config.groq.reasoning_tokens = {"low": 20, "medium": 34, "high": 120}
        config.cartesia.first_audio = Percentiles(p50=90, p90=150, p99=300)
        config.cartesia.chunk_ms = 50
        config.cartesia.speed = 5.0
    return config


def without_limits(config: SandboxConfig) -> SandboxConfig:
    """The same settings without limits of streams, contexts, requests or tokens: as for load."""
    config = config.model_copy(deep=True)
    config.deepgram.max_streams = MANY
    config.groq.requests_per_minute = config.groq.tokens_per_minute = MANY
    config.cartesia.max_contexts = config.cartesia.max_sockets = MANY
    return config
