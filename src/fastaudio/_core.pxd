"""What the shell uses of the C core. Nothing here runs Python."""

from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t


cdef extern from "<sys/socket.h>" nogil:
    cdef struct sockaddr_storage:
        uint16_t ss_family


cdef extern from "<stdlib.h>" nogil:
    void *aligned_alloc(size_t alignment, size_t size)


cdef extern from "fa.h" nogil:
    ctypedef enum fa_result_t:
        FA_OK, FA_AGAIN, FA_ERR_ARG, FA_ERR_NOMEM, FA_ERR_OS, FA_ERR_STALE, FA_ERR_NO_VAD, FA_ERR_PROTO
    ctypedef enum fa_end_t:
        FA_END_NONE, FA_END_REASONS
    const char *fa_result_text(fa_result_t result)
    const char *fa_end_text(fa_end_t reason)
    enum: FA_FRAME_BYTES_MAX
    enum: FA_FRAME_SAMPLES_MAX


cdef extern from "frame.h" nogil:
    ctypedef struct fa_frame_parser_t:
        fa_end_t error
    ctypedef struct fa_piece_t:
        uint8_t kind
        bint last
        uint32_t rate
        const uint8_t *data
        size_t length
    void fa_frame_parser_init(fa_frame_parser_t *parser)
    fa_result_t fa_frame_next(fa_frame_parser_t *parser, const uint8_t **cursor, const uint8_t *end,
                              fa_piece_t *piece)
    void fa_frame_header(uint8_t *out, uint8_t kind, uint16_t length)


cdef extern from "proxy.h" nogil:
    ctypedef enum fa_proxy_family_t:
        FA_PROXY_NO_SOURCE, FA_PROXY_IPV4, FA_PROXY_IPV6
    ctypedef struct fa_proxy_t:
        uint32_t have
        fa_end_t error
    ctypedef struct fa_proxy_source_t:
        fa_proxy_family_t family
        uint8_t address[16]
        uint16_t port
    void fa_proxy_init(fa_proxy_t *proxy)
    uint32_t fa_proxy_wants(const fa_proxy_t *proxy)
    fa_result_t fa_proxy_next(fa_proxy_t *proxy, const uint8_t **cursor, const uint8_t *end)
    fa_proxy_source_t fa_proxy_source(const fa_proxy_t *proxy)


cdef extern from "rechunk.h" nogil:
    ctypedef struct fa_rechunk_t:
        uint32_t have
        uint32_t frame_bytes
    void fa_rechunk_init(fa_rechunk_t *rechunk, uint8_t *carry, uint32_t frame_bytes)
    bint fa_rechunk_push(fa_rechunk_t *rechunk, const uint8_t *data, size_t length, size_t *used, uint8_t *frame)
    uint32_t fa_rechunk_finish(fa_rechunk_t *rechunk, uint8_t *frame)


cdef extern from "level.h" nogil:
    uint32_t fa_level_rms(const int16_t *samples, size_t count)
    void fa_level_rms_batch(const int16_t *samples, size_t count, size_t frames, uint32_t *out)


cdef extern from "clock.h" nogil:
    ctypedef struct fa_clock_t:
        int64_t due_ns
    ctypedef struct fa_due_t:
        uint32_t periods
        bint stalled
        int64_t late_ns
    void fa_clock_start(fa_clock_t *clock, int64_t base_ns, int64_t now_ns)
    fa_due_t fa_clock_take(fa_clock_t *clock, int64_t now_ns)


cdef extern from "adaptive.h" nogil:
    ctypedef struct fa_noise_t:
        uint32_t gate
    ctypedef struct fa_echo_t:
        pass
    ctypedef struct fa_adaptive_t:
        fa_noise_t noise
        fa_echo_t echo
    uint32_t fa_echo_predict(fa_echo_t *echo)


cdef extern from "vad.h" nogil:
    ctypedef struct fa_webrtc_t:
        int (*create)(void **handle)
        int (*free)(void *handle)
        int (*init)(void *handle)
        int (*set_mode)(void *handle, int mode)
        int (*process)(void *handle, int rate, const int16_t *samples, size_t count)
    ctypedef enum fa_detector_t:
        FA_DETECT_RMS, FA_DETECT_WEBRTC, FA_DETECT_RMS_WEBRTC, FA_DETECT_ADAPTIVE
    ctypedef struct fa_vad_config_t:
        fa_detector_t detector
        uint32_t rate
        uint32_t webrtc_mode
    ctypedef struct fa_vad_frame_t:
        uint32_t rms
        bint voiced_loud
        bint voiced
        bint goes_on
        bint steady
        bint convincing
    ctypedef struct fa_vad_t:
        fa_vad_config_t config
        fa_adaptive_t adaptive
    ctypedef enum fa_gate_event_t:
        FA_GATE_NONE, FA_GATE_START, FA_GATE_STOP
    ctypedef struct fa_gate_t:
        pass
    fa_result_t fa_vad_init(fa_vad_t *vad, const fa_vad_config_t *config, const fa_webrtc_t *webrtc)
    void fa_vad_close(fa_vad_t *vad)
    fa_vad_frame_t fa_vad_frame(fa_vad_t *vad, const int16_t *samples, uint32_t loud_rms, uint32_t quiet_rms)
    bint fa_detector_needs_webrtc(fa_detector_t detector)
    void fa_vad_played(fa_vad_t *vad, uint32_t rms)
    void fa_vad_interrupted(fa_vad_t *vad)
    void fa_gate_init(fa_gate_t *gate, uint32_t stop_frames)
    fa_gate_event_t fa_gate_frame(fa_gate_t *gate, bint voiced, bint goes_on, uint32_t *frames_back)


cdef extern from "bargein.h" nogil:
    ctypedef struct fa_bargein_config_t:
        uint32_t enabled, rms, hold_window, hold_need, barge_window, barge_need
        uint32_t release_ticks, decide_ticks, limit_ticks, rewind_ms
    ctypedef enum fa_bargein_action_t:
        FA_DO_NONE, FA_DO_HOLD, FA_DO_RESUME, FA_DO_BARGE, FA_DO_FLUSH
    ctypedef struct fa_bargein_t:
        fa_bargein_config_t config
    fa_result_t fa_bargein_init(fa_bargein_t *bargein, const fa_bargein_config_t *config)
    fa_bargein_config_t fa_bargein_defaults(fa_detector_t detector, uint32_t rms, uint32_t barge_ms, bint unbroken)
    void fa_bargein_frame(fa_bargein_t *bargein, bint voiced, bint steady, bint convincing)
    fa_bargein_action_t fa_bargein_tick(fa_bargein_t *bargein, bint playing)
    void fa_bargein_reset(fa_bargein_t *bargein)


cdef extern from "interruption.h" nogil:
    ctypedef enum fa_state_t:
        FA_STATE_IDLE, FA_STATE_HOLD, FA_STATE_RESUME, FA_STATE_BARGE_IN
    ctypedef struct fa_interruption_t:
        fa_vad_t vad
        fa_bargein_t bargein
    fa_result_t fa_interruption_init(fa_interruption_t *one, const fa_vad_config_t *vad,
                                     const fa_bargein_config_t *bargein, const fa_webrtc_t *webrtc)
    void fa_interruption_close(fa_interruption_t *one)
    fa_state_t fa_interruption_feed(fa_interruption_t *one, const int16_t *caller, const int16_t *played)


cdef extern from "playout.h" nogil:
    ctypedef struct fa_producer_t:
        uint64_t stale
    ctypedef struct fa_playout_t:
        uint32_t ahead
        bint paused
    fa_result_t fa_producer_write(fa_producer_t *producer, uint32_t generation, const uint8_t *data, size_t length,
                                  size_t *used)
    fa_result_t fa_producer_end(fa_producer_t *producer, uint32_t generation)
    void fa_producer_flush(fa_producer_t *producer, uint32_t generation)


cdef extern from "capture.h" nogil:
    ctypedef struct fa_capture_t:
        pass
    ctypedef struct fa_capture_reader_t:
        uint64_t next
        uint64_t lost
    void fa_capture_open(fa_capture_t *capture, fa_capture_reader_t *reader, uint32_t preroll)
    fa_result_t fa_capture_read(fa_capture_t *capture, fa_capture_reader_t *reader, void *caller, void *sent,
                                uint32_t *flags, uint64_t *position)
    uint64_t fa_capture_ready(fa_capture_t *capture)


cdef extern from "event.h" nogil:
    enum: FA_CACHE_LINE
    ctypedef struct fa_event_t:
        uint32_t kind, call, generation, value
        uint64_t position
        int64_t time_ns
    ctypedef struct fa_events_t:
        int fd
        uint64_t lost
    fa_result_t fa_events_init(fa_events_t *events, uint32_t capacity)
    void fa_events_close(fa_events_t *events)
    fa_result_t fa_events_push(fa_events_t *events, const fa_event_t *event)
    void fa_events_wake(fa_events_t *events)
    uint32_t fa_events_drain(fa_events_t *events, fa_event_t *out, uint32_t max)
    bint fa_events_pending(fa_events_t *events)


cdef extern from "call.h" nogil:
    ctypedef struct fa_call_config_t:
        uint32_t rate, playback_slots, capture_blocks, lead, listen_rms, stop_ms
        fa_vad_config_t vad
        fa_bargein_config_t bargein
    ctypedef struct fa_call_counters_t:
        uint64_t frames_in, frames_out, audio_out, lost_in, odd_in, other_format, rate_guessed
        uint64_t caught_up, skipped, stalls, late_max_ns
        uint64_t underruns, filled, left_out, overrun
        uint64_t holds, resumes, barge_ins, flushes, dtmf, blocked, events_lost
    ctypedef struct fa_call_t:
        uint32_t id
        fa_call_config_t config
        uint32_t frame_bytes
        uint32_t early
        uint8_t uuid[16]
        sockaddr_storage peer
        fa_producer_t producer
        fa_playout_t playout
        fa_capture_t capture
        fa_end_t end
        fa_call_counters_t counters
        uint64_t heard, capture_target
        uint32_t space_wanted
    fa_result_t fa_call_create(fa_call_t **call, uint32_t id, const fa_call_config_t *config,
                               const fa_webrtc_t *webrtc)
    void fa_call_free(fa_call_t *call)
    void fa_call_start(fa_call_t *call, fa_events_t *events, const uint8_t *uuid, int64_t now_ns)
    void fa_call_late(fa_call_t *call, fa_due_t due)
    void fa_call_input(fa_call_t *call, const uint8_t *data, size_t length, int64_t now_ns)
    size_t fa_call_tick(fa_call_t *call, fa_due_t due, bint can_send, uint8_t *out, int64_t now_ns)
    void fa_call_flush(fa_call_t *call, uint32_t generation, int64_t now_ns)
    void fa_call_hold(fa_call_t *call, int64_t now_ns)
    void fa_call_resume(fa_call_t *call, uint32_t rewind_ms, int64_t now_ns)
    void fa_call_close(fa_call_t *call, uint32_t trail_ticks, int64_t now_ns)
    enum: FA_OUT_BYTES


cdef extern from "histogram.h" nogil:
    enum: FA_HISTOGRAM_BUCKETS
    ctypedef struct fa_histogram_t:
        uint64_t max_ns
    void fa_histogram_add(fa_histogram_t *histogram, int64_t ns)
    void fa_histogram_read(fa_histogram_t *histogram, uint64_t *counts, uint64_t *max_ns)
    uint64_t fa_histogram_bound_us(uint32_t bucket)


cdef extern from "engine.h" nogil:
    enum: FA_NETWORKS_MAX
    ctypedef struct fa_network_t:
        uint8_t address[16]
        uint32_t prefix
    ctypedef struct fa_engine_config_t:
        uint32_t pending_max, uuid_timeout_ms, events, commands
        int32_t priority
        bint shared
        bint proxy_protocol
        uint32_t networks_count
        fa_network_t networks[64]
    ctypedef struct fa_engine_counters_t:
        uint64_t accepted, started, live, pending, wakeups, ticks, frames_in, frames_out
        uint64_t stalls, caught_up, skipped
        uint64_t ended[16]
        int32_t fifo_priority
        fa_histogram_t lateness
    ctypedef struct fa_engine_t:
        pass
    fa_result_t fa_engine_create(fa_engine_t **engine, const fa_engine_config_t *config)
    fa_result_t fa_engine_start(fa_engine_t *engine, int listener)
    void fa_engine_stop(fa_engine_t *engine)
    void fa_engine_free(fa_engine_t *engine)
    fa_events_t *fa_engine_events(fa_engine_t *engine)
    fa_engine_counters_t *fa_engine_counters(fa_engine_t *engine)
    fa_result_t fa_engine_spare(fa_engine_t *engine, fa_call_t *call)
    fa_result_t fa_engine_flush(fa_engine_t *engine, fa_call_t *call, uint32_t generation)
    fa_result_t fa_engine_hold(fa_engine_t *engine, fa_call_t *call)
    fa_result_t fa_engine_resume(fa_engine_t *engine, fa_call_t *call, uint32_t rewind_ms)
    fa_result_t fa_engine_close(fa_engine_t *engine, fa_call_t *call, uint32_t trail_ticks)
    fa_result_t fa_engine_set_bargein(fa_engine_t *engine, fa_call_t *call, const fa_bargein_config_t *config)
    bint fa_engine_obeyed(fa_engine_t *engine)
    fa_result_t fa_engine_accepting(fa_engine_t *engine, bint on)
    fa_result_t fa_engine_ping(fa_engine_t *engine, uint32_t number)
    uint32_t fa_engine_answered(fa_engine_t *engine)


cdef extern from * nogil:
    """
    #include "call.h"
    /* Atomic fields as plain numbers: Cython does not know _Atomic. */
    static inline uint64_t fa_load64(void *p) { return atomic_load((_Atomic uint64_t *)p); }
    static inline void fa_store64(void *p, uint64_t v) { atomic_store((_Atomic uint64_t *)p, v); }
    static inline void fa_store32(void *p, uint32_t v) { atomic_store((_Atomic uint32_t *)p, v); }
    static inline uint32_t fa_load32(void *p) { return atomic_load((_Atomic uint32_t *)p); }
    """
    uint64_t fa_load64(void *p)
    void fa_store64(void *p, uint64_t v)
    void fa_store32(void *p, uint32_t v)
    uint32_t fa_load32(void *p)
