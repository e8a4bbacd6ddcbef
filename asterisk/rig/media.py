"""The caller's RTP: one packet every 20 ms out, every packet of the other side recorded with its arrival."""

from __future__ import annotations

import asyncio
import contextlib
import math
import secrets
import socket
import struct
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from . import ulaw
from .sip import EVENT_PAYLOAD

FRAME = 160
"""Samples, and octets of PCMU, in a packet of 20 ms."""

TICK_S = 0.02
LIVE_FRAMES = 10
"""How much of a live source waits to be sent: 200 ms; what is older is dropped."""

QUIET = bytes([ulaw.SILENCE]) * FRAME
DIGITS = "0123456789*#ABCD"
_SO_TIMESTAMPNS = 35
"""SO_TIMESTAMPNS of Linux (asm-generic/socket.h), which Python's socket does not name."""


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet that arrived: `arrival_ns` is the kernel's CLOCK_REALTIME, `at_s` the second of the call."""

    payload: bytes
    payload_type: int
    sequence: int
    timestamp: int
    marker: bool
    arrival_ns: int
    at_s: float
    level: float


@dataclass(slots=True)
class _Speech:
    octets: bytes
    done: asyncio.Future[float]
    offset: int = 0


class Media:
    """One call's audio. `sent` is what the caller said, tick by tick; `packets` what came back."""

    def __init__(self, *, loud: float = 200.0) -> None:
        self.packets: list[Packet] = []
        self.sent = bytearray()
        self.strays = 0
        self.late_ticks = 0
        self.on_packet: Callable[[Packet], None] = lambda packet: None
        """Told of each packet as it arrives."""
        self._loud = loud
        self._queue: deque[_Speech] = deque()
        self._live: deque[bytes] = deque(maxlen=LIVE_FRAMES)
        self._digits: deque[tuple[str, asyncio.Future[None]]] = deque()
        self._arrived = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._start_ns = 0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._socket.bind(("127.0.0.1", 0))

    @property
    def port(self) -> int:
        """Where the caller takes RTP."""
        return int(self._socket.getsockname()[1])

    @property
    def now_s(self) -> float:
        """Seconds since the media began."""
        return (time.time_ns() - self._start_ns) / 1e9

    def start(self, remote: tuple[str, int]) -> None:
        """Begin to send and to listen."""
        self._start_ns = time.time_ns()
        self._socket.connect(remote)
        asyncio.get_running_loop().add_reader(self._socket, self._read)
        self._task = asyncio.create_task(self._send(), name="rtp-send")

    async def stop(self) -> None:
        """End both directions; what was not said or pressed any more is cancelled."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()
        for speech in self._queue:
            speech.done.cancel()
        for _, done in self._digits:
            done.cancel()
        self._arrived.set()

    async def say(self, pcm: bytes) -> float:
        """Say 8 kHz PCM after what is being said; returns when the last packet left, with the second it began."""
        speech = _Speech(ulaw.encode(pcm), asyncio.get_running_loop().create_future())
        self._queue.append(speech)
        return await speech.done

    def feed(self, pcm: bytes) -> None:
        """Give the next 20 ms of a source that is live, to be said where nothing else is."""
        self._live.append(ulaw.encode(pcm))

    async def press(self, digits: str) -> None:
        """Press keys, 100 ms each with 100 ms between (RFC 4733). Raises `ValueError` for what is no key."""
        for digit in digits:
            if digit not in DIGITS:
                raise ValueError(f"{digit!r} is no key")
            done = asyncio.get_running_loop().create_future()
            self._digits.append((digit, done))
            await done

    async def heard(self, timeout_s: float, after_s: float | None = None) -> float:
        """Wait for sound from the other side; the second at which it began. Raises `TimeoutError`.

        Sound is three loud packets in a row. Only what comes after `after_s` (default: now) counts.
        """
        after_s = self.now_s if after_s is None else after_s
        async with asyncio.timeout(timeout_s):
            place = 0
            while True:
                run = 0
                for index in range(max(0, place - 2), len(self.packets)):
                    packet = self.packets[index]
                    run = run + 1 if packet.level >= self._loud and packet.at_s >= after_s else 0
                    if run == 3:
                        return self.packets[index - 2].at_s
                place = len(self.packets)
                await self._next()

    async def quiet(self, timeout_s: float, quiet_s: float = 0.7) -> float:
        """Wait until the other side has been silent for `quiet_s`; the second of its last sound.

        Raises `TimeoutError` when it goes on.
        """
        async with asyncio.timeout(timeout_s):
            begin = self.now_s
            while True:
                last = max((packet.at_s for packet in self.packets if packet.level >= self._loud), default=0.0)
                if self.now_s - max(last, begin) >= quiet_s:
                    return last
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.1):
                        await self._next()

    def stereo(self) -> bytes:
        """What both said as 16-bit PCM of two channels: caller left, agent right, one timeline of arrivals."""
        total = max(len(self.sent), FRAME * (math.ceil(self.packets[-1].at_s / TICK_S) + 1) if self.packets else 0)
        received = bytearray([ulaw.SILENCE]) * total
        place = 0
        previous: Packet | None = None
        for packet in self.packets:
            if packet.payload_type != 0:
                continue
            if previous is None or packet.timestamp != (previous.timestamp + len(previous.payload)) % 2**32:
                place = int(packet.at_s * 8000)
            received[place : place + len(packet.payload)] = packet.payload
            place += len(packet.payload)
            previous = packet
        left = bytes(self.sent).ljust(total, bytes([ulaw.SILENCE]))[:total]
        pairs = bytearray(4 * total)
        view = memoryview(pairs).cast("h")
        view[0::2] = memoryview(ulaw.decode(left)).cast("h")
        view[1::2] = memoryview(ulaw.decode(bytes(received[:total]))).cast("h")
        return bytes(pairs)

    async def _next(self) -> None:
        self._arrived.clear()
        await self._arrived.wait()
        if self._socket.fileno() < 0:
            raise ConnectionError("the call is over")

    def _read(self) -> None:
        while True:
            try:
                data, ancillary, _, _ = self._socket.recvmsg(2048, 64)
            except (BlockingIOError, ConnectionRefusedError):
                return
            arrival_ns = time.time_ns()
            for _, kind, value in ancillary:
                if kind == _SO_TIMESTAMPNS:
                    seconds, nanoseconds = struct.unpack("qq", value)
                    arrival_ns = seconds * 1_000_000_000 + nanoseconds
            if len(data) < 12 or data[0] != 0x80:
                self.strays += 1
                continue
            kind, sequence, timestamp = struct.unpack_from("!BHI", data, 1)
            self.packets.append(
                Packet(
                    payload=data[12:],
                    payload_type=kind & 0x7F,
                    sequence=sequence,
                    timestamp=timestamp,
                    marker=bool(kind & 0x80),
                    arrival_ns=arrival_ns,
                    at_s=(arrival_ns - self._start_ns) / 1e9,
                    level=ulaw.level(data[12:]) if kind & 0x7F == 0 else 0.0,
                )
            )
            self.on_packet(self.packets[-1])
            self._arrived.set()

    async def _send(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        source = secrets.randbits(32)
        sequence, timestamp = secrets.randbits(15), secrets.randbits(31)
        press: _Press | None = None
        while True:
            payload = QUIET if press or self._digits else self._frame()
            self.sent += payload
            if press is None and self._digits:
                press = _Press(*self._digits.popleft(), timestamp)
            if press is None:
                packets = [(0, timestamp, payload)]
            else:
                packets = press.tick()
                press = None if press.over else press
            for kind, stamp, body in packets:
                sequence = (sequence + 1) & 0xFFFF
                with contextlib.suppress(ConnectionRefusedError):
                    self._socket.send(struct.pack("!BBHII", 0x80, kind, sequence, stamp, source) + body)
            timestamp = (timestamp + FRAME) & 0xFFFFFFFF
            due += TICK_S
            if loop.time() > due + TICK_S:
                self.late_ticks += 1
            await asyncio.sleep(max(0.0, due - loop.time()))

    def _frame(self) -> bytes:
        """The next 20 ms of what is to be said; silence when there is nothing."""
        while self._queue and self._queue[0].done.cancelled():
            self._queue.popleft()
        if not self._queue:
            return self._live.popleft() if self._live else QUIET
        speech = self._queue[0]
        frame = speech.octets[speech.offset : speech.offset + FRAME].ljust(FRAME, bytes([ulaw.SILENCE]))
        speech.offset += FRAME
        if speech.offset >= len(speech.octets):
            self._queue.popleft()
            speech.done.set_result((len(self.sent) + FRAME - speech.offset) / 8000)
        return frame


class _Press:
    """One key: five ticks down with growing duration, the end three times over, five ticks of nothing."""

    DOWN, PAUSE = 5, 5

    def __init__(self, digit: str, done: asyncio.Future[None], timestamp: int) -> None:
        self._event = DIGITS.index(digit)
        self._done = done
        self._timestamp = timestamp
        self._ticks = 0
        self.over = False

    def tick(self) -> list[tuple[int, int, bytes]]:
        """The packets of this tick: payload type with marker, timestamp, body."""
        self._ticks += 1
        if self._ticks > self.DOWN:
            self.over = self._ticks == self.DOWN + self.PAUSE
            if self.over and not self._done.done():
                self._done.set_result(None)
            return []
        last = self._ticks == self.DOWN
        body = struct.pack("!BBH", self._event, 0x80 | 10 if last else 10, self._ticks * FRAME)
        marker = 0x80 if self._ticks == 1 else 0
        return [(EVENT_PAYLOAD | marker, self._timestamp, body)] * (3 if last else 1)
