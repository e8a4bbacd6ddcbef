"""Asterisk's side of an AudioSocket, as strict as `res_audiosocket.c` and `app_audiosocket.c` of 22.10.1.

The UUID goes first, then a message of 20 ms (320 bytes at 8000 Hz) each 20 ms. What Asterisk would end the call
over ends it here, with the reason: a kind other than hangup and audio, audio of length 0, a pause of more than 5 ms
inside a payload, the end of the stream inside one, a reset, and 2 s without anything. Asterisk itself hangs for
ever on a header that is begun and not finished (asterisk/asterisk#2089); here that is 2 s without anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import time
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

FRAME_SECONDS = 0.02
CONNECT_SECONDS = 2.0
"""`MAX_CONNECT_TIMEOUT_MSEC` of `res_audiosocket.c`."""
IDLE_SECONDS = 2.0
"""`MAX_WAIT_TIMEOUT_MSEC` of `app_audiosocket.c`."""
PAYLOAD_PAUSE_MS = 5
KEY_DOWN_FRAMES = 5
"""How long a key is held: 100 ms, during which Asterisk sends no audio."""
MAX_OWED_FRAMES = 50
"""After a stall of this host the frames owed go out at once; after one of a second, ticks are skipped, counted."""

HANGUP, UUID, DTMF = 0x00, 0x01, 0x03
RATES = {
    0x10: 8000,
    0x11: 12000,
    0x12: 16000,
    0x13: 24000,
    0x14: 32000,
    0x15: 44100,
    0x16: 48000,
    0x17: 96000,
    0x18: 192000,
}
"""Audio kinds and their sample rates in Hz; all but 0x10 since 20.17, 21.12, 22.7 and 23.1."""

OnAudio = Callable[[float, bytes, int], None]
"""Told of each message of audio: when it came (s since the UUID), its samples, its rate in Hz."""
NextFrame = Callable[[int], bytes]
"""Asked for the frame of tick n (from 0), 20 ms, unless a key is down in that tick."""


def frame_bytes(rate: int) -> int:
    """Bytes of 20 ms at so many samples a second."""
    return rate // 50 * 2


class ConnectError(ConnectionError):
    """Nobody takes the call; the text says where it was tried."""


@dataclass(slots=True)
class WireCounters:
    """What happened on the wire."""

    frames_sent: int = 0
    frames_received: int = 0
    bytes_received: int = 0
    late_ms: float = 0.0
    """The latest that this host sent a frame: with more than 20 ms the agent's pacing cannot be judged."""
    skipped_ticks: int = 0
    """Ticks without a frame, after a stall of this host of more than a second; what was to be said comes later."""
    longest_gap_ms: float = 0.0
    """The longest time between two messages from the agent."""


class AudioSocketCaller:
    """One call's connection. `connect` it, `start` it, wait for `ended`, `hang_up`; `close` it in any case."""

    def __init__(self, call: uuid.UUID, next_frame: NextFrame, on_audio: OnAudio, rate: int = 8000) -> None:
        """Make a caller that asks `next_frame` for what to send and tells `on_audio` what it hears.

        `rate`: samples a second of what is sent, one of `RATES`.
        """
        kind = next(kind for kind, hertz in RATES.items() if hertz == rate)
        self._header = bytes((kind,)) + frame_bytes(rate).to_bytes(2, "big")
        self._call = call
        self._next_frame = next_frame
        self._on_audio = on_audio
        self._buffer = bytearray()
        self._keys: deque[str] = deque()
        self._key_held = 0
        self._key_rest = 0
        self._sender: asyncio.Task[None] | None = None
        self._socket: socket.socket | None = None
        self._heard_at = 0.0
        self.counters = WireCounters()
        self.started = 0.0
        """`time.monotonic()` of the UUID: second 0 of the call."""
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Resolves to who ended it: "agent" (00 00 00 or FIN), "caller", or "failure: " and the reason."""

    @property
    def now(self) -> float:
        """Seconds since the UUID."""
        return time.monotonic() - self.started

    async def connect(self, host: str, port: int) -> None:
        """Connect within 2 s, as Asterisk does. Raises `ConnectError`."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
                family, kind, protocol, _, address = found[0]
                self._socket = socket.socket(family, kind, protocol)
                self._socket.setblocking(False)
                await loop.sock_connect(self._socket, address)
        except (OSError, TimeoutError) as error:
            self._close_socket()
            reason = "no answer within 2 s" if isinstance(error, TimeoutError) else error.strerror or str(error)
            raise ConnectError(f"no AudioSocket server at {host}:{port}: {reason}") from error
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def start(self) -> None:
        """Send the UUID and begin to send and to hear."""
        assert self._socket is not None
        self.started = time.monotonic()
        self._heard_at = 0.0
        self._write(bytes((UUID, 0, 16)) + self._call.bytes)
        asyncio.get_running_loop().add_reader(self._socket, self._readable)
        self._sender = asyncio.create_task(self._send_on_time(), name="caller-send")

    def press(self, digits: str) -> None:
        """Press keys, one after the other: 100 ms down, without audio, then the message, and 100 ms of audio."""
        self._keys.extend(digits)

    @property
    def pressing(self) -> bool:
        """Whether keys are still to be pressed."""
        return bool(self._keys)

    def hang_up(self) -> None:
        """End the call as a caller does: Asterisk closes the connection, and no message says so."""
        self._end("caller")

    async def close(self) -> None:
        """Stop everything and close the connection, if it is still there."""
        self._end("caller")
        if self._sender is not None:
            self._sender.cancel()
            await asyncio.gather(self._sender, return_exceptions=True)

    async def _send_on_time(self) -> None:
        """Send tick n at second n/50, by the clock: no error adds up."""
        tick = 0
        while not self.ended.done():
            late = self.now - tick * FRAME_SECONDS
            if late < 0:
                await asyncio.sleep(-late)
                continue
            self.counters.late_ms = max(self.counters.late_ms, late * 1000)
            if late > MAX_OWED_FRAMES * FRAME_SECONDS:
                owed = int(late / FRAME_SECONDS)
                self.counters.skipped_ticks += owed
                tick += owed
                continue
            # Asterisk polls before it writes, and what the agent sent comes first.
            self._readable()
            if not self._key_is_down():
                self._write(self._header + self._next_frame(tick))
                self.counters.frames_sent += 1
            tick += 1
            if self.now - self._heard_at > IDLE_SECONDS:
                self._end(f"failure: nothing from the agent for {IDLE_SECONDS:g} s")

    def _key_is_down(self) -> bool:
        """Hold the first key for this tick, if there is one; its message goes out when it comes up again."""
        if self._key_rest > 0:
            self._key_rest -= 1
            return False
        if not self._keys:
            return False
        self._key_held += 1
        if self._key_held == KEY_DOWN_FRAMES:
            self._write(bytes((DTMF, 0, 1)) + self._keys.popleft().encode())
            self._key_held, self._key_rest = 0, KEY_DOWN_FRAMES
        return True

    def _write(self, message: bytes) -> None:
        """Write as Asterisk does: at once and whole, or the call is over."""
        if self._socket is None or self.ended.done():
            return
        try:
            if self._socket.send(message) != len(message):
                self._end("failure: the agent does not read: a message went out in part")
        except BlockingIOError:
            self._end("failure: the agent does not read: the connection is full")
        except OSError as error:
            self._end(f"failure: cannot write to the agent: {error.strerror}")

    def _readable(self) -> None:
        while self._socket is not None and not self.ended.done():
            try:
                data = self._socket.recv(65536)
            except BlockingIOError:
                return
            except OSError as error:
                self._end(f"failure: cannot read a header from the agent: {error.strerror}")
                return
            if not data:
                # In front of a message or inside its header the end of the stream is a hangup.
                self._end("agent")
                return
            self._buffer += data
            self._parse()

    def _parse(self) -> None:
        buffer = self._buffer
        while len(buffer) >= 3 and not self.ended.done():
            kind, length = buffer[0], int.from_bytes(buffer[1:3], "big")
            if kind == HANGUP:
                self._end("agent")
                return
            if kind not in RATES:
                self._end(f"failure: message of kind 0x{kind:02x}: only hangup and audio may be sent to Asterisk")
                return
            if length == 0:
                self._end("failure: audio of length 0")
                return
            while len(buffer) < 3 + length:
                if not self._more():
                    return
            samples = bytes(buffer[3 : 3 + (length & ~1)])
            del buffer[: 3 + length]
            at = self.now
            if self.counters.frames_received:
                self.counters.longest_gap_ms = max(self.counters.longest_gap_ms, (at - self._heard_at) * 1000)
            self._heard_at = at
            self.counters.frames_received += 1
            self.counters.bytes_received += length
            self._on_audio(at, samples, RATES[kind])

    def _more(self) -> bool:
        """Read more of a payload that has begun, which may pause for 5 ms at most; False ends the call.

        It blocks, as in Asterisk: measuring the pause between two turns of the event loop would measure the loop.
        """
        assert self._socket is not None
        try:
            data = self._socket.recv(65536)
        except BlockingIOError:
            poll = select.poll()
            poll.register(self._socket, select.POLLIN)
            if not poll.poll(PAYLOAD_PAUSE_MS):
                self._end(f"failure: a payload paused for more than {PAYLOAD_PAUSE_MS} ms")
                return False
            return True
        except OSError as error:
            self._end(f"failure: cannot read a payload from the agent: {error.strerror}")
            return False
        if not data:
            self._end("failure: the stream ended inside a payload")
            return False
        self._buffer += data
        return True

    def _end(self, how: str) -> None:
        if not self.ended.done():
            self.ended.set_result(how)
        self._close_socket()

    def _close_socket(self) -> None:
        connection, self._socket = self._socket, None
        if connection is None:
            return
        asyncio.get_running_loop().remove_reader(connection)
        # Closing over unread data sends a reset: the FIN of an ordinary hangup goes first.
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_WR)
        connection.close()
