"""A TCP proxy that does to a connection what networks do: it cuts, delays, lumps together, resets and half-closes.

What it does is a `Fate`, a plain value: given by a test, or drawn from a seed. A test that fails prints the fate, and
the same one fails again.

    async with ChaosProxy(engine.port, lambda number: Fate.drawn(seed, number)) as proxy:
        FakeCall(PATIENT, proxy.port).start()
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Literal

from rig.versions import NEW

PATIENT = replace(NEW, name="NEW, with all the patience in the world", payload_pause_ms=30_000)
"""For the caller's end behind this proxy, whose pauses are not the server's."""
End = Literal["", "reset", "half-close"]
ALL = 1 << 30
READ_BYTES = 65536


@dataclass(frozen=True, slots=True)
class Way:
    """What happens to the bytes of one direction."""

    pieces: tuple[int, ...] = (ALL,)
    """No piece is longer than this; one after the other, over and over."""
    pauses_ms: tuple[float, ...] = (0.0,)
    """What comes after each piece, over and over. Meanwhile bytes gather, and come as one lump."""
    end: End = ""
    end_at: int = 0
    """The byte in front of which it ends. A reset is one in both directions."""


@dataclass(frozen=True, slots=True)
class Fate:
    """What happens to one connection: `up` to what the connecting side sends, `down` to the answer."""

    up: Way = Way()
    down: Way = Way()
    seed: str = ""

    @classmethod
    def drawn(cls, seed: int, number: int) -> Fate:
        """The fate of connection `number` under `seed`, always the same. Half of them end before their time."""
        name = f"{seed}/{number}"
        draw = random.Random(name)
        up, down = _drawn(draw), _drawn(draw)
        end: End = draw.choice(("", "", "reset", "half-close"))
        if end:
            # Mostly in the middle of the talk; now and then in the first message.
            at = draw.randrange(20) if draw.random() < 0.2 else draw.randrange(20, 12_000)
            if draw.random() < 0.5:
                up = replace(up, end=end, end_at=at)
            elif end == "reset":
                down = replace(down, end=end, end_at=at)
        return cls(up, down, name)


def _drawn(draw: random.Random) -> Way:
    kind = draw.choice(("whole", "crumbs", "pieces", "lumps", "late"))
    if kind == "crumbs":
        # A message byte by byte, then ten whole: each byte by itself would be more than this proxy can carry.
        return Way((*(1,) * 330, 3230), tuple(draw.choice((0.0, 0.0, 0.0, 0.2)) for _ in range(331)))
    if kind == "pieces":
        sizes = tuple(draw.randrange(1, 700) for _ in range(16))
        return Way(sizes, tuple(draw.choice((0.0, 1.0, 8.0)) for _ in range(15)))
    if kind == "lumps":
        return Way((ALL,), (draw.uniform(20, 60),)) if draw.random() < 0.5 else Way((323 * 4,), (40.0,))
    if kind == "late":
        return Way((draw.randrange(1, 2000), ALL), (draw.uniform(10, 90), 0.0))
    return Way()


class _Reset(Exception):
    """The connection is to be reset."""


class ChaosProxy:
    """Listens on a port of its own and connects each connection to `target`. `async with` it."""

    def __init__(self, target: int, fate: Callable[[int], Fate]) -> None:
        """Ask `fate` for what happens to connection 0, 1 and so on."""
        self._target = target
        self._fate = fate
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._listener.setblocking(False)
        self._tasks: set[asyncio.Task[None]] = set()
        self.port: int = self._listener.getsockname()[1]

    async def __aenter__(self) -> ChaosProxy:
        self._start(self._accept())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        try:
            results = await asyncio.gather(*self._tasks, return_exceptions=True)
        finally:
            self._listener.close()
        for result in results:
            if isinstance(result, Exception) and kind is None:
                raise result

    def _start(self, work: object) -> None:
        self._tasks.add(asyncio.create_task(work, name="chaos"))  # type: ignore[arg-type]

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        for number in itertools.count():
            inner, _ = await loop.sock_accept(self._listener)
            self._start(self._serve(inner, self._fate(number)))

    async def _serve(self, near: socket.socket, fate: Fate) -> None:
        loop = asyncio.get_running_loop()
        far = socket.socket()
        with near, far:
            for one in (near, far):
                one.setblocking(False)
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.sock_connect(far, ("127.0.0.1", self._target))
            ways = [
                asyncio.ensure_future(_carry(near, far, fate.up)),
                asyncio.ensure_future(_carry(far, near, fate.down)),
            ]
            try:
                done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_EXCEPTION)
                if any(isinstance(way.exception(), (_Reset, OSError)) for way in done):
                    for one in (near, far):
                        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)


async def _carry(source: socket.socket, sink: socket.socket, way: Way) -> None:
    """Carry one direction to its end. Raises `_Reset` where that is its fate, OSError when a side resets."""
    loop = asyncio.get_running_loop()
    pieces, pauses = itertools.cycle(way.pieces), itertools.cycle(way.pauses_ms)
    carried, left = 0, next(pieces)
    while not way.end or carried < way.end_at:
        most = min(left, READ_BYTES, way.end_at - carried if way.end else ALL)
        data = await loop.sock_recv(source, most)
        if not data:
            with contextlib.suppress(OSError):
                sink.shutdown(socket.SHUT_WR)
            return
        await loop.sock_sendall(sink, data)
        carried += len(data)
        left -= len(data)
        pause_ms = 0.0
        if left <= 0 or way.pieces == (ALL,):
            left, pause_ms = next(pieces), next(pauses)
        if pause_ms:
            await asyncio.sleep(pause_ms / 1000)
    if way.end == "reset":
        raise _Reset
    sink.shutdown(socket.SHUT_WR)
    while await loop.sock_recv(source, READ_BYTES):
        pass
