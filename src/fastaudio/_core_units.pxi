# The pure units of the core, and their detectors. A part of _core.pyx.


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


cdef class ProxyHeader:
    """The header of the PROXY protocol, version 2, in front of a connection."""

    cdef fa_proxy_t proxy

    def __cinit__(self):
        fa_proxy_init(&self.proxy)

    def feed(self, const uint8_t[::1] data not None):
        cdef const uint8_t *cursor = NULL
        cdef const uint8_t *start = NULL
        if data.shape[0] == 0:
            return 0
        start = cursor = &data[0]
        if fa_proxy_next(&self.proxy, &cursor, start + data.shape[0]) == FA_ERR_PROTO:
            raise ProtocolError(fa_end_text(self.proxy.error).decode(), self.proxy.have)
        return cursor - start

    @property
    def wants(self):
        return fa_proxy_wants(&self.proxy)

    @property
    def error(self):
        return None if self.proxy.error == FA_END_NONE else fa_end_text(self.proxy.error).decode()

    @property
    def source(self):
        cdef fa_proxy_source_t source
        if self.proxy.error != FA_END_NONE or fa_proxy_wants(&self.proxy):
            return None
        source = fa_proxy_source(&self.proxy)
        if source.family == FA_PROXY_NO_SOURCE:
            return None
        address = (<const char *>source.address)[:4 if source.family == FA_PROXY_IPV4 else 16]
        return str(ipaddress.ip_address(address)), source.port


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

    def frame(self, bint voiced, bint goes_on=False):
        cdef uint32_t back = 0
        cdef fa_gate_event_t event = fa_gate_frame(&self.gate, voiced, goes_on, &back)
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
        return (frame.rms, bool(frame.voiced_loud), bool(frame.voiced), bool(frame.goes_on), bool(frame.steady),
                bool(frame.convincing))

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
