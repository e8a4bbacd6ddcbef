/* call.h - one call: parser, detector, playback and capture, put together without any I/O.
 *
 * Bytes of the peer go in with `fa_call_input`, a tick of the clock goes in with `fa_call_tick`, and out come the
 * bytes for the peer and events. The engine adds the socket.
 *
 * Rate: fixed by the configuration, or that of the caller's first audio. A call that follows its caller sends silence
 * of 8 kHz until then and is told to the event loop (STARTED) only when its rate is known, FA_RATE_TICKS after its UUID
 * at the latest; then its time line stands as if the rate had been known from the start. What happens before (a digit)
 * has nobody to be told, and is counted in `events_lost`.
 *
 * Files: call_setup.c has what runs where a call is created, and its memory by rate; call.c everything else.
 *
 * Threads and ownership: a call is created and freed by the event loop thread. Between `attach` and its ENDED event the
 * media thread owns everything in it but the producer and the capture readers. Atomics are named with their reader.
 * Nothing below `fa_call_create` allocates or blocks.
 */
#ifndef FA_CALL_H
#define FA_CALL_H

#include <sys/socket.h>

#include "bargein.h"
#include "capture.h"
#include "clock.h"
#include "event.h"
#include "frame.h"
#include "playout.h"
#include "vad.h"

#define FA_RATE_OF_CALLER 0
#define FA_RATE_UNTIL_KNOWN 8000
#define FA_RATE_TICKS 10 /* 200 ms: how long a call waits for audio to tell its rate */

typedef struct {
  uint32_t rate;           /* of one of AudioSocket's kinds, other than 8000 and 16000 with FA_DETECT_RMS alone; or
                              FA_RATE_OF_CALLER, with FA_DETECT_RMS too */
  uint32_t playback_slots; /* frames, a power of two, 32..65536 */
  uint32_t capture_blocks; /* blocks, a power of two, 128..65536 */
  uint32_t lead;           /* frames, 0..3 */
  uint32_t listen_rms;     /* level of speech while the agent listens */
  uint32_t stop_ms;        /* silence after which local speech has ended, 20..2000 */
  fa_vad_config_t vad;
  fa_bargein_config_t bargein;
} fa_call_config_t;

/* Counters: written by the media thread alone, read by any thread at any time. */
typedef struct {
  _Atomic uint64_t frames_in, frames_out, audio_out, lost_in, odd_in, other_format, rate_guessed;
  _Atomic uint64_t caught_up, skipped, stalls, late_max_ns;
  _Atomic uint64_t underruns, filled, left_out, overrun;
  _Atomic uint64_t holds, resumes, barge_ins, flushes, dtmf, blocked, events_lost;
} fa_call_counters_t;

static inline void fa_count(_Atomic uint64_t *counter, uint64_t n) {
  /* One writer: a plain add is enough, and is not locked. */
  atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n, memory_order_relaxed);
}

typedef enum {
  FA_CALL_SPARE = 0,
  FA_CALL_LIVE,
  FA_CALL_CLOSING, /* the trailing silence goes out */
  FA_CALL_DRAINING /* hung up and half-closed: what comes is thrown away until EOF */
} fa_call_state_t;

/* The most a tick can send at any rate: the frame, what is caught up, the lead, a falling ramp, and the hangup. */
#define FA_OUT_FRAMES (1 + FA_CATCH_UP + FA_LEAD_MAX + 1)
#define FA_OUT_BYTES (FA_OUT_FRAMES * (FA_HEADER_BYTES + FA_FRAME_BYTES_MAX) + FA_HEADER_BYTES)

typedef struct fa_call {
  uint32_t id; /* given by the event loop, never 0 */
  fa_call_config_t config;
  uint32_t rate; /* samples a second; settled before STARTED */
  uint32_t frame_bytes;
  uint8_t kind; /* of the messages sent */
  bool rate_known;
  fa_events_t *events;
  uint8_t uuid[FA_UUID_BYTES];
  struct sockaddr_storage peer;

  fa_ring_t ring;
  fa_producer_t producer; /* the event loop's side */
  fa_playout_t playout;
  fa_capture_t capture;
  fa_frame_parser_t parser;
  fa_vad_t vad;
  fa_bargein_t bargein;
  fa_gate_t gate;
  uint8_t *stage; /* a frame of the caller that is not whole yet */
  uint32_t staged;
  uint32_t played_rms; /* the loudest frame that this tick has sent */
  uint64_t gaps_seen; /* filled blocks that the detector has been told of */

  fa_call_state_t state;
  int64_t started_ns; /* when the UUID came */
  bool start_told;    /* the event loop knows of it */
  uint32_t early; /* periods of the tick to come that `fa_call_late` has told the capture */
  uint32_t trail; /* ticks of silence before the hangup */
  fa_end_t end;   /* set once; the engine then closes */
  bool hung_up;   /* the hangup message was put out */
  fa_call_counters_t counters;
  _Atomic uint64_t heard;          /* generation << 32 | samples, for the event loop */
  _Atomic uint64_t capture_target; /* blocks; stored by the event loop, taken by the media thread */
  _Atomic uint32_t space_wanted;   /* set by the event loop, taken by the media thread */

  /* the engine's */
  int fd;
  uint8_t *out; /* bytes that the socket did not take at once */
  uint32_t out_have, out_sent;
  uint32_t blocked_ticks;
  uint32_t draining_ticks;
  bool watching;   /* EPOLLOUT is on */
  bool ticked;     /* its first tick has come */
  uint32_t slot;
  struct fa_call *prev, *next;

  void *memory;
  size_t memory_bytes;
} fa_call_t;

/* Allocates a call and all it will ever need. `webrtc` may be NULL when the detector is `rms`.
 * FA_ERR_ARG, FA_ERR_NOMEM, FA_ERR_NO_VAD. */
fa_result_t fa_call_create(fa_call_t **call, uint32_t id, const fa_call_config_t *config,
                           const fa_webrtc_t *webrtc);
void fa_call_free(fa_call_t *call);

/* Cuts the call's memory up for `rate` and begins its time line and its playback anew. */
void fa_call_lay_out(fa_call_t *call, uint32_t rate);

/* Media thread: the call is live; its clock starts. */
void fa_call_start(fa_call_t *call, fa_events_t *events, const uint8_t uuid[FA_UUID_BYTES], int64_t now_ns);
/* Media thread: STARTED, once, when the rate is known; again at the next tick while the event ring is full. */
void fa_call_tell_started(fa_call_t *call);
/* Media thread: a call that is about to end waits for its rate no longer. */
void fa_call_guess_rate(fa_call_t *call);
/* Media thread: before the input of a late tick. The periods before the last have passed, so that what has come in
 * them is not taken for a surplus. */
void fa_call_late(fa_call_t *call, fa_due_t due);
/* Media thread: hints that a call's tick is near, so that its memory is in the cache by then: with a thousand calls
 * each tick finds it cold. First the call itself; then, once that is here, the audio it points to. */
void fa_call_fetch(const fa_call_t *call);
void fa_call_fetch_audio(const fa_call_t *call);
/* Media thread: bytes of the peer. Sets `call->end` when they end the call. */
void fa_call_input(fa_call_t *call, const uint8_t *data, size_t length, int64_t now_ns);
/* Media thread: a tick. Returns the bytes to send in `out` (FA_OUT_BYTES). When `can_send` is false the peer takes
 * nothing: speech waits, and time goes on. */
size_t fa_call_tick(fa_call_t *call, fa_due_t due, bool can_send, uint8_t *out, int64_t now_ns);

/* Media thread: what the agent asks for. */
void fa_call_flush(fa_call_t *call, uint32_t generation, int64_t now_ns);
void fa_call_hold(fa_call_t *call, int64_t now_ns);
void fa_call_resume(fa_call_t *call, uint32_t rewind_ms, int64_t now_ns);
void fa_call_close(fa_call_t *call, uint32_t trail_ticks, int64_t now_ns);
fa_result_t fa_call_set_bargein(fa_call_t *call, const fa_bargein_config_t *config);

/* Media thread: FA_EVENT_STARTED and FA_EVENT_ENDED must arrive; false: offer again at the next tick. */
bool fa_call_emit(fa_call_t *call, fa_event_kind_t kind, uint32_t generation, uint32_t value, uint64_t position,
                  int64_t now_ns);

#endif
