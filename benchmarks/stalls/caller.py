"""A caller who knows each sample it is to hear, notes when it came, and how late it was itself.

A thread and a socket: nothing stands between the wire and the clock but the interpreter.
"""

from __future__ import annotations

import select
import socket
import threading
import time
import uuid
from array import array
from bisect import bisect_left
from dataclasses import dataclass, field
from types import TracebackType

FRAME_BYTES = 320
FRAME_S = 0.02
STEP_S = 0.005
"""How often the caller looks at the clock: what it cannot see are delays of its own that are shorter."""


def numbered(samples: int, first: int = 1) -> bytes:
    """16-bit samples that are all different and never 0: `first`, `first` + 1 and so on, up to 65535.

    Raises ValueError when there are not so many.
    """
    if first < 1 or first + samples > 65536:
        raise ValueError(f"samples {first} to {first + samples - 1} do not fit into 1 to 65535")
    return array("H", range(first, first + samples)).tobytes()


@dataclass
class Heard:
    """Audio that came: when (`time.monotonic`), and what, a message at a time."""

    times: list[float] = field(default_factory=list)
    payloads: list[bytes] = field(default_factory=list)

    def speech(self) -> Heard:
        """The messages that are not silence."""
        both = [(at, pcm) for at, pcm in zip(self.times, self.payloads, strict=True) if any(pcm)]
        return Heard([at for at, _ in both], [pcm for _, pcm in both])

    @property
    def audio(self) -> bytes:
        """All of it, one behind the other."""
        return b"".join(self.payloads)

    def between(self, start: float, end: float) -> Heard:
        """What came from `start` on, before `end`."""
        low, high = bisect_left(self.times, start), bisect_left(self.times, end)
        return Heard(self.times[low:high], self.payloads[low:high])

    def most_within(self, seconds: float) -> float:
        """The most frames of 20 ms that came within any stretch of time of that length."""
        most = first = held = 0
        for last, pcm in enumerate(self.payloads):
            held += len(pcm)
            while self.times[last] - self.times[first] >= seconds:
                held -= len(self.payloads[first])
                first += 1
            most = max(most, held)
        return most / FRAME_BYTES


class Caller:
    """One call, in a thread that talks on an absolute schedule and listens.

    `says` goes out in frames of 20 ms from the start on, then silence until `say`. `late` has each step of the thread
    that came late, as (when, seconds): what the host, or the interpreter, did to the caller itself.
    """

    def __init__(self, port: int, says: bytes = b"") -> None:
        self.heard = Heard()
        self.late: list[tuple[float, float]] = []
        self.said_at = 0.0
        """When the first frame of what was said last went out (`time.monotonic`), 0.0 before."""
        self.frames_sent = 0
        """Frames that went out, silence included."""
        self._says = says
        self._has_heard_speech = False
        self._mouth = threading.Lock()
        self._over = threading.Event()
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(b"\x01\x00\x10" + uuid.uuid4().bytes)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def __enter__(self) -> Caller:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.hang_up()

    def say(self, pcm: bytes) -> None:
        """Speaks from the next frame on; what was still to be said is given up."""
        with self._mouth:
            self.said_at = 0.0
            self._says = pcm

    def hang_up(self) -> None:
        """Ends the call."""
        self._over.set()
        self._thread.join()
        self._socket.close()

    @property
    def has_heard_speech(self) -> bool:
        """Whether any audio came that was not silence."""
        return self._has_heard_speech

    def latest_s(self, start: float = 0.0, end: float = float("inf")) -> float:
        """How late the caller itself was at the most, seconds, between two times."""
        return max((late for at, late in self.late if start <= at < end), default=0.0)

    def _run(self) -> None:
        """Talks and listens in one thread: a delay of its own is seen where it could pass for one of the server."""
        due, step, buffer = time.monotonic(), 0, b""
        while not self._over.is_set():
            readable, _, _ = select.select([self._socket], [], [], max(0.0, due - time.monotonic()))
            now = time.monotonic()
            if now - due > STEP_S:
                self.late.append((now, now - due))
            try:
                if readable:
                    data = self._socket.recv(65536)
                    if not data:
                        return
                    buffer = self._take(now, buffer + data)
                while due <= now:
                    if step % round(FRAME_S / STEP_S) == 0:
                        self._speak(now)
                    step += 1
                    due += STEP_S
            except OSError:
                return  # the server has hung up

    def _speak(self, now: float) -> None:
        with self._mouth:
            pcm, self._says = self._says[:FRAME_BYTES], self._says[FRAME_BYTES:]
            if pcm and not self.said_at:
                self.said_at = now
        self._socket.sendall(b"\x10\x01\x40" + pcm.ljust(FRAME_BYTES, b"\0"))
        self.frames_sent += 1

    def _take(self, now: float, buffer: bytes) -> bytes:
        """Notes the messages that are whole; returns what is left."""
        while len(buffer) >= 3 and len(buffer) >= 3 + (size := int.from_bytes(buffer[1:3], "big")):
            if buffer[0] == 0x10:
                self.heard.times.append(now)
                self.heard.payloads.append(buffer[3 : 3 + size])
                self._has_heard_speech = self._has_heard_speech or any(self.heard.payloads[-1])
            buffer = buffer[3 + size :]
        return buffer
