# cython: language_level=3, boundscheck=True, wraparound=False, freethreading_compatible=False
"""Thin shell over the C core: validate, call, convert errors. No algorithm lives here."""

import importlib.util

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.pythread cimport PyThread_get_thread_ident
from libc.errno cimport errno
from libc.stdlib cimport free
from libc.string cimport memcpy, memset
from posix.dlfcn cimport RTLD_NOW, dlopen, dlsym

from fastaudio.errors import EngineBusy, EngineClosed, FastAudioError, ProtocolError, StaleGeneration

DETECTORS = {"rms": FA_DETECT_RMS, "webrtc": FA_DETECT_WEBRTC, "rms+webrtc": FA_DETECT_RMS_WEBRTC,
             "adaptive": FA_DETECT_ADAPTIVE}
STATES = ("idle", "hold", "resume", "barge_in")
END_REASONS = tuple(fa_end_text(<fa_end_t>i).decode() for i in range(FA_END_REASONS))
HISTOGRAM_BOUNDS_US = tuple(fa_histogram_bound_us(i) for i in range(FA_HISTOGRAM_BUCKETS))

cdef fa_webrtc_t webrtc_functions
cdef const fa_webrtc_t *webrtc = NULL


cdef int check(fa_result_t result) except -1:
    """The one converter from C's results to exceptions; 0 for ok and for "again"."""
    if result == FA_OK or result == FA_AGAIN:
        return 0
    text = fa_result_text(result).decode()
    if result == FA_ERR_ARG:
        raise ValueError(text)
    if result == FA_ERR_NOMEM:
        raise MemoryError(text)
    if result == FA_ERR_OS:
        raise OSError(errno, text)
    if result == FA_ERR_STALE:
        raise StaleGeneration(text)
    raise FastAudioError(text)


cdef const fa_webrtc_t *load_webrtc() except? NULL:
    """Finds WebRTC's functions in the installed `_webrtcvad` extension, which exports them."""
    global webrtc
    if webrtc != NULL:
        return webrtc
    spec = importlib.util.find_spec("_webrtcvad")
    if spec is None or spec.origin is None:
        raise FastAudioError("the WebRTC detector needs the package webrtcvad-wheels: pip install webrtcvad-wheels")
    path = spec.origin.encode()
    cdef void *library = dlopen(path, RTLD_NOW)
    if library == NULL:
        raise FastAudioError(f"cannot load {spec.origin}; reinstall webrtcvad-wheels")
    cdef void *symbols[5]
    names = (b"WebRtcVad_Create", b"WebRtcVad_Free", b"WebRtcVad_Init", b"WebRtcVad_set_mode", b"WebRtcVad_Process")
    for i, name in enumerate(names):
        symbols[i] = dlsym(library, name)
        if symbols[i] == NULL:
            raise FastAudioError(f"{spec.origin} does not export {name.decode()}; install webrtcvad-wheels>=2.0.14")
    memcpy(&webrtc_functions.create, &symbols[0], sizeof(void *))
    memcpy(&webrtc_functions.free, &symbols[1], sizeof(void *))
    memcpy(&webrtc_functions.init, &symbols[2], sizeof(void *))
    memcpy(&webrtc_functions.set_mode, &symbols[3], sizeof(void *))
    memcpy(&webrtc_functions.process, &symbols[4], sizeof(void *))
    webrtc = &webrtc_functions
    return webrtc


# ---- pure units -----------------------------------------------------------------------------------------------------


def rms(const uint8_t[::1] pcm not None):
    """Root mean square of 16-bit samples, rounded down."""
    if pcm.shape[0] < 2:
        return 0
    cdef uint32_t level
    cdef const int16_t *samples = <const int16_t *>&pcm[0]
    cdef size_t count = pcm.shape[0] // 2
    with nogil:
        level = fa_level_rms(samples, count)
    return level


def rms_batch(const uint8_t[::1] pcm not None, uint32_t frame_samples):
    """Root mean square of each whole frame in a run of frames."""
    if frame_samples == 0:
        raise ValueError("frame_samples must be at least 1")
    cdef size_t frames = pcm.shape[0] // (2 * <size_t>frame_samples)
    if frames == 0:
        return []
    cdef uint32_t[::1] out = memoryview(bytearray(4 * frames)).cast("I")
    cdef size_t i
    cdef const int16_t *samples = <const int16_t *>&pcm[0]
    with nogil:
        fa_level_rms_batch(samples, frame_samples, frames, &out[0])
    return [out[i] for i in range(frames)]


def message(uint8_t kind, payload=b""):
    """An AudioSocket message: header and payload."""
    data = bytes(payload)
    if len(data) > 65535:
        raise ValueError(f"a payload has at most 65535 bytes, not {len(data)}")
    cdef uint8_t header[3]
    fa_frame_header(header, kind, len(data))
    return (<char *>header)[:3] + data


cdef class FrameParser:
    """Incremental AudioSocket parser."""

    cdef fa_frame_parser_t parser
    cdef uint64_t offset

    def __cinit__(self):
        fa_frame_parser_init(&self.parser)

    def feed(self, const uint8_t[::1] data not None):
        cdef const uint8_t *cursor = NULL
        cdef const uint8_t *start = NULL
        cdef const uint8_t *end = NULL
        cdef fa_piece_t piece
        cdef fa_result_t result
        pieces = []
        if data.shape[0] == 0:
            return pieces
        start = cursor = &data[0]
        end = start + data.shape[0]
        while True:
            result = fa_frame_next(&self.parser, &cursor, end, &piece)
            if result != FA_OK:
                break
            pieces.append((piece.kind, (<const char *>piece.data)[:piece.length] if piece.length else b"",
                           bool(piece.last)))
        self.offset += cursor - start
        if result == FA_ERR_PROTO:
            if pieces:
                return pieces  # the error comes at the next call: what was good is not lost
            raise ProtocolError(fa_end_text(self.parser.error).decode(), self.offset)
        return pieces

    @property
    def error(self):
        return None if self.parser.error == FA_END_NONE else fa_end_text(self.parser.error).decode()


cdef class Rechunker:
    """PCM of any size into frames of one size."""

    cdef fa_rechunk_t rechunk
    cdef uint8_t carry[FA_FRAME_BYTES_MAX]

    def __cinit__(self, uint32_t frame_bytes=320):
        if frame_bytes < 2 or frame_bytes > FA_FRAME_BYTES_MAX or frame_bytes % 2:
            raise ValueError(f"frame_bytes must be even, 2..{FA_FRAME_BYTES_MAX}, not {frame_bytes}")
        fa_rechunk_init(&self.rechunk, self.carry, frame_bytes)

    def push(self, const uint8_t[::1] pcm not None):
        cdef uint8_t frame[FA_FRAME_BYTES_MAX]
        cdef size_t used = 0, at = 0, length = pcm.shape[0]
        frames = []
        while at < length:
            if fa_rechunk_push(&self.rechunk, &pcm[at], length - at, &used, frame):
                frames.append((<char *>frame)[:self.rechunk.frame_bytes])
            at += used
        return frames

    def finish(self):
        cdef uint8_t frame[FA_FRAME_BYTES_MAX]
        cdef uint32_t samples = fa_rechunk_finish(&self.rechunk, frame)
        return (<char *>frame)[:self.rechunk.frame_bytes], samples

    @property
    def carried(self):
        return self.rechunk.have


cdef class Clock:
    """The schedule of ticks."""

    cdef fa_clock_t clock

    def __cinit__(self, int64_t base_ns, int64_t now_ns):
        fa_clock_start(&self.clock, base_ns, now_ns)

    @property
    def due_ns(self):
        return self.clock.due_ns

    def take(self, int64_t now_ns):
        cdef fa_due_t due = fa_clock_take(&self.clock, now_ns)
        return due.periods, bool(due.stalled), due.late_ns


cdef tuple histogram(fa_histogram_t *of):
    cdef uint64_t counts[FA_HISTOGRAM_BUCKETS]
    cdef uint64_t max_ns = 0
    fa_histogram_read(of, counts, &max_ns)
    return tuple([counts[i] for i in range(FA_HISTOGRAM_BUCKETS)]), max_ns


cdef class Histogram:
    """How often which lateness came."""

    cdef fa_histogram_t histogram

    def add(self, int64_t ns):
        fa_histogram_add(&self.histogram, ns)

    def read(self):
        return histogram(&self.histogram)


cdef class Gate:
    """Local speech, with hysteresis."""

    cdef fa_gate_t gate

    def __cinit__(self, uint32_t stop_frames=10):
        fa_gate_init(&self.gate, stop_frames)

    def frame(self, bint voiced):
        cdef uint32_t back = 0
        cdef fa_gate_event_t event = fa_gate_frame(&self.gate, voiced, &back)
        if event == FA_GATE_NONE:
            return None
        return ("start" if event == FA_GATE_START else "stop"), back


cdef class Vad:
    """Is a frame of 20 ms speech."""

    cdef fa_vad_t vad
    cdef uint32_t frame_bytes
    cdef bint ready

    def __cinit__(self, detector="rms+webrtc", uint32_t rate=8000, uint32_t webrtc_mode=2):
        cdef fa_vad_config_t config
        config.detector = detector_of(detector)
        config.rate = rate
        config.webrtc_mode = webrtc_mode
        check(fa_vad_init(&self.vad, &config, webrtc_for(config.detector)))
        self.frame_bytes = rate // 50 * 2
        self.ready = True

    def __dealloc__(self):
        if self.ready:
            fa_vad_close(&self.vad)

    def frame(self, const uint8_t[::1] pcm not None, uint32_t loud_rms, uint32_t quiet_rms):
        if <uint32_t>pcm.shape[0] != self.frame_bytes:
            raise ValueError(f"a frame has {self.frame_bytes} bytes, not {pcm.shape[0]}")
        cdef int16_t samples[FA_FRAME_SAMPLES_MAX]
        cdef fa_vad_frame_t frame
        memcpy(samples, &pcm[0], self.frame_bytes)
        with nogil:
            frame = fa_vad_frame(&self.vad, samples, loud_rms, quiet_rms)
        return frame.rms, bool(frame.voiced_loud), bool(frame.voiced), bool(frame.steady), bool(frame.convincing)

    def played(self, uint32_t rms):
        fa_vad_played(&self.vad, rms)

    def interrupted(self):
        fa_vad_interrupted(&self.vad)


cdef fa_detector_t detector_of(name) except *:
    try:
        return DETECTORS[name]
    except KeyError:
        raise ValueError(f"no detector {name!r}; there are {', '.join(DETECTORS)}") from None


cdef const fa_webrtc_t *webrtc_for(fa_detector_t detector) except? NULL:
    return load_webrtc() if fa_detector_needs_webrtc(detector) else NULL


cdef fa_bargein_config_t bargein_config(fa_detector_t detector, dict options) except *:
    cdef fa_bargein_config_t c = fa_bargein_defaults(detector, options.pop("rms", 800), options.pop("barge_ms", 300),
                                                     options.pop("unbroken", False))
    c.enabled = options.pop("enabled", c.enabled)
    c.hold_window = options.pop("hold_window", c.hold_window)
    c.hold_need = options.pop("hold_need", c.hold_need)
    c.barge_window = options.pop("barge_window", c.barge_window)
    c.barge_need = options.pop("barge_need", c.barge_need)
    c.release_ticks = options.pop("release_ticks", c.release_ticks)
    c.decide_ticks = options.pop("decide_ticks", c.decide_ticks)
    c.limit_ticks = options.pop("limit_ticks", c.limit_ticks)
    c.rewind_ms = options.pop("rewind_ms", c.rewind_ms)
    if options:
        raise TypeError(f"unknown barge-in options: {', '.join(options)}")
    return c


cdef class BargeIn:
    """The state machine of barge-in."""

    cdef fa_bargein_t bargein

    def __cinit__(self, *, detector="rms+webrtc", **options):
        cdef fa_bargein_config_t config = bargein_config(detector_of(detector), options)
        check(fa_bargein_init(&self.bargein, &config))

    def frame(self, bint voiced, bint steady=True, bint convincing=True):
        fa_bargein_frame(&self.bargein, voiced, steady, convincing)

    def tick(self, bint playing):
        return (None, "hold", "resume", "barge_in", "flush")[<int>fa_bargein_tick(&self.bargein, playing)]

    def reset(self):
        fa_bargein_reset(&self.bargein)


cdef class Interruption:
    """A detector and its state machine, without a call."""

    cdef fa_interruption_t one
    cdef uint32_t frame_bytes
    cdef bint ready

    def __cinit__(self, detector="adaptive", uint32_t rate=8000, uint32_t webrtc_mode=2, dict bargein=None):
        cdef fa_vad_config_t vad
        vad.detector = detector_of(detector)
        vad.rate = rate
        vad.webrtc_mode = webrtc_mode
        cdef fa_bargein_config_t config = bargein_config(vad.detector, dict(bargein or {}))
        check(fa_interruption_init(&self.one, &vad, &config, webrtc_for(vad.detector)))
        self.frame_bytes = rate // 50 * 2
        self.ready = True

    def __dealloc__(self):
        if self.ready:
            fa_interruption_close(&self.one)

    cdef int take(self, const uint8_t[::1] pcm, int16_t *samples) except -1:
        if <uint32_t>pcm.shape[0] != self.frame_bytes:
            raise ValueError(f"a frame has {self.frame_bytes} bytes, not {pcm.shape[0]}")
        memcpy(samples, &pcm[0], self.frame_bytes)
        return 0

    def feed(self, const uint8_t[::1] caller not None, const uint8_t[::1] played=None):
        cdef int16_t near[320]
        cdef int16_t far[320]
        self.take(caller, near)
        if played is not None:
            self.take(played, far)
        return STATES[<int>fa_interruption_feed(&self.one, near, far if played is not None else NULL)]

    def resume(self):
        fa_bargein_reset(&self.one.bargein)

    def enable(self, bint on):
        self.one.bargein.config.enabled = on

    @property
    def gate(self):
        cdef fa_detector_t detector = self.one.vad.config.detector
        if detector == FA_DETECT_WEBRTC:
            return 0
        if detector != FA_DETECT_ADAPTIVE:
            return self.one.bargein.config.rms
        return max(self.one.vad.adaptive.noise.gate, fa_echo_predict(&self.one.vad.adaptive.echo))


# ---- one call -------------------------------------------------------------------------------------------------------


cdef class Call:
    """The memory of one call. It belongs to an engine from `Engine.spare` until its end; alone, it is driven by hand."""

    cdef fa_call_t *call
    cdef fa_events_t *own_events  # on cache lines of its own, as the C side expects: Python's objects are not
    cdef bint owns_events
    cdef bint attached
    cdef unsigned long thread

    def __cinit__(self, uint32_t id, *, uint32_t rate=8000, uint32_t playback_slots=128, uint32_t capture_blocks=128,
                  uint32_t lead=2, uint32_t listen_rms=300, uint32_t stop_ms=200, detector="rms+webrtc",
                  uint32_t webrtc_mode=2, dict bargein=None):
        cdef fa_call_config_t config
        memset(&config, 0, sizeof(config))
        config.rate = rate
        config.playback_slots = playback_slots
        config.capture_blocks = capture_blocks
        config.lead = lead
        config.listen_rms = listen_rms
        config.stop_ms = stop_ms
        config.vad.detector = detector_of(detector)
        config.vad.rate = rate
        config.vad.webrtc_mode = webrtc_mode
        config.bargein = bargein_config(config.vad.detector, dict(bargein or {}))
        check(fa_call_create(&self.call, id, &config,
                             webrtc_for(config.vad.detector)))
        self.thread = PyThread_get_thread_ident()

    def __dealloc__(self):
        if self.call != NULL and not self.attached:
            fa_call_free(self.call)
        if self.owns_events:
            fa_events_close(self.own_events)
        free(self.own_events)

    cdef int own_thread(self) except -1:
        if PyThread_get_thread_ident() != self.thread:
            raise RuntimeError("a call is used by the thread that created it")
        return 0

    @property
    def id(self):
        return self.call.id

    @property
    def frame_bytes(self):
        return self.call.frame_bytes

    @property
    def uuid(self):
        return (<char *>self.call.uuid)[:16]

    @property
    def peer(self):
        """The peer's address as the bytes of a sockaddr_storage."""
        return (<char *>&self.call.peer)[:sizeof(sockaddr_storage)]

    def write(self, uint32_t generation, const uint8_t[::1] pcm not None):
        """Write PCM of an utterance; returns the number of bytes taken, fewer when the ring is full."""
        self.own_thread()
        if pcm.shape[0] == 0:
            return 0
        cdef size_t used = 0
        check(fa_producer_write(&self.call.producer, generation, &pcm[0], pcm.shape[0], &used))
        return used

    def end(self, uint32_t generation):
        """Mark the end of an utterance; False when the ring is full."""
        self.own_thread()
        cdef fa_result_t result = fa_producer_end(&self.call.producer, generation)
        check(result)
        return result == FA_OK

    def forget(self, uint32_t generation):
        """Refuse what is still written of generations up to this one."""
        self.own_thread()
        fa_producer_flush(&self.call.producer, generation)

    @property
    def stale_bytes(self):
        return self.call.producer.stale

    def heard(self):
        """(generation, samples): how much of the latest utterance went out."""
        cdef uint64_t heard = fa_load64(&self.call.heard)
        return heard >> 32, heard & 0xFFFFFFFF

    def captured(self):
        """Blocks captured so far."""
        return fa_capture_ready(&self.call.capture)

    def ask_capture(self, uint64_t blocks):
        """Ask for one CAPTURE event as soon as so many blocks are captured."""
        fa_store64(&self.call.capture_target, blocks)

    def ask_space(self):
        """Ask for one SPACE event as soon as half of the playback ring is free."""
        fa_store32(&self.call.space_wanted, 1)

    def reader(self, uint32_t preroll=0):
        return Reader(self, preroll)

    def counters(self):
        cdef fa_call_counters_t *c = &self.call.counters
        return {
            "frames_in": fa_load64(&c.frames_in), "frames_out": fa_load64(&c.frames_out),
            "audio_out": fa_load64(&c.audio_out), "lost_in": fa_load64(&c.lost_in),
            "odd_in": fa_load64(&c.odd_in), "other_format": fa_load64(&c.other_format),
            "rate_guessed": fa_load64(&c.rate_guessed), "caught_up": fa_load64(&c.caught_up),
            "skipped": fa_load64(&c.skipped), "stalls": fa_load64(&c.stalls),
            "late_max_ns": fa_load64(&c.late_max_ns), "underruns": fa_load64(&c.underruns),
            "filled": fa_load64(&c.filled), "left_out": fa_load64(&c.left_out), "overrun": fa_load64(&c.overrun),
            "holds": fa_load64(&c.holds), "resumes": fa_load64(&c.resumes), "barge_ins": fa_load64(&c.barge_ins),
            "flushes": fa_load64(&c.flushes), "dtmf": fa_load64(&c.dtmf), "blocked": fa_load64(&c.blocked),
            "events_lost": fa_load64(&c.events_lost),
        }

    # Driving a call by hand, without an engine: what the property tests compare with the reference.

    cdef int by_hand(self) except -1:
        if self.attached:
            raise RuntimeError("this call belongs to an engine")
        if not self.owns_events:
            raise RuntimeError("start() comes first")
        return 0

    def start(self, const uint8_t[::1] uuid not None, uint32_t events=4096):
        if self.attached or self.owns_events or uuid.shape[0] != 16:
            raise ValueError("start() once, with the 16 bytes of a UUID, on a call without an engine")
        if self.own_events == NULL:
            self.own_events = <fa_events_t *>aligned_alloc(FA_CACHE_LINE, sizeof(fa_events_t))
            if self.own_events == NULL:
                raise MemoryError("no memory for the events of a call")
        check(fa_events_init(self.own_events, events))
        self.owns_events = True
        fa_call_start(self.call, self.own_events, &uuid[0], 0)

    def input(self, const uint8_t[::1] data not None, int64_t now_ns=0):
        self.by_hand()
        if data.shape[0]:
            fa_call_input(self.call, &data[0], data.shape[0], now_ns)
        return None if self.call.end == FA_END_NONE else fa_end_text(self.call.end).decode()

    def late(self, uint32_t periods):
        self.by_hand()
        if self.call.early:
            raise ValueError("late() once before a tick")
        fa_call_late(self.call, fa_due_t(periods, False, 0))

    def tick(self, uint32_t periods=1, bint stalled=False, int64_t late_ns=0, bint can_send=True, int64_t now_ns=0):
        self.by_hand()
        if periods < self.call.early:
            raise ValueError(f"late() told {self.call.early + 1} periods, not {periods}")
        cdef uint8_t out[FA_OUT_BYTES]
        cdef fa_due_t due
        due.periods = periods
        due.stalled = stalled
        due.late_ns = late_ns
        cdef size_t length = fa_call_tick(self.call, due, can_send, out, now_ns)
        return (<char *>out)[:length]

    def do_flush(self, uint32_t generation):
        self.by_hand()
        fa_call_flush(self.call, generation, 0)

    def do_hold(self):
        self.by_hand()
        fa_call_hold(self.call, 0)

    def do_resume(self, uint32_t rewind_ms=0):
        self.by_hand()
        fa_call_resume(self.call, rewind_ms, 0)

    def do_close(self, uint32_t trail_ticks=0):
        self.by_hand()
        fa_call_close(self.call, trail_ticks, 0)

    def events(self):
        self.by_hand()
        return drain(self.own_events, 4096)


cdef class Reader:
    """A place on the time line of a call's capture, with its own count of what it lost."""

    cdef Call owner
    cdef fa_capture_reader_t reader

    def __cinit__(self, Call owner, uint32_t preroll):
        self.owner = owner
        fa_capture_open(&owner.call.capture, &self.reader, preroll)

    @property
    def position(self):
        """The next block's number: 20 ms each, 0 at the UUID."""
        return self.reader.next

    @property
    def lost(self):
        return self.reader.lost

    def read(self, uint32_t max_blocks=64, bint sent=False):
        """Up to `max_blocks` blocks that follow each other: (first block, caller, sent or None, flags), or None."""
        cdef uint32_t size = self.owner.call.frame_bytes
        cdef uint64_t ready = fa_capture_ready(&self.owner.call.capture)
        cdef uint64_t lost = self.reader.lost
        cdef uint64_t position = 0, first = 0
        cdef uint32_t flag = 0, count = 0
        if ready <= self.reader.next or max_blocks == 0:
            return None
        cdef uint32_t most = <uint32_t>min(<uint64_t>max_blocks, ready - self.reader.next)
        caller = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>most * size)
        other = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>most * size) if sent else None
        flags = PyBytes_FromStringAndSize(NULL, most)
        cdef char *caller_at = PyBytes_AS_STRING(caller)
        cdef char *sent_at = PyBytes_AS_STRING(other) if sent else NULL
        cdef char *flags_at = PyBytes_AS_STRING(flags)
        while count < most:
            if fa_capture_read(&self.owner.call.capture, &self.reader, caller_at + count * size,
                               sent_at + count * size if sent else NULL, &flag, &position) != FA_OK:
                break
            if count == 0:
                first = position
            elif position != first + count:  # overtaken in between: what follows the gap comes with the next call
                self.reader.next = position
                break
            flags_at[count] = <char>flag
            count += 1
        if count == 0:
            return None
        if count < most:
            caller, flags = caller[:count * size], flags[:count]
            other = other[:count * size] if sent else None
        return first, caller, other, flags


cdef list drain(fa_events_t *events, uint32_t most):
    cdef fa_event_t batch[64]
    cdef uint32_t count, i
    out = []
    while most > 0:
        count = fa_events_drain(events, batch, 64 if most > 64 else most)
        if count == 0:
            break
        most -= count
        for i in range(count):
            out.append((batch[i].kind, batch[i].call, batch[i].generation, batch[i].value, batch[i].position,
                        batch[i].time_ns))
    return out


# ---- the engine -----------------------------------------------------------------------------------------------------


cdef class Engine:
    """The media thread, as the event loop sees it."""

    cdef fa_engine_t *engine
    cdef dict calls
    cdef list graveyard
    cdef bint stopped
    cdef unsigned long thread

    def __cinit__(self, *, uint32_t pending_max=256, uint32_t uuid_timeout_ms=10000, uint32_t events=8192,
                  uint32_t commands=4096, int32_t priority=0, networks=()):
        cdef fa_engine_config_t config
        memset(&config, 0, sizeof(config))
        config.pending_max = pending_max
        config.uuid_timeout_ms = uuid_timeout_ms
        config.events = events
        config.commands = commands
        config.priority = priority
        if len(networks) > FA_NETWORKS_MAX:
            raise ValueError(f"at most {FA_NETWORKS_MAX} networks, not {len(networks)}")
        for i, (address, prefix) in enumerate(networks):
            packed = bytes(address)
            if len(packed) != 16 or not 0 <= prefix <= 128:
                raise ValueError("a network is 16 bytes of address and a prefix of 0..128")
            memcpy(config.networks[i].address, <const char *>packed, 16)
            config.networks[i].prefix = prefix
        config.networks_count = len(networks)
        self.calls = {}
        self.graveyard = []
        self.thread = PyThread_get_thread_ident()
        check(fa_engine_create(&self.engine, &config))

    def __dealloc__(self):
        if self.engine != NULL:
            with nogil:
                fa_engine_stop(self.engine)
            self.release()
            fa_engine_free(self.engine)

    cdef int usable(self) except -1:
        if self.stopped:
            raise EngineClosed("the engine has stopped")
        if PyThread_get_thread_ident() != self.thread:
            raise RuntimeError("an engine is used by the thread that created it")
        return 0

    cdef release(self):
        for call in [*self.calls.values(), *self.graveyard]:
            (<Call>call).attached = False
        self.calls.clear()
        self.graveyard.clear()

    def start(self, int listener):
        self.usable()
        check(fa_engine_start(self.engine, listener))

    def stop(self):
        """End every call, join the thread. Afterwards the last events can still be drained."""
        if self.stopped:
            return
        self.usable()
        with nogil:
            fa_engine_stop(self.engine)
        self.stopped = True

    def fileno(self):
        return fa_engine_events(self.engine).fd

    @property
    def events_lost(self):
        return fa_load64(&fa_engine_events(self.engine).lost)

    def wake(self):
        """Empty the descriptor and re-arm it; comes before `drain`."""
        fa_events_wake(fa_engine_events(self.engine))

    def drain(self, uint32_t most=512):
        """Up to `most` events as (kind, call, generation, value, position in samples, time in ns)."""
        events = drain(fa_engine_events(self.engine), most)
        if self.graveyard and (self.stopped or fa_engine_obeyed(self.engine)):
            for call in self.graveyard:
                (<Call>call).attached = False
            self.graveyard.clear()
        if self.stopped:
            self.release()
        return events

    @property
    def pending(self):
        return bool(fa_events_pending(fa_engine_events(self.engine)))

    cdef int commanded(self, fa_result_t result) except -1:
        check(result)
        if result == FA_AGAIN:
            raise EngineBusy("the command ring is full: the media thread has not run for long")
        return 0

    def spare(self, Call call not None):
        """Hand a call in; it belongs to the engine until `bury`."""
        self.usable()
        if call.attached or call.owns_events:
            raise ValueError("this call is in use")
        self.commanded(fa_engine_spare(self.engine, call.call))
        call.attached = True
        self.calls[call.call.id] = call

    def bury(self, Call call not None):
        """After the ENDED event: let go of the call as soon as no command names it any more."""
        if self.calls.pop(call.call.id, None) is None:
            return
        if self.stopped or fa_engine_obeyed(self.engine):
            call.attached = False
        else:
            self.graveyard.append(call)

    def flush(self, Call call not None, uint32_t generation):
        self.usable()
        self.commanded(fa_engine_flush(self.engine, call.call, generation))

    def hold(self, Call call not None):
        self.usable()
        self.commanded(fa_engine_hold(self.engine, call.call))

    def resume(self, Call call not None, uint32_t rewind_ms=0):
        self.usable()
        self.commanded(fa_engine_resume(self.engine, call.call, rewind_ms))

    def close(self, Call call not None, uint32_t trail_ticks=0):
        self.usable()
        self.commanded(fa_engine_close(self.engine, call.call, trail_ticks))

    def set_bargein(self, Call call not None, **options):
        self.usable()
        cdef fa_bargein_config_t config = bargein_config(call.call.config.vad.detector, options)
        self.commanded(fa_engine_set_bargein(self.engine, call.call, &config))

    def accepting(self, bint on):
        self.usable()
        self.commanded(fa_engine_accepting(self.engine, on))

    def lateness(self):
        return histogram(&fa_engine_counters(self.engine).lateness)

    def counters(self):
        cdef fa_engine_counters_t *c = fa_engine_counters(self.engine)
        counts, late_max_ns = self.lateness()
        octaves = {}  # by powers of two, for who needs no more
        for bound, count in zip(HISTOGRAM_BOUNDS_US, counts):
            octave = 1 << (bound - 1).bit_length()
            octaves[octave] = octaves.get(octave, 0) + count
        return {
            "accepted": fa_load64(&c.accepted), "started": fa_load64(&c.started), "live": fa_load64(&c.live),
            "pending": fa_load64(&c.pending), "wakeups": fa_load64(&c.wakeups), "ticks": fa_load64(&c.ticks),
            "frames_in": fa_load64(&c.frames_in), "frames_out": fa_load64(&c.frames_out),
            "stalls": fa_load64(&c.stalls), "caught_up": fa_load64(&c.caught_up), "skipped": fa_load64(&c.skipped),
            "late_max_ns": late_max_ns,
            "events_lost": self.events_lost,
            "fifo_priority": <int32_t>fa_load32(&c.fifo_priority),
            "ended": {END_REASONS[i]: fa_load64(&c.ended[i]) for i in range(1, FA_END_REASONS)},
            "lateness_us": octaves,
        }
