"""The process that has what there is one of, and starts, watches and ends the workers that have the calls."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Any, Final

from agent import __version__
from agent.call.door import GOODBYE_S
from agent.call.files import read_files
from agent.call.rehearsal import RehearsalError
from agent.front import Front
from agent.host import Host
from agent.ops import gauges
from agent.ops.begun import adopt_begun
from agent.ops.lag import LagMonitor
from agent.ops.live_page import Process
from agent.ops.metrics import Page
from agent.ops.metrics_merge import Merger
from agent.ops.process import of_process
from agent.ops.reload import for_a_running_agent
from agent.ops.settings import Settings
from agent.ops.strangers import Strangers
from agent.telephony import CallInfo
from agent.workers.bus import VERSION, BusError
from agent.workers.bus_door import answer_at
from agent.workers.health import together
from agent.workers.pid_file import PidFile
from agent.workers.process import WorkerError, WorkerProcess
from agent.workers.remote_live import RemoteLiveCalls
from agent.workers.wire import pack_info, pack_settings
from fastaudio._core import HISTOGRAM_BOUNDS_US
from fastaudio.lateness import Lateness

log = logging.getLogger(__name__)

BACKLOG: Final = 1024
PAGE_S: Final = 1.0
"""Within which a worker tells its metrics and its health."""
RELOAD_S: Final = 30.0
SAY_S: Final = 25.0
SOUND_S: Final = 60.0
"""A worker that lived so long is begun anew at once when it dies; before that, ever later."""
FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 30.0
SLACK: Final = 2
"""Calls that one worker may have more than another, or a 16th of its places."""
SILENT_S: Final = 30
"""A worker that has told nothing for so long hangs, and is killed."""
LAST_WORDS_S: Final = 60.0
"""What a call may take beyond MAX_CALL_SECONDS: its last words."""
_ON_TIME: Final = Lateness((0,) * len(HISTOGRAM_BOUNDS_US), 0.0)


class Supervisor(Host):
    """`async with Supervisor(settings) as agent: await agent.drain()`: to the outside it is as an `Agent` is.

    Entering raises `WorkerError` when a worker does not start, and what an `Agent` raises.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.strangers = Strangers()
        self.workers: list[WorkerProcess] = []
        """Those that are there, in the order in which they were started."""
        self.ends: Counter[str] = Counter()
        """Workers that have ended, by how: `rolled` or `died`."""
        self._live = RemoteLiveCalls(lambda: self.workers)
        self._listener: socket.socket
        self._wanted = min(settings.worker_count, settings.max_calls)
        self._share = math.ceil(settings.max_calls / self._wanted)
        self._merger = Merger()
        self._page = Page()
        self._lag = LagMonitor(lambda: _ON_TIME, max_loop_lag_ms=settings.max_loop_lag_ms, max_media_lateness_ms=0)
        self._watchers: set[asyncio.Task[None]] = set()
        self._numbers: set[int] = set()
        self._pause = self._paused_at = 0.0
        self._rolling: asyncio.Task[None] | None = None
        self._ending = False
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Supervisor:
        settings = self.settings
        settings.require_keys()
        await asyncio.to_thread(read_files, settings)  # what is wrong is said once, and not by each worker
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        async with AsyncExitStack() as stack:
            stack.enter_context(PidFile(settings.data_dir))
            self._listener = stack.enter_context(_listener(settings))
            self.front = await stack.enter_async_context(Front(settings, self, self.strangers))
            self.front.include_metrics(self._page)
            self._page.include(lambda: gauges.of_lag(self._lag))
            self._page.include(of_process)
            await stack.enter_async_context(self._workers())
            await stack.enter_async_context(self.front.open())
            lag = asyncio.create_task(self._lag.run(self._each_second), name="lag")
            stack.push_async_callback(_cancel, lag)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending = True
        await self._stack.aclose()

    # -- workers -----------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _workers(self) -> AsyncIterator[None]:
        """All of them, begun together and ended together."""
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._wanted):
                    group.create_task(self._begin(), name="begin worker")
        except* (WorkerError, OSError) as errors:
            await self._end_all()
            raise errors.exceptions[0] from None
        try:
            yield
        finally:
            await self._end_all()

    async def _end_all(self) -> None:
        self._ending = True
        if self._rolling is not None:
            await _cancel(self._rolling)
        await asyncio.gather(*(worker.end() for worker in self.workers))
        for task in list(self._watchers):
            await _cancel(task)
        await self._live.close()

    async def _begin(self) -> WorkerProcess:
        """Start one more and wait until it serves. Raises `WorkerError`."""
        number = next(number for number in range(1, len(self._numbers) + 2) if number not in self._numbers)
        self._numbers.add(number)
        door = self.front.door()
        try:
            worker = await WorkerProcess.start(number, self._listener, door)
        except WorkerError:
            self._numbers.discard(number)
            await door.close()
            raise
        answer_at(worker.bus, door, self._balance, lambda: self._heard(worker))
        worker.bus.on("hello", self._greet)
        self.workers.append(worker)
        try:
            await worker.ready()
        except BaseException:
            worker.kill()
            await worker.gone()
            self._forget(worker)
            raise
        watcher = asyncio.create_task(self._watch(worker), name=f"watch worker {number}")
        self._watchers.add(watcher)
        watcher.add_done_callback(self._watchers.discard)
        return worker

    def _greet(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """What a worker needs to begin."""
        if values["version"] != VERSION:
            raise BusError(
                f"it is of release {values['release']} and the supervisor of {__version__}, which do not work "
                "together: restart the agent"
            )
        return {
            "settings": pack_settings(self._for_workers(self.settings)),
            "office_url": self.front.office.url,
            "office_key": self.front.office.key,
            "places": self._share,
        }

    def _for_workers(self, settings: Settings) -> Settings:
        """What is divided: a worker gives its part."""
        return settings.model_copy(update={"local_stt_calls": math.ceil(settings.local_stt_calls / self._wanted)})

    async def _watch(self, worker: WorkerProcess) -> None:
        """Wait for its end; one that was not told to end gets a successor."""
        began = time.monotonic()
        await worker.gone()
        if not worker.ended_well:
            log.error(
                "worker %d (process %d) has died, and %d calls with it: %s",
                *(worker.number, worker.pid, worker.calls_at_end, worker.how_it_ended),
            )
        expected = worker.state_before != "serving" or self._ending
        self._forget(worker)
        if worker.calls_at_end and not self._ending:
            await self._adopt()
        if expected:
            return
        self.ends["died"] += 1
        pause = 0.0 if time.monotonic() - began >= SOUND_S else self._next_pause()
        await self._replace(pause)

    async def _replace(self, pause: float) -> None:
        """Begin another in the place of one that died, ever later while they do not start."""
        while not self._ending:
            await asyncio.sleep(pause)
            try:
                worker = await self._begin()
            except WorkerError as error:
                pause = self._next_pause()
                log.error("%s; the next attempt is in %.1f s", error, pause)
            else:
                log.warning("worker %d (process %d) has begun in its place", worker.number, worker.pid)
                return

    def _next_pause(self) -> float:
        """Doubled with each worker that died young; it begins anew after a quiet time."""
        now = time.monotonic()
        if now - self._paused_at > SOUND_S + LONGEST_PAUSE_S:
            self._pause = 0.0
        self._paused_at = now
        pause, self._pause = self._pause, min(LONGEST_PAUSE_S, max(FIRST_PAUSE_S, 2 * self._pause))
        return pause

    async def _adopt(self) -> None:
        """Calls that were cut off are known of, with what was recorded of them."""
        for record in await asyncio.to_thread(adopt_begun, self.settings.records, self.settings.recordings):
            self.front.office.back.call_over(record)

    def _forget(self, worker: WorkerProcess) -> None:
        with contextlib.suppress(ValueError):
            self.workers.remove(worker)
        self._numbers.discard(worker.number)
        self._balance()

    # -- which of them take calls ------------------------------------------------------------------------------------

    def _balance(self) -> None:
        """Have those workers take calls that have not clearly more than the least busy one, and are not late.

        Calls go round among those that take them (engine.h), so that only different lengths make for a difference.
        """
        serving = [worker for worker in self.workers if worker.state == "serving"]
        on_time = [worker for worker in serving if not worker.door.last.too_late] or serving
        least = min((worker.calls for worker in on_time), default=0)
        for worker in serving:
            worker.accept(worker in on_time and worker.calls <= least + max(SLACK, self._share // 16))

    def _heard(self, worker: WorkerProcess) -> None:
        """It is alive."""
        worker.missed = 0

    def _each_second(self) -> None:
        for worker in self.workers:
            if worker.state == "starting":
                continue
            worker.missed += 1
            if worker.door.last.hung or worker.missed >= SILENT_S:
                log.error("worker %d (process %d) hangs: it is killed", worker.number, worker.pid)
                worker.kill()

    # -- as an agent is ----------------------------------------------------------------------------------------------

    async def reload(self, settings: Settings) -> list[str]:
        """Give new calls these settings, in all workers; see `Agent.reload`."""
        settings, fixed = for_a_running_agent(self.settings, settings)
        await asyncio.to_thread(read_files, settings)
        self.settings = settings
        self.front.heed(settings)
        self._lag.heed(settings.max_loop_lag_ms, 0)
        packed = pack_settings(self._for_workers(settings))
        await self._of_all("reload", RELOAD_S, settings=packed)
        return fixed

    def roll(self) -> None:
        """Replace the workers one after the other: a new one begins, then the old one ends when its calls are over."""
        if self._rolling is not None and not self._rolling.done():
            log.warning("the workers are being replaced already")
        elif not self._ending:
            self._rolling = asyncio.create_task(self._roll(), name="roll")

    async def _roll(self) -> None:
        old = [worker for worker in self.workers if worker.state == "serving"]
        log.info("replacing %d workers, one after the other", len(old))
        for worker in old:
            if worker.state != "serving":
                continue  # it has died meanwhile, and has a successor
            try:
                new = await self._begin()
            except WorkerError as error:
                log.error("the other workers stay as they are: %s", error)
                return
            log.info("worker %d goes when its %d calls are over; %d has begun", worker.number, worker.calls, new.number)
            worker.state = "draining"
            self._balance()
            grace_s = self.settings.max_call_seconds + LAST_WORDS_S
            await self._drain_one(worker, grace_s, GOODBYE_S, hand_over=True)
            page = await worker.ask("metrics", PAGE_S)
            if page is not None:
                self._merger.note(str(worker.number), page)
            await worker.end()
            self.ends["rolled" if worker.ended_well else "died"] += 1
        log.info("all workers are replaced")

    async def drain(self, grace_s: float | None = None) -> None:
        """Take no new calls; the running ones end by themselves within the grace time, then hear a goodbye."""
        self._ending = True
        await super().drain(grace_s)

    async def responsive(self) -> bool:
        """Whether the service does its work: the watchdog is fed for as long as it does."""
        return not self.hung

    @property
    def audio_port(self) -> int:
        """AudioSocket's port."""
        return int(self._listener.getsockname()[1])

    # -- where the calls are, for the front: agent.front.Floors ------------------------------------------------------

    @property
    def live(self) -> RemoteLiveCalls:
        """The calls that run, for people who look on."""
        return self._live

    @property
    def places(self) -> int:
        """Of the workers that are there; one that drains has as many as it has calls."""
        return sum(
            self._share if worker.state == "serving" else worker.calls
            for worker in self.workers
            if worker.state in ("serving", "draining")
        ) * any(worker.state == "serving" for worker in self.workers)

    @property
    def too_late(self) -> bool:
        """Whether the supervisor is, or every worker."""
        serving = [worker for worker in self.workers if worker.state == "serving"]
        return self._lag.too_late or (bool(serving) and all(worker.door.last.too_late for worker in serving))

    @property
    def hung(self) -> bool:
        """Whether no worker's media thread answers; one that does not is replaced."""
        there = [worker for worker in self.workers if worker.state != "starting"]
        return bool(there) and all(worker.door.last.hung for worker in there)

    def coming(self, info: CallInfo) -> None:
        """Have the greeting made by one worker, where all find it."""
        serving = [worker for worker in self.workers if worker.state == "serving"]
        if serving:
            min(serving, key=lambda worker: worker.calls).bus.tell("coming", info=pack_info(info))

    def dropped(self, info: CallInfo) -> None:
        """Nothing else was made ready."""

    async def say(self, text: str, voice_id: str, language: str) -> bytes:
        """Have a worker speak a text."""
        for worker in self.workers:
            if worker.state == "serving":
                answer = await worker.ask("say", SAY_S, text=text, voice_id=voice_id, language=language)
                if isinstance(answer, bytes):
                    return answer
                raise RehearsalError(answer["refused"] if answer else "the voice does not answer")
        raise RehearsalError("no worker is there to speak it")

    async def drain_calls(self, grace_s: float, goodbye_s: float) -> None:
        """In all workers."""
        there = [worker for worker in self.workers if worker.state != "starting"]
        await asyncio.gather(*(self._drain_one(worker, grace_s, goodbye_s, hand_over=False) for worker in there))

    async def _drain_one(self, worker: WorkerProcess, grace_s: float, goodbye_s: float, *, hand_over: bool) -> None:
        limit_s = grace_s + goodbye_s + PAGE_S + LAST_WORDS_S
        await worker.ask("drain", limit_s, grace_s=grace_s, goodbye_s=goodbye_s, hand_over=hand_over)

    async def metrics(self) -> bytes:
        """The supervisor's page and all workers' as one."""
        pages = {str(number): page for number, page in (await self._of_all("metrics", PAGE_S)).items()}
        return self._merger.page({"supervisor": self._page.page(), **pages})

    async def health(self) -> dict[str, Any]:
        """What the workers say, added up."""
        told = await self._of_all("health", PAGE_S)
        processes = [process.as_dict() for process in self.processes()]
        return together(told.values(), self.front.strangers, self._lag) | {"workers": processes}

    def processes(self) -> list[Process]:
        """Each worker, as of its last beat."""
        seen = {process.number: process for process in self._live.processes()}
        return [
            Process(
                *(worker.number, worker.pid, worker.state, worker.calls),
                *(worker.door.last.loop_lag_ms, worker.door.last.media_lateness_ms, seen[worker.number].vendors),
            )
            for worker in sorted(self.workers, key=lambda worker: worker.number)
        ]

    async def _of_all(self, what: str, timeout_s: float, **values: Any) -> dict[int, Any]:
        """The answers of the workers that serve or drain, by number; who does not answer is left out."""
        asked = [worker for worker in self.workers if worker.state in ("serving", "draining")]
        answers = await asyncio.gather(*(worker.ask(what, timeout_s, **values) for worker in asked))
        return {worker.number: answer for worker, answer in zip(asked, answers, strict=True) if answer is not None}


def _listener(settings: Settings) -> socket.socket:
    """The socket that all workers take calls from. Raises OSError when the address is taken."""
    host = settings.listen_host
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, settings.listen_port), family=family, backlog=BACKLOG)
    listener.setblocking(False)
    return listener


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
