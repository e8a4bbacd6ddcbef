"""The agent's FastAGI server: Asterisk tells who calls, asks whether there is room, and asks what comes next.

`agi://host:4573/start,[uuid],[did]` announces the call and sets `VOICE_AGENT_UUID` and `VOICE_AGENT_STATUS` (OK,
FULL or ERROR). `agi://host:4573/next,uuid` sets `VOICE_AGENT_NEXT` (hangup, transfer, menu or UNKNOWN) and
`VOICE_AGENT_TARGET`. `agi://host:4573/transferred,uuid,DIALSTATUS,QUEUESTATUS,ABANDONED` tells how a transfer ended,
and sets nothing. Anything else ends that connection alone, counted by its reason.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from uuid import UUID, uuid4

from agent.ops.peers import Peers
from agent.telephony.agi import (
    AgiError,
    AgiReply,
    AgiRequest,
    get_full_variable,
    parse_reply,
    parse_request,
    set_variable,
)
from agent.telephony.desk import Desk, OnMissed, OnStart, uuid_of
from agent.telephony.registry import CallInfo, Registry
from agent.telephony.texts import call_info, clean
from fastaudio import ProtocolError, ProxyHeader

log = logging.getLogger(__name__)

SWEEP_S = 5.0
"""How often expired announcements are dropped when nobody calls, s."""
CLOSE_S = 1.0
"""What is being answered when the server stops may take so long: the last call's verdict would be lost, s."""


@dataclass(frozen=True, slots=True)
class FastAgiLimits:
    """What one client may do. Asterisk sends about 25 short lines, at once."""

    max_connections: int = 256
    max_line_bytes: int = 2048
    max_lines: int = 64
    request_timeout_s: float = 2.0
    command_timeout_s: float = 2.0
    start_timeout_s: float = 3.0
    verdict_wait_s: float = 1.0


class FastAgiServer:
    """Serves FastAGI while its `async with` block runs.

    `on_start` gets `limits.start_timeout_s`; later or failing it is an ERROR and the call is withdrawn. `counters`
    holds `connections`, `start_ok`, `start_full`, `start_error`, `next_<answer>`, `transferred_missed`,
    `transferred_answered`, `transferred_unknown` and one `refused_<reason>` for each way in which a client was turned
    away: `peer`, `connections`, `timeout`, `line`, `lines`, `bad_header`, `bad_reply`, `bad_uuid`, `script`, `refused`,
    `hangup`, `closed`, and with `proxy_protocol` `no_proxy`, `proxy_v1`, `bad_proxy`.
    """

    def __init__(
        self,
        registry: Registry,
        on_start: OnStart,
        *,
        host: str = "127.0.0.1",
        port: int = 4573,
        allowed_peers: Sequence[str] = ("127.0.0.0/8", "::1/128"),
        proxy_protocol: bool = False,
        limits: FastAgiLimits | None = None,
        on_refused: Callable[[str, str], None] | None = None,
        on_missed: OnMissed | None = None,
    ) -> None:
        """`on_refused` is told the reason and the address of each client that is turned away, which is logged else.

        `proxy_protocol`: each connection begins with a balancer's header of the PROXY protocol, version 2.
        """
        self.counters: Counter[str] = Counter()
        self._on_refused = on_refused
        self._registry = registry
        self._host = host
        self._port = port
        self._peers = Peers(allowed_peers)
        self._proxy_protocol = proxy_protocol
        self._limits = limits or FastAgiLimits()
        self._desk = Desk(
            registry,
            on_start,
            on_missed=on_missed,
            start_timeout_s=self._limits.start_timeout_s,
            verdict_wait_s=self._limits.verdict_wait_s,
        )
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._silent: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        """Those that have not told yet what they want, in the order in which they came."""
        self._sweeper: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The TCP port that is listened on: the real one when 0 was asked for."""
        if self._server is None or not self._server.sockets:
            return self._port
        return int(self._server.sockets[0].getsockname()[1])

    async def __aenter__(self) -> FastAgiServer:
        """Listen. Raises `OSError` naming the address when it is taken."""
        self._server = await asyncio.start_server(
            self._accept, self._host, self._port, limit=self._limits.max_line_bytes
        )
        self._sweeper = asyncio.create_task(self._sweep(), name="fastagi-sweep")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening, let answers that are under way arrive, end what else is open, and wait until all is over."""
        assert self._server is not None
        assert self._sweeper is not None
        self._server.close()
        if answering := self._tasks - self._silent.keys():
            await asyncio.wait(answering, timeout=CLOSE_S)
        tasks = [self._sweeper, *self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _sweep(self) -> None:
        due = time.monotonic()
        while True:
            due += SWEEP_S
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            self._registry.sweep()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._peers.allow(_peer(writer)):
            self._refused("peer", _peer(writer))
            writer.transport.abort()
            return
        if len(self._tasks) >= self._limits.max_connections and not self._make_room():
            self._refused("connections", _peer(writer))
            writer.transport.abort()
            return
        self.counters["connections"] += 1
        task = asyncio.create_task(self._serve(reader, writer), name="fastagi-request")
        self._tasks.add(task)
        self._silent[task] = writer
        task.add_done_callback(self._over)

    def _make_room(self) -> bool:
        """Asterisk says at once what it wants: whoever has been silent for longest gives way. False: nobody is."""
        for task, writer in self._silent.items():
            self._refused("connections", _peer(writer))
            task.cancel()
            writer.transport.abort()
            del self._silent[task]
            return True
        return False

    def _over(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._silent.pop(task, None)

    def _refused(self, reason: str, peer: str, why: object = "") -> None:
        self.counters[f"refused_{reason}"] += 1
        if self._on_refused is not None:
            self._on_refused(reason, peer)
        else:
            log.warning("FastAGI request of %s ends: %s", peer, why or reason)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = _AgiSession(reader, writer, self._limits, proxied=self._proxy_protocol)
        try:
            request = await session.request()
            if (task := asyncio.current_task()) is not None:
                self._silent.pop(task, None)
            if request.script == "start":
                await self._start(session, request)
            elif request.script == "next":
                await self._next(session, request)
            elif request.script == "transferred":
                answer = self._desk.transferred(*(request.argument(number) for number in range(4)))
                self.counters[f"transferred_{answer}"] += 1
            else:
                raise AgiError("script", "the dialplan asks for none of start, next and transferred")
        except AgiError as error:
            if error.reason in ("hangup", "closed"):  # callers who hang up while it rings
                self.counters[f"refused_{error.reason}"] += 1
            else:
                self._refused(error.reason, session.peer, error)
        except Exception:
            self.counters["refused_internal"] += 1
            log.exception("FastAGI request fails")
        finally:
            # Closing is how a FastAGI server says that it is done; the dialplan goes on at once.
            writer.close()
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(self._limits.command_timeout_s):
                    await writer.wait_closed()

    async def _start(self, session: _AgiSession, request: AgiRequest) -> None:
        call = request.argument(0)
        uuid = uuid_of(call) if call else uuid4()
        if uuid is None:
            await session.set(VOICE_AGENT_STATUS="ERROR")
            self.counters["start_error"] += 1
            raise AgiError("bad_uuid", "the first argument of start is not a UUID of 36 characters")
        linked_id = await session.evaluate("${CHANNEL(linkedid)}")
        info = _call_info(uuid, request, linked_id)
        status = await self._desk.start(info)
        self.counters[f"start_{status.lower()}"] += 1
        try:
            # The status comes last: with it the dialplan has all of it.
            await session.set(VOICE_AGENT_UUID=str(info.uuid), VOICE_AGENT_STATUS=status)
        except AgiError:
            await self._desk.withdraw(info.uuid)
            raise

    async def _next(self, session: _AgiSession, request: AgiRequest) -> None:
        verdict = await self._desk.next(request.argument(0))
        action = verdict.action if verdict else "UNKNOWN"
        self.counters[f"next_{action.lower()}"] += 1
        await session.set(VOICE_AGENT_TARGET=verdict.target if verdict else "", VOICE_AGENT_NEXT=action)


def _peer(writer: asyncio.StreamWriter) -> str:
    peer = writer.get_extra_info("peername")
    return str(peer[0]) if peer else ""


class _AgiSession:
    """One connection: each read and each command has its own deadline and size."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limits: FastAgiLimits, *, proxied: bool
    ) -> None:
        self.peer = _peer(writer)
        """Who asks: the balancer, until its header has told whom it asks for."""
        self._reader = reader
        self._writer = writer
        self._limits = limits
        self._proxied = proxied

    async def request(self) -> AgiRequest:
        """Read the header lines up to the blank one."""
        lines: list[str] = []
        try:
            async with asyncio.timeout(self._limits.request_timeout_s):
                if self._proxied:
                    await self._take_header()
                while line := await self._line():
                    if len(lines) == self._limits.max_lines:
                        raise AgiError("lines", "too many header lines")
                    if not line.startswith("agi_"):
                        raise AgiError("bad_header", "the client does not speak AGI")
                    lines.append(line)
        except TimeoutError:
            raise AgiError("timeout", "the header lines did not end in time") from None
        return parse_request(lines)

    async def _take_header(self) -> None:
        header = ProxyHeader()
        try:
            while wants := header.wants:
                data = await self._reader.read(wants)
                if not data:
                    raise AgiError("closed", "the connection ended in the middle")
                header.feed(data)
        except ProtocolError as error:
            raise AgiError(error.reason, "it does not begin with a whole PROXY header of version 2") from None
        except OSError:
            raise AgiError("closed", "the connection broke") from None
        if header.source is not None:
            self.peer = header.source[0]

    async def evaluate(self, expression: str) -> str:
        """The value of a dialplan expression; empty when Asterisk has none."""
        reply = await self._command(get_full_variable(expression))
        return clean(reply.data) if reply.result == 1 else ""

    async def set(self, **variables: str) -> None:
        """Set channel variables, in this order."""
        for name, value in variables.items():
            await self._command(set_variable(name, value))

    async def _command(self, command: str) -> AgiReply:
        try:
            async with asyncio.timeout(self._limits.command_timeout_s):
                self._writer.write(command.encode() + b"\n")
                await self._writer.drain()
                # A usage text (520) is a few lines; more than `max_lines` of them is no Asterisk.
                for _ in range(self._limits.max_lines):
                    line = await self._line()
                    reply = None if line.startswith("Usage:") else parse_reply(line)
                    if reply is not None:
                        return reply
        except TimeoutError:
            raise AgiError("timeout", "a command was not answered in time") from None
        except OSError:
            raise AgiError("closed", "the connection broke") from None
        raise AgiError("lines", "a reply does not end")

    async def _line(self) -> str:
        try:
            line = await self._reader.readuntil(b"\n")
        except asyncio.LimitOverrunError:
            raise AgiError("line", f"a line is longer than {self._limits.max_line_bytes} bytes") from None
        except (asyncio.IncompleteReadError, OSError):
            raise AgiError("closed", "the connection ended in the middle") from None
        return line.rstrip(b"\r\n").decode("utf-8", "replace")


def _call_info(call: UUID, request: AgiRequest, linked_id: str) -> CallInfo:
    """The announcement in a `start` request. The dialled number: second argument, else DNID, else extension."""
    numbers = (request.argument(1), request.header("dnid"), request.header("extension"))
    texts = {
        "did": next(filter(clean, numbers), ""),
        "caller_id": request.header("callerid"),
        "caller_name": request.header("calleridname"),
        "presentation": request.header("callingpres"),
        "unique_id": request.header("uniqueid"),
        "linked_id": linked_id,
        "channel": request.header("channel"),
    }
    return call_info(call, texts, "fastagi")
