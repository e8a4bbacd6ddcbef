"""One call, as the event loop sees it: speaking, listening, its events and its end."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import logging
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from fastaudio import _core
from fastaudio.capture import CaptureReader, CaptureStream
from fastaudio.errors import EngineClosed, StaleGeneration
from fastaudio.options import TICK_MS, BargeInOptions
from fastaudio.placement import Placement

if TYPE_CHECKING:
    from fastaudio.engine import Engine

log = logging.getLogger(__name__)

EVENTS_QUEUED = 1024
EARLY_EVENTS = 64


class EventKind(enum.IntEnum):
    """What happened on a call; the numbers are those of `fa_event_kind_t` in event.h."""

    STARTED = 1
    ENDED = 2
    DTMF = 3
    SPEECH = 4
    QUIET = 5
    HOLD = 6
    RESUME = 7
    BARGE_IN = 8
    BEGAN = 9
    PLAYED = 10
    FLUSHED = 11
    CAPTURE = 12
    SPACE = 13
    REFUSED = 14
    FORMAT = 15
    PONG = 16


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a call.

    `position` is in samples since the UUID, on the call's time line; `time_ns` is CLOCK_MONOTONIC. `value` is the
    digit (DTMF), the samples heard (HOLD, RESUME, BARGE_IN, PLAYED, FLUSHED), the level (SPEECH, QUIET) or the rate
    (FORMAT).
    """

    kind: EventKind
    generation: int
    value: int
    position: int
    time_ns: int


@dataclass(frozen=True, slots=True)
class Played:
    """How an utterance ended: `samples` of it went to the caller, and whether the rest was thrown away."""

    samples: int
    flushed: bool


class Utterance:
    """One thing the agent says: a generation of audio that plays, is held, resumed or flushed as one."""

    def __init__(self, call: Call, generation: int) -> None:
        self.generation = generation
        self._call = call
        self._finished: asyncio.Future[Played] = asyncio.get_running_loop().create_future()
        self.began_ns: int | None = None
        """When its first frame went out (CLOCK_MONOTONIC), or None."""
        self._placement = Placement(call.rate)

    async def play(self, pcm: bytes | bytearray | memoryview) -> None:
        """Queue 16-bit PCM of any size; waits while the ring is full.

        Raises `StaleGeneration` when the utterance was flushed or ended, `EngineClosed` when the call is over.
        """
        view = memoryview(pcm).cast("B")
        if self.began_ns is not None:
            self._placement.seen(self.heard_samples, self._call.position)
        while len(view):
            self._call._check_open()
            taken = self._call.core.write(self.generation, view)
            view = view[taken:]
            if len(view):
                await self._call._wait_space()

    async def end(self) -> None:
        """Mark the end: the odd tail is padded with silence and the last frame is known."""
        while True:
            self._call._check_open()
            if self._call.core.end(self.generation):
                return
            await self._call._wait_space()

    async def finished(self) -> Played:
        """Wait until its last sample went out, or it was flushed, or the call ended."""
        return await asyncio.shield(self._finished)

    @property
    def done(self) -> bool:
        """Whether `finished` would return at once."""
        return self._finished.done()

    @property
    def heard_ms(self) -> int:
        """How much of it went to the caller, ms: silence of a hold and replayed audio do not count."""
        return self.heard_samples * 1000 // self._call.rate

    @property
    def heard_samples(self) -> int:
        """How much of it went to the caller, samples."""
        if self._finished.done():
            return self._finished.result().samples
        generation, samples = self._call.core.heard()
        return samples if generation == self.generation else 0

    def position_of(self, sample: int) -> int | None:
        """Where on the call's time line, in samples since the UUID, this sample of it goes out; None before any has.

        Holds, resumes and gaps are in it; what a resume goes back by counts where it is heard again.
        """
        return self._placement.position_of(sample)

    def _resolve(self, samples: int, flushed: bool) -> None:
        if not self._finished.done():
            self._finished.set_result(Played(samples, flushed))


class Call:
    """One call, from its UUID to its end. Used on the event loop that owns the engine."""

    def __init__(self, engine: Engine, core: _core.Call, started_ns: int) -> None:
        self.core = core
        self.uuid = UUID(bytes=core.uuid)
        self.peer = _peer(core.peer)
        self.rate: int = core.frame_bytes // 2 * 50
        self.started_ns = started_ns
        """When the UUID came and the time line began (CLOCK_MONOTONIC)."""
        self.events_dropped = 0
        self._engine = engine
        self._barge_in = engine.options.barge_in
        self._deaf = False
        self._generation = 0
        self._utterances: dict[int, Utterance] = {}
        self._flushed = 0
        self._listeners: list[Callable[[Event], None]] = []
        self._early: list[Event] | None = []  # until somebody listens: a digit may come in the same breath as the UUID
        self._space = asyncio.Event()
        self._streams: set[CaptureStream] = set()
        self._ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._implicit: Utterance | None = None
        self._rewind_ms: int | None = None  # of a resume that was asked for and is not told yet

    @property
    def position(self) -> int:
        """Where its time line stands: samples since the UUID."""
        return (time.monotonic_ns() - self.started_ns) * self.rate // 1_000_000_000

    # -- speaking ----------------------------------------------------------------------------------------------------

    def begin(self) -> Utterance:
        """Begin an utterance. It plays behind those before it; while one is held, a new one takes its place."""
        self._check_open()
        self._generation += 1
        utterance = Utterance(self, self._generation)
        self._utterances[self._generation] = utterance
        return utterance

    async def play(self, pcm: bytes | bytearray | memoryview) -> None:
        """Play PCM without minding utterances: the simplest use. What was flushed is dropped."""
        if self._implicit is None or self._implicit.done:
            self._implicit = self.begin()
        try:
            await self._implicit.play(pcm)
        except StaleGeneration:
            self._implicit = None

    def flush(self) -> None:
        """Throw away everything that was queued so far; the caller hears silence within a tick."""
        if self._generation and not self.ended:
            self._flushed = max(self._flushed, self._generation)
            self.core.forget(self._generation)
            self._engine.core.flush(self.core, self._generation)

    def hold(self) -> None:
        """Fall silent and keep everything, until `resume` or `flush`, or the limit (a flush)."""
        if not self.ended:
            self._engine.core.hold(self.core)

    def resume(self, rewind_ms: int = 0) -> None:
        """Go on from the held sample, or up to 200 ms before it."""
        if not self.ended:
            self._rewind_ms = rewind_ms
            self._engine.core.resume(self.core, rewind_ms)

    def set_barge_in(self, options: BargeInOptions) -> None:
        """Change when the caller interrupts, from the next tick on."""
        self._barge_in = options
        self._tell_barge_in()

    # -- listening ---------------------------------------------------------------------------------------------------

    def capture(self, *, batch_ms: int = 80, preroll_ms: int = 0, sent: bool = False) -> CaptureStream:
        """Read what the caller says, in batches; `sent` adds what went to the caller. Any number at once."""
        stream = CaptureStream(self, batch_ms=batch_ms, preroll_ms=preroll_ms, sent=sent)
        self._streams.add(stream)
        self._ask_capture()
        return stream

    def capture_reader(self, *, preroll_ms: int = 0, sent: bool = False) -> CaptureReader:
        """Read the same in a thread and at times of one's own: for what need not be quick, such as a recording."""
        return CaptureReader(self, preroll_ms=preroll_ms, sent=sent)

    def listen(self, listener: Callable[[Event], None]) -> None:
        """Call `listener` with each event, on the event loop. It must not block.

        The first one also gets what came before it, up to 64 events; what is more is dropped, counted.
        """
        self._attach(listener)
        early, self._early = self._early or [], None
        for event in early:
            self._tell(listener, event)

    def _attach(self, listener: Callable[[Event], None]) -> None:
        """A listener of the engine's own: what came early is not for it."""
        self._listeners.append(listener)

    async def events(self) -> AsyncIterator[Event]:
        """The events as they come, until the call ends; the oldest of more than 1024 unread ones are dropped."""
        queue: asyncio.Queue[Event] = asyncio.Queue(EVENTS_QUEUED)

        def put(event: Event) -> None:
            if queue.full():
                queue.get_nowait()
                self.events_dropped += 1
            queue.put_nowait(event)

        self.listen(put)
        try:
            while not (self.ended and queue.empty()):
                event = await queue.get()
                yield event
                if event.kind is EventKind.ENDED:
                    return
        finally:
            if put in self._listeners:
                self._listeners.remove(put)

    # -- ending ------------------------------------------------------------------------------------------------------

    def hangup(self, trail_ms: int = 240) -> None:
        """End the call: what is queued is thrown away, then `trail_ms` of silence, `00 00 00`, half-close, drain.

        The silence covers the far end's jitter buffer; wait for the last utterance to finish before.
        """
        if not self.ended:
            self._engine.core.close(self.core, trail_ms // TICK_MS)

    @property
    def ended(self) -> bool:
        """Whether the call is over."""
        return self._ended.done()

    async def wait_ended(self) -> str:
        """Wait for the end; returns the reason, one of `END_REASONS`."""
        return await asyncio.shield(self._ended)

    def counters(self) -> dict[str, int]:
        """Frames, stalls, fills, underruns and what else is counted of this call."""
        return self.core.counters()

    # -- what the engine and its parts call --------------------------------------------------------------------------

    def _deafen(self, deaf: bool) -> None:
        """Hold for nothing that is heard now, or for what `set_barge_in` says again."""
        self._deaf = deaf
        self._tell_barge_in()

    def _tell_barge_in(self) -> None:
        if not self.ended:
            wanted = dataclasses.replace(self._barge_in, enabled=self._barge_in.enabled and not self._deaf)
            self._engine.core.set_bargein(self.core, **wanted.as_core())

    def _check_open(self) -> None:
        if self.ended:
            raise EngineClosed("the call is over")

    async def _wait_space(self) -> None:
        self._space.clear()
        self.core.ask_space()
        await self._space.wait()

    def _ask_capture(self) -> None:
        wanted = [stream.wanted_block for stream in self._streams]
        if wanted and not self.ended:
            self.core.ask_capture(min(wanted))

    def _captured(self) -> None:
        """Wake those whose batch is whole, and ask for those whose is not; who is woken asks for itself."""
        ready = self.core.captured()
        waiting = 0
        for stream in self._streams:
            wanted = stream.wanted_block
            if wanted <= ready:
                stream.wake()
            elif not waiting or wanted < waiting:
                waiting = wanted
        if waiting and not self.ended:
            self.core.ask_capture(waiting)

    def _close_stream(self, stream: CaptureStream) -> None:
        self._streams.discard(stream)

    def _dispatch(self, kind: EventKind, generation: int, value: int, position: int, time_ns: int) -> None:
        if kind is EventKind.CAPTURE:
            self._captured()
            return
        if kind is EventKind.SPACE:
            self._space.set()
            return
        if kind in (EventKind.BEGAN, EventKind.HOLD, EventKind.RESUME):
            self._place(kind, generation, value, position, time_ns)
        elif kind is EventKind.PLAYED:
            self._settle(generation, value, flushed=False)
        elif kind is EventKind.FLUSHED:
            self._flushed = max(self._flushed, generation)
            self._settle(generation, value, flushed=True)
            for other in [number for number in self._utterances if number <= self._flushed]:
                self._settle(other, 0, flushed=True)
            self._space.set()
        early = self._early
        if early is not None and len(early) >= EARLY_EVENTS:
            self.events_dropped += 1
            early = None
        if early is None and not self._listeners:
            return
        event = Event(kind, generation, value, position, time_ns)
        if early is not None:
            early.append(event)
        for listener in tuple(self._listeners):
            self._tell(listener, event)

    def _tell(self, listener: Callable[[Event], None], event: Event) -> None:
        try:
            listener(event)
        except Exception:
            log.exception("a listener of call %s failed", self.uuid)

    def _forget_listeners(self) -> None:
        """No event comes any more. A listener that belongs to what holds the call would keep both from being freed."""
        self._listeners.clear()
        self._early = None

    def _place(self, kind: EventKind, generation: int, value: int, position: int, time_ns: int) -> None:
        """Tell an utterance where on the time line it goes on: at the tick that has just begun."""
        utterance = self._utterances.get(generation)
        position -= self.rate * TICK_MS // 1000
        if kind is EventKind.HOLD:
            self._rewind_ms = None
            if utterance is not None:
                utterance._placement.held()
        elif kind is EventKind.RESUME:
            rewind_ms = self._barge_in.rewind_ms if self._rewind_ms is None else self._rewind_ms
            if utterance is not None:
                utterance._placement.resumed(value, rewind_ms * self.rate // 1000, position)
        elif utterance is not None:
            utterance.began_ns = time_ns
            utterance._placement.began(position)

    def _settle(self, generation: int, samples: int, *, flushed: bool) -> None:
        utterance = self._utterances.pop(generation, None)
        if utterance is not None:
            utterance._resolve(samples, flushed)

    def _end(self, reason: str) -> None:
        generation, samples = self.core.heard()
        for number in list(self._utterances):
            self._settle(number, samples if number == generation else 0, flushed=True)
        if not self._ended.done():
            self._ended.set_result(reason)
        self._space.set()
        for stream in self._streams:
            stream.wake()


def _peer(address: bytes) -> tuple[str, int]:
    """Host and port of a sockaddr_storage."""
    family = struct.unpack_from("=H", address)[0]
    port = struct.unpack_from("!H", address, 2)[0]
    if family == socket.AF_INET:
        return socket.inet_ntop(socket.AF_INET, address[4:8]), port
    if family == socket.AF_INET6:
        return socket.inet_ntop(socket.AF_INET6, address[8:24]), port
    return "", 0
