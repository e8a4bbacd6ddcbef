"""`/live` on the agent's HTTP port: the calls that run and how the agent does, for `voice-agent top` and its like.

It has no words, no callers' names and of telephone numbers the last three digits at most: whoever may read `/health`
may read it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson
from aiohttp import web

from agent.call.running import RunningCall, RunningCalls
from agent.ops.outbox import outbox_health
from agent.providers.breaker import Breaker, BreakerState

if TYPE_CHECKING:
    from agent.front import Front

FRESH_S: Final = 0.2
"""A page so old is given to the next who asks: many who look cost no more than one."""
LEVELS: Final = 200
"""Calls whose levels are told."""
_ORDER: Final = tuple(state.value for state in (BreakerState.CLOSED, BreakerState.TRYING, BreakerState.OPEN))


@dataclass(frozen=True, slots=True)
class Process:
    """What a process that has calls says of itself."""

    number: int
    """0 where there is one."""
    pid: int
    state: str
    """`starting`, `serving`, `draining` or `gone`."""
    calls: int
    loop_lag_ms: float = 0.0
    media_lateness_ms: float = 0.0
    vendors: Mapping[str, Mapping[str, Any]] | None = None
    """By endpoint: what its breaker says, as `vendors_of` has it."""

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON, without the vendors."""
        return {
            "number": self.number,
            "pid": self.pid,
            "state": self.state,
            "calls": self.calls,
            "loop_lag_ms": round(self.loop_lag_ms, 1),
            "media_lateness_ms": round(self.media_lateness_ms, 1),
        }


def vendors_of(breakers: Iterable[Breaker]) -> dict[str, dict[str, Any]]:
    """By endpoint: its breaker's `state`, for how many s it rests, and its counters."""
    return {
        breaker.name: {"state": breaker.state.value, "rest_s": round(breaker.rest_s, 1), **breaker.counters}
        for breaker in breakers
    }


def vendors_together(processes: Iterable[Mapping[str, Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Of several processes: the worst state, the longest rest, and the counters added up."""
    together: dict[str, dict[str, Any]] = {}
    for vendors in processes:
        for name, told in vendors.items():
            seen = together.setdefault(name, {"state": _ORDER[0], "rest_s": 0.0})
            for key, value in told.items():
                if key == "state":
                    seen["state"] = max(seen["state"], value, key=_ORDER.index)
                elif key == "rest_s":
                    seen["rest_s"] = max(seen["rest_s"], value)
                else:
                    seen[key] = seen.get(key, 0) + value
    return together


def last_digits(number: str) -> str:
    """`last_digits("+447700900123")` is "…123"; of a short one, an extension, half at most; "" if it is withheld."""
    digits = [character for character in number if character.isdigit()]
    shown = min(3, len(digits) // 2)
    return "…" + "".join(digits[len(digits) - shown :]) if number else ""


class LivePage:
    """Makes the page, five times a second at most."""

    def __init__(self, front: Front, live: RunningCalls, processes: Callable[[], Sequence[Process]]) -> None:
        """The calls run in `processes`."""
        self._front = front
        self._live = live
        self._processes = processes
        self._began = time.monotonic()
        self._page = b""
        self._made = -FRESH_S
        self._making = asyncio.Lock()

    async def answer(self, _request: web.Request) -> web.Response:
        """GET /live."""
        async with self._making:
            if time.monotonic() - self._made >= FRESH_S:
                self._page = orjson.dumps(await self.document())
                self._made = time.monotonic()
        return web.Response(body=self._page, content_type="application/json", headers={"Cache-Control": "no-store"})

    async def document(self) -> dict[str, Any]:
        """What the page says, as it stands."""
        front, live = self._front, self._live
        loud = frozenset(call.uuid for call, _ in zip(live, range(LEVELS), strict=False))
        await live.look(loud)
        processes = self._processes()
        admission = front.admission
        turned_away: dict[str, int] = {}
        for (_, reason), count in front.strangers.counters.items():
            turned_away[reason] = turned_away.get(reason, 0) + count
        return {
            "now": round(time.time() * 1000),
            "uptime_s": round(time.monotonic() - self._began),
            "status": "stopping" if admission.stopping else "ok",
            "max_calls": admission.settings.max_calls,
            "announced": front.registry.announced,
            "today": {"minutes": round(admission.usage.minutes, 1), "spending": round(admission.usage.cost, 2)},
            "refused": dict(admission.counters),
            "turned_away": turned_away,
            "outbox": outbox_health(front.outbox),
            "vendors": vendors_together(process.vendors or {} for process in processes),
            "workers": [process.as_dict() for process in processes],
            "calls": [_call(call, call.uuid in loud) for call in live],
        }


def _call(call: RunningCall, metered: bool) -> dict[str, Any]:
    return {
        "uuid": call.uuid,
        "worker": call.worker,
        "company": call.company,
        "caller": last_digits(call.caller_id),
        "line": last_digits(call.did),
        "started": round(call.started.timestamp() * 1000),
        "doing": call.doing,
        "steps": call.steps,
        "step": call.step_number,
        "turns": call.turns,
        "latency_ms": call.latency_ms,
        "listeners": call.listeners,
        "levels": call.levels() if metered else None,
    }
