"""The emulated vendors of the benchmark, in a process of their own: `python -m benchmarks.latency.vendors PROFILE`."""

from __future__ import annotations

import asyncio
import signal
import sys

from agent.sandbox import Sandbox, SandboxConfig
from agent.sandbox.config import CartesiaConfig, GroqConfig
from agent.sandbox.profiles import PROFILES, profiled
from benchmarks.latency import corpus


async def serve(profile: str) -> None:
    """Print the settings that point an agent here, then `ready`; run until SIGTERM."""
    chosen = next(name for name in PROFILES if name == profile)
    config = SandboxConfig(
        engines="tones",
        groq=GroqConfig(requests_per_minute=100_000, tokens_per_minute=100_000_000),
        cartesia=CartesiaConfig(max_contexts=100),  # a limit of the plan is not what is measured
    )
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with Sandbox(profiled(config, chosen), think=corpus.answer) as sandbox:
        for vendor in ("deepgram", "groq", "cartesia"):
            print(f"{vendor.upper()}_URL={getattr(sandbox, f'{vendor}_url')}")
            print(f"{vendor.upper()}_API_KEY=sandbox")
        print("ready", flush=True)
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
