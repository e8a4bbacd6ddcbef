/* ring.h - the playback ring: one producer, one consumer, frames of 20 ms with their generation.
 *
 * Contract
 *   One thread produces (the event loop), one thread consumes (the media thread). Both sides are wait-free and
 *   never allocate. The caller supplies the memory of the slots. Indices run freely and are masked at access, so
 *   no slot is lost; the fill is write - read.
 *   Only the consumer moves the read index. Cancelling is a generation, never a move of the other side's index.
 *   `fa_ring_init` only while neither side runs.
 *
 * Memory order
 *   write: stored by the producer with release after the slot is written, loaded by the consumer with acquire
 *          before the slot is read: makes the slot's contents visible.
 *   read:  stored by the consumer with release after the slot is read, loaded by the producer with acquire before
 *          the slot is written again: the consumer has finished with it.
 *   Each side keeps the last value it saw of the other's index and reloads it only when the ring seems full or
 *   empty. (PipeWire's spa/utils/ringbuffer.h has these orders, rtrb the cached indices.)
 */
#ifndef FA_RING_H
#define FA_RING_H

#include <stdatomic.h>

#include "fa.h"

/* The orders are names so that a test can weaken them and see the thread sanitizer object. */
#ifndef FA_RING_RELEASE
#define FA_RING_RELEASE memory_order_release
#endif
#ifndef FA_RING_ACQUIRE
#define FA_RING_ACQUIRE memory_order_acquire
#endif

#define FA_CACHE_LINE 128 /* two lines: adjacent-line prefetch pairs them on x86-64 */

typedef struct {
  uint32_t generation;
  uint16_t samples; /* samples that are audio, 0..frame samples */
  uint16_t last;    /* 1: the utterance ends with this slot */
} fa_slot_head_t;

typedef struct {
  _Alignas(FA_CACHE_LINE) _Atomic uint32_t write;
  uint32_t read_seen; /* the producer's copy of `read` */
  _Alignas(FA_CACHE_LINE) _Atomic uint32_t read;
  uint32_t write_seen; /* the consumer's copy of `write` */
  _Alignas(FA_CACHE_LINE) uint8_t *slots;
  uint32_t mask;
  uint32_t stride; /* bytes from slot to slot */
} fa_ring_t;

/* A frame is rounded up to 8 bytes: one of 44.1 kHz has 1764. */
static inline size_t fa_ring_stride(uint32_t frame_bytes) {
  return sizeof(fa_slot_head_t) + ((size_t)frame_bytes + 7) / 8 * 8;
}

/* `capacity` is a power of two, 2..65536; `slots` holds capacity * fa_ring_stride(frame_bytes) bytes, aligned to 8;
 * `start` is the first index (0; tests start near the wrap). */
static inline fa_result_t fa_ring_init(fa_ring_t *ring, void *slots, uint32_t capacity, uint32_t frame_bytes,
                                       uint32_t start) {
  if (slots == NULL || capacity < 2 || capacity > 65536 || (capacity & (capacity - 1)) != 0) return FA_ERR_ARG;
  if (frame_bytes == 0 || frame_bytes % 2 != 0) return FA_ERR_ARG;
  atomic_init(&ring->write, start);
  atomic_init(&ring->read, start);
  ring->read_seen = ring->write_seen = start;
  ring->slots = slots;
  ring->mask = capacity - 1;
  ring->stride = (uint32_t)fa_ring_stride(frame_bytes);
  return FA_OK;
}

static inline fa_slot_head_t *fa_ring_slot(fa_ring_t *ring, uint32_t index) {
  return (fa_slot_head_t *)(void *)(ring->slots + (size_t)(index & ring->mask) * ring->stride);
}

static inline uint8_t *fa_slot_audio(fa_slot_head_t *slot) { return (uint8_t *)(slot + 1); }

/* Producer: free slots, 0..capacity. */
static inline uint32_t fa_ring_free(fa_ring_t *ring) {
  uint32_t write = atomic_load_explicit(&ring->write, memory_order_relaxed); /* own index */
  ring->read_seen = atomic_load_explicit(&ring->read, FA_RING_ACQUIRE);     /* pairs with fa_ring_release */
  return ring->mask + 1 - (write - ring->read_seen);
}

/* Producer: the slot to fill next, or NULL when the ring is full. */
static inline fa_slot_head_t *fa_ring_acquire(fa_ring_t *ring) {
  uint32_t write = atomic_load_explicit(&ring->write, memory_order_relaxed); /* own index */
  if (write - ring->read_seen > ring->mask) {
    ring->read_seen = atomic_load_explicit(&ring->read, FA_RING_ACQUIRE); /* pairs with fa_ring_release */
    if (write - ring->read_seen > ring->mask) return NULL;
  }
  return fa_ring_slot(ring, write);
}

/* Producer: hands the acquired slot over. */
static inline void fa_ring_commit(fa_ring_t *ring) {
  uint32_t write = atomic_load_explicit(&ring->write, memory_order_relaxed);  /* own index */
  atomic_store_explicit(&ring->write, write + 1, FA_RING_RELEASE); /* pairs with fa_ring_peek */
}

/* Consumer: the slot at `index`, or NULL when the producer has not handed it over. `index` is at or after the read
 * index. */
static inline fa_slot_head_t *fa_ring_peek(fa_ring_t *ring, uint32_t index) {
  if ((int32_t)(ring->write_seen - index) <= 0) {
    ring->write_seen = atomic_load_explicit(&ring->write, FA_RING_ACQUIRE); /* pairs with fa_ring_commit */
    if ((int32_t)(ring->write_seen - index) <= 0) return NULL;
  }
  return fa_ring_slot(ring, index);
}

/* Consumer: slots handed over from `index` on. */
static inline uint32_t fa_ring_filled(fa_ring_t *ring, uint32_t index) {
  ring->write_seen = atomic_load_explicit(&ring->write, FA_RING_ACQUIRE); /* pairs with fa_ring_commit */
  return ring->write_seen - index;
}

/* Consumer: gives every slot before `index` back. */
static inline void fa_ring_release(fa_ring_t *ring, uint32_t index) {
  atomic_store_explicit(&ring->read, index, FA_RING_RELEASE); /* pairs with fa_ring_acquire */
}

_Static_assert(ATOMIC_INT_LOCK_FREE == 2, "32-bit atomics must be lock-free");
_Static_assert(sizeof(fa_slot_head_t) == 8, "a slot's audio must stay aligned to 8");

#endif
