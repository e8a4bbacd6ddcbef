/* playing.h - a producer, a ring and a playout at 8 kHz, shared by the tests of playback. */
#ifndef PLAYING_H
#define PLAYING_H

#include "check.h"
#include "playout.h"

#define N 160 /* samples of a frame */
#define SLOTS 64
#define RAMP 40

static fa_ring_t *ring;
static void *memory;
static fa_producer_t producer;
static fa_playout_t playout;
static fa_played_t played;
static uint8_t carry[2 * N];
static int16_t tail[RAMP];
static int16_t out[N];

static inline void set_up(uint32_t lead) {
  if (ring == NULL) {
    ring = aligned_alloc(FA_CACHE_LINE, sizeof *ring);
    memory = calloc(SLOTS, fa_ring_stride(2 * N));
  }
  CHECK_EQ(fa_ring_init(ring, memory, SLOTS, 2 * N, UINT32_MAX - 5), FA_OK);
  fa_producer_init(&producer, ring, carry, 2 * N);
  fa_playout_init(&playout, ring, tail, 8000, lead);
}

/* Sample i of a generation: never 0, so that silence shows. */
static inline int16_t sample(uint32_t generation, uint32_t i) { return (int16_t)(1000 * (int)generation + 1 + (int)(i % 900)); }

static inline void say(uint32_t generation, uint32_t from, uint32_t count) {
  int16_t pcm[8192];
  CHECK(count <= 8192);
  for (uint32_t i = 0; i < count; i++) pcm[i] = sample(generation, from + i);
  size_t used;
  CHECK_EQ(fa_producer_write(&producer, generation, (const uint8_t *)pcm, 2 * (size_t)count, &used), FA_OK);
  CHECK_EQ(used, 2 * count);
}

static inline fa_play_t frame(void) {
  played = (fa_played_t){0};
  for (int i = 0; i < N; i++) out[i] = 0x55;
  fa_play_t kind = fa_playout_frame(&playout, out, &played);
  if (kind == FA_PLAY_SILENCE)
    for (int i = 0; i < N; i++) CHECK_EQ(out[i], 0);
  return kind;
}

static inline void expect(uint32_t generation, uint32_t from, uint32_t count) {
  for (uint32_t i = 0; i < count; i++) CHECK_EQ(out[i], sample(generation, from + i));
  for (uint32_t i = count; i < N; i++) CHECK_EQ(out[i], 0);
}

#endif
