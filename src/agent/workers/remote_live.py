"""The running calls of all workers, as the supervisor sees them: for the console and `voice-agent top`.

Nothing is told by itself: who looks asks, and while nobody does the workers do nothing for it. A worker that is slow to
answer keeps its calls as they were last seen; one that is gone has none.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from agent.call.running import LISTENERS, CallGone, Doing, RunningCall, TooManyListeners, UnknownTarget
from agent.ops.live_page import Process
from agent.workers.bus import Bus, BusError

LOOK_S: Final = 0.15
"""So long a look waits for workers; what comes later is in the next one."""
ORDER_S: Final = 2.0
LISTENER_S: Final = 2.56
"""Of sound that waits for a listener: as much as a call's capture holds."""


_LONG_AGO: Final = datetime.fromtimestamp(0, UTC)


class Worker(Protocol):
    """What is needed of a worker's process."""

    @property
    def number(self) -> int:
        """From 1."""

    @property
    def pid(self) -> int:
        """Of its process."""

    @property
    def state(self) -> str:
        """`starting`, `serving`, `draining` or `gone`."""

    @property
    def bus(self) -> Bus | None:
        """To it; None while there is none."""


@dataclass(slots=True)
class RemoteCall:
    """A call of a worker's, as it was when somebody looked last."""

    uuid: str
    worker: int
    did: str = ""
    caller_id: str = ""
    caller_name: str = ""
    started: datetime = _LONG_AGO
    rate: int = 8000
    company: str = ""
    company_id: int | None = None
    targets: tuple[str, ...] = ()
    doing: Doing = "greeting"
    steps: tuple[str, ...] = ()
    step_number: int = 0
    caller: str = ""
    agent: str = ""
    turns: int = 0
    latency_ms: int | None = None
    listeners: int = 0
    _calls: RemoteLiveCalls = field(repr=False, kw_only=True)
    _bus: Bus = field(repr=False, kw_only=True)
    _levels: tuple[int, int] = (0, 0)

    def tell(self, state: Mapping[str, Any]) -> None:
        """It is like this now, as `live_desk.state_of` has it."""
        for name, value in state.items():
            setattr(self, name, tuple(value) if isinstance(value, list) else value)
        self.started = datetime.fromtimestamp(state["started"], UTC)

    @property
    def step(self) -> str:
        """The present step's name; empty for a conversation without steps."""
        return self.steps[self.step_number] if self.steps else ""

    def levels(self) -> tuple[int, int]:
        """How loud both sides were at the last look that asked for it."""
        return self._levels

    async def end(self, by: str) -> bool:
        """As `RunningCall.end`."""
        return await self._order("end", "", by)

    async def transfer(self, target: str, by: str) -> bool:
        """As `RunningCall.transfer`."""
        return await self._order("transfer", target, by)

    async def _order(self, order: str, target: str, by: str) -> bool:
        answer = await _asked(self._bus, "live_order", uuid=self.uuid, order=order, target=target, by=by)
        if "unknown" in answer:
            raise UnknownTarget(answer["unknown"])
        return bool(answer["taken"])

    @asynccontextmanager
    async def audio(self, batch_ms: int = 100) -> AsyncIterator[AsyncIterator[bytes]]:
        """As `RunningCall.audio`."""
        async with self._calls.listening(self, self._bus, batch_ms) as audio:
            yield audio


async def _asked(bus: Bus, what: str, **values: Any) -> dict[str, Any]:
    """A worker's answer about a call. Raises `CallGone`."""
    try:
        answer: dict[str, Any] = await bus.ask(what, timeout_s=ORDER_S, **values)
    except BusError as error:
        raise CallGone(str(error)) from error
    if answer.get("gone"):
        raise CallGone("the call is over")
    return answer


@dataclass(slots=True)
class _Seen:
    """One worker, as it was seen last."""

    bus: Bus
    look: int = 0
    calls: dict[str, RemoteCall] = field(default_factory=dict)
    process: Process | None = None
    asking: asyncio.Task[None] | None = None


class RemoteLiveCalls:
    """`RunningCalls` of all workers. `close` it before the buses."""

    def __init__(self, workers: Callable[[], Iterable[Worker]]) -> None:
        """`workers` says which there are just now."""
        self.counters: Counter[str] = Counter()
        """`listened_lost_ms`, and `missed`: questions that a worker did not answer in time."""
        self._workers = workers
        self._seen: dict[int, _Seen] = {}
        self._listeners: dict[int, _Listener] = {}
        self._numbers = itertools.count(1)
        self._closed = False

    async def close(self) -> None:
        """Ask and listen no more."""
        self._closed = True
        tasks = [seen.asking for seen in self._seen.values() if seen.asking is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for listener in list(self._listeners.values()):
            listener.end()

    # -- looking -----------------------------------------------------------------------------------------------------

    async def look(self, metered: frozenset[str] = frozenset()) -> None:
        """Ask the workers what goes on, those at once that have answered the last time."""
        if self._closed:
            return
        asking = []
        for number, seen in self._present().items():
            if seen.asking is None:
                mine = [uuid for uuid in seen.calls if uuid in metered]
                seen.asking = asyncio.create_task(self._ask(number, seen, mine), name=f"look at worker {number}")
            asking.append(seen.asking)
        if asking:
            await asyncio.wait(asking, timeout=LOOK_S)

    def _present(self) -> dict[int, _Seen]:
        """The workers that can be asked; what was seen of others is forgotten."""
        present = {}
        for worker in self._workers():
            bus = worker.bus
            if bus is None or bus.closed or worker.state == "gone":
                continue
            seen = self._seen.get(worker.number)
            if seen is None or seen.bus is not bus:  # a new process has the number of one that died
                seen = _Seen(bus)
                bus.on("audio", self._heard)
            present[worker.number] = seen
        for number, seen in self._seen.items():
            if present.get(number) is not seen and seen.asking is not None:
                seen.asking.cancel()
        self._seen = present
        return present

    async def _ask(self, number: int, seen: _Seen, metered: list[str]) -> None:
        try:
            answer = await seen.bus.ask("live", since=seen.look, metered=metered)
        except BusError:
            self.counters["missed"] += 1
        else:
            self._take(number, seen, answer, metered)
        finally:
            seen.asking = None

    def _take(self, number: int, seen: _Seen, answer: Mapping[str, Any], metered: list[str]) -> None:
        seen.look = answer["look"]
        if answer["whole"]:
            there = {state["uuid"] for state in answer["calls"]}
            gone = [uuid for uuid in seen.calls if uuid not in there]
        else:
            gone = answer["gone"]
        for uuid in gone:
            seen.calls.pop(uuid, None)
        for state in answer["calls"]:
            uuid = state["uuid"]
            if uuid not in seen.calls:
                seen.calls[uuid] = RemoteCall(uuid, number, _calls=self, _bus=seen.bus)
            seen.calls[uuid].tell(state)
        for uuid in metered:
            if uuid in seen.calls:
                caller, agent = answer["levels"].get(uuid, (0, 0))
                seen.calls[uuid]._levels = (caller, agent)
        seen.process = Process(**answer["process"])

    def processes(self) -> list[Process]:
        """How each worker does, as far as it was seen; one that has not answered yet tells only that it is there."""
        told = []
        for worker in sorted(self._workers(), key=lambda worker: worker.number):
            seen = self._seen.get(worker.number)
            if seen is None or seen.process is None:
                told.append(Process(worker.number, worker.pid, worker.state, len(seen.calls) if seen else 0))
            else:
                told.append(dataclasses.replace(seen.process, number=worker.number, state=worker.state))
        return told

    # -- what was seen -----------------------------------------------------------------------------------------------

    def all(self, sees: Callable[[int | None], bool] = lambda company_id: True) -> list[RunningCall]:
        """The calls of those companies whose ID `sees` allows; that of an unknown one is None."""
        return [call for call in self if sees(call.company_id)]

    def get(self, uuid: str, sees: Callable[[int | None], bool] = lambda company_id: True) -> RunningCall | None:
        """The running call of this UUID, where `sees` allows its company."""
        return next((call for call in self if call.uuid == uuid and sees(call.company_id)), None)

    @property
    def listeners(self) -> int:
        """Who listens in just now."""
        return len(self._listeners)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __iter__(self) -> Iterator[RunningCall]:
        calls = [call for seen in self._seen.values() if not seen.bus.closed for call in seen.calls.values()]
        return iter(sorted(calls, key=lambda call: (call.started, call.uuid)))

    # -- listening in ------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def listening(self, call: RemoteCall, bus: Bus, batch_ms: int) -> AsyncIterator[AsyncIterator[bytes]]:
        """The sound of a call, while entered. Raises `TooManyListeners`, `CallGone`."""
        if len(self._listeners) >= LISTENERS:
            raise TooManyListeners(f"{LISTENERS} may listen in at once")
        number = next(self._numbers)
        listener = self._listeners[number] = _Listener(bus, batch_ms)
        try:
            answer = await _asked(bus, "listen", listener=number, uuid=call.uuid, batch_ms=batch_ms)
            if "refused" in answer:
                raise TooManyListeners(answer["refused"])
            yield listener.audio()
        finally:
            del self._listeners[number]
            self.counters["listened_lost_ms"] += listener.lost * batch_ms
            bus.tell("unlisten", listener=number)

    def _heard(self, values: Mapping[str, Any]) -> None:
        listener = self._listeners.get(values["listener"])
        if listener is None:
            return
        if values.get("over"):
            listener.end()
        else:
            listener.put(values["pcm"])


class _Listener:
    """One who listens in, and the sound that waits for them: the oldest goes when it is too much."""

    def __init__(self, bus: Bus, batch_ms: int) -> None:
        self._bus = bus
        self._waiting: asyncio.Queue[bytes | None] = asyncio.Queue(max(2, round(1000 * LISTENER_S / batch_ms)))
        self.lost = 0
        """Batches."""

    def put(self, pcm: bytes | None) -> None:
        """More sound; None is the end."""
        if self._waiting.full():
            self._waiting.get_nowait()
            self.lost += 1
        self._waiting.put_nowait(pcm)

    def end(self) -> None:
        """The call is over."""
        self.put(None)

    async def audio(self) -> AsyncIterator[bytes]:
        """Until the call is over, or its process is gone."""
        gone = asyncio.create_task(self._bus.wait_closed(), name="bus of who listens in")
        gone.add_done_callback(lambda task: None if task.cancelled() else self.end())
        try:
            while (pcm := await self._waiting.get()) is not None:
                yield pcm
        finally:
            gone.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await gone
