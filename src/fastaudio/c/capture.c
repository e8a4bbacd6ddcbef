#include "capture.h"

#include <string.h>

static uint32_t words_of(uint32_t frame_bytes) { return (frame_bytes + 7) / 8; }

size_t fa_capture_bytes(uint32_t capacity, uint32_t frame_bytes) {
  return (size_t)capacity * (2 * 8 * (size_t)words_of(frame_bytes) + sizeof(uint32_t));
}

fa_result_t fa_capture_init(fa_capture_t *capture, void *memory, uint32_t capacity, uint32_t frame_bytes) {
  if (memory == NULL || capacity <= 2 * FA_WRITE_WINDOW || (capacity & (capacity - 1)) != 0) return FA_ERR_ARG;
  if (frame_bytes == 0 || frame_bytes % 2 != 0) return FA_ERR_ARG;
  memset(capture, 0, sizeof *capture);
  atomic_init(&capture->ready, 0);
  atomic_init(&capture->claim, FA_WRITE_WINDOW);
  size_t plane = (size_t)capacity * 8 * words_of(frame_bytes);
  capture->caller = (_Atomic uint64_t *)memory;
  capture->sent = (_Atomic uint64_t *)(void *)((uint8_t *)memory + plane);
  capture->flags = (_Atomic uint32_t *)(void *)((uint8_t *)memory + 2 * plane);
  capture->mask = capacity - 1;
  capture->frame_bytes = frame_bytes;
  capture->words = words_of(frame_bytes);
  return FA_OK;
}

/* ---- writer ---- */

static void put(fa_capture_t *capture, _Atomic uint64_t *plane, uint64_t position, const void *frame) {
  _Atomic uint64_t *words = plane + (position & capture->mask) * capture->words;
  uint32_t at = 0;
  for (; at + 8 <= capture->frame_bytes; at += 8) {
    uint64_t word = 0;
    if (frame != NULL) memcpy(&word, (const uint8_t *)frame + at, 8);
    atomic_store_explicit(words++, word, memory_order_release); /* pairs with get: carries the claim along */
  }
  if (at == capture->frame_bytes) return;
  uint64_t word = 0;
  if (frame != NULL) memcpy(&word, (const uint8_t *)frame + at, capture->frame_bytes - at);
  atomic_store_explicit(words, word, memory_order_release); /* as above */
}

/* Before a block is written: readers must be able to see that it may change. */
static void claim(fa_capture_t *capture, uint64_t position) {
  if (position < atomic_load_explicit(&capture->claim, memory_order_relaxed)) return; /* own value */
  atomic_store_explicit(&capture->claim, position + FA_WRITE_WINDOW, memory_order_relaxed); /* carried by put */
}

static void flag(fa_capture_t *capture, uint64_t position, uint32_t flags, bool fresh) {
  _Atomic uint32_t *word = capture->flags + (position & capture->mask);
  uint32_t old = fresh ? 0 : atomic_load_explicit(word, memory_order_relaxed); /* own value */
  atomic_store_explicit(word, old | flags, memory_order_release);             /* pairs with fa_capture_read */
}

void fa_capture_tick(fa_capture_t *capture, uint32_t periods) { capture->now += periods; }

static bool sent_is_first(const fa_capture_t *capture, uint64_t position) { return position < capture->sent_at; }
static bool caller_is_first(const fa_capture_t *capture, uint64_t position) { return position < capture->caller_at; }

static void place(fa_capture_t *capture, const void *frame, uint32_t flags) {
  uint64_t position = capture->caller_at;
  claim(capture, position);
  put(capture, capture->caller, position, frame);
  flag(capture, position, flags, !sent_is_first(capture, position));
  capture->caller_at++;
}

static void fill(fa_capture_t *capture) {
  place(capture, NULL, FA_BLOCK_FILLED);
  capture->filled++;
  capture->filling = true;
}

void fa_capture_arriving(fa_capture_t *capture, uint32_t frames) {
  if (!capture->filling) return;
  while (capture->caller_at + frames < capture->now) fill(capture);
  capture->filling = false;
}

uint64_t fa_capture_caller(fa_capture_t *capture, const void *frame, uint32_t flags, bool quiet) {
  uint64_t ahead = capture->caller_at > capture->now ? capture->caller_at - capture->now : 0;
  if (quiet && ahead > FA_AHEAD_QUIET) {
    capture->left_out++;
    return UINT64_MAX;
  }
  if (ahead >= FA_AHEAD_MAX) {
    capture->overrun++;
    return UINT64_MAX;
  }
  uint64_t position = capture->caller_at;
  place(capture, frame, flags);
  return position;
}

void fa_capture_sent(fa_capture_t *capture, const void *frame, uint32_t flags) {
  uint64_t position = capture->sent_at;
  claim(capture, position);
  if (frame != NULL) {
    put(capture, capture->sent, position, frame);
    flags |= FA_BLOCK_SENT;
  }
  flag(capture, position, flags, !caller_is_first(capture, position));
  capture->sent_at++;
}

void fa_capture_unsent(fa_capture_t *capture, uint32_t but) {
  while (capture->sent_at + but < capture->now) fa_capture_sent(capture, NULL, 0);
}

void fa_capture_publish(fa_capture_t *capture) {
  while (capture->caller_at + FA_FILL_BEHIND < capture->now) fill(capture);
  /* Ticks on which nothing was sent (a stall, a peer that takes nothing) were silence to the caller. */
  fa_capture_unsent(capture, 0);
  uint64_t upto = capture->caller_at < capture->now ? capture->caller_at : capture->now;
  uint64_t ready = atomic_load_explicit(&capture->ready, memory_order_relaxed); /* own index */
  if (upto == ready) return;
  atomic_store_explicit(&capture->ready, upto, memory_order_release); /* pairs with fa_capture_read */
}

/* ---- readers ---- */

uint64_t fa_capture_ready(fa_capture_t *capture) {
  return atomic_load_explicit(&capture->ready, memory_order_acquire); /* pairs with fa_capture_publish */
}

static uint64_t oldest(fa_capture_t *capture) {
  uint64_t claim = atomic_load_explicit(&capture->claim, memory_order_acquire); /* blocks below it may change */
  return claim > (uint64_t)capture->mask + 1 ? claim - (capture->mask + 1) : 0;
}

void fa_capture_open(fa_capture_t *capture, fa_capture_reader_t *reader, uint32_t preroll) {
  uint64_t ready = fa_capture_ready(capture);
  uint64_t first = oldest(capture);
  uint64_t next = ready > preroll ? ready - preroll : 0;
  *reader = (fa_capture_reader_t){.next = next > first ? next : first};
}

static void get(fa_capture_t *capture, _Atomic uint64_t *plane, uint64_t position, void *frame) {
  _Atomic uint64_t *words = plane + (position & capture->mask) * capture->words;
  uint32_t at = 0;
  for (; at + 8 <= capture->frame_bytes; at += 8) {
    uint64_t word = atomic_load_explicit(words++, memory_order_acquire); /* pairs with put */
    memcpy((uint8_t *)frame + at, &word, 8);
  }
  if (at == capture->frame_bytes) return;
  uint64_t word = atomic_load_explicit(words, memory_order_acquire); /* pairs with put */
  memcpy((uint8_t *)frame + at, &word, capture->frame_bytes - at);
}

fa_result_t fa_capture_read(fa_capture_t *capture, fa_capture_reader_t *reader, void *caller, void *sent,
                            uint32_t *flags, uint64_t *position) {
  for (;;) {
    if (reader->next >= fa_capture_ready(capture)) return FA_AGAIN;
    uint64_t at = reader->next;
    *flags = atomic_load_explicit(capture->flags + (at & capture->mask), memory_order_acquire);
    get(capture, capture->caller, at, caller);
    if (sent != NULL) {
      if (*flags & FA_BLOCK_SENT)
        get(capture, capture->sent, at, sent);
      else
        memset(sent, 0, capture->frame_bytes);
    }
    uint64_t first = oldest(capture);
    if (at >= first) {
      *position = at;
      reader->next = at + 1;
      return FA_OK;
    }
    reader->lost += first - at;
    reader->next = first;
  }
}
