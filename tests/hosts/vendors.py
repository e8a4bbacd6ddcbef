"""The emulated vendors of several hosts, as a process of their own: `python -m tests.hosts.vendors`.

It tells their URLs, and answers each line on its standard input with whose bookings the LLM has ordered.
"""

from __future__ import annotations

import asyncio
from typing import Any

import uvloop

from agent.sandbox import Sandbox, SandboxConfig
from agent.sandbox.config import CartesiaConfig, DeepgramConfig, GroqConfig
from agent.speech_engines.tones import ToneRecogniser, ToneVoice
from benchmarks.agent.child import serve_questions
from tests.chaos import conversation

MANY = 1_000_000


async def main() -> None:
    """Serve until standard input ends."""
    asked: list[str] = []

    def think(messages: Any, tools: Any) -> Any:
        answer = conversation.answer(messages, tools)
        asked.extend(call.arguments["customer_name"] for call in answer.calls if call.name == "create_booking")
        return answer

    async def tell(_question: str) -> dict[str, Any]:
        return {"asked": asked}

    config = SandboxConfig(
        engines="tones",
        deepgram=DeepgramConfig(max_streams=MANY, final_latency=50.0),
        groq=GroqConfig(requests_per_minute=MANY, tokens_per_minute=MANY),
        cartesia=CartesiaConfig(max_contexts=MANY, max_sockets=MANY, first_audio=60.0),
    )
    async with Sandbox(config, recogniser=ToneRecogniser(), voice=ToneVoice(), think=think) as sandbox:
        urls = {"deepgram": sandbox.deepgram_url, "groq": sandbox.groq_url, "cartesia": sandbox.cartesia_url}
        await serve_questions(urls, tell)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # the vendors are to be cheap
        runner.run(main())
