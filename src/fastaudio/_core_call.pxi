# One call, driven by an engine or by hand, and the readers of its capture. A part of _core.pyx.


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
