# The engine: its thread, commands, events and counters. A part of _core.pyx.


cdef class Engine:
    """The media thread, as the event loop sees it."""

    cdef fa_engine_t *engine
    cdef dict calls
    cdef list graveyard
    cdef bint stopped
    cdef unsigned long thread

    def __cinit__(self, *, uint32_t pending_max=256, uint32_t uuid_timeout_ms=10000, uint32_t events=8192,
                  uint32_t commands=4096, int32_t priority=0, bint shared=False, bint proxy_protocol=False,
                  networks=()):
        cdef fa_engine_config_t config
        memset(&config, 0, sizeof(config))
        config.pending_max = pending_max
        config.uuid_timeout_ms = uuid_timeout_ms
        config.events = events
        config.commands = commands
        config.priority = priority
        config.shared = shared
        config.proxy_protocol = proxy_protocol
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

    def ping(self, uint32_t number):
        """Ask for a sign of life; `answered` is `number` once the thread has run, and an event tells so."""
        self.usable()
        self.commanded(fa_engine_ping(self.engine, number))

    @property
    def answered(self):
        return fa_engine_answered(self.engine)

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
