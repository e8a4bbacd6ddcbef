"""How the supervisor and one worker talk: questions with answers, and what is merely told, over a socketpair.

A message is four bytes of length (big endian), four of the length of its head, the head as JSON, and bytes that JSON
does not carry: sound, pages. The head is `["ask", number, what, values]`, `["tell", what, values]`,
`["answer", number, value]` or `["error", number, text]`; a value or an answer that is bytes is the rest of the message.
Both sides are of one installation: there is no negotiation beyond `VERSION`, which a worker says first.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

import orjson

log = logging.getLogger(__name__)

VERSION: Final = 1
"""Of what is said over a bus. A supervisor and a worker of different ones do not work together."""
MAX_MESSAGE: Final = 16 * 1024 * 1024
MAX_UNSENT: Final = 2 * MAX_MESSAGE
"""Bytes that the other side has not taken yet."""
MAX_HANDLING: Final = 4096
"""Questions that are being answered at once."""
ASK_S: Final = 2.0

Handler: TypeAlias = Callable[[Mapping[str, Any]], Awaitable[Any] | Any]
"""Gets the values of a message. What a plain function does, it does in the order of the messages; a coroutine runs as a
task of its own. Its result is the answer: what JSON carries, or bytes."""


class BusError(Exception):
    """The other side cannot be asked: it is gone, does not answer in time, or its handler failed."""


class Bus(asyncio.Protocol):
    """One end. `bus = await Bus.open(sock)`; used on the event loop alone. `on` comes before the other side asks.

    `counters` has `asked`, `told`, `handled`, `failed` (handlers that raised), `unknown` (messages nobody handles),
    `late` (answers that came when nobody waited any more), `unsent` (told, and the other side takes nothing), `busy`.
    """

    def __init__(self, name: str = "the other side") -> None:
        """`name` says in errors and the log who is at the other end."""
        self.name = name
        self.counters: Counter[str] = Counter()
        self._handlers: dict[str, Handler] = {}
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._received = bytearray()
        self._transport: asyncio.Transport | None = None
        self._closed = asyncio.Event()

    @classmethod
    async def open(cls, sock: socket.socket, name: str = "the other side") -> Bus:
        """Talk over a connected stream socket, which is the bus's own from now on."""
        bus = cls(name)
        sock.setblocking(False)
        await asyncio.get_running_loop().create_connection(lambda: bus, sock=sock)
        return bus

    def on(self, what: str, handler: Handler) -> None:
        """Have this done when the other side asks or tells `what`."""
        self._handlers[what] = handler

    async def ask(self, what: str, timeout_s: float = ASK_S, **values: Any) -> Any:
        """Return the other side's answer. Raises `BusError` when there is none within the time."""
        number = next(self._numbers)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        try:
            self._send(["ask", number, what], values)
            self.counters["asked"] += 1
            async with asyncio.timeout(timeout_s):
                return await answer
        except TimeoutError:
            raise BusError(f"{self.name} has not answered {what!r} within {timeout_s:g} s") from None
        finally:
            del self._asked[number]

    def tell(self, what: str, **values: Any) -> bool:
        """Say something that needs no answer; False when the other side is gone or takes nothing, which is counted."""
        try:
            self._send(["tell", what], values)
        except BusError:
            self.counters["unsent"] += 1
            return False
        self.counters["told"] += 1
        return True

    @property
    def closed(self) -> bool:
        """Whether the other side is gone, or this one has closed."""
        return self._closed.is_set()

    async def wait_closed(self) -> None:
        """Wait until the other side is gone."""
        await self._closed.wait()

    async def close(self) -> None:
        """Send what was said, and end; questions that wait fail on both sides."""
        if self._transport is not None:
            self._transport.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._closed.wait()

    # -- out ---------------------------------------------------------------------------------------------------------

    def _send(self, head: list[Any], values: Any) -> None:
        if self._transport is None or self.closed or self._transport.is_closing():
            raise BusError(f"{self.name} is gone")
        if self._transport.get_write_buffer_size() > MAX_UNSENT:
            raise BusError(f"{self.name} takes nothing")
        self._transport.write(_packed(head, values))

    # -- in: asyncio.Protocol ----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is ours."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """The other side is gone: who waits for an answer is told."""
        self._closed.set()
        for answer in self._asked.values():
            if not answer.done():
                answer.set_exception(BusError(f"{self.name} is gone"))

    def data_received(self, data: bytes) -> None:
        """Take messages apart, in any split."""
        self._received += data
        while len(self._received) >= 8:
            length = int.from_bytes(self._received[:4])
            head_length = int.from_bytes(self._received[4:8])
            if not head_length <= length <= MAX_MESSAGE:
                self._broken("a message's length is wrong")
                return
            if len(self._received) < 8 + length:
                return
            message = bytes(memoryview(self._received)[8 : 8 + length])
            del self._received[: 8 + length]
            try:
                head = orjson.loads(message[:head_length])
            except ValueError:
                self._broken("a message is no JSON")
                return
            self._take(head, message[head_length:])

    def _broken(self, why: str) -> None:
        log.error("the bus to %s ends: %s", self.name, why)
        assert self._transport is not None
        self._transport.abort()

    def _take(self, head: list[Any], rest: bytes) -> None:
        match head:
            case ["ask", int(number), str(what), values]:
                self._handle(number, what, _with_bytes(values, rest))
            case ["tell", str(what), values]:
                self._handle(None, what, _with_bytes(values, rest))
            case ["answer" | "error" as kind, int(number), value]:
                self._answered(number, kind, _with_bytes(value, rest))
            case _:
                self._broken("a message is of no known kind")

    def _answered(self, number: int, kind: str, value: Any) -> None:
        answer = self._asked.get(number)
        if answer is None or answer.done():
            self.counters["late"] += 1
        elif kind == "answer":
            answer.set_result(value)
        else:
            answer.set_exception(BusError(f"{self.name}: {value}"))

    def _handle(self, number: int | None, what: str, values: Mapping[str, Any]) -> None:
        handler = self._handlers.get(what)
        if handler is None:
            self.counters["unknown"] += 1
            self._reply("error", number, f"nobody answers {what!r}")
            return
        if len(self._tasks) >= MAX_HANDLING:
            self.counters["busy"] += 1
            self._reply("error", number, "too much is asked at once")
            return
        try:
            result = handler(values)
        except Exception as error:
            self._failed(number, what, error)
            return
        if isinstance(result, Awaitable):
            task = asyncio.get_running_loop().create_task(self._finish(number, what, result), name=f"bus {what}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            self.counters["handled"] += 1
            self._reply("answer", number, result)

    async def _finish(self, number: int | None, what: str, result: Awaitable[Any]) -> None:
        try:
            value = await result
        except Exception as error:
            self._failed(number, what, error)
        else:
            self.counters["handled"] += 1
            self._reply("answer", number, value)

    def _failed(self, number: int | None, what: str, error: Exception) -> None:
        self.counters["failed"] += 1
        if number is None:  # whoever asked says it else
            log.error("what %s tells fails: %s", self.name, what, exc_info=error)
        self._reply("error", number, f"{type(error).__name__}: {error}")

    def _reply(self, kind: str, number: int | None, value: Any) -> None:
        if number is None:
            return
        try:
            self._send([kind, number], value)
        except BusError:
            self.counters["unsent"] += 1
        except (TypeError, ValueError) as error:  # an answer that cannot be sent is a failed one
            self._send(["error", number], f"the answer cannot be sent: {error}")


_BYTES: Final = "\0bytes"


def _packed(head: list[Any], values: Any) -> bytes:
    """A message. Raises `ValueError` when it is too long, `TypeError` for what JSON does not carry."""
    rest = b""
    if isinstance(values, bytes):
        values, rest = _BYTES, values
    elif isinstance(values, dict):
        for name, value in values.items():
            if isinstance(value, bytes):
                if rest:
                    raise ValueError("one value of a message may be bytes")
                values, rest = values | {name: _BYTES}, value
    text = orjson.dumps([*head, values])
    length = len(text) + len(rest)
    if length > MAX_MESSAGE:
        raise ValueError(f"{length} bytes are more than {MAX_MESSAGE}")
    return length.to_bytes(4) + len(text).to_bytes(4) + text + rest


def _with_bytes(values: Any, rest: bytes) -> Any:
    if values == _BYTES:
        return rest
    if isinstance(values, dict):
        for name, value in values.items():
            if value == _BYTES:
                return values | {name: rest}
    return values
