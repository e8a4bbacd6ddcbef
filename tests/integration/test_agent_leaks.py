"""Calls leave nothing behind: after each round of them there is what there was after the round before, counted."""

from __future__ import annotations

import asyncio
import gc
import itertools
import logging
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from agent.ops.settings import UNLIMITED, load_settings
from agent.sandbox import Sandbox, SandboxConfig
from agent.sandbox.config import CartesiaConfig, DeepgramConfig
from agent.sandbox.control import Control
from agent.service import Agent
from fastaudio import load

CALLS = 12
ROUNDS = 2
OURS = ("agent.", "fastaudio.", "asyncio.")
KEPT = ("agent.telephony.", "agent.call.greeting.", "agent.sandbox.")
"""Modules that remember what is over, within limits of their own (verdicts), or are the vendors'."""
METER = "agent.providers.metering.Meter"
"""A connection that is kept for later calls has the context of the one that opened it, and there its meter. Meters that
leaked would be more by a round's calls each time.
"""
CANCELLED = "asyncio.events.TimerHandle"
"""A cancelled one stays with the event loop until it would have been due."""


def objects() -> Counter[str]:
    """What is alive of the agent's own and of asyncio's, by type, rubbish aside."""
    gc.collect()
    found: Counter[str] = Counter()
    for each in gc.get_objects():
        name = f"{type(each).__module__}.{type(each).__qualname__}"
        if name.startswith(OURS) and not name.startswith(KEPT) and name != CANCELLED:
            found[name] += 1
    found["open files"] = len(os.listdir("/proc/self/fd"))
    found["tasks"] = len(asyncio.all_tasks())
    return found


def circles() -> Counter[str]:
    """What of the agent's own was not freed when the last reference from outside went, by type."""
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect()
        return Counter(
            name
            for name in (f"{type(each).__module__}.{type(each).__qualname__}" for each in gc.garbage)
            if name.startswith(("agent.", "fastaudio.")) and not name.startswith("agent.sandbox.")
        )
    finally:
        gc.set_debug(0)
        gc.garbage.clear()


async def converse(agent: Agent, wrong: asyncio.Task[None] | None) -> load.Report:
    """A round of calls, in which something goes wrong; returns when the agent has done with them."""
    report = await asyncio.to_thread(
        load.run, "127.0.0.1", agent.audio_port, calls=CALLS, seconds=5.0, warmup=0.5, turn_ms=400
    )
    if wrong is not None:
        assert wrong.cancel(), wrong.exception()
    async with asyncio.timeout(10):
        while agent.calls:  # noqa: ASYNC110 - it is the agent's own count that matters
            await asyncio.sleep(0.05)
    await asyncio.sleep(1.5)  # vendors' contexts, and connections that close
    return report


async def go_wrong(vendors: Sandbox) -> None:
    """Until cancelled, what vendors do wrong now and then. Errors in a reply's body are in a circle of aiohttp's."""
    wrong: list[tuple[Control[Any], dict[str, Any]]] = [
        (vendors.cartesia, {"context_error_times": 1, "context_error_after_ms": 100.0}),
        (vendors.groq, {"refuse_times": 1, "refuse_status": 500}),
        (vendors.cartesia, {"mute_times": 1, "mute_after_ms": 100.0}),
        (vendors.groq, {"delay_times": 1, "delay_ms": 1500.0}),
        (vendors.deepgram, {"close_times": 1, "close_code": 1011}),
    ]
    for control, fault in itertools.cycle(wrong):
        await control.order({"faults": fault})
        await asyncio.sleep(0.3)


@pytest.mark.parametrize("faults", [False, True])
async def test_calls_that_have_ended_leave_nothing_behind(tmp_path: Path, *, faults: bool) -> None:
    config = SandboxConfig(
        engines="script", deepgram=DeepgramConfig(), cartesia=CartesiaConfig(max_contexts=100, speed=100.0)
    )
    async with Sandbox(config) as vendors:
        settings = load_settings(
            deepgram_url=vendors.deepgram_url,
            deepgram_api_key="key",
            groq_url=vendors.groq_url,
            groq_api_key="key",
            cartesia_url=vendors.cartesia_url,
            cartesia_api_key="key",
            listen_port=0,
            fastagi_port=0,
            http_port=0,
            console=False,
            data_dir=tmp_path,
            max_calls=2 * CALLS,
            **UNLIMITED,
        )
        async with Agent(settings) as agent:
            rounds, answers, left = [], 0, Counter[str]()
            logging.disable(logging.WARNING)  # pytest keeps what is logged, errors with their tracebacks included
            gc.collect()
            gc.disable()  # a call's memory goes with its end, not with the next collection
            try:
                for _ in range(ROUNDS):
                    wrong = asyncio.create_task(go_wrong(vendors)) if faults else None
                    answers += (await converse(agent, wrong)).answers
                    left += circles()
                    rounds.append(objects())
            finally:
                gc.enable()
                logging.disable(logging.NOTSET)
    assert answers > 0  # they did converse
    assert not left
    grown = {
        name: [counted[name] for counted in rounds]
        for name in rounds[-1]
        if rounds[-1][name] > rounds[0][name] + (CALLS - 1 if name == METER else 2)
    }
    assert not grown
