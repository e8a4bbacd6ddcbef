"""The emulated vendors of a run, as cheap as they come, without limits of number.

Run as `python -m benchmarks.agent.vendors [CERTIFICATE]`.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import uvloop

from agent.ops import collector, files
from agent.sandbox import Sandbox, SandboxConfig
from agent.sandbox.config import CartesiaConfig, DeepgramConfig
from agent.sandbox.profiles import without_limits
from benchmarks.agent.child import serve_questions
from benchmarks.agent.lag import Lag


async def main() -> None:
    """Serve until standard input ends."""
    config = SandboxConfig(
        engines="script",
        certificate=Path(sys.argv[1]) if len(sys.argv) > 1 else None,
        deepgram=DeepgramConfig(final_latency=50.0),
        cartesia=CartesiaConfig(first_audio=60.0),
    )
    async with Sandbox(without_limits(config)) as sandbox:
        files.make_room(1000)
        collector.settle()
        lag = Lag()

        async def answer(question: str) -> dict[str, Any]:
            if question == "mark":
                lag.mark()
                for control in (sandbox.deepgram, sandbox.groq, sandbox.cartesia):
                    control.counters.clear()
            return {
                "lag": lag.tell(),
                "deepgram": dict(sandbox.deepgram.counters),
                "groq": dict(sandbox.groq.counters),
                "cartesia": dict(sandbox.cartesia.counters),
            }

        urls = {"deepgram": sandbox.deepgram_url, "groq": sandbox.groq_url, "cartesia": sandbox.cartesia_url}
        await serve_questions(urls, answer)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # the vendors are to be cheap
        runner.run(main())
