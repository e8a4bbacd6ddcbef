"""HTTP ports: who may ask on one, how long they may take, and at which address the agent itself does."""

from __future__ import annotations

import asyncio
import ipaddress
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import cast

from aiohttp import web
from aiohttp.typedefs import Handler

from agent.ops.peers import Peers
from agent.ops.settings import Settings
from agent.ops.strangers import Strangers
from fastaudio import ProtocolError, ProxyHeader

PORT = "HTTP"
_HEADER_BEGINS, _TEXT_HEADER = b"\r", b"PROXY "
"""First bytes of a PROXY header of version 2, and of version 1."""
_HEADER_BYTES = ProxyHeader().wants
_FORBIDDEN = b"this address is not among ALLOWED_PEERS\n"
_FORBIDDEN_ANSWER = (
    b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s"
    % (len(_FORBIDDEN), _FORBIDDEN)
)


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """What one client may do. At `connections` the one gives way that has not asked anything for longest."""

    connections: int = 512
    head_s: float = 5.0
    """From the connection, or from a request's first byte, to the end of its head."""
    request_s: float = 30.0
    """From there to the answer."""
    idle_s: float = 150.0
    """Between an answer, taken by the client, and the next request; longer than the agent keeps its own connections."""
    unasked_bytes: int = 256 * 1024
    """Of a head, or of what comes behind a request that was answered."""
    streams: int = 0
    """Answers at once that may take longer than `request_s`: events, sound, files."""
    streams_each: int = 0
    """Of them, those of one user."""
    stream_s: float = 3600.0
    """And how long each of them may last. Whoever still wants it asks anew."""


class TooManyStreams(RuntimeError):
    """No more answers that last are given just now, or not to this user."""


@asynccontextmanager
async def http_port(
    app: web.Application, settings: Settings, strangers: Strangers, limits: HttpLimits | None = None
) -> AsyncIterator[tuple[str, int]]:
    """Serve `app` to the peers of the settings while entered; gives the agent's own base URL for it, and the port.

    Raises OSError when the port is taken.
    """
    peers = Peers((*settings.allowed_peers, *_own_addresses(settings.listen_host)))
    limits = limits or HttpLimits(connections=256 + 2 * settings.max_calls)
    async with guarded_port(
        app,
        settings.listen_host,
        settings.http_port,
        peers=peers,
        strangers=strangers,
        limits=limits,
        proxy_protocol=settings.proxy_protocol,
    ) as port:
        yield base_url(settings.listen_host, port), port


@asynccontextmanager
async def guarded_port(
    app: web.Application,
    host: str,
    port: int,
    *,
    strangers: Strangers,
    limits: HttpLimits,
    peers: Peers | None = None,
    name: str = PORT,
    proxy_protocol: bool = False,
) -> AsyncIterator[int]:
    """Serve `app` on `host`:`port` (0 picks a free one) to `peers` (None: to all) while entered; gives the port.

    `name` is the port's among `strangers`. `proxy_protocol`: a connection may begin with a balancer's PROXY header of
    version 2; who asks directly, such as a health check, sends none. Raises OSError when the port is taken.
    """
    app.middlewares.insert(0, _mark_requests)
    runner = web.AppRunner(app, access_log=None, lingering_time=1.0, shutdown_timeout=2.0)
    await runner.setup()
    door = _Door(runner, peers, strangers, limits, name, proxied=proxy_protocol)
    try:
        server = await asyncio.get_running_loop().create_server(lambda: _Connection(door), host, port, backlog=256)
        try:
            yield int(server.sockets[0].getsockname()[1])
        finally:
            server.close()
            door.close()
    finally:
        await runner.cleanup()


def base_url(host: str, port: int) -> str:
    """Where a server that listens on `host` is reached from this machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


@contextmanager
def streaming(request: web.Request, whose: str = "") -> Iterator[None]:
    """While entered, the answer to `request` may take longer than others; `whose` is the user that it counts for.

    Raises `TooManyStreams` at the port's limits. Without a guarded port there is nothing to keep to.
    """
    connection = _connection_of(request)
    if connection is None:
        yield
        return
    connection.begin_stream(whose)
    try:
        yield
    finally:
        connection.end_stream(whose)


class _Door:
    """All connections of the port."""

    def __init__(
        self,
        runner: web.AppRunner,
        peers: Peers | None,
        strangers: Strangers,
        limits: HttpLimits,
        name: str,
        *,
        proxied: bool,
    ) -> None:
        assert runner.server is not None
        self.new_handler = runner.server
        self.peers = peers
        self.strangers = strangers
        self.limits = limits
        self.name = name
        self.proxied = proxied
        self.streams: Counter[str] = Counter()
        """By user; only those of users that have some."""
        self.all: set[_Connection] = set()
        self.silent: OrderedDict[_Connection, None] = OrderedDict()
        """Those that have asked nothing yet, in the order in which they came."""
        self.idle: OrderedDict[_Connection, None] = OrderedDict()
        """Those that have asked nothing since their last answer."""

    def make_room(self) -> bool:
        """Whether one more may come in; who has been silent for longest goes for it."""
        if len(self.all) < self.limits.connections:
            return True
        for waiting in (self.silent, self.idle):
            if waiting:
                next(iter(waiting)).turn_away("connections")
                break
        return len(self.all) < self.limits.connections

    def close(self) -> None:
        """The port is closed: drop who asks nothing, and streams; the server waits for the others."""
        for connection in [*self.silent, *self.idle, *(one for one in self.all if one.streams)]:
            connection.abort()

    def forget(self, connection: _Connection) -> None:
        """It is gone, or as good as gone."""
        self.all.discard(connection)
        self.listen(connection)

    def listen(self, connection: _Connection) -> None:
        """It asks something."""
        self.silent.pop(connection, None)
        self.idle.pop(connection, None)


class _Connection(asyncio.Protocol):
    """Stands between a client and aiohttp's handler, and keeps time: aiohttp waits for a request for ever."""

    def __init__(self, door: _Door) -> None:
        self._door = door
        self._handler = door.new_handler()
        self._allowed = False
        self._asking = False
        self._bytes = 0
        self.streams = False
        """Whether its answer may last."""
        self._peer = ""
        self._header = ProxyHeader() if door.proxied else None
        self._timer: asyncio.TimerHandle | None = None

    # -- called by the event loop ------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has come."""
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self._peer = str(peer[0]) if peer else ""
        if not self._door.make_room():
            self.turn_away("connections")
            return
        self._door.all.add(self)
        self._door.silent[self] = None
        self._within(self._door.limits.head_s)
        self._allowed = self._door.peers is None or self._door.peers.allow(self._peer)
        if self._allowed:
            self._handler.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """A client says something."""
        if not self._allowed:
            self._forbid()
            return
        if self._header is not None:
            data = self._behind(self._header, data)
            if not data:
                return
        if not self._asking:
            if not self._bytes:
                self._within(self._door.limits.head_s)
            self._bytes += len(data)
            if self._bytes > self._door.limits.unasked_bytes:
                self.turn_away("too_much")
                return
        self._handler.data_received(data)

    def eof_received(self) -> bool | None:
        """A client says nothing more."""
        if self._allowed:
            self._handler.eof_received()
        return False

    def pause_writing(self) -> None:
        """A client does not take its answer."""
        self._handler.pause_writing()

    def resume_writing(self) -> None:
        """It does again."""
        self._handler.resume_writing()

    def connection_lost(self, error: BaseException | None) -> None:
        """A client has gone."""
        if self._timer is not None:
            self._timer.cancel()
        self._door.forget(self)
        if self._allowed:
            self._handler.connection_lost(error)

    # -- called by the middleware and the timer ----------------------------------------------------------------------

    def asked(self) -> None:
        """The head of a request is there."""
        self._asking = True
        self._bytes = 0
        self._door.listen(self)
        self._within(self._door.limits.request_s)

    def answered(self) -> None:
        """The answer is on its way."""
        self._asking = False
        self._rest()

    def begin_stream(self, whose: str) -> None:
        """Its answer may last."""
        door = self._door
        if door.streams.total() >= door.limits.streams or door.streams[whose] >= door.limits.streams_each:
            raise TooManyStreams
        door.streams[whose] += 1
        self.streams = True
        door.listen(self)
        self._within(door.limits.stream_s)

    def end_stream(self, whose: str) -> None:
        """The answer has been given."""
        self._door.streams[whose] -= 1
        self._door.streams = +self._door.streams
        self.streams = False
        if self._asking:
            self._within(self._door.limits.request_s)
        else:
            self._rest()

    def turn_away(self, reason: str, *, told: bool = True) -> None:
        """End it, and count why."""
        self._door.strangers.turned_away(self._door.name, reason, self._peer, told=told)
        self.abort()

    def abort(self) -> None:
        """End it."""
        self._door.forget(self)
        self._transport.abort()

    # ----------------------------------------------------------------------------------------------------------------

    def _behind(self, header: ProxyHeader, data: bytes) -> bytes:
        """What follows the balancer's header in `data`; nothing while it is not whole, or when it is none."""
        if data.startswith(_TEXT_HEADER):
            self.turn_away("proxy_v1")
            return b""
        if header.wants == _HEADER_BYTES and not data.startswith(_HEADER_BEGINS):
            self._header = None  # it asks directly: no request begins so
            return data
        try:
            used = header.feed(data)
        except ProtocolError as error:
            self.turn_away(error.reason)
            return b""
        if header.wants:
            return b""
        self._header = None
        if header.source is not None:
            self._peer = header.source[0]
        return data[used:]

    def _rest(self) -> None:
        if self in self._door.all:
            self._door.idle[self] = None
            self._within(self._door.limits.idle_s)

    def _within(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._expired)

    def _expired(self) -> None:
        if self.streams:
            self.abort()  # it has lasted for as long as one may
        elif self._transport.get_write_buffer_size():
            self.turn_away("not_reading")
        elif self in self._door.idle and not self._bytes:
            self.abort()  # it has its answer and asks nothing more: nothing is wrong
        else:
            # A browser opens connections ahead, and says nothing on some: that is no line in the log.
            self.turn_away("timeout", told=bool(self._bytes or self._asking))

    def _forbid(self) -> None:
        """Say why before closing: who is turned away by a setting is often the administrator."""
        if self._peer:
            self._door.strangers.turned_away(self._door.name, "peer", self._peer)
            self._peer = ""
            self._transport.write(_FORBIDDEN_ANSWER)
            self._transport.close()


@web.middleware
async def _mark_requests(request: web.Request, handler: Handler) -> web.StreamResponse:
    connection = _connection_of(request)
    if connection is None:
        return await handler(request)
    connection.asked()
    try:
        return await handler(request)
    finally:
        connection.answered()


def _connection_of(request: web.Request) -> _Connection | None:
    connection = request.transport.get_protocol() if request.transport is not None else None
    return connection if isinstance(connection, _Connection) else None


def _own_addresses(host: str) -> tuple[str, ...]:
    """Addresses from which the agent itself asks its back office."""
    loopback = ("127.0.0.0/8", "::1/128")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:  # a name: it is for the resolver, and the peers of the settings hold
        return loopback
    return loopback if address.is_unspecified else (*loopback, host)
