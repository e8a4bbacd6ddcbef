/* The capture against a model of its time line: each block has its place, holds what was put there, and is read or
 * counted as lost; a gap is filled only when it is more than 100 ms behind. */
#include "capture.h"
#include "fuzz.h"

#define BLOCKS 128
#define READERS 3
#define PLACES 8192 /* positions that the model remembers; an input ends there */
#define SENT_AHEAD_MAX 8 /* what a tick can send: fa_call_tick */

typedef struct {
  fa_capture_t capture;
  uint32_t frame_bytes;
  fa_capture_reader_t readers[READERS];
  uint64_t opened[READERS], read[READERS];
  uint16_t caller[PLACES], sent[PLACES]; /* the mark of the block there, 0 for silence */
  bool filled[PLACES];
  uint64_t now, caller_at, sent_at, fills;
  uint16_t mark;
} fuzz_t;

static void paint(uint8_t *frame, uint32_t bytes, uint16_t mark) {
  for (uint32_t i = 0; i + 1 < bytes; i += 2) memcpy(frame + i, &mark, 2);
}

static bool painted(const uint8_t *frame, uint32_t bytes, uint16_t mark) {
  for (uint32_t i = 0; i + 1 < bytes; i += 2)
    if (memcmp(frame + i, &mark, 2) != 0) return false;
  return true;
}

static void note_fills(fuzz_t *f) {
  for (; f->caller_at < f->capture.caller_at; f->caller_at++, f->fills++) f->filled[f->caller_at] = true;
  NEED(f->capture.filled == f->fills);
}

static void arriving(fuzz_t *f, uint32_t frames) {
  bool filling = f->capture.filling;
  uint64_t before = f->caller_at;
  fa_capture_arriving(&f->capture, frames);
  note_fills(f);
  NEED(filling || f->caller_at == before);
  NEED(!filling || f->caller_at + frames >= f->now); /* what comes now ends now */
}

static void caller(fuzz_t *f, uint8_t *frame, bool quiet) {
  paint(frame, f->frame_bytes, ++f->mark);
  uint64_t ahead = f->caller_at > f->now ? f->caller_at - f->now : 0;
  uint64_t position = fa_capture_caller(&f->capture, frame, quiet ? 0 : FA_BLOCK_SPEECH, quiet);
  bool left_out = (quiet && ahead > FA_AHEAD_QUIET) || ahead >= FA_AHEAD_MAX;
  NEED(left_out == (position == UINT64_MAX));
  if (left_out) return;
  NEED(position == f->caller_at);
  f->caller[f->caller_at++] = f->mark;
}

static void sent(fuzz_t *f, uint8_t *frame, bool audio) {
  if (f->sent_at > f->now + SENT_AHEAD_MAX) return;
  paint(frame, f->frame_bytes, ++f->mark);
  fa_capture_sent(&f->capture, audio ? frame : NULL, 0);
  f->sent[f->sent_at++] = audio ? f->mark : 0;
}

static void publish(fuzz_t *f) {
  uint64_t before = f->caller_at;
  fa_capture_publish(&f->capture);
  note_fills(f);
  NEED(f->caller_at == before || f->caller_at + FA_FILL_BEHIND == f->now); /* no more than what is 100 ms behind */
  if (f->sent_at < f->capture.sent_at) f->sent_at = f->capture.sent_at;
  NEED(f->caller_at + FA_FILL_BEHIND >= f->now && f->sent_at >= f->now);
  uint64_t ready = fa_capture_ready(&f->capture);
  NEED(ready == (f->caller_at < f->now ? f->caller_at : f->now));
}

static void open_reader(fuzz_t *f, uint32_t r, uint32_t preroll) {
  fa_capture_open(&f->capture, &f->readers[r], preroll);
  uint64_t ready = fa_capture_ready(&f->capture);
  f->opened[r] = f->readers[r].next;
  f->read[r] = 0;
  /* As far back as asked for, or as is kept: the capacity but for what may be written now. */
  NEED(f->opened[r] <= ready || f->opened[r] + BLOCKS <= f->capture.claim);
  NEED(f->opened[r] + preroll <= ready || f->opened[r] == 0 || f->opened[r] + BLOCKS == f->capture.claim ||
       f->opened[r] + preroll == ready);
}

static void read_block(fuzz_t *f, uint32_t r, uint8_t *side, uint8_t *other, bool both) {
  uint32_t flags = 0;
  uint64_t position = 0, lost = f->readers[r].lost;
  fa_result_t result = fa_capture_read(&f->capture, &f->readers[r], side, both ? other : NULL, &flags, &position);
  if (result == FA_AGAIN) {
    NEED(f->readers[r].next >= fa_capture_ready(&f->capture));
    return;
  }
  NEED(result == FA_OK && position < fa_capture_ready(&f->capture));
  NEED(position == f->opened[r] + f->read[r]++ + f->readers[r].lost); /* read or counted as lost, nothing else */
  NEED(f->readers[r].lost == lost || position + BLOCKS == f->capture.claim); /* lost because it was overwritten */
  NEED(((flags & FA_BLOCK_FILLED) != 0) == f->filled[position]);
  NEED(painted(side, f->frame_bytes, f->caller[position]));
  NEED(((flags & FA_BLOCK_SENT) != 0) == (f->sent[position] != 0));
  if (both) NEED(painted(other, f->frame_bytes, f->sent[position]));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const uint32_t sizes[] = {320, 640, 882 * 2, 480};
  static fuzz_t *f;
  static void *memory;
  if (f == NULL) {
    f = aligned_alloc(FA_CACHE_LINE, (sizeof *f + FA_CACHE_LINE - 1) / FA_CACHE_LINE * FA_CACHE_LINE);
    memory = malloc(fa_capture_bytes(BLOCKS, 882 * 2));
    NEED(f != NULL && memory != NULL);
  }
  input_t input = {data, size};
  memset(f, 0, sizeof *f);
  f->frame_bytes = sizes[take8(&input) & 3];
  memset(memory, 0, fa_capture_bytes(BLOCKS, f->frame_bytes));
  NEED(fa_capture_init(&f->capture, memory, BLOCKS, f->frame_bytes) == FA_OK);
  uint8_t *frame = malloc(f->frame_bytes), *other = malloc(f->frame_bytes); /* of just this size */
  NEED(frame != NULL && other != NULL);
  for (uint32_t r = 0; r < READERS; r++) open_reader(f, r, 0);
  while (input.left > 0 && f->now + 400 < PLACES) {
    uint32_t op = take8(&input), value = op >> 3;
    switch (op & 7) {
      case 0:
        fa_capture_tick(&f->capture, value == 31 ? take8(&input) : 1);
        f->now = f->capture.now;
        sent(f, frame, true);
        publish(f);
        break;
      case 1: arriving(f, 1 + value); break;
      case 2:
      case 3: caller(f, frame, value & 1); break;
      case 4: sent(f, frame, value & 1); break;
      case 5:
        fa_capture_unsent(&f->capture, value % 4);
        if (f->sent_at < f->capture.sent_at) f->sent_at = f->capture.sent_at;
        break;
      case 6: open_reader(f, value % READERS, take8(&input)); break;
      default:
        for (uint32_t n = 0; n <= value; n++) read_block(f, value % READERS, frame, other, value & 1);
    }
  }
  publish(f);
  for (uint32_t r = 0; r < READERS; r++)
    while (f->readers[r].next < fa_capture_ready(&f->capture)) read_block(f, r, frame, other, true);
  free(frame);
  free(other);
  return 0;
}
