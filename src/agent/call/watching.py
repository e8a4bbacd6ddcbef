"""Looking at running calls five times a second, while anybody does: what has changed, and how loud they are.

There is no queue. A look is made once for all who watch; who is slow misses some, counted, and is told what has
changed since the last one that it saw.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson

from agent.call.running import RunningCall, RunningCalls

EVERY_S = 0.2
WATCHERS = 32
METERED = 60
"""Calls whose levels one who watches is told."""
WORDS = 400
"""Letters of what somebody said that are told: the last ones."""


class TooManyWatchers(RuntimeError):
    """As many people watch as may."""


@dataclass(frozen=True, slots=True)
class Change:
    """What is new to one who watches. `calls` are JSON objects, each the whole state of a call."""

    calls: tuple[bytes, ...] = ()
    gone: tuple[str, ...] = ()
    """UUIDs of calls that are over."""
    levels: dict[str, tuple[int, int]] = field(default_factory=dict)
    """RMS of the caller and the agent, by UUID: of calls that are shown and not silent, or were not just now."""


@dataclass(slots=True)
class _Seen:
    state: dict[str, Any]
    json: bytes
    look: int
    """The look at which it was seen to be so."""


class Watching:
    """All who watch the calls of one agent. While nobody does, it does nothing."""

    def __init__(self, live: RunningCalls, describe: Callable[[RunningCall], dict[str, Any]] | None = None) -> None:
        """`describe` says what is told of a call, ready for JSON; `state_of` unless it is given."""
        self.live = live
        self._describe = describe or state_of
        self.counters: Counter[str] = Counter()
        """`looks`, and `missed`: looks that a watcher was too slow for."""
        self._watchers: set[Watcher] = set()
        self._seen: dict[str, _Seen] = {}
        self._levels: dict[str, tuple[int, int]] = {}
        self._look = 0
        self._looked: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._watchers)

    @asynccontextmanager
    async def watch(self, sees: Callable[[int | None], bool] = lambda company_id: True) -> AsyncIterator[Watcher]:
        """Watch the calls of those companies whose ID `sees` allows, while entered. Raises `TooManyWatchers`."""
        if len(self._watchers) >= WATCHERS:
            raise TooManyWatchers(f"{WATCHERS} may watch at once")
        watcher = Watcher(self, sees)
        self._watchers.add(watcher)
        try:
            if self._task is None:
                await self.live.look()
            if self._task is None:
                self._look_round()
                self._task = asyncio.create_task(self._run(), name="watching")
            yield watcher
        finally:
            self._watchers.discard(watcher)
            if not self._watchers:
                self._rest()

    def _rest(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self._seen.clear()
        self._levels.clear()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due = max(due + EVERY_S, loop.time())  # looks that are late are left out, not made up for
            await asyncio.sleep(due - loop.time())
            await self.live.look(self._metered)
            self._look_round()
            if self._looked is not None and not self._looked.done():
                self._looked.set_result(None)
            self._looked = None

    @property
    def _metered(self) -> frozenset[str]:
        return frozenset(uuid for watcher in self._watchers for uuid in watcher.metered)

    def _look_round(self) -> None:
        self._look += 1
        self.counters["looks"] += 1
        metered = self._metered
        there = set()
        for call in self.live:
            there.add(call.uuid)
            state = self._describe(call)
            seen = self._seen.get(call.uuid)
            if seen is None or seen.state != state:
                self._seen[call.uuid] = _Seen(state, orjson.dumps(state), self._look)
            if call.uuid in metered:
                self._levels[call.uuid] = call.levels()
            else:
                self._levels.pop(call.uuid, None)
        for uuid in self._seen.keys() - there:
            del self._seen[uuid]
            self._levels.pop(uuid, None)

    async def _next_look(self, last: int) -> int:
        """Wait for a look that is newer than `last`."""
        while self._look <= last:
            if self._looked is None:
                self._looked = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._looked)
        return self._look


class Watcher:
    """One who watches. `metered` are the calls whose levels are wanted: those that are on the screen."""

    def __init__(self, watching: Watching, sees: Callable[[int | None], bool]) -> None:
        self._watching = watching
        self._sees = sees
        self._look = 0
        self._told: set[str] = set()
        self._loud: set[str] = set()
        self.metered: frozenset[str] = frozenset()

    def meter(self, uuids: frozenset[str]) -> None:
        """Tell the levels of these calls from now on, as far as they may be seen."""
        seen = (call.uuid for call in self._watching.live.all(self._sees) if call.uuid in uuids)
        self.metered = frozenset(uuid for uuid, _ in zip(seen, range(METERED), strict=False))

    async def changes(self) -> AsyncGenerator[Change]:
        """What there is, at once, then after each look what has changed: often nothing."""
        yield self._change()
        while True:
            look = await self._watching._next_look(self._look)
            self._watching.counters["missed"] += look - self._look - 1
            yield self._change()

    def _change(self) -> Change:
        watching = self._watching
        calls = watching.live.all(self._sees)
        seen = {call.uuid: watching._seen[call.uuid] for call in calls if call.uuid in watching._seen}
        new = tuple(one.json for uuid, one in seen.items() if uuid not in self._told or one.look > self._look)
        gone = tuple(self._told - seen.keys())
        levels = {uuid: watching._levels[uuid] for uuid in self.metered if uuid in seen and uuid in watching._levels}
        loud = {uuid for uuid, level in levels.items() if any(level)}
        levels = {uuid: level for uuid, level in levels.items() if uuid in loud | self._loud}
        self._told, self._loud, self._look = set(seen), loud, watching._look
        return Change(new, gone, levels)


def state_of(call: RunningCall) -> dict[str, Any]:
    """What is told of a call, ready for JSON; `started` is ms since 1970, in UTC."""
    return {
        "uuid": call.uuid,
        "company": call.company,
        "did": call.did,
        "caller_id": call.caller_id,
        "caller_name": call.caller_name,
        "started": round(call.started.timestamp() * 1000),
        "doing": call.doing,
        "steps": call.steps,
        "step": call.step_number,
        "caller": call.caller[-WORDS:],
        "agent": call.agent[-WORDS:],
        "latency_ms": call.latency_ms,
        "turns": call.turns,
        "targets": call.targets,
        "listeners": call.listeners,
    }
