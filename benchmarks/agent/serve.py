"""The agent of a run: what `voice-agent serve` runs, with the settings of the environment, and some looks inside.

Run as `python -m benchmarks.agent.serve [--accounts]`.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections import Counter
from typing import Any

from agent.call.record import CallRecord, TurnRecord
from agent.ops import collector, files
from agent.ops.logs import set_up_logging
from agent.ops.settings import UNLIMITED, load_settings
from agent.service import Agent
from benchmarks.agent.accounts import Accounts
from benchmarks.agent.child import serve_questions
from benchmarks.agent.lag import Lag, quantile
from fastaudio import Lateness

SHARES = (0.5, 0.99, 0.999, 1.0)
WAITS = {
    "turn end to LLM request": ("turn_end", "llm_request"),
    "first audio to first frame": ("first_audio", "first_frame"),
}
"""Stages of a turn that are the agent's own, and whose ends are of one clock."""


class Pauses:
    """How much CPU Python's garbage collector took at once, while everything waits."""

    def __init__(self) -> None:
        self._begun_ns = 0
        self._ms: list[float] = []
        gc.callbacks.append(self._collecting)

    def _collecting(self, phase: str, _info: dict[str, int]) -> None:
        if phase == "start":
            self._begun_ns = time.thread_time_ns()
        else:
            self._ms.append((time.thread_time_ns() - self._begun_ns) / 1e6)

    def mark(self) -> None:
        """Count from now on."""
        self._ms.clear()

    def tell(self) -> dict[str, float]:
        """Pauses since the mark: how many, and how long all of them and the longest, ms."""
        return {
            "count": len(self._ms),
            "all_ms": round(sum(self._ms), 2),
            "max_ms": round(max(self._ms, default=0.0), 2),
        }


class Looks:
    """What is noted of the calls."""

    def __init__(self, agent: Agent, accounts: Accounts | None) -> None:
        self._agent = agent
        self._accounts = accounts
        self._lag = Lag()
        self._pauses = Pauses()
        self._lateness: Lateness = agent.engine.lateness()
        self._counters: Counter[str] = Counter()
        self.waits_ms: dict[str, list[float]] = {name: [] for name in WAITS}
        self.turns = 0
        self.records: Counter[str] = Counter()

    def turn(self, turn: TurnRecord) -> None:
        """An exchange is over."""
        self.turns += bool(turn.caller)
        for name, (first, last) in WAITS.items():
            begun, over = getattr(turn.times, first), getattr(turn.times, last)
            if turn.caller and begun is not None and over is not None and over >= begun:
                self.waits_ms[name].append(over - begun)

    def record(self, record: CallRecord) -> None:
        """A call is over: its own counters, added up."""
        self.records["calls"] += 1
        self.records[f"outcome {record.outcome}"] += 1
        for owner, counted in {"media": record.media, **record.vendors}.items():
            for name, value in counted.items():
                if isinstance(value, int):
                    self.records[f"{owner} {name}"] += value

    async def answer(self, question: str) -> dict[str, Any]:
        """`mark`: count from now on; `tell`: what was counted; `collect`: rubbish away first."""
        if question == "collect":
            gc.collect()
        late = self._agent.engine.lateness()
        since = late.since(self._lateness)
        counters = _counters(self._agent)
        told = {
            "lag": self._lag.tell(),
            "collector": self._pauses.tell(),
            "media_late_us": {f"{100 * share:g} %": since.quantile_us(share) for share in SHARES},
            "counters": {name: value for name, value in (counters - self._counters).items() if value},
            "turns": self.turns,
            "calls": self._agent.calls,
            "records": dict(self.records),
            "waits_ms": {
                name: {"p50": quantile(values, 0.5), "p99": quantile(values, 0.99)}
                for name, values in self.waits_ms.items()
            },
            "accounts": self._accounts.tell() if self._accounts is not None else None,
        }
        if question == "mark":
            self._lateness, self._counters, self.turns = late, counters, 0
            self._lag.mark()
            self._pauses.mark()
            for values in self.waits_ms.values():
                values.clear()
            if self._accounts is not None:
                self._accounts.mark()
        return told


def _counters(agent: Agent) -> Counter[str]:
    """What is counted for all calls together."""
    services = agent.services
    owners: dict[str, Any] = {
        "engine": {name: value for name, value in agent.engine.counters().items() if isinstance(value, int)},
        "agent": services.counters,
        "tts": getattr(services.tts, "counters", {}),
        "llm": getattr(services.llm, "counters", {}),
    }
    return Counter({f"{owner} {name}": value for owner, each in owners.items() for name, value in each.items()})


async def main() -> None:
    """Serve until standard input ends."""
    accounts = Accounts() if "--accounts" in sys.argv else None
    looks: Looks | None = None

    def on_turn(record: CallRecord, turn: TurnRecord) -> None:
        if looks is not None:
            looks.turn(turn)
        if accounts is not None:
            accounts.turn_is_over(record, turn)

    def on_record(record: CallRecord) -> None:
        if looks is not None:
            looks.record(record)
        if accounts is not None:
            accounts.call_is_over(record)

    # What is measured is one vendor: a host that is too slow for it must not begin to recognise speech itself.
    settings = load_settings(stt_fallbacks=("none",), **UNLIMITED)
    set_up_logging(settings)
    files.make_room(settings.max_calls)
    async with Agent(settings, on_turn=on_turn, on_record=on_record) as agent:
        collector.settle()
        looks = Looks(agent, accounts)
        await serve_questions({"port": agent.audio_port}, looks.answer)


if __name__ == "__main__":
    asyncio.run(main())
