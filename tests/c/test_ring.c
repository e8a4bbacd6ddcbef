/* The playback ring: against a model with random operations, and under two threads. */
#include <pthread.h>
#include <sched.h>

#include "check.h"
#include "ring.h"

#define FRAME 320
#ifdef __SANITIZE_THREAD__
#define STRESS_SLOTS 300000u
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define STRESS_SLOTS 300000u
#endif
#endif
#ifndef STRESS_SLOTS
#define STRESS_SLOTS 1000000u
#endif

static void test_every_frame_is_aligned(void) {
  static const uint32_t frames[] = {320, 480, 640, 960, 1280, 1764, 1920, 3840, 7680};
  for (size_t i = 0; i < sizeof frames / sizeof *frames; i++) {
    CHECK_EQ(fa_ring_stride(frames[i]) % 8, 0);
    CHECK(fa_ring_stride(frames[i]) >= sizeof(fa_slot_head_t) + frames[i]);
  }
}

static void test_arguments(void) {
  fa_ring_t ring;
  static uint64_t memory[2 * (FRAME + 8) / 8];
  CHECK_EQ(fa_ring_init(&ring, NULL, 2, FRAME, 0), FA_ERR_ARG);
  CHECK_EQ(fa_ring_init(&ring, memory, 1, FRAME, 0), FA_ERR_ARG);
  CHECK_EQ(fa_ring_init(&ring, memory, 3, FRAME, 0), FA_ERR_ARG);
  CHECK_EQ(fa_ring_init(&ring, memory, 131072, FRAME, 0), FA_ERR_ARG);
  CHECK_EQ(fa_ring_init(&ring, memory, 2, 321, 0), FA_ERR_ARG);
  CHECK_EQ(fa_ring_init(&ring, memory, 2, FRAME, 0), FA_OK);
}

/* The model: slot number n holds the value n, from `read` to `write`; the consumer looks at `cursor`. */
static void model(uint32_t capacity, uint32_t start, uint64_t seed) {
  void *memory = calloc(capacity, fa_ring_stride(FRAME));
  fa_ring_t ring;
  CHECK_EQ(fa_ring_init(&ring, memory, capacity, FRAME, start), FA_OK);
  uint32_t read = start, write = start, cursor = start;
  for (int i = 0; i < 20000; i++) {
    switch (check_random(&seed) % 4) {
      case 0: {
        fa_slot_head_t *slot = fa_ring_acquire(&ring);
        CHECK_EQ(slot == NULL, write - read == capacity);
        if (slot == NULL) break;
        slot->generation = write;
        memset(fa_slot_audio(slot), (uint8_t)(write * 31), FRAME);
        fa_ring_commit(&ring);
        write++;
        break;
      }
      case 1: {
        fa_slot_head_t *slot = fa_ring_peek(&ring, cursor);
        CHECK_EQ(slot == NULL, cursor == write);
        if (slot == NULL) break;
        CHECK_EQ(slot->generation, cursor);
        for (int b = 0; b < FRAME; b++) CHECK_EQ(fa_slot_audio(slot)[b], (uint8_t)(cursor * 31));
        cursor++;
        break;
      }
      case 2: {
        uint32_t upto = read + (uint32_t)(check_random(&seed) % (cursor - read + 1));
        for (uint32_t at = read; at != cursor; at++) CHECK_EQ(fa_ring_slot(&ring, at)->generation, at);
        fa_ring_release(&ring, upto);
        read = upto;
        break;
      }
      default:
        CHECK_EQ(fa_ring_free(&ring), capacity - (write - read));
        CHECK_EQ(fa_ring_filled(&ring, cursor), write - cursor);
    }
  }
  free(memory);
}

static void test_against_model(void) {
  static const uint32_t starts[] = {0, 1, UINT32_MAX - 3};
  for (uint32_t capacity = 2; capacity <= 8; capacity *= 2)
    for (size_t s = 0; s < 3; s++)
      for (uint64_t seed = 1; seed <= 3; seed++) model(capacity, starts[s], seed);
}

/* A checksum over the whole slot: a torn one shows. */
static uint32_t checksum(uint32_t sequence, uint32_t word) { return (sequence ^ word * 0x9e3779b9u) * 0x85ebca6bu; }

static void *produce(void *argument) {
  fa_ring_t *ring = argument;
  uint64_t seed = 5;
  for (uint32_t sequence = 0; sequence < STRESS_SLOTS;) {
    fa_slot_head_t *slot = fa_ring_acquire(ring);
    if (slot == NULL) {
      sched_yield();
      continue;
    }
    uint32_t words[FRAME / 4];
    for (uint32_t i = 0; i < FRAME / 4; i++) words[i] = checksum(sequence, i);
    slot->generation = sequence;
    slot->samples = (uint16_t)sequence;
    slot->last = (uint16_t)(sequence & 1);
    memcpy(fa_slot_audio(slot), words, sizeof words);
    fa_ring_commit(ring);
    sequence++;
    if (check_random(&seed) % 1024 == 0) sched_yield();
  }
  return NULL;
}

static void stress(uint32_t capacity) {
  void *memory = calloc(capacity, fa_ring_stride(FRAME));
  fa_ring_t *ring = aligned_alloc(FA_CACHE_LINE, sizeof *ring);
  CHECK(ring != NULL);
  uint32_t cursor = UINT32_MAX - STRESS_SLOTS / 2; /* wraps in the middle */
  CHECK_EQ(fa_ring_init(ring, memory, capacity, FRAME, cursor), FA_OK);
  pthread_t thread;
  CHECK_EQ(pthread_create(&thread, NULL, produce, ring), 0);
  uint64_t seed = 6;
  for (uint32_t sequence = 0; sequence < STRESS_SLOTS;) {
    fa_slot_head_t *slot = fa_ring_peek(ring, cursor);
    if (slot == NULL) {
      sched_yield();
      continue;
    }
    uint32_t words[FRAME / 4];
    CHECK_EQ(slot->generation, sequence);
    CHECK_EQ(slot->samples, (uint16_t)sequence);
    CHECK_EQ(slot->last, sequence & 1);
    memcpy(words, fa_slot_audio(slot), sizeof words);
    for (uint32_t i = 0; i < FRAME / 4; i++) CHECK_EQ(words[i], checksum(sequence, i));
    cursor++;
    sequence++;
    fa_ring_release(ring, cursor);
    if (check_random(&seed) % 1024 == 0) sched_yield();
  }
  pthread_join(thread, NULL);
  CHECK_EQ(fa_ring_filled(ring, cursor), 0);
  free(ring);
  free(memory);
}

static void test_two_threads_capacity_2(void) { stress(2); }
static void test_two_threads_capacity_4(void) { stress(4); }

int main(void) {
  check_time_limit(60);
  RUN(test_arguments);
  RUN(test_every_frame_is_aligned);
  RUN(test_against_model);
  RUN(test_two_threads_capacity_2);
  RUN(test_two_threads_capacity_4);
  return 0;
}
