"""One call: parser, detector, playback and capture, put together. Bytes and ticks go in, bytes and events come out."""

from collections.abc import Mapping
from enum import IntEnum
from typing import Any

from fastaudio._reference import capture as cap
from fastaudio._reference.capture import Capture, Reader
from fastaudio._reference.playout import LEAD_MAX, Played, Playout, Producer, Ring
from fastaudio._reference.types import Buffer
from fastaudio._reference.voice import BargeIn, Gate, Vad, rms
from fastaudio._reference.wire import (
    AUDIO_KINDS,
    AUDIO_RATES,
    KIND_DTMF,
    KIND_ERROR,
    KIND_HANGUP,
    FrameParser,
    message,
)

CATCH_UP = 3
"""Owed frames of speech that are sent back to back; owed silence is never sent."""

RATE_OF_CALLER = 0
"""As the rate of a call: that of the caller's first audio."""
RATE_UNTIL_KNOWN = 8000
RATE_TICKS = 10
"""200 ms: how long a call waits for audio to tell its rate."""

Event = tuple[int, int, int, int, int, int]
"""(kind, call, generation, value, position in samples since the UUID, time in ns)."""

COUNTERS = (
    "frames_in", "frames_out", "audio_out", "lost_in", "odd_in", "other_format", "rate_guessed", "caught_up",
    "skipped", "stalls", "late_max_ns", "underruns", "filled", "left_out", "overrun", "holds", "resumes", "barge_ins",
    "flushes", "dtmf", "blocked", "events_lost",
)  # fmt: skip


class EventKind(IntEnum):
    """What an event tells; `value` and `generation` in brackets where they mean something."""

    STARTED = 1
    ENDED = 2
    DTMF = 3  # (value: the digit's ASCII code)
    SPEECH = 4  # the caller began to speak at `position` (value: rms)
    QUIET = 5  # the caller's speech ended at `position` (value: rms)
    HOLD = 6  # (generation, value: samples heard)
    RESUME = 7
    BARGE_IN = 8
    BEGAN = 9  # (generation)
    PLAYED = 10  # (generation, value: samples heard)
    FLUSHED = 11  # (generation, value: samples heard)
    CAPTURE = 12
    SPACE = 13
    REFUSED = 14
    FORMAT = 15  # (value: the rate that came)


def _power_of_two(n: int, low: int) -> bool:
    return low <= n <= 65536 and n & (n - 1) == 0


class Call:
    """The twin of `fastaudio._core.Call`, driven by hand."""

    def __init__(
        self,
        id: int,
        *,
        rate: int = 8000,
        playback_slots: int = 128,
        capture_blocks: int = 128,
        lead: int = 2,
        listen_rms: int = 300,
        stop_ms: int = 200,
        detector: str = "rms+webrtc",
        webrtc_mode: int = 2,
        bargein: Mapping[str, Any] | None = None,
    ) -> None:
        """See `fastaudio._core.Call`, which says what each argument is.

        Raises:
            ValueError: An argument is out of range.

        """
        if id == 0 or lead > LEAD_MAX or not 20 <= stop_ms <= 2000 or (rate == RATE_OF_CALLER and detector != "rms"):
            raise ValueError("argument out of range")
        if not _power_of_two(playback_slots, 32) or not _power_of_two(capture_blocks, 128):
            raise ValueError("argument out of range")
        self.id = id
        self.uuid = bytes(16)
        self._slots, self._blocks, self._lead = playback_slots, capture_blocks, lead
        self._detector, self._webrtc_mode = detector, webrtc_mode
        self._rate_known = rate != RATE_OF_CALLER
        self._lay_out(rate if self._rate_known else RATE_UNTIL_KNOWN)
        self._parser = FrameParser()
        self._bargein = BargeIn(detector=detector, **(bargein or {}))
        self._gate = Gate(stop_ms // 20)
        self._listen_rms = listen_rms
        self._early = 0  # periods of the tick to come that have passed already
        self._played_rms = 0  # the loudest frame that this tick has sent
        self._gaps_seen = 0  # filled blocks that the detector has been told of
        self._stage = b""  # a frame of the caller that is not whole yet
        self._counters = dict.fromkeys(COUNTERS, 0)
        self._events: list[Event] = []
        self._events_most = 0
        self._heard = (0, 0)
        self._capture_target: int | None = None
        self._space_wanted = False
        self._end: str | None = None
        self._closing = False
        self._trail = 0
        self._hung_up = False
        self._started_ns = 0

    def _lay_out(self, rate: int) -> None:
        self.rate = rate
        self.frame_bytes = rate // 50 * 2
        self._ring = Ring(self._slots)
        self._producer = Producer(self._ring, self.frame_bytes)
        self._playout = Playout(self._ring, rate, self._lead)
        self._capture = Capture(self._blocks, self.frame_bytes)
        self._vad = Vad(self._detector, rate, self._webrtc_mode)

    # ---- the agent's side

    def write(self, generation: int, pcm: Buffer) -> int:
        """Writes PCM of an utterance; returns the number of bytes taken, fewer when the ring is full."""
        return self._producer.write(generation, pcm) if len(pcm) else 0

    def end(self, generation: int) -> bool:
        """Marks the end of an utterance; False when the ring is full."""
        return self._producer.end(generation)

    def forget(self, generation: int) -> None:
        """Refuses what is still written of generations up to this one."""
        self._producer.flush(generation)

    @property
    def stale_bytes(self) -> int:
        """Bytes refused because their generation was flushed or had ended."""
        return self._producer.stale_bytes

    def heard(self) -> tuple[int, int]:
        """(generation, samples): how much of the latest utterance went out, as of the last tick or flush."""
        return self._heard

    def captured(self) -> int:
        """Blocks captured so far."""
        return self._capture.ready

    def ask_capture(self, blocks: int) -> None:
        """Asks for one CAPTURE event as soon as so many blocks are captured."""
        self._capture_target = blocks

    def ask_space(self) -> None:
        """Asks for one SPACE event as soon as half of the playback ring is free."""
        self._space_wanted = True

    def reader(self, preroll: int = 0) -> Reader:
        """A reader of the capture that begins `preroll` blocks ago."""
        return Reader(self._capture, preroll)

    def counters(self) -> dict[str, int]:
        """What was counted so far; underruns and what the capture counts as of the last tick."""
        return dict(self._counters)

    # ---- events

    def events(self) -> list[Event]:
        """The events since the last call."""
        told, self._events = self._events, []
        return told

    def _emit(self, kind: EventKind, generation: int, value: int, position: int, now_ns: int) -> bool:
        if not self._rate_known or len(self._events) >= self._events_most:  # nobody knows of the call, or no room
            self._counters["events_lost"] += 1
            return False
        self._events.append((kind, self.id, generation, value, position, now_ns))
        return True

    @property
    def _position(self) -> int:
        return self._capture.now * self.frame_bytes // 2

    def _tell_played(self, played: Played, now_ns: int) -> None:
        if played.began:
            self._emit(EventKind.BEGAN, played.generation, 0, self._position, now_ns)
        if played.ended:
            self._emit(EventKind.PLAYED, played.generation, played.heard, self._position, now_ns)
        if played.flushed:
            self._counters["flushes"] += 1
            self._emit(EventKind.FLUSHED, played.generation, played.heard, self._position, now_ns)

    def _tell_hold(self, kind: EventKind, now_ns: int) -> None:
        generation, heard = self._playout.subject
        self._emit(kind, generation, heard, self._position, now_ns)

    # ---- the caller's side

    def start(self, uuid: Buffer, events: int = 4096) -> None:
        """The call is live: its clock starts. `events`: how many wait for `events()` at the most.

        STARTED is told when the rate of a call that follows its caller is known; of others by who runs the call.
        """
        if self._events_most or len(uuid) != 16:
            raise ValueError("start() once, with the 16 bytes of a UUID, on a call without an engine")
        self.uuid = bytes(uuid)
        self._events_most = events
        self._parser.feed(message(0x01, self.uuid))

    def _settle_rate(self, rate: int) -> None:
        """The rate is known: the time line stands as if it had been known from the start."""
        if rate != self.rate:
            passed = self._capture.now - self._early
            self._lay_out(rate)
            self._capture.tick(passed)
            self._capture.publish()
            self._capture.tick(self._early)
        self._rate_known = True
        self._emit(EventKind.STARTED, 0, 0, 0, self._started_ns)

    def input(self, data: Buffer, now_ns: int = 0) -> str | None:
        """Bytes of the peer. Returns why the call has ended, None while it goes on."""
        rest = bytes(data)
        while rest and (step := self._parser.take(rest)) is not None:
            rest, (kind, payload, _last) = step
            if kind in (KIND_HANGUP, KIND_ERROR):
                self._end = self._end or ("peer_hangup" if kind == KIND_HANGUP else "peer_error")
                return self._end
            if kind == KIND_DTMF:
                self._counters["dtmf"] += 1
                self._emit(EventKind.DTMF, 0, payload[0], self._position, now_ns)
            else:
                self._caller_audio(AUDIO_RATES[kind], payload, len(rest), now_ns)
        self._end = self._end or self._parser.error
        return self._end

    def _caller_audio(self, rate: int, payload: bytes, rest: int, now_ns: int) -> None:
        """A piece of the caller's audio with `rest` bytes of the same input behind it."""
        if not payload:
            self._counters["lost_in"] += 1  # an empty message stands for a lost frame: the clock fills it
            return
        if not self._rate_known:
            self._settle_rate(rate)
        if rate != self.rate:
            if not self._counters["other_format"]:
                self._emit(EventKind.FORMAT, 0, rate, self._position, now_ns)
            self._counters["other_format"] += 1
        else:
            self._stage += payload
            while len(self._stage) >= self.frame_bytes:
                frame, self._stage = self._stage[: self.frame_bytes], self._stage[self.frame_bytes :]
                self._capture.arriving(1 + (len(self._stage) + rest) // self.frame_bytes)
                self._caller_gaps(now_ns)
                self._caller_frame(frame, now_ns)

    def _caller_gaps(self, now_ns: int) -> None:
        """Fill is silence to the detector too: speech that ran into a gap ends, and is no interruption behind it."""
        for back in range(self._capture.filled - self._gaps_seen, 0, -1):
            self._vad.gap()
            self._bargein.frame(False, False, False)
            self._tell_gate((False, False), 0, self._capture.caller_at - back, now_ns)
        self._gaps_seen = self._capture.filled

    def _caller_frame(self, frame: bytes, now_ns: int) -> None:
        level, loud, voiced, goes_on, steady, convincing = self._vad.frame(frame, self._bargein.rms, self._listen_rms)
        self._counters["frames_in"] += 1
        self._bargein.frame(loud, steady, convincing)
        self._tell_gate((voiced, goes_on), level, self._capture.caller_at, now_ns)
        speech = self._gate.speaking or voiced
        self._capture.caller(frame, cap.SPEECH if speech else 0, quiet=not speech)

    def _tell_gate(self, heard: tuple[bool, bool], level: int, position: int, now_ns: int) -> None:
        change = self._gate.frame(*heard)
        if change is None:
            return
        what, back = change
        kind = EventKind.SPEECH if what == "start" else EventKind.QUIET
        block = max(0, position + (what == "stop") - back)
        self._emit(kind, 0, level, block * self.frame_bytes // 2, now_ns)

    # ---- decisions

    def do_flush(self, generation: int) -> None:
        """Throws generations up to `generation` away."""
        played = self._playout.flush(generation)
        if not self._playout.paused:
            self._bargein.reset()
        if played.flushed:
            self._tell_played(played, 0)
        else:  # the agent waits for an answer, also when there was nothing to throw away
            self._emit(EventKind.FLUSHED, generation, 0, self._position, 0)
        self._heard = (self._playout.generation, self._playout.heard)

    def do_hold(self) -> None:
        """Holds playback until `do_resume`, `do_flush` or the limit of the barge-in rules."""
        if self._playout.paused or not self._playout.active:
            return
        self._playout.hold()
        self._bargein.wait_for_agent()
        self._tell_hold(EventKind.HOLD, 0)

    def do_resume(self, rewind_ms: int = 0) -> None:
        """Goes on from the held sample or up to 200 ms before it."""
        if not self._playout.paused:
            return
        self._bargein.reset()
        self._counters["resumes"] += 1
        self._playout.resume(min(rewind_ms, 200))
        self._tell_hold(EventKind.RESUME, 0)

    def do_close(self, trail_ticks: int = 0) -> None:
        """Flushes everything, sends silence for so many ticks, then the hangup message."""
        if not self._closing:
            self._tell_played(self._playout.flush(2**32 - 1), 0)
            self._bargein.reset()
            self._heard = (self._playout.generation, self._playout.heard)
            self._closing = True
            self._trail = trail_ticks

    def _decide(self, now_ns: int) -> None:
        action = self._bargein.tick(self._playout.active)
        if action == "hold":
            self._counters["holds"] += 1
            self._playout.hold()
            self._tell_hold(EventKind.HOLD, now_ns)
        elif action == "resume":
            self._counters["resumes"] += 1
            self._playout.resume(self._bargein.rewind_ms)
            self._tell_hold(EventKind.RESUME, now_ns)
        elif action == "barge_in":
            self._counters["barge_ins"] += 1
            self._vad.interrupted()
            self._tell_hold(EventKind.BARGE_IN, now_ns)
        elif action == "flush":
            self._tell_played(self._playout.flush(self._playout.subject[0]), now_ns)
        superseded = self._playout.supersede()
        if superseded.flushed:
            self._bargein.reset()
            self._tell_played(superseded, now_ns)

    # ---- the tick

    def late(self, periods: int) -> None:
        """Before the input of a tick of so many periods: those before the last have passed already.

        What came in them is then no surplus. Raises ValueError when it was told since the last tick.
        """
        if self._early:
            raise ValueError("late() once before a tick")
        self._early = max(0, periods - 1)
        self._capture.tick(self._early)

    def tick(
        self, periods: int = 1, stalled: bool = False, late_ns: int = 0, can_send: bool = True, now_ns: int = 0
    ) -> bytes:
        """One tick of the clock; returns the bytes for the peer.

        `periods`, `stalled` and `late_ns` are what `Clock.take` said; without `can_send` the peer takes nothing:
        speech waits and time goes on. Raises ValueError when `late` told of more periods.
        """
        if periods < self._early:
            raise ValueError(f"late() told {self._early + 1} periods, not {periods}")
        count = self._counters
        self._capture.tick(periods - self._early)
        self._early = 0
        if not self._rate_known and self._capture.now >= RATE_TICKS:
            count["rate_guessed"] += 1
            self._settle_rate(self.rate)
        count["late_max_ns"] = max(count["late_max_ns"], late_ns)
        if stalled:
            count["stalls"] += 1
            count["skipped"] += periods - 1
            self._playout.stalled()
            self._capture.sent_nothing_until(self._capture.now - 1)  # what goes out now goes out behind the stall
        if not self._closing:
            self._decide(now_ns)
        out = b""
        if not can_send:
            count["blocked"] += 1
            self._playout.silence_due(periods)  # a lead that waits is none
        elif not self._closing or self._trail or self._playout.tail:
            out = self._put_tick(1 if stalled or periods > 1 + CATCH_UP else periods, now_ns)
            self._trail -= self._closing and self._trail > 0
        elif not self._hung_up:
            self._hung_up = True
            out = message(KIND_HANGUP)
        self._vad.played(self._played_rms)
        self._played_rms = 0
        self._capture.publish()
        self._caller_gaps(now_ns)
        self._heard = (self._playout.generation, self._playout.heard)
        count["odd_in"] = self._parser.odd
        count["underruns"] = self._playout.underruns
        for name in ("filled", "left_out", "overrun"):
            count[name] = getattr(self._capture, name)
        self._notify(now_ns)
        return out

    def _put_tick(self, owed: int, now_ns: int) -> bytes:
        out = b""
        for sent in range(owed):
            audio = self._put_audio(now_ns)
            if not audio:
                if self._playout.silence_due(owed - sent):
                    out += self._put_frame(None)
                break
            out += audio
            self._counters["caught_up"] += sent > 0
        while self._playout.wants_lead and (audio := self._put_audio(now_ns)):
            out += audio
            self._playout.ahead += 1
        return out

    def _put_audio(self, now_ns: int) -> bytes:
        """The next frame with audio; empty when there is none."""
        samples, played = self._playout.frame()
        self._tell_played(played, now_ns)
        return self._put_frame(samples.tobytes()) if samples is not None else b""

    def _put_frame(self, frame: bytes | None) -> bytes:
        self._capture.sent(frame, cap.HELD if self._playout.paused else 0)
        self._counters["frames_out"] += 1
        self._counters["audio_out"] += frame is not None
        self._played_rms = max(self._played_rms, rms(frame) if frame is not None else 0)
        return message(AUDIO_KINDS[self.rate], frame if frame is not None else bytes(self.frame_bytes))

    def _notify(self, now_ns: int) -> None:
        """The agent is told once of what it asked for."""
        ready = self._capture.ready
        reached = self._capture_target is not None and self._capture_target <= ready
        if reached and self._emit(EventKind.CAPTURE, 0, 0, ready, now_ns):
            self._capture_target = None
        if self._space_wanted and self._ring.written - self._ring.released <= self._ring.capacity // 2:
            self._space_wanted = not self._emit(EventKind.SPACE, 0, 0, 0, now_ns)
