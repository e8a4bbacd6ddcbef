"""The compiled core: the units of the media core, one call, and the engine with its media thread.

Each unit has a twin in `fastaudio._reference`, which says in plain Python what it means. Audio is signed 16-bit
little-endian PCM, one channel; a frame is 20 ms (320 bytes at 8000 samples a second, 1764 at 44100); times are
nanoseconds of CLOCK_MONOTONIC; positions are samples since the call's UUID. Numbers that do not fit their C type
raise OverflowError.
"""

from collections.abc import Iterable
from typing import Any, Final, Literal, Self, TypeAlias, final

_Buffer: TypeAlias = bytes | bytearray | memoryview
_Detector: TypeAlias = Literal["rms", "webrtc", "rms+webrtc", "adaptive"]
_Event: TypeAlias = tuple[int, int, int, int, int, int]
"""(kind, call, generation, value, position in samples, time in ns); the kinds are `fa_event_kind_t` in event.h."""

DETECTORS: Final[dict[str, int]]
"""The detectors by name."""
STATES: Final[tuple[str, ...]]
"""What `Interruption.feed` answers."""
END_REASONS: Final[tuple[str, ...]]
"""Why a connection or call ends, by the number that the ENDED and REFUSED events carry."""
HISTOGRAM_BOUNDS_US: Final[tuple[int, ...]]
"""Upper bounds of a histogram's buckets in microseconds, not in the bucket any more: 1..8, then eight an octave."""

# ---- pure units

def rms(pcm: _Buffer) -> int:
    """Root mean square of 16-bit samples, rounded down, 0..32768; 0 without samples. Equals `audioop.rms(pcm, 2)`."""

def rms_batch(pcm: _Buffer, frame_samples: int) -> list[int]:
    """Root mean square of each whole frame of `frame_samples` in a run of frames, without the GIL.

    Raises ValueError when `frame_samples` is 0.
    """

def message(kind: int, payload: _Buffer = b"") -> bytes:
    """An AudioSocket message: kind 0..255, length (2 bytes, big-endian), payload of 0..65535 bytes.

    Format: Asterisk, include/asterisk/res_audiosocket.h. Raises ValueError when the payload is longer.
    """

@final
class FrameParser:
    """Incremental AudioSocket parser: any split, any length, constant memory."""

    def __new__(cls) -> Self: ...
    def feed(self, data: _Buffer) -> list[tuple[int, bytes, bool]]:
        """The pieces that are complete with `data`: (kind, payload, last piece of its message).

        UUID and DTMF come out whole, audio in pieces of whole samples as it arrives. An audio message without a whole
        sample comes out once, empty: a lost frame. The odd last byte of a message is left out, as Asterisk does
        (res_audiosocket.c: samples = length / 2); when it comes alone, its message ends without a last piece.

        Raises ProtocolError when the peer broke the protocol; pieces before the error are returned first, and the
        error comes with the next call that has data, and with each one after it.
        """
    @property
    def error(self) -> str | None:
        """One of `END_REASONS` when the peer broke the protocol, else None."""

@final
class ProxyHeader:
    """The header of the PROXY protocol, version 2, in front of a connection: any split, 4096 bytes at most.

    By it a balancer tells who is connected to it (HAProxy: doc/proxy-protocol.txt, 2.2). Extensions are skipped.
    """

    def __new__(cls) -> Self: ...
    def feed(self, data: _Buffer) -> int:
        """How many bytes of `data` are the header's; what is behind them follows it.

        Raises ProtocolError when it is none, then and at each call after: `no_proxy`, `proxy_v1` or `bad_proxy`.
        """
    @property
    def wants(self) -> int:
        """How many bytes may be read without reading what follows the header; 0 when it is whole."""
    @property
    def error(self) -> str | None:
        """One of `END_REASONS` when it is no such header, else None."""
    @property
    def source(self) -> tuple[str, int] | None:
        """Address and port of who is connected to the balancer.

        None before the header is whole, for a connection of the balancer's own, and for one that is not TCP.
        """

@final
class Rechunker:
    """PCM of any size into frames of one size; the odd tail is carried over to the next chunk."""

    def __new__(cls, frame_bytes: int = 320) -> Self:
        """`frame_bytes` is even, 2..7680; raises ValueError when it is not."""
    def push(self, pcm: _Buffer) -> list[bytes]:
        """The frames that are whole with `pcm`."""
    def finish(self) -> tuple[bytes, int]:
        """The end of an utterance: what is carried padded with silence, and how many samples of it are audio."""
    @property
    def carried(self) -> int:
        """Bytes that wait for the next chunk, 0..frame_bytes - 1."""

@final
class Clock:
    """Deadlines on the grid ``base_ns + k * 20 ms``: each comes from the one before, so lateness never adds up."""

    def __new__(cls, base_ns: int, now_ns: int) -> Self:
        """The first deadline is the first one strictly after `now_ns`."""
    @property
    def due_ns(self) -> int:
        """The next deadline."""
    def take(self, now_ns: int) -> tuple[int, bool, int]:
        """What is due: (periods, stalled, late in ns); moves the deadline past `now_ns` when something is.

        `periods` is 0 before the deadline (late is negative then), 1 in time, more when periods are owed. `stalled`
        from 80 ms late on, where Asterisk's RTP timestamps jump (main/rtp, MAX_TIMESTAMP_SKEW).
        """

@final
class Histogram:
    """How often which lateness came (histogram.h). Never reset: what came in between is the difference of two reads."""

    def __new__(cls) -> Self: ...
    def add(self, ns: int) -> None:
        """One value in nanoseconds; below 0 counts as 0. One thread at a time."""
    def read(self) -> tuple[tuple[int, ...], int]:
        """Counts by bucket (`HISTOGRAM_BOUNDS_US`), and the greatest value ever in ns. Any thread, at any time."""

@final
class Gate:
    """Local speech with hysteresis: starts when 3 of 5 frames are voiced.

    It stops after `stop_frames` in which neither a voice is nor what goes on after one.
    """

    def __new__(cls, stop_frames: int = 10) -> Self: ...
    def frame(self, voiced: bool, goes_on: bool = False) -> tuple[str, int] | None:
        """("start", how many frames before this one speech began), ("stop", frames of silence behind it), or None."""

@final
class Vad:
    """Is a frame of 20 ms speech: by level, by WebRTC's detector (webrtcvad-wheels), by both, or by its own rules."""

    def __new__(cls, detector: _Detector | str = "rms+webrtc", rate: int = 8000, webrtc_mode: int = 2) -> Self:
        """`rate` is 8000 or 16000, for "rms" that of any audio kind; `webrtc_mode` is 0..3, 3 the most reluctant.

        Raises ValueError when an argument is out of range, FastAudioError when webrtcvad-wheels is needed and missing.
        """
    def frame(self, pcm: _Buffer, loud_rms: int, quiet_rms: int) -> tuple[int, bool, bool, bool, bool, bool]:
        """(rms, speech against `loud_rms`, against `quiet_rms`, goes_on, steady, convincing); levels are of 32768.

        `goes_on`: speech that began before goes on in it. `steady`: a first sign of speech may be seen in it.
        `convincing`: with the frames before it, enough to act upon. The first is the one before it, and the others are
        always so, but for the adaptive detector, which has thresholds of its own. The WebRTC detector runs only where a
        level is reached. Raises ValueError when `pcm` is not one frame.
        """
    def played(self, rms: int) -> None:
        """Once a tick: the level of what was played in it, 0 for silence. The adaptive detector learns its echo."""
    def interrupted(self) -> None:
        """The agent was interrupted: what came just now is the caller's voice, and no echo to learn from."""

@final
class BargeIn:
    """When the caller interrupts: a pure state machine over voiced frames and ticks of 20 ms."""

    def __new__(
        cls,
        *,
        detector: _Detector | str = "rms+webrtc",
        rms: int = 800,
        barge_ms: int = 300,
        unbroken: bool = False,
        enabled: int = 1,
        hold_window: int = ...,
        hold_need: int = ...,
        barge_window: int = ...,
        barge_need: int = ...,
        release_ticks: int = 10,
        decide_ticks: int = 50,
        limit_ticks: int = 75,
        rewind_ms: int = 0,
    ) -> Self:
        """The rules; each windowed one is "`need` of the last `window` frames are voiced", windows of 1..64.

        `rms`: level of speech, of 32768. `barge_ms`: the barge-in window, 20..1280; `unbroken`: all of it must be
        voiced, else 60 %, or 45 % for the detector `adaptive`, whose frames are vowels. `release_ticks`: held and
        without speech for so long is a resume. `decide_ticks`: held for so long without either is a barge-in (0:
        never). `limit_ticks`: a barge-in without a word from the agent is a flush. `rewind_ms`: where a resume goes on,
        0..200 before the held sample.

        Raises ValueError when a value is out of range, TypeError for an option that does not exist.
        """
    def frame(self, voiced: bool, steady: bool = True, convincing: bool = True) -> None:
        """One frame of the caller; a barge-in begins only at a `convincing` one, a hold only if it is `steady` too."""
    def tick(self, playing: bool) -> Literal["hold", "resume", "barge_in", "flush"] | None:
        """One tick, after the frames that came before it; `playing`: an utterance is open or waits."""
    def reset(self) -> None:
        """The agent has decided: what was heard so far counts no more."""

@final
class Interruption:
    """A detector and its state machine without a call; `fastaudio.BargeInDetector` is its public face."""

    def __new__(
        cls,
        detector: _Detector | str = "adaptive",
        rate: int = 8000,
        webrtc_mode: int = 2,
        bargein: dict[str, Any] | None = None,
    ) -> Self:
        """Arguments and errors as those of `Vad` and `BargeIn`."""
    def feed(self, caller: _Buffer, played: _Buffer | None = None) -> Literal["idle", "hold", "resume", "barge_in"]:
        """20 ms of the caller and what was played meanwhile. Raises ValueError when either is not one frame."""
    def resume(self) -> None:
        """It was no interruption, whatever it looked like: begin anew. What was learnt of the line is kept."""
    def enable(self, on: bool) -> None:
        """Whether anything is held; off, it still listens and learns."""
    @property
    def gate(self) -> int:
        """The level (RMS) that speech exceeds now; 0 when the detector has none."""

# ---- one call

@final
class Call:
    """The memory of one call, used by the thread that created it (else RuntimeError).

    It belongs to an engine from `Engine.spare` until `Engine.bury`. Without an engine it is driven by hand: `start`,
    `input`, `tick`, `do_*` and `events` raise RuntimeError on a call that an engine has.
    """

    def __new__(
        cls,
        id: int,
        *,
        rate: int = 8000,
        playback_slots: int = 128,
        capture_blocks: int = 128,
        lead: int = 2,
        listen_rms: int = 300,
        stop_ms: int = 200,
        detector: _Detector | str = "rms+webrtc",
        webrtc_mode: int = 2,
        bargein: dict[str, Any] | None = None,
    ) -> Self:
        """Allocates all that the call will ever need.

        `id`: the number in its events, not 0. `rate`: 8000 or 16000, with the detector "rms" that of any audio kind,
        or 0 for the rate of the caller's first audio (8000 when none comes for 200 ms). `playback_slots`: frames of the
        playback ring, a power of two, 32..65536. `capture_blocks`: blocks of 20 ms of the capture, a power of two,
        128..65536. `lead`: frames sent ahead while speaking, 0..3. `listen_rms`: level of speech while the agent
        listens. `stop_ms`: silence after which local speech has ended, 20..2000. `bargein`: options of `BargeIn`.

        Raises ValueError when a value is out of range, MemoryError, and FastAudioError as `Vad` does.
        """
    @property
    def id(self) -> int:
        """The call's number."""
    @property
    def frame_bytes(self) -> int:
        """Bytes of a frame, 320 to 7680; of a call that follows its caller once STARTED is told."""
    @property
    def uuid(self) -> bytes:
        """The 16 bytes of the UUID; zeros before it is known."""
    @property
    def peer(self) -> bytes:
        """The peer's address as the bytes of a sockaddr_storage."""
    @property
    def stale_bytes(self) -> int:
        """Bytes that `write` refused because their generation was flushed or had ended."""
    def write(self, generation: int, pcm: _Buffer) -> int:
        """Writes PCM of an utterance; returns the bytes taken, fewer when the ring is full (never loss).

        A generation newer than the open one ends that one first. Raises StaleGeneration when the generation was
        flushed or has ended, ValueError when it is 0.
        """
    def end(self, generation: int) -> bool:
        """Marks the end of an utterance; False when the ring is full: call again. Raises as `write` does."""
    def forget(self, generation: int) -> None:
        """Refuses what is still written of generations up to this one; goes with `Engine.flush`."""
    def heard(self) -> tuple[int, int]:
        """(generation, samples): how much of the latest utterance went out; silence and replay do not count."""
    def captured(self) -> int:
        """Blocks of 20 ms captured so far."""
    def ask_capture(self, blocks: int) -> None:
        """Asks for one CAPTURE event as soon as `captured()` reaches `blocks`; a new wish replaces the old one."""
    def ask_space(self) -> None:
        """Asks for one SPACE event as soon as half of the playback ring is free."""
    def reader(self, preroll: int = 0) -> Reader:
        """A reader of the capture that begins `preroll` blocks ago, or at the oldest block kept."""
    def counters(self) -> dict[str, int]:
        """What was counted; frames, ticks and times each but `late_max_ns`."""
    def start(self, uuid: _Buffer, events: int = 4096) -> None:
        """By hand: the call is live. `events`: capacity of its event ring, a power of two, 2..65536.

        Raises ValueError when it was started, belongs to an engine, or `uuid` has not 16 bytes.
        """
    def input(self, data: _Buffer, now_ns: int = 0) -> str | None:
        """By hand: bytes of the peer. Returns one of `END_REASONS` once they end the call, else None."""
    def late(self, periods: int) -> None:
        """By hand, before the input of a tick of so many periods: those before the last have passed already.

        What came in them is then no surplus. Raises ValueError when it was told since the last tick.
        """
    def tick(
        self, periods: int = 1, stalled: bool = False, late_ns: int = 0, can_send: bool = True, now_ns: int = 0
    ) -> bytes:
        """By hand: a tick, with what `Clock.take` said; returns the bytes for the peer.

        Raises ValueError when `late` told of more periods.
        """
    def do_flush(self, generation: int) -> None:
        """By hand: throws generations up to this one away; always answered by a FLUSHED event."""
    def do_hold(self) -> None:
        """By hand: silence within 5 ms; everything is kept."""
    def do_resume(self, rewind_ms: int = 0) -> None:
        """By hand: goes on from the held sample, or up to 200 ms before it."""
    def do_close(self, trail_ticks: int = 0) -> None:
        """By hand: flushes everything, then silence for so many ticks, then the hangup message."""
    def events(self) -> list[_Event]:
        """By hand: the events since the last call."""

@final
class Reader:
    """A place on the time line of a call's capture. Made by `Call.reader`; it keeps the call's memory alive."""

    def __new__(cls, owner: Call, preroll: int) -> Self: ...
    @property
    def position(self) -> int:
        """The next block's number: 20 ms each, 0 at the UUID."""
    @property
    def lost(self) -> int:
        """Blocks that were overwritten before they were read."""
    def read(self, max_blocks: int = 64, sent: bool = False) -> tuple[int, bytes, bytes | None, bytes] | None:
        """Up to `max_blocks` blocks that follow each other: (first block, caller, sent or None, flags), or None.

        `flags` has a byte a block: 1 filled, 2 held, 4 speech, 8 the sent side is audio (capture.h).
        """

# ---- the engine

@final
class Engine:
    """The media thread as the event loop sees it; used by the thread that created it (else RuntimeError).

    Every command raises EngineClosed after `stop` and EngineBusy when the command ring is full.
    """

    def __new__(
        cls,
        *,
        pending_max: int = 256,
        uuid_timeout_ms: int = 10000,
        events: int = 8192,
        commands: int = 4096,
        priority: int = 0,
        shared: bool = False,
        proxy_protocol: bool = False,
        networks: Iterable[tuple[_Buffer, int]] = (),
    ) -> Self:
        """Allocates what the thread will need.

        `pending_max`: connections without a UUID, 1..65536. `uuid_timeout_ms`: until a connection must have told it.
        `events`, `commands`: capacities, powers of two, 2..65536. `priority`: SCHED_FIFO priority asked for, 0 for
        none. `shared`: other processes accept from the same listener (engine.h). `proxy_protocol`: each connection
        begins with a balancer's header (`ProxyHeader`). `networks`: peers that are allowed, at most 64, as 16 bytes
        (IPv6, or IPv4 mapped into it) and a prefix of 0..128; none means any.

        Raises ValueError when a value is out of range, MemoryError, OSError.
        """
    def start(self, listener: int) -> None:
        """Starts the thread. `listener`: descriptor of a listening, non-blocking TCP socket; stays the caller's."""
    def stop(self) -> None:
        """Ends every call and joins the thread; the last events can still be drained."""
    def fileno(self) -> int:
        """The descriptor that is readable when events wait."""
    def wake(self) -> None:
        """Empties the descriptor and re-arms it; comes before `drain`."""
    def drain(self, most: int = 512) -> list[_Event]:
        """Up to `most` events, oldest first."""
    @property
    def pending(self) -> bool:
        """Whether events are left."""
    @property
    def events_lost(self) -> int:
        """Events that found the ring full."""
    def spare(self, call: Call) -> None:
        """Hands a call in for a connection to come. Raises ValueError when the call is in use."""
    def bury(self, call: Call) -> None:
        """After the ENDED event: lets go of the call as soon as no command names it any more."""
    def flush(self, call: Call, generation: int) -> None:
        """Throws generations up to this one away; answered by a FLUSHED event."""
    def hold(self, call: Call) -> None:
        """Silence within 5 ms; everything is kept until `resume`, `flush` or the limit."""
    def resume(self, call: Call, rewind_ms: int = 0) -> None:
        """Goes on from the held sample, or up to 200 ms before it."""
    def close(self, call: Call, trail_ticks: int = 0) -> None:
        """Flushes everything, sends silence for so many ticks, hangs up, half-closes, drains and closes."""
    def set_bargein(self, call: Call, **options: Any) -> None:
        """Changes the rules of barge-in; options and errors of `BargeIn`."""
    def accepting(self, on: bool) -> None:
        """Accepts connections, or leaves them in the backlog: to others, or for later. Also before `start`."""
    def ping(self, number: int) -> None:
        """Asks the media thread for a sign of life: `answered` is `number` once it has run, and an event tells so."""
    @property
    def answered(self) -> int:
        """The number of the last ping that the media thread has answered; 0 before the first."""
    def lateness(self) -> tuple[tuple[int, ...], int]:
        """How late the ticks of all calls were since the engine was made; what `Histogram.read` returns. Any thread."""
    def counters(self) -> dict[str, Any]:
        """What was counted; `ended` by reason, `lateness_us` as {upper bound in us, powers of two: ticks}."""
