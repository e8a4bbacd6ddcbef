"""A worker: one process with calls, told by its supervisor what to do.

It heeds no signal but SIGKILL: Ctrl-C and a service manager's SIGTERM reach all processes of a service, and it is the
supervisor that says when it is over. When that is gone, which the bus tells, no more calls are taken here; those that
run go on to their end within STOP_GRACE_SECONDS, and the dialplan goes to its fallback after them.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from typing import Any, Final

import fastaudio
from agent import __version__
from agent.call.door import GOODBYE_S
from agent.call.files import read_files
from agent.call.live import LiveCalls
from agent.call.rehearsal import RehearsalError
from agent.floor import Floor, OfficeAddress
from agent.ops import collector, files, gauges
from agent.ops.logs import CarefulFormatter, set_up_logging
from agent.ops.outbox import make_outbox, of_outbox_events
from agent.ops.settings import Settings
from agent.ops.strangers import Strangers
from agent.workers.bus import VERSION, Bus, BusError
from agent.workers.bus_door import BusDoor
from agent.workers.live_desk import LiveDesk
from agent.workers.wire import unpack_info, unpack_settings

log = logging.getLogger(__name__)

IGNORED: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
HELLO_S: Final = 30.0
CLOSING_S: Final = 1.0
"""For connections that have come, and not told whose call they are."""


class Worker:
    """One worker's life, from the supervisor's first answer on."""

    def __init__(self, number: int, bus: Bus, listener: socket.socket, hello: Mapping[str, Any]) -> None:
        self.settings: Settings = unpack_settings(hello["settings"])
        self._number = number
        self._bus = bus
        self._listener = listener
        self._office = OfficeAddress(hello["office_url"], hello["office_key"])
        self._places = int(hello["places"])
        self._formatter: CarefulFormatter = set_up_logging(self.settings, worker=number)
        self._strangers = Strangers()
        self._floor: Floor
        self._over = asyncio.Event()

    async def run(self) -> None:
        """Take calls until the supervisor says that it is over, or is gone."""
        bus, settings = self._bus, self.settings
        files.make_room(self._places)
        async with AsyncExitStack() as stack:
            door = BusDoor(bus, lambda: self.settings.default_timezone)
            stack.callback(door.close)
            # What it is sent to must be known, whoever finds it: bookings, and alerts of those that are stuck.
            outbox = await stack.enter_async_context(make_outbox(settings, self._office.url, self._office.key))
            live = LiveCalls()
            self._floor = floor = Floor(
                settings, read_files(settings), door, self._office, outbox, self._strangers, live, places=self._places
            )
            await stack.enter_async_context(floor)
            floor.metrics.include(lambda: gauges.of_strangers(self._strangers))
            floor.metrics.include(lambda: of_outbox_events(outbox))
            desk = LiveDesk(live, lambda: floor.process(self._number), bus)
            stack.push_async_callback(desk.close)
            for what, handler in (
                ("metrics", lambda _: floor.metrics.page()),
                ("health", lambda _: floor.health() | {"turned_away": _pairs(self._strangers)}),
                ("coming", lambda values: floor.greet_ahead(unpack_info(values["info"]))),
                ("accepting", self._accept),
                ("reload", self._reload),
                ("say", self._say),
                ("drain", self._drain),
                ("stop", lambda _: self._over.set()),
            ):
                bus.on(what, handler)
            await stack.enter_async_context(floor.listening(self._listener, shared=True))
            collector.settle()
            bus.tell("ready", pid=os.getpid())
            log.info("worker %d takes up to %d calls (process %d)", self._number, self._places, os.getpid())
            ticking = asyncio.create_task(self._tell_strangers(), name="strangers")
            gone = asyncio.create_task(bus.wait_closed(), name="bus closes")
            over = asyncio.create_task(self._over.wait(), name="stop")
            await asyncio.wait((gone, over), return_when=asyncio.FIRST_COMPLETED)
            if not over.done():
                await self._go_on_alone()
            for task in (gone, over, ticking):
                task.cancel()
            await asyncio.gather(gone, over, ticking, return_exceptions=True)

    async def _go_on_alone(self) -> None:
        """The supervisor is gone: what it shared is given up, so that the next one can have the address."""
        calls = self._floor.reception.calls
        log.error("the supervisor is gone: no more calls are taken, and %d go on to their end", calls)
        self._floor.engine.accepting = False
        await self._floor.engine.responsive()
        with suppress(OSError):  # another worker was quicker
            self._listener.shutdown(socket.SHUT_RDWR)
        await self._floor.reception.drain(self.settings.stop_grace_seconds, GOODBYE_S)

    # -- what the supervisor wants -----------------------------------------------------------------------------------

    def _accept(self, values: Mapping[str, Any]) -> None:
        with suppress(fastaudio.EngineClosed):  # this worker is about to end
            self._floor.engine.accepting = values["on"]

    async def _reload(self, values: Mapping[str, Any]) -> None:
        settings = unpack_settings(values["settings"])
        self._formatter.hide(settings.secrets)
        await self._floor.reload(settings)
        self.settings = settings
        logging.getLogger().setLevel(settings.log_level.upper())
        log.info("reloaded")

    async def _say(self, values: Mapping[str, Any]) -> Any:
        try:
            return await self._floor.rehearsal.say(values["text"], values["voice_id"], values["language"])
        except RehearsalError as error:
            return {"refused": str(error)}

    async def _drain(self, values: Mapping[str, Any]) -> None:
        """Let the calls end; with `hand_over` others take those that come."""
        if values["hand_over"]:
            await self._floor.hand_over(CLOSING_S)
        await self._floor.reception.drain(values["grace_s"], values["goodbye_s"])

    async def _tell_strangers(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            self._strangers.tell()


def _pairs(strangers: Strangers) -> list[tuple[str, str, int]]:
    return [(port, reason, count) for (port, reason), count in strangers.counters.items()]


async def work(number: int, bus_socket: socket.socket, listener: socket.socket) -> int:
    """Be worker `number`; returns the status to exit with."""
    bus = await Bus.open(bus_socket, "the supervisor")
    try:
        hello = await bus.ask("hello", HELLO_S, version=VERSION, release=__version__)
        await Worker(number, bus, listener, hello).run()
    except BusError as error:
        print(f"worker {number}: {error}", file=sys.stderr)
        return 1
    except Exception as error:
        bus.tell("failed", error=f"{type(error).__name__}: {error}")
        log.exception("worker %d fails", number)
        return 1
    finally:
        await bus.close()
    return 0


def main(arguments: list[str]) -> int:
    """`python -m agent.workers NUMBER BUS LISTENER`: the last two are descriptors that the supervisor has passed on."""
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, IGNORED)
    worker, bus, listener = (int(argument) for argument in arguments)
    return asyncio.run(work(worker, socket.socket(fileno=bus), socket.socket(fileno=listener)))
