"""The emulated vendors of the soak: published latencies, no limits of number, and faults in a share of what is asked.

Run as `python -m benchmarks.soak.vendors SHARE SEED`. Each vendor has faults of its own kinds; one is armed whenever
as many requests, streams or contexts have gone by as were drawn, so that the share is met on average.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections import Counter
from typing import Any

import uvloop

from agent.ops import collector, files
from agent.sandbox import Sandbox, SandboxConfig, rehearsed
from agent.sandbox.control import Control
from agent.sandbox.profiles import profiled, without_limits
from agent.speech_engines.script import ScriptRecogniser
from benchmarks.agent.child import serve_questions
from benchmarks.agent.lag import Lag

LOOK_S = 0.05
LINES = tuple(rehearsed.LINES[number] for number in (0, 4, 7, 1, 2, 3, 5, 6, 8, 9))
"""What callers say in turn: so that a call of twenty seconds makes a booking."""
Fault = tuple[str, dict[str, Any]]
KINDS: dict[str, tuple[str, tuple[Fault, ...]]] = {
    "deepgram": (
        "upgrades",
        (
            ("connection refused", {"refuse_times": 1, "refuse_status": 503}),
            ("429", {"refuse_times": 1, "refuse_status": 429}),
            ("slow to accept", {"delay_times": 1, "delay_ms": 1500.0}),
            ("connection lost", {"close_times": 1, "close_code": 0}),
            ("closed with 1011", {"close_times": 1, "close_code": 1011}),
            ("falls silent", {"silent_times": 1}),
        ),
    ),
    "groq": (
        "requests",
        (
            ("500", {"refuse_times": 1, "refuse_status": 500}),
            ("429", {"refuse_times": 1, "refuse_status": 429, "retry_after_s": 1.0}),
            ("slow answer", {"delay_times": 1, "delay_ms": 1500.0}),
            ("dropped unanswered", {"drop_times": 1}),
            ("stream lost", {"close_times": 1, "close_after": 4, "close_code": 0}),
            ("stream cut", {"cut_times": 1, "cut_after": 4}),
            ("garbage", {"garbage_times": 1, "garbage_after": 4}),
        ),
    ),
    "cartesia": (
        "contexts",
        (
            ("connection lost", {"close_times": 1, "close_code": 0}),
            ("context fails", {"context_error_times": 1, "context_error_after_ms": 300.0}),
            ("context falls silent", {"mute_times": 1, "mute_after_ms": 300.0}),
            ("slow to accept", {"delay_times": 1, "delay_ms": 1000.0}),
        ),
    ),
}
"""By vendor: the counter that faults are a share of, and what may go wrong."""


class Injector:
    """Arms faults by what the vendors count."""

    def __init__(self, controls: dict[str, Control[Any]], share: float, seed: int) -> None:
        self._controls = controls
        self._share = share
        self._dice = random.Random(seed)
        self._due = {name: self._draw() for name in controls}
        self.armed: Counter[str] = Counter()
        """What was, by vendor and kind."""

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            for name, control in self._controls.items():
                counter, kinds = KINDS[name]
                while control.counters[counter] >= self._due[name]:
                    self._due[name] += self._draw()
                    what, fault = self._dice.choice(kinds)
                    await control.order({"faults": fault})
                    self.armed[f"{name}: {what}"] += 1

    def _draw(self) -> float:
        return self._dice.expovariate(self._share) if self._share > 0 else float("inf")


async def main() -> None:
    """Serve until standard input ends."""
    config = profiled(without_limits(SandboxConfig(engines="script")), "published")
    async with Sandbox(config, recogniser=ScriptRecogniser(LINES)) as sandbox:
        files.make_room(1000)
        collector.settle()
        lag = Lag()
        controls: dict[str, Control[Any]] = {
            "deepgram": sandbox.deepgram,
            "groq": sandbox.groq,
            "cartesia": sandbox.cartesia,
        }
        injector = Injector(controls, float(sys.argv[1]), int(sys.argv[2]))
        injecting: asyncio.Task[None] | None = None

        async def answer(question: str) -> dict[str, Any]:
            nonlocal injecting
            if question == "faults" and injecting is None:
                injecting = asyncio.create_task(injector.run(), name="injector")
            elif question == "no faults" and injecting is not None:
                injecting.cancel()
            if injecting is not None and injecting.done() and not injecting.cancelled():
                injecting.result()
            told = {"lag": lag.tell(), "armed": dict(injector.armed)}
            lag.mark()
            return told | {name: dict(control.counters) for name, control in controls.items()}

        urls = {"deepgram": sandbox.deepgram_url, "groq": sandbox.groq_url, "cartesia": sandbox.cartesia_url}
        await serve_questions(urls, answer)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # the vendors are to be cheap
        runner.run(main())
