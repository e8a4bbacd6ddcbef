/* The capture: filling, gaps, late bursts, surplus, readers; and a writer against readers in two threads. */
#include <pthread.h>
#include <sched.h>

#include "capture.h"
#include "check.h"

#define FRAME 320
#define CAPACITY 128u

static fa_capture_t *capture;
static void *memory;

static void set_up(void) {
  free(memory);
  memory = calloc(1, fa_capture_bytes(CAPACITY, FRAME));
  if (capture == NULL) capture = aligned_alloc(FA_CACHE_LINE, sizeof *capture);
  CHECK_EQ(fa_capture_init(capture, memory, CAPACITY, FRAME), FA_OK);
}

static const void *frame(uint32_t value) {
  static uint32_t words[FRAME / 4];
  for (size_t i = 0; i < FRAME / 4; i++) words[i] = value;
  return words;
}

/* One tick with `count` loud frames of the caller (numbered from `first`), and `sent` unless it is 0. */
static void tick(uint32_t first, uint32_t count, uint32_t sent) {
  if (count > 0) fa_capture_arriving(capture, count);
  for (uint32_t i = 0; i < count; i++) (void)fa_capture_caller(capture, frame(first + i), FA_BLOCK_SPEECH, false);
  fa_capture_tick(capture, 1);
  fa_capture_sent(capture, sent == 0 ? NULL : frame(sent), 0);
  fa_capture_publish(capture);
}

typedef struct {
  uint32_t caller, sent, flags;
  uint64_t position;
} block_t;

static bool read_block(fa_capture_reader_t *reader, block_t *block) {
  uint32_t caller[FRAME / 4], sent[FRAME / 4];
  if (fa_capture_read(capture, reader, caller, sent, &block->flags, &block->position) != FA_OK) return false;
  for (size_t i = 1; i < FRAME / 4; i++) CHECK(caller[i] == caller[0] && sent[i] == sent[0]);
  block->caller = caller[0];
  block->sent = sent[0];
  return true;
}

static void expect(fa_capture_reader_t *reader, uint64_t position, uint32_t caller, uint32_t sent, uint32_t flags) {
  block_t block;
  CHECK(read_block(reader, &block));
  CHECK_EQ(block.position, position);
  CHECK_EQ(block.caller, caller);
  CHECK_EQ(block.sent, sent);
  CHECK_EQ(block.flags, flags);
}

static void test_arguments(void) {
  fa_capture_t c;
  uint64_t some[8];
  CHECK_EQ(fa_capture_init(&c, NULL, CAPACITY, FRAME), FA_ERR_ARG);
  CHECK_EQ(fa_capture_init(&c, some, 64, FRAME), FA_ERR_ARG);
  CHECK_EQ(fa_capture_init(&c, some, 130, FRAME), FA_ERR_ARG);
  CHECK_EQ(fa_capture_init(&c, some, CAPACITY, 321), FA_ERR_ARG);
}

static void test_both_sides_in_step(void) {
  set_up();
  fa_capture_reader_t reader;
  fa_capture_open(capture, &reader, 0);
  for (uint32_t n = 0; n < 1000; n++) {
    tick(n + 1, 1, n % 3 == 0 ? 0 : n + 70000);
    expect(&reader, n, n + 1, n % 3 == 0 ? 0 : n + 70000, FA_BLOCK_SPEECH | (n % 3 == 0 ? 0 : FA_BLOCK_SENT));
    CHECK_EQ(fa_capture_read(capture, &reader, (uint8_t[FRAME]){0}, NULL, &(uint32_t){0}, &(uint64_t){0}), FA_AGAIN);
  }
  CHECK_EQ(reader.lost, 0);
}

static void test_fill_only_beyond_100_ms(void) {
  set_up();
  fa_capture_reader_t reader;
  fa_capture_open(capture, &reader, 0);
  for (int n = 0; n < FA_FILL_BEHIND; n++) tick(0, 0, 0);
  CHECK_EQ(capture->filled, 0);
  CHECK_EQ(fa_capture_ready(capture), 0);
  tick(0, 0, 7); /* 120 ms without a frame: one block is filled */
  CHECK_EQ(capture->filled, 1);
  expect(&reader, 0, 0, 0, FA_BLOCK_FILLED);
  block_t none;
  CHECK(!read_block(&reader, &none));
  for (int n = 0; n < 50; n++) tick(0, 0, 7); /* a hold: time goes on, 100 ms behind */
  CHECK_EQ(fa_capture_ready(capture), 51);
  expect(&reader, 1, 0, 0, FA_BLOCK_FILLED);
}

static void test_jitter_is_not_filled(void) {
  set_up();
  fa_capture_reader_t reader;
  fa_capture_open(capture, &reader, 0);
  uint32_t next = 1;
  for (int round = 0; round < 30; round++) { /* 80 ms without, then the four at once */
    for (int n = 0; n < 3; n++) tick(0, 0, 0);
    tick(next, 4, 0);
    block_t block;
    for (int n = 0; n < 4; n++) {
      CHECK(read_block(&reader, &block));
      CHECK_EQ(block.caller, next++);
    }
  }
  CHECK_EQ(capture->filled + capture->left_out + capture->overrun, 0);
}

static void test_after_a_gap_frames_end_now(void) {
  set_up();
  fa_capture_reader_t reader;
  fa_capture_open(capture, &reader, 0);
  for (uint32_t n = 0; n < 10; n++) tick(n + 1, 1, 0);
  for (int n = 0; n < 40; n++) tick(0, 0, 0); /* 800 ms of DTX */
  tick(100, 1, 0);
  for (uint32_t n = 1; n < 10; n++) tick(100 + n, 1, 0);
  block_t block;
  uint64_t at = 0;
  while (read_block(&reader, &block))
    if (block.caller == 100) at = block.position;
  /* It came while block 50 ran: it ends with block 49, not 100 ms before. */
  CHECK_EQ(at, 49);
  CHECK_EQ(capture->filled, 39);
}

static void test_a_late_burst_is_kept(void) {
  set_up();
  fa_capture_reader_t reader;
  fa_capture_open(capture, &reader, 0);
  for (uint32_t n = 0; n < 10; n++) tick(n + 1, 1, 0);
  for (int n = 0; n < 15; n++) tick(0, 0, 0); /* a stall of the network of 300 ms, then all of it */
  tick(100, 16, 0);
  CHECK_EQ(capture->overrun, 0);
  for (uint32_t n = 16; n < 40; n++) tick(100 + n, 1, 0);
  uint32_t expected = 100, seen = 0;
  block_t block;
  while (read_block(&reader, &block))
    if (block.caller >= 100) {
      CHECK_EQ(block.caller, expected++);
      seen++;
    }
  CHECK(seen > 25); /* each frame of the burst, in order, once */
}

static void test_surplus_sheds_quiet_frames_only(void) {
  set_up();
  for (uint32_t n = 0; n < 10; n++) tick(n + 1, 1, 0);
  for (uint32_t n = 0; n < 10; n++) (void)fa_capture_caller(capture, frame(500 + n), 0, false); /* 200 ms surplus */
  CHECK_EQ(capture->left_out, 0);
  for (int n = 0; n < 8; n++) { /* one quiet frame a tick: each is left out, and the surplus shrinks by one */
    CHECK_EQ(fa_capture_caller(capture, frame(9), 0, true), UINT64_MAX);
    tick(0, 0, 0);
  }
  CHECK_EQ(capture->left_out, 8);
  CHECK(fa_capture_caller(capture, frame(9), 0, true) != UINT64_MAX); /* 40 ms are plain jitter */
  for (int n = 0; n < 100; n++) (void)fa_capture_caller(capture, frame(9), 0, false);
  CHECK_EQ(capture->caller_at - capture->now, FA_AHEAD_MAX); /* a flood is bounded, and counted */
  CHECK_EQ(capture->overrun, 100 - (FA_AHEAD_MAX - 3));
}

static void test_a_stall_is_silence_that_was_sent(void) {
  set_up();
  fa_capture_reader_t reader;
  fa_capture_open(capture, &reader, 0);
  tick(1, 1, 11);
  fa_capture_tick(capture, 10);
  for (uint32_t n = 2; n <= 11; n++) (void)fa_capture_caller(capture, frame(n), 0, false);
  fa_capture_unsent(capture, 1);
  fa_capture_sent(capture, frame(12), 0);
  fa_capture_publish(capture);
  expect(&reader, 0, 1, 11, FA_BLOCK_SPEECH | FA_BLOCK_SENT);
  for (uint32_t n = 1; n < 10; n++) expect(&reader, n, n + 1, 0, 0);
  expect(&reader, 10, 11, 12, FA_BLOCK_SENT);
}

static void test_sent_ahead_of_the_clock(void) {
  set_up();
  fa_capture_reader_t reader;
  fa_capture_open(capture, &reader, 0);
  (void)fa_capture_caller(capture, frame(1), 0, false);
  fa_capture_tick(capture, 1);
  for (uint32_t n = 0; n < 4; n++) fa_capture_sent(capture, frame(50 + n), n == 3 ? FA_BLOCK_HELD : 0); /* lead 3 */
  fa_capture_publish(capture);
  CHECK_EQ(fa_capture_ready(capture), 1);
  for (uint32_t n = 1; n < 4; n++) {
    (void)fa_capture_caller(capture, frame(n + 1), FA_BLOCK_SPEECH, false);
    fa_capture_tick(capture, 1);
    fa_capture_publish(capture);
  }
  expect(&reader, 0, 1, 50, FA_BLOCK_SENT);
  expect(&reader, 1, 2, 51, FA_BLOCK_SENT | FA_BLOCK_SPEECH);
  expect(&reader, 2, 3, 52, FA_BLOCK_SENT | FA_BLOCK_SPEECH);
  expect(&reader, 3, 4, 53, FA_BLOCK_SENT | FA_BLOCK_SPEECH | FA_BLOCK_HELD);
}

static void test_readers_have_their_own_place_and_loss(void) {
  set_up();
  fa_capture_reader_t fast, slow, late;
  fa_capture_open(capture, &fast, 0);
  fa_capture_open(capture, &slow, 0);
  block_t block;
  for (uint32_t n = 0; n < 1000; n++) {
    tick(n + 1, 1, 0);
    CHECK(read_block(&fast, &block));
    CHECK_EQ(block.caller, n + 1);
  }
  CHECK_EQ(fast.lost, 0);
  CHECK(read_block(&slow, &block));
  CHECK_EQ(slow.lost, block.position);
  CHECK_EQ(block.caller, block.position + 1);
  uint64_t kept = 1;
  while (read_block(&slow, &block)) kept++;
  CHECK_EQ(kept + slow.lost, 1000);
  CHECK(kept >= CAPACITY - FA_WRITE_WINDOW - 1);
  fa_capture_open(capture, &late, 10);
  CHECK(read_block(&late, &block));
  CHECK_EQ(block.position, 990);
  fa_capture_open(capture, &late, 100000); /* more than is kept: the oldest kept, and that is no loss */
  CHECK(read_block(&late, &block));
  CHECK_EQ(late.lost, 0);
  CHECK_EQ(block.position, 1000 - kept);
}

/* ---- two threads ---- */

#define BLOCKS 400000u

static uint32_t mix(uint64_t position, uint32_t word) { return ((uint32_t)position ^ word * 0x9e3779b9u) * 0x85ebca6bu; }

static void fill_words(uint32_t *words, uint64_t position) {
  for (uint32_t i = 0; i < FRAME / 4; i++) words[i] = mix(position, i);
}

static void *write_blocks(void *unused) {
  (void)unused;
  uint32_t words[FRAME / 4];
  uint64_t seed = 3;
  for (uint64_t position = 0; position < BLOCKS; position++) {
    fill_words(words, position);
    (void)fa_capture_caller(capture, words, 0, false);
    fa_capture_tick(capture, 1);
    fill_words(words, ~position);
    fa_capture_sent(capture, position % 4 == 0 ? NULL : words, 0);
    fa_capture_publish(capture);
    /* Now slower, now faster than the readers, so that they are lapped in the middle of a block and also keep up. */
    if (position % 8192 < 4096 && check_random(&seed) % 4 == 0) sched_yield();
  }
  return NULL;
}

static void *read_blocks(void *argument) {
  fa_capture_reader_t *reader = argument;
  uint32_t caller[FRAME / 4], sent[FRAME / 4], flags;
  uint64_t position, read = 0;
  while (reader->next < BLOCKS) {
    if (fa_capture_read(capture, reader, caller, sent, &flags, &position) != FA_OK) {
      sched_yield();
      continue;
    }
    read++;
    CHECK_EQ((flags & FA_BLOCK_SENT) != 0, position % 4 != 0);
    for (uint32_t i = 0; i < FRAME / 4; i++) { /* a torn block shows */
      CHECK_EQ(caller[i], mix(position, i));
      CHECK_EQ(sent[i], position % 4 == 0 ? 0 : mix(~position, i));
    }
  }
  CHECK_EQ(read + reader->lost, BLOCKS);
  return NULL;
}

static void test_a_writer_and_two_readers(void) {
  set_up();
  fa_capture_reader_t readers[2];
  pthread_t threads[3];
  for (int i = 0; i < 2; i++) fa_capture_open(capture, &readers[i], 0);
  for (int i = 0; i < 2; i++) CHECK_EQ(pthread_create(&threads[i], NULL, read_blocks, &readers[i]), 0);
  CHECK_EQ(pthread_create(&threads[2], NULL, write_blocks, NULL), 0);
  for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
  CHECK(readers[0].lost + readers[1].lost > 0); /* else nothing was tried */
  printf("  lost %" PRIu64 " and %" PRIu64 " of %u\n", readers[0].lost, readers[1].lost, BLOCKS);
}

int main(void) {
  check_time_limit(60);
  RUN(test_arguments);
  RUN(test_both_sides_in_step);
  RUN(test_fill_only_beyond_100_ms);
  RUN(test_jitter_is_not_filled);
  RUN(test_after_a_gap_frames_end_now);
  RUN(test_a_late_burst_is_kept);
  RUN(test_surplus_sheds_quiet_frames_only);
  RUN(test_a_stall_is_silence_that_was_sent);
  RUN(test_sent_ahead_of_the_clock);
  RUN(test_readers_have_their_own_place_and_loss);
  RUN(test_a_writer_and_two_readers);
  return 0;
}
