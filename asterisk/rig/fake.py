"""A strict fake of Asterisk's AudioSocket() in any of its versions, for tests where no Asterisk can be.

It does what `audiosocket_run` does, with the rules of `versions.py`: a thread a call, a non-blocking socket, one
`write` a frame, what the server sends before what the caller says, and no second chance for anything.

    call = FakeCall(NEW, engine.port)
    call.start()
    ...
    call.hang_up()
    outcome = await call.outcome()
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import select
import socket
import struct
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

from rig import versions
from rig.versions import Version

FRAME_MS = 20
FRAME_BYTES = 320
SILENCE = bytes(FRAME_BYTES)
CHANNEL = "PJSIP/fake-00000001"
KEY_FRAMES = 5
"""A key is down for 100 ms: core replaces the caller's voice by null frames, and the digit goes out at its end."""
HOST_STALL_MS = 25
"""A wait of 5 ms that took so long was one in which this host stood still: the server did not run either."""
SPIN_S = 0.001
"""OLD spins on a closed socket; here it sleeps so long each time round, and counts."""

NextFrame = Callable[[int], bytes | None]
"""The caller's frame of tick n, 8 kHz PCM of any length but 0; None where the caller's telephone sends nothing."""


@dataclass(frozen=True, slots=True)
class Heard:
    """One audio message from the server, which becomes one RTP packet: when it was read (`time.monotonic()`)."""

    at_s: float
    rate: int
    pcm: bytes


@dataclass(slots=True)
class Outcome:
    """What the dialplan is told, and the log."""

    returned: int
    """0: the next priority runs. -1: the caller is hung up, unless TryExec() stands around AudioSocket()."""
    log: list[tuple[str, str]] = field(default_factory=list)
    """Level and text of each line, as Asterisk writes them."""

    @property
    def try_status(self) -> str:
        """TRYSTATUS behind TryExec(AudioSocket(...)). No version sets a variable of AudioSocket's own."""
        return "SUCCESS" if self.returned == 0 else "FAILED"

    def said(self, text: str) -> bool:
        """Whether a line was logged; `text` is one of the constants of `versions.py`."""
        return any(line.startswith(text.split("%s")[0]) for _, line in self.log)


class _Over(Exception):
    """The application returns."""

    def __init__(self, returned: int) -> None:
        super().__init__(returned)
        self.returned = returned


class _Stream:
    """The socket as Asterisk reads it: whatever is there, and never waiting in `read`."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection

    def read(self, size: int) -> bytes | None:
        """Up to `size` bytes, b"" at the end, None when nothing is there. Raises OSError."""
        try:
            return self.socket.recv(size, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None

    def wait(self, ms: int) -> bool:
        """`ast_wait_for_input`: whether something is there within `ms`."""
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        began = time.monotonic()
        if poll.poll(ms):
            return True
        stalled = (time.monotonic() - began) * 1000 > ms + HOST_STALL_MS
        return bool(stalled and poll.poll(ms))


class FakeCall:
    """One AudioSocket() of a dialplan. `start` it; it ends by itself, by `hang_up`, or by `abandon`."""

    def __init__(
        self,
        version: Version,
        port: int,
        *,
        call: uuid.UUID | None = None,
        next_frame: NextFrame = lambda tick: SILENCE,
        receive_bytes: int = 0,
    ) -> None:
        """Make a call to a server on loopback; `receive_bytes` bounds the socket's receive buffer, 0 leaves it."""
        self.version = version
        self.uuid = call or uuid.uuid4()
        self.heard: list[Heard] = []
        self.digits_sent = ""
        self.frames_sent = 0
        self.spins = 0
        """How often OLD went round on a closed socket."""
        self.stuck = False
        """The header loop waits for bytes that do not come: the call's thread does nothing else any more."""
        self._server = ("127.0.0.1", port)
        self._next_frame = next_frame
        self._receive_bytes = receive_bytes
        self._log: list[tuple[str, str]] = []
        self._keys: deque[str] = deque()
        self._key_held = 0
        self._hang_up: str = ""
        self._abandoned = threading.Event()
        self._reading = threading.Event()
        self._reading.set()
        self._standing = threading.Event()
        self._future: Future[Outcome] = Future()
        self._thread = threading.Thread(target=self._run, name="fake-asterisk", daemon=True)

    # -- what a test does ----------------------------------------------------------------------------------------------

    def start(self) -> FakeCall:
        """Connect, and run the application in a thread."""
        self._thread.start()
        return self

    def press(self, digits: str) -> None:
        """Press keys, 100 ms each."""
        self._keys.extend(digits)

    def hang_up(self, how: str = "close") -> None:
        """The caller hangs up: Asterisk closes, with or without unread audio; "fin" and "reset" leave no choice."""
        self._hang_up = how

    def stall(self) -> None:
        """Stop the call's thread where it is, as on a host that has no time for it, until `go_on`.

        It may look at its socket once more before it `stands`.
        """
        self._reading.clear()

    def go_on(self) -> None:
        """End a `stall`."""
        self._reading.set()

    @property
    def stands(self) -> bool:
        """Whether a `stall` has come to it: what is sent now is found all at once."""
        return self._standing.is_set()

    def abandon(self) -> None:
        """End the thread of a call that would never end: stuck, or spinning. The caller has hung up, too."""
        self._reading.set()
        self._abandoned.set()

    async def outcome(self, timeout_s: float = 5.0) -> Outcome:
        """Wait for the end. Raises `TimeoutError`."""
        async with asyncio.timeout(timeout_s):
            return await asyncio.shield(asyncio.wrap_future(self._future))

    def result(self, timeout_s: float = 5.0) -> Outcome:
        """The same without an event loop."""
        return self._future.result(timeout_s)

    @property
    def over(self) -> bool:
        """Whether the application has returned."""
        return self._future.done()

    @property
    def audio(self) -> bytes:
        """Everything the caller heard, end to end."""
        return b"".join(message.pcm for message in self.heard)

    # -- the application -----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            returned = -1
            with contextlib.closing(self._connect()) as connection:
                try:
                    self._write(connection, struct.pack("!BH", versions.UUID, 16) + self.uuid.bytes)
                    self._loop(_Stream(connection))
                except _Over as over:
                    returned = over.returned
                self._prepare_close(connection)
        except _Over as over:
            returned = over.returned
        except BaseException as error:  # a fault of the fake itself must reach the test
            self._future.set_exception(error)
            return
        self._future.set_result(Outcome(returned, self._log))

    def _connect(self) -> socket.socket:
        """`ast_audiosocket_connect`."""
        connection = socket.socket()
        if self._receive_bytes:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_bytes)
        connection.settimeout(versions.CONNECT_MS / 1000)
        if self.version.no_delay:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            connection.connect(self._server)
        except OSError:
            connection.close()
            raise self._fail("ERROR", versions.NOT_CONNECTED) from None
        connection.setblocking(False)
        return connection

    def _loop(self, stream: _Stream) -> None:
        """`audiosocket_run`: what socket or channel has to say, the socket first (`ast_waitfor_nandfds`)."""
        tick, began = 0, time.monotonic()
        active = began
        poll = select.poll()
        poll.register(stream.socket, select.POLLIN)
        while True:
            if not self._reading.is_set():
                self._standing.set()
                self._reading.wait()
                self._standing.clear()
            if self._hang_up or self._abandoned.is_set():
                raise self._fail("WARNING", versions.CALLER_GONE)
            due = began + tick * FRAME_MS / 1000
            if poll.poll(max(0.0, due - time.monotonic()) * 1000):
                self._receive(stream)
                active = time.monotonic()
                continue
            now = time.monotonic()
            if now < due:
                continue
            if self._channel_frame(stream.socket, tick):
                active = now
            tick += 1
            if self.version.idle_ms and (now - active) * 1000 >= self.version.idle_ms:
                raise self._fail("ERROR", versions.IDLE, self.version.idle_ms)

    def _channel_frame(self, connection: socket.socket, tick: int) -> bool:
        """A frame of the caller's channel, if there is one at this tick; whether there was."""
        if self._keys:
            self._key_held += 1
            if self._key_held == KEY_FRAMES:
                digit, self._key_held = self._keys.popleft(), 0
                if self.version.sends_dtmf:
                    self._forward(connection, struct.pack("!BH", versions.DTMF, 1) + digit.encode())
                    self.digits_sent += digit
            return True
        frame = self._next_frame(tick)
        if frame is None:
            return False
        self._forward(connection, struct.pack("!BH", versions.AUDIO, len(frame)) + frame)
        self.frames_sent += 1
        return True

    def _forward(self, connection: socket.socket, message: bytes) -> None:
        try:
            self._write(connection, message)
        except _Over:
            raise self._fail("WARNING", versions.NOT_FORWARDED) from None

    def _write(self, connection: socket.socket, message: bytes) -> None:
        """`ast_audiosocket_send_frame`: one `write` for all of a message. A short one is a failed one."""
        try:
            written = connection.send(message, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except OSError as error:
            raise self._fail("WARNING", versions.NOT_WRITTEN, os.strerror(error.errno or 0)) from None
        if written != len(message):
            raise self._fail("WARNING", versions.NOT_WRITTEN, "Success")

    # -- what the server sends -----------------------------------------------------------------------------------------

    def _receive(self, stream: _Stream) -> None:
        """`ast_audiosocket_receive_frame_with_hangup`, and what `audiosocket_run` makes of its answer."""
        try:
            header = self._header(stream)
            if header is None:
                return
            kind, length = header
            if kind not in self.version.audio_kinds:
                if not self.version.skips_other_kinds:
                    raise self._fail("ERROR", versions.WRONG_KIND)
                self._log.append(("WARNING", versions.NOT_AUDIO))
            if length == 0:
                if self.version.takes_empty_audio:
                    return
                raise self._fail("ERROR", versions.NO_LENGTH_ZERO)
            payload = self._payload(stream, length)
        except _Over as over:
            if over.returned != 0 and not self._abandoned.is_set():
                raise self._fail("WARNING", versions.NOT_RECEIVED) from None
            raise
        if kind in self.version.audio_kinds:
            self.heard.append(Heard(time.monotonic(), versions.RATES[kind], payload[: length & ~1]))

    def _header(self, stream: _Stream) -> tuple[int, int] | None:
        """Kind and length; None for a null frame. Raises `_Over` at a hangup and when it cannot be read."""
        read = {
            "byte by byte": self._header_byte_by_byte,
            "one read": self._header_in_one_read,
            "loop at the wrong offset": self._header_in_a_loop,
            "loop": self._header_in_a_loop,
        }
        try:
            header = read[self.version.header](stream)
        except OSError as error:
            text = versions.NO_KIND if self.version.header == "byte by byte" else versions.NO_HEADER
            raise self._fail("ERROR", text, os.strerror(error.errno or 0)) from None
        if header is None:
            return None
        if not header or header[0] == versions.HANGUP:
            raise _Over(self.version.hangup_returns)
        return header[0], int.from_bytes(header[1:3], "big")

    def _header_byte_by_byte(self, stream: _Stream) -> bytes | None:
        kind = stream.read(1)
        if not kind:
            if kind == b"":
                self.spins += 1
                time.sleep(SPIN_S)
            return None
        if kind[0] == versions.HANGUP:
            return kind
        length = b""
        for _ in range(2):
            byte = stream.read(1)
            if not byte:
                raise self._fail("WARNING", versions.NO_LENGTH)
            length += byte
        return kind + length

    def _header_in_one_read(self, stream: _Stream) -> bytes:
        header = stream.read(3)
        if header is None:
            raise BlockingIOError(errno.EAGAIN, "nothing to read")
        # The rest of a short header is what the stack held: nothing that a server could count on.
        return header + b"\xa5\x5a"[len(header) - 3 :] if 0 < len(header) < 3 else header

    def _header_in_a_loop(self, stream: _Stream) -> bytes:
        header, have = b"", 0
        while have < 3:
            wrong = self.version.header == "loop at the wrong offset"
            more = stream.read(3 if wrong else 3 - have)
            if more is None:
                self.stuck = not stream.wait(5)
                if self._abandoned.is_set():
                    raise _Over(-1)
                continue
            if not more:
                return b""
            have += len(more)
            header = more + header[len(more) :] if wrong else header + more
        self.stuck = False
        return header

    def _payload(self, stream: _Stream, length: int) -> bytes:
        payload = b""
        while len(payload) < length:
            try:
                more = stream.read(length - len(payload))
            except OSError as error:
                raise self._fail("ERROR", versions.NO_PAYLOAD, os.strerror(error.errno or 0)) from None
            if more is None:
                pause = self.version.payload_pause_ms
                if pause and stream.wait(pause):
                    continue
                if pause:
                    self._log.append(("WARNING", versions.PAUSED))
                raise self._fail("ERROR", versions.NO_PAYLOAD, os.strerror(errno.EAGAIN))
            if not more:
                raise self._fail("ERROR", versions.CUT_PAYLOAD)
            payload += more
        return payload

    # -- the end -------------------------------------------------------------------------------------------------------

    def _prepare_close(self, connection: socket.socket) -> None:
        """Asterisk just closes: with audio unread that is a reset, else a FIN. A test may want one of them."""
        if self._hang_up == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif self._hang_up == "fin":
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_WR)
                connection.settimeout(1)
                while connection.recv(65536):
                    pass

    def _fail(self, level: str, text: str, *values: object) -> _Over:
        """Log a line; what is raised then makes the application return -1, and the caller is hung up."""
        names = (CHANNEL, "{}:{}".format(*self._server))
        wanted = text.count("%s")
        self._log.append((level, text % (*values, *names)[:wanted]))
        return _Over(-1)
