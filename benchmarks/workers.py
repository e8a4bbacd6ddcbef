"""What workers take, and how evenly calls go to them: `python -m benchmarks.workers [WORKERS] [SECONDS]`.

Vendors are emulated in this process, which is the supervisor as well; the workers are real ones. Callers say nothing,
come at random (8 a second) and stay for 1, 2 or 12 s.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

from agent.ops.logs import set_up_logging
from agent.ops.settings import UNLIMITED, load_settings
from agent.sandbox import Sandbox, SandboxConfig
from agent.sandbox.caller.wire import AudioSocketCaller
from agent.sandbox.config import CartesiaConfig, DeepgramConfig
from agent.workers.supervisor import Supervisor

A_SECOND = 8.0
STAYS_S = (1.0, 2.0, 12.0)
WARM_S = 8.0
ASKED = 300


def memory_mb(pid: int) -> dict[str, int]:
    """Of a process: resident, its share of that, and what is its own."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    kib = {name: int(value) for name, value in re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)}
    own = kib["Private_Clean"] + kib["Private_Dirty"]
    return {name: round(value / 1024) for name, value in (("rss", kib["Rss"]), ("pss", kib["Pss"]), ("own", own))}


async def ring(port: int, seconds: float) -> None:
    """A call of so long."""
    silence = bytes(320)
    wire = AudioSocketCaller(uuid4(), lambda tick: silence, lambda at, samples, rate: None)
    await wire.connect("127.0.0.1", port)
    wire.start()
    await asyncio.sleep(seconds)
    await wire.close()


async def spread(agent: Supervisor, seconds: float) -> None:
    """Let calls come and go, and look how they are shared."""
    chance = random.Random(7)
    calls: set[asyncio.Task[None]] = set()
    seen: list[tuple[int, int]] = []
    count = 0
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        call = asyncio.create_task(ring(agent.audio_port, chance.choice(STAYS_S)))
        calls.add(call)
        call.add_done_callback(calls.discard)
        count += 1
        await asyncio.sleep(chance.expovariate(A_SECOND))
        have = [worker.calls for worker in agent.workers]
        if time.monotonic() - began > WARM_S:
            seen.append((sum(have), max(have) - min(have)))
    apart = sorted(difference for _, difference in seen)
    print(
        f"{count} calls, {statistics.mean(at_once for at_once, _ in seen):.1f} at once; most and fewest differ by "
        f"{statistics.mean(apart):.2f} on average, {apart[int(0.95 * len(apart))]} at P95, {apart[-1]} at most"
    )
    await asyncio.gather(*calls)


async def main(workers: int = 2, seconds: float = 25.0) -> None:
    """Start, look, and let calls come."""
    config = SandboxConfig(
        engines="script", deepgram=DeepgramConfig(), cartesia=CartesiaConfig(max_contexts=200, speed=100.0)
    )
    async with contextlib.AsyncExitStack() as stack:
        vendors = await stack.enter_async_context(Sandbox(config))
        values: dict[str, Any] = {f"{name}_api_key": "key" for name in ("deepgram", "groq", "cartesia")}
        values |= {"deepgram_url": vendors.deepgram_url, "groq_url": vendors.groq_url}
        values |= {"cartesia_url": vendors.cartesia_url, **UNLIMITED}
        values |= {"data_dir": Path(stack.enter_context(tempfile.TemporaryDirectory())), "workers": workers}
        values |= dict.fromkeys(("listen_port", "fastagi_port", "http_port"), 0)
        values |= {"console": False, "record_calls": False, "silence_seconds": 60, "log_level": "warning"}
        settings = load_settings(**values)
        set_up_logging(settings)
        began = time.monotonic()
        agent = await stack.enter_async_context(Supervisor(settings))
        print(f"{workers} workers take calls after {time.monotonic() - began:.1f} s")
        await asyncio.sleep(1.0)
        for worker in agent.workers:
            print(f"worker {worker.number}, MB: {memory_mb(worker.pid)}")
        times = []
        for _ in range(ASKED):
            asked = time.perf_counter()
            await agent.workers[0].bus.ask("health")
            times.append(1000 * (time.perf_counter() - asked))
        times.sort()
        middle, slowest = times[ASKED // 2], times[-ASKED // 100]
        print(f"a question over the bus: {middle:.2f} ms in the middle, {slowest:.2f} ms at P99")
        await spread(agent, seconds)


if __name__ == "__main__":
    asyncio.run(main(*(int(argument) for argument in sys.argv[1:])))
