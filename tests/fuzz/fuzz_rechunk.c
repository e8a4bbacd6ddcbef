/* The rechunker on any sizes: the frames, end to end, are the chunks, end to end; nothing else, and all of it. */
#include "fuzz.h"
#include "rechunk.h"

#define FRAME_MAX 1764 /* 20 ms at 44.1 kHz */

/* Byte n of everything that was ever pushed: never 0, so that padding shows. */
static uint8_t byte_of(uint64_t n) { return (uint8_t)(1 + n % 251); }

typedef struct {
  fa_rechunk_t rechunk;
  uint8_t *frame;
  uint64_t in, out;
} fuzz_t;

static void push(fuzz_t *f, size_t length) {
  uint8_t *chunk = malloc(length + 1);
  NEED(chunk != NULL);
  for (size_t i = 0; i < length; i++) chunk[i] = byte_of(f->in + i);
  for (size_t at = 0; at < length;) {
    size_t used = 0;
    bool whole = fa_rechunk_push(&f->rechunk, chunk + at, length - at, &used, f->frame);
    NEED(used <= length - at && used > 0);
    at += used;
    f->in += used;
    if (whole) {
      for (uint32_t i = 0; i < f->rechunk.frame_bytes; i++) NEED(f->frame[i] == byte_of(f->out + i));
      f->out += f->rechunk.frame_bytes;
    } else {
      NEED(at == length);
    }
    NEED(f->rechunk.have == f->in - f->out && f->rechunk.have < f->rechunk.frame_bytes);
  }
  free(chunk);
}

static void finish(fuzz_t *f) {
  uint32_t carried = f->rechunk.have;
  uint32_t samples = fa_rechunk_finish(&f->rechunk, f->frame);
  NEED(samples == carried / 2);
  for (uint32_t i = 0; i < f->rechunk.frame_bytes; i++)
    NEED(f->frame[i] == (i < 2 * samples ? byte_of(f->out + i) : 0));
  NEED(f->rechunk.have == 0);
  f->out = f->in;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const uint32_t sizes[] = {320, 640, 2, 4, 480, FRAME_MAX, 6, 1280};
  input_t input = {data, size};
  uint32_t frame_bytes = sizes[take8(&input) % 8];
  uint8_t *carry = malloc(frame_bytes);
  fuzz_t f = {.frame = malloc(frame_bytes)}; /* of just this size: a byte past the end is seen */
  NEED(carry != NULL && f.frame != NULL);
  fa_rechunk_init(&f.rechunk, carry, frame_bytes);
  while (input.left > 0) {
    uint32_t op = take8(&input);
    if (op < 230)
      push(&f, op % 2 ? (size_t)take(&input, 2) % 3000 : op);
    else
      finish(&f);
  }
  finish(&f);
  free(carry);
  free(f.frame);
  return 0;
}
