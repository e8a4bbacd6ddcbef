/* by_hand.h - one call at 8 kHz without sockets, shared by the tests of a call. */
#ifndef BY_HAND_H
#define BY_HAND_H

#include "call.h"
#include "check.h"

#define N 160
#define MESSAGE (FA_HEADER_BYTES + 2 * N)

static fa_call_t *call;
static fa_events_t *events;
static uint8_t out[FA_OUT_BYTES];
static const uint8_t uuid[FA_UUID_BYTES] = {0xaa, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0xbb};
static const fa_due_t in_time = {.periods = 1};

static inline fa_call_config_t config(void) {
  return (fa_call_config_t){.rate = 8000,
                            .playback_slots = 64,
                            .capture_blocks = 128,
                            .lead = 0,
                            .listen_rms = 300,
                            .stop_ms = 100,
                            .vad = {.detector = FA_DETECT_RMS},
                            .bargein = fa_bargein_defaults(FA_DETECT_RMS, 800, 300, false)};
}

static inline void set_up_with(const fa_call_config_t *with) {
  fa_call_free(call);
  if (events == NULL)
    events = aligned_alloc(FA_CACHE_LINE, sizeof *events);
  else
    fa_events_close(events);
  CHECK_EQ(fa_events_init(events, 256), FA_OK);
  CHECK_EQ(fa_call_create(&call, 7, with, NULL), FA_OK);
  fa_call_start(call, events, uuid, 0);
}

static inline void set_up(uint32_t lead) {
  fa_call_config_t with = config();
  with.lead = lead;
  set_up_with(&with);
}

static inline bool next_event(fa_event_t *event) {
  if (fa_events_drain(events, event, 1) == 0) return false;
  CHECK_EQ(event->call, 7);
  return true;
}

static inline fa_event_t expect_event(fa_event_kind_t kind) {
  fa_event_t event = {0};
  CHECK(next_event(&event));
  CHECK_EQ(event.kind, kind);
  return event;
}

static inline void expect_no_event(void) {
  fa_event_t event = {0};
  if (next_event(&event)) CHECK_EQ(event.kind, 0);
}

/* One message of the caller with every sample at `level`. */
static inline void hear(int16_t level) {
  uint8_t message[MESSAGE];
  fa_frame_header(message, FA_KIND_AUDIO, 2 * N);
  int16_t samples[N];
  for (int i = 0; i < N; i++) samples[i] = level;
  memcpy(message + FA_HEADER_BYTES, samples, sizeof samples);
  fa_call_input(call, message, sizeof message, 0);
}

static inline size_t tick(void) { return fa_call_tick(call, in_time, true, out, 0); }

static inline int16_t sample_at(size_t frame, size_t i) {
  int16_t sample;
  memcpy(&sample, out + frame * MESSAGE + FA_HEADER_BYTES + 2 * i, 2);
  return sample;
}

static inline void say(uint32_t generation, uint32_t frames, int16_t level) {
  static int16_t samples[64 * N];
  for (uint32_t i = 0; i < frames * N; i++) samples[i] = level;
  size_t used;
  CHECK_EQ(fa_producer_write(&call->producer, generation, (const uint8_t *)samples, frames * 2 * N, &used), FA_OK);
}

static inline uint64_t count_of(const _Atomic uint64_t *counter) { return atomic_load(counter); }

static inline void tear_down(void) {
  fa_call_free(call);
  fa_events_close(events);
  free(events);
}

#endif
