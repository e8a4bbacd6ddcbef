"""`voice-agent serve`: from the settings to the last call, and what signals do."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

from agent.ops import collector, files
from agent.ops.settings import Settings
from agent.service import Agent


async def serve(settings: Settings, *, seed: bool, report: Callable[[str], None]) -> None:
    """Run the agent until SIGINT or SIGTERM, then drain; a second signal ends it at once."""
    stop = asyncio.Event()
    now = asyncio.Event()

    def on_signal() -> None:
        (now if stop.is_set() else stop).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal)
    files.make_room(settings.max_calls)
    async with Agent(settings) as agent:
        if seed and agent.store is not None:
            from agent.office.seed import seed_examples

            await seed_examples(agent.store)
        collector.settle()
        host = settings.listen_host
        report(
            f"AudioSocket on {host}:{agent.audio_port}, FastAGI on {host}:{agent.fastagi_port}, "
            f"HTTP on {host}:{agent.http_port}; at most {settings.max_calls} calls"
        )
        await stop.wait()
        drain = asyncio.create_task(agent.drain(), name="drain")
        again = asyncio.create_task(now.wait(), name="second signal")
        await asyncio.wait({drain, again}, return_when=asyncio.FIRST_COMPLETED)
        for task in (drain, again):
            task.cancel()
