# cython: language_level=3, boundscheck=True, wraparound=False, freethreading_compatible=True
"""Thin shell over the load generator in C: validate, call, convert. It shares nothing with fastaudio._core."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset


cdef extern from "load.h" nogil:
    enum: FA_LOAD_ENDS
    ctypedef enum fa_result_t:
        FA_OK
        FA_ERR_ARG
        FA_ERR_NOMEM
    ctypedef enum fa_load_end_t:
        pass
    ctypedef struct fa_load_config_t:
        uint8_t uuid_prefix[12]
        uint32_t calls
        uint32_t calls_a_second
        uint32_t rate
        uint32_t packet_ms
        uint32_t talk_percent
        uint32_t turn_ms
        int64_t warmup_ns
        int64_t measure_ns
    ctypedef struct fa_load_trouble_t:
        int kind
        uint32_t call
        int error
        fa_load_end_t end
    ctypedef struct fa_load_progress_t:
        int phase
        uint32_t connected
        uint64_t messages
    ctypedef struct fa_load_report_t:
        int64_t measured_ns
        uint32_t ended[FA_LOAD_ENDS]
        uint32_t silent
        uint64_t sent, messages, long_gaps, merged, untimed
        int64_t gap_p50_ns, gap_p99_ns, gap_p999_ns, gap_max_ns
        uint32_t rated
        double ppm_median, ppm_worst
        int64_t slip_median_ns, slip_worst_ns
        int64_t lag_p50_ns, lag_p99_ns, lag_max_ns
        int64_t cpu_ns
        uint64_t turns, answers, unanswered, overlaps
        int64_t answer_p50_ns, answer_p99_ns, answer_max_ns
    ctypedef struct fa_load_t:
        pass
    fa_result_t fa_load_address(fa_load_config_t *config, const char *address, uint16_t port)
    fa_result_t fa_load_create(fa_load_t **load, const fa_load_config_t *config)
    void fa_load_free(fa_load_t *load)
    fa_result_t fa_load_run(fa_load_t *load)
    void fa_load_stop(fa_load_t *load)
    fa_load_progress_t fa_load_progress(const fa_load_t *load)
    fa_load_trouble_t fa_load_trouble(const fa_load_t *load)
    fa_result_t fa_load_report(const fa_load_t *load, fa_load_report_t *report)
    const char *fa_load_end_text(fa_load_end_t end)

TROUBLES = ("none", "socket", "connect", "ended", "stopped")
PHASES = ("connecting", "warming up", "measuring", "over")


cdef class Generator:
    """One run of the load generator. `run` may be called once, in any thread; `stop` and `progress` in any meanwhile."""

    cdef fa_load_t *load
    cdef bint used

    def __cinit__(self, str address, uint16_t port, *, bytes uuid_prefix, uint32_t calls, uint32_t calls_a_second, uint32_t rate,
                  uint32_t packet_ms, uint32_t talk_percent, uint32_t turn_ms, int64_t warmup_ns, int64_t measure_ns):
        cdef fa_load_config_t config
        memset(&config, 0, sizeof(config))
        if fa_load_address(&config, address.encode(), port) != FA_OK:
            raise ValueError(f"{address!r} is no IPv4 or IPv6 address")
        if len(uuid_prefix) != sizeof(config.uuid_prefix):
            raise ValueError(f"a prefix of UUIDs is 12 bytes, not {len(uuid_prefix)}")
        memcpy(config.uuid_prefix, <const char *>uuid_prefix, sizeof(config.uuid_prefix))
        config.calls = calls
        config.calls_a_second = calls_a_second
        config.rate = rate
        config.packet_ms = packet_ms
        config.talk_percent = talk_percent
        config.turn_ms = turn_ms
        config.warmup_ns = warmup_ns
        config.measure_ns = measure_ns
        cdef fa_result_t result = fa_load_create(&self.load, &config)
        if result == FA_ERR_NOMEM:
            raise MemoryError("no memory for so many calls")
        if result != FA_OK:
            raise ValueError("an option is out of range")

    def __dealloc__(self):
        fa_load_free(self.load)

    def run(self):
        """Run to the end, without the GIL. False: it came to no measurement, and `trouble` says why."""
        if self.used:
            raise RuntimeError("a generator runs once")
        self.used = True
        cdef fa_result_t result
        with nogil:
            result = fa_load_run(self.load)
        return result == FA_OK

    def stop(self):
        """Let `run` return soon."""
        fa_load_stop(self.load)

    def progress(self):
        """Phase, calls on the line, messages of audio received within the measurement."""
        cdef fa_load_progress_t now = fa_load_progress(self.load)
        return PHASES[now.phase], now.connected, now.messages

    def trouble(self):
        """What went wrong, the call's number from 0, errno, why the call ended. After `run`."""
        cdef fa_load_trouble_t what = fa_load_trouble(self.load)
        return TROUBLES[what.kind], what.call, what.error, fa_load_end_text(what.end).decode()

    def report(self):
        """Figures of the measurement, as load.h names them. After a `run` that returned True."""
        cdef fa_load_report_t report
        if fa_load_report(self.load, &report) != FA_OK:
            raise MemoryError("no memory for the report")
        figures = dict(report)
        figures["ended"] = {fa_load_end_text(<fa_load_end_t>i).decode(): report.ended[i] for i in range(FA_LOAD_ENDS)
                            if report.ended[i] > 0}
        return figures
