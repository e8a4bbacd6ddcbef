"""The asyncio face of the media thread: it accepts calls and hands its events on."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from fastaudio import _core
from fastaudio.call import Call, EventKind
from fastaudio.errors import EngineBusy, EngineClosed
from fastaudio.lateness import Lateness
from fastaudio.options import CallOptions

if TYPE_CHECKING:
    from fastaudio.confirm import Confirmer

log = logging.getLogger(__name__)

DRAIN_BATCH = 512
_KINDS = {kind.value: kind for kind in EventKind}


class Engine:
    """The media thread and its calls.

    `async with Engine(port=9099) as engine: async for call in engine: ...`

    `host` and `port` (0: any free one) or an already listening `sock`; `max_calls` at once, further ones are told to
    hang up; `spare_calls` are kept ready: so many can come between two turns of the event loop. `shared`: other
    processes have engines on the same `sock`; calls go round among those that have room, and a call is told to hang up
    only when nobody has had any for a second. `proxy_protocol`: each connection begins with a balancer's header of the
    PROXY protocol, version 2, and a call's `peer` is the source that it tells. `allowed_peers` are networks (empty:
    any), the balancer's then. `priority`: SCHED_FIFO priority that is asked for; whether it was granted is in
    `counters()["fifo_priority"]`.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 9099,
        *,
        sock: socket.socket | None = None,
        shared: bool = False,
        proxy_protocol: bool = False,
        options: CallOptions | None = None,
        max_calls: int = 1000,
        spare_calls: int = 256,
        allowed_peers: Sequence[str] = (),
        uuid_timeout_ms: int = 10_000,
        priority: int = 0,
    ) -> None:
        if max_calls < 1:
            raise ValueError(f"max_calls is {max_calls}; it must be at least 1")
        if shared and sock is None:
            raise ValueError("a shared engine needs the listening sock that it shares with others")
        self.options = options or CallOptions()
        self.max_calls = max_calls
        self.core = _core.Engine(
            uuid_timeout_ms=uuid_timeout_ms,
            priority=priority,
            shared=shared,
            proxy_protocol=proxy_protocol,
            networks=[_network(text) for text in allowed_peers],
        )
        self.calls: dict[int, Call] = {}
        self._spare: dict[int, _core.Call] = {}
        self._spare_target = min(spare_calls, max_calls)
        self._number = 0
        self._sock = sock
        self._address = (host, port)
        self._waiting: asyncio.Queue[Call | None] = asyncio.Queue(max_calls + 1)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._asked: Lateness | None = None
        self._accepting = True
        self._pings: dict[int, asyncio.Future[None]] = {}
        self._pinged = 0
        self._confirmer = self._make_confirmer()
        self.on_refused: Callable[[str, str], None] | None = None
        """Called with the reason and the peer's address of a connection that was turned away. It is not
        logged then: ten thousand of them would fill a disk."""

    async def __aenter__(self) -> Engine:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen, and start the media thread. Raises OSError when the address is taken."""
        if self._sock is None:
            host, port = self._address
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self._sock = socket.create_server((host, port), family=family, backlog=1024)
        self._sock.setblocking(False)
        self._replenish()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self.core.fileno(), self._on_events)
        self.core.start(self._sock.fileno())

    async def stop(self) -> None:
        """End every call and the media thread."""
        if self._loop is None:
            return
        self._loop.remove_reader(self.core.fileno())
        self._loop = None
        self.core.stop()
        self._drain()
        for call in list(self.calls.values()):
            call._end("stopped")
        self.calls.clear()
        self._spare.clear()
        if self._confirmer is not None:
            await self._confirmer.close()
        if self._sock is not None:
            self._sock.close()
        if not self._waiting.full():
            self._waiting.put_nowait(None)
        self._answer_pings()

    @property
    def port(self) -> int:
        """The port that is listened on."""
        if self._sock is None:
            return self._address[1]
        return int(self._sock.getsockname()[1])

    async def accept(self) -> Call:
        """Wait for the next call. Raises `EngineClosed` when the engine has stopped."""
        call = await self._waiting.get()
        if call is None:
            self._waiting.put_nowait(None)
            raise EngineClosed("the engine has stopped")
        return call

    async def __aiter__(self) -> AsyncIterator[Call]:
        while True:
            try:
                yield await self.accept()
            except EngineClosed:
                return

    @property
    def accepting(self) -> bool:
        """Whether new connections are taken. Else they wait in the listening socket: another process takes them.

        Can be set at any time, before `start` too; raises `EngineClosed` and `EngineBusy`.
        """
        return self._accepting

    @accepting.setter
    def accepting(self, on: bool) -> None:
        self.core.accepting(on)
        self._accepting = on

    async def responsive(self, timeout_s: float = 1.0) -> bool:
        """Whether the media thread answers within `timeout_s`: it is asked through the ring that its commands take.

        False when that ring is full, before `start`, and once the engine stops.
        """
        if self._loop is None:
            return False
        self._pinged += 1
        number = self._pinged
        try:
            self.core.ping(number)
        except EngineBusy:
            return False
        self._pings[number] = self._loop.create_future()
        try:
            await asyncio.wait([self._pings[number]], timeout=timeout_s)
        finally:
            del self._pings[number]
        # The counter, not the event: an event loop that stood still may be told of its answer and of its time at once.
        return self._loop is not None and self.core.answered >= number

    def counters(self) -> dict[str, Any]:
        """Counters of the engine since it was made; `lateness_us` is a coarse `lateness` by powers of two.

        With the detector `silero` also `silero_confirmed`, `silero_contradicted` and `silero_skipped` holds.
        """
        return self.core.counters() | (self._confirmer.counters if self._confirmer is not None else {})

    def lateness(self) -> Lateness:
        """How late the ticks of all calls were since the engine was made. Any thread may ask, at any time.

        Who wants to know of a stretch of time keeps the first answer and says `engine.lateness().since(first)`.
        """
        counts, max_ns = self.core.lateness()
        return Lateness(counts, max_ns / 1000)

    def recent_lateness(self) -> Lateness:
        """The same since this was last asked: for one who asks regularly, such as a display."""
        before, self._asked = self._asked, self.lateness()
        return self._asked if before is None else self._asked.since(before)

    def _make_confirmer(self) -> Confirmer | None:
        if self.options.detector != "silero" or self.options.rate is None:
            return None
        from fastaudio.confirm import Confirmer  # what it needs is an extra

        return Confirmer(self.options.rate, rewind_ms=self.options.barge_in.rewind_ms)

    # -- the media thread's word -------------------------------------------------------------------------------------

    def _replenish(self) -> None:
        """Keep spare calls ready: the media thread never allocates. With the live ones they are at most max_calls."""
        while len(self._spare) < self._spare_target and len(self._spare) + len(self.calls) < self.max_calls:
            self._number += 1
            spare = self.options.create(self._number)
            self.core.spare(spare)
            self._spare[self._number] = spare

    def _on_events(self) -> None:
        self.core.wake()
        self._drain_some()

    def _drain_some(self) -> None:
        """Bounded work for each turn of the loop; the rest comes right behind what else is ready."""
        if self._loop is None:
            return
        self._dispatch(self.core.drain(DRAIN_BATCH))
        self._answer_pings()
        if self.core.pending:
            self._loop.call_soon(self._drain_some)

    def _drain(self) -> None:
        while events := self.core.drain(DRAIN_BATCH):
            self._dispatch(events)

    def _dispatch(self, events: list[tuple[int, int, int, int, int, int]]) -> None:
        for number, call_id, generation, value, position, time_ns in events:
            kind = _KINDS[number]
            if kind is EventKind.STARTED:
                call = self.calls[call_id] = Call(self, self._spare.pop(call_id), time_ns)
                if self._confirmer is not None:
                    self._confirmer.watch(call)
                self._waiting.put_nowait(call)
                if self._loop is not None:
                    self._replenish()
                continue
            if kind is EventKind.REFUSED:
                self._refused(generation, struct.pack("=QII", position, call_id, value))
                continue
            call_or_none = self.calls.get(call_id)
            if call_or_none is None:
                continue
            if kind is EventKind.ENDED:
                call_or_none._end(_core.END_REASONS[value])
                call_or_none._dispatch(kind, generation, value, position, time_ns)
                call_or_none._forget_listeners()
                del self.calls[call_id]
                self.core.bury(call_or_none.core)
                if self._loop is not None:
                    self._replenish()
            else:
                call_or_none._dispatch(kind, generation, value, position, time_ns)

    def _answer_pings(self) -> None:
        for number, waiting in self._pings.items():
            if not waiting.done() and (self._loop is None or self.core.answered >= number):
                waiting.set_result(None)

    def _refused(self, reason: int, address: bytes) -> None:
        told = ipaddress.IPv6Address(address)
        peer = str(told.ipv4_mapped or told)
        if self.on_refused is not None:
            self.on_refused(_core.END_REASONS[reason], peer)
        else:
            log.warning("turned a connection from %s away: %s", peer, _core.END_REASONS[reason])


def _network(text: str) -> tuple[bytes, int]:
    """An IPv4 or IPv6 network as 16 bytes and a prefix, IPv4 mapped into IPv6."""
    network = ipaddress.ip_network(text, strict=False)
    if isinstance(network, ipaddress.IPv4Network):
        return b"\0" * 10 + b"\xff\xff" + network.network_address.packed, 96 + network.prefixlen
    return network.network_address.packed, network.prefixlen
