"""A worker's answers about its running calls: what goes on in them, a word in, their sound. `remote_live` asks.

`live` (`since`, `metered`: UUIDs) is answered with `look`, `whole`, `calls` (those that changed since look `since`, or
all), `gone`, `levels`, `process`; `live_order` (`uuid`, `order`: `end` or `transfer`, `target`, `by`) with `taken` or
`unknown` (a target); `listen` (`listener`, `uuid`, `batch_ms`) with `listens` or `refused`, and then `audio` is told
(`listener`, and `pcm` or at the end `over`) until `unlisten` (`listener`) is. Of a call that is over: `gone`.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from agent.call.live import LiveCalls
from agent.call.running import RunningCall, TooManyListeners, UnknownTarget
from agent.call.watching import WORDS
from agent.ops.live_page import Process
from agent.workers.bus import Bus


class LiveDesk:
    """Of one worker. `close` it before the bus."""

    def __init__(self, live: LiveCalls, process: Callable[[], Process], bus: Bus) -> None:
        """`process` says how this worker does."""
        self._live = live
        self._process = process
        self._bus = bus
        self._look = 0
        self._told: dict[str, dict[str, Any]] = {}
        self._listening: dict[int, asyncio.Task[None]] = {}
        bus.on("live", self._looked_at)
        bus.on("live_order", self._ordered)
        bus.on("listen", self._listen)
        bus.on("unlisten", self._unlisten)

    async def close(self) -> None:
        """Nobody listens in any more."""
        tasks = list(self._listening.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _looked_at(self, values: Mapping[str, Any]) -> dict[str, Any]:
        whole = values["since"] != self._look
        told = {} if whole else self._told
        now = {call.uuid: state_of(call) for call in self._live}
        self._look += 1
        self._told = now
        levels = {}
        for uuid in values["metered"]:
            call = self._live.get(uuid)
            if call is not None:
                levels[uuid] = call.levels()
        return {
            "look": self._look,
            "whole": whole,
            "calls": [state for uuid, state in now.items() if told.get(uuid) != state],
            "gone": [uuid for uuid in told if uuid not in now],
            "levels": levels,
            "process": dataclasses.asdict(self._process()),
        }

    async def _ordered(self, values: Mapping[str, Any]) -> dict[str, Any]:
        call = self._live.get(values["uuid"])
        if call is None:
            return {"gone": True}
        try:
            if values["order"] == "end":
                return {"taken": await call.end(values["by"])}
            return {"taken": await call.transfer(values["target"], values["by"])}
        except UnknownTarget as error:
            return {"unknown": str(error)}

    async def _listen(self, values: Mapping[str, Any]) -> dict[str, Any]:
        call = self._live.get(values["uuid"])
        if call is None:
            return {"gone": True}
        listener = values["listener"]
        entered: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(self._play(listener, call, values["batch_ms"], entered), name="listening in")
        self._listening[listener] = task
        task.add_done_callback(lambda _: self._listening.pop(listener, None))
        either: set[asyncio.Future[Any]] = {entered, task}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        return entered.result() if entered.done() else {"gone": True}

    async def _play(
        self, listener: int, call: RunningCall, batch_ms: int, entered: asyncio.Future[dict[str, Any]]
    ) -> None:
        try:
            async with call.audio(batch_ms) as audio:
                entered.set_result({"listens": True})
                async for pcm in audio:
                    if not self._bus.tell("audio", listener=listener, pcm=pcm) and self._bus.closed:
                        return
            self._bus.tell("audio", listener=listener, over=True)
        except TooManyListeners as error:
            entered.set_result({"refused": str(error)})

    def _unlisten(self, values: Mapping[str, Any]) -> None:
        task = self._listening.get(values["listener"])
        if task is not None:
            task.cancel()


def state_of(call: RunningCall) -> dict[str, Any]:
    """Everything that is told of a call, as JSON carries it."""
    return {
        "uuid": call.uuid,
        "did": call.did,
        "caller_id": call.caller_id,
        "caller_name": call.caller_name,
        "started": call.started.timestamp(),
        "rate": call.rate,
        "company": call.company,
        "company_id": call.company_id,
        "targets": call.targets,
        "doing": call.doing,
        "steps": call.steps,
        "step_number": call.step_number,
        "caller": call.caller[-WORDS:],
        "agent": call.agent[-WORDS:],
        "turns": call.turns,
        "latency_ms": call.latency_ms,
        "listeners": call.listeners,
    }
