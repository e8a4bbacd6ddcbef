/* What the load generator makes of a server's bytes: in any reads it counts the same messages and the same audio, and
 * every message is booked in one way or another. */
#include "fuzz.h"
#include "load_stream.h"

#define MS INT64_C(1000000)

typedef struct {
  fa_load_stream_t stream;
  fa_load_totals_t *totals;
  fa_load_read_t end;
  int64_t now_ns;
  uint64_t reads; /* that completed a message */
} fuzz_t;

static void take_in(fuzz_t *f, const uint8_t *data, size_t length, int64_t after_ns) {
  if (f->end != FA_LOAD_READ_GOOD) return;
  uint8_t *exact = malloc(length + (length == 0)); /* of just this size: a read past the end is seen */
  NEED(exact != NULL);
  if (length > 0) memcpy(exact, data, length);
  f->now_ns += after_ns;
  f->end = fa_load_stream_read(&f->stream, f->totals, exact, length, f->now_ns, true);
  if (f->stream.of_read > 0) f->reads++;
  NEED(f->stream.left <= UINT16_MAX && f->stream.header_have <= 3);
  free(exact);
}

static void check(const fuzz_t *f) {
  const fa_load_totals_t *totals = f->totals;
  NEED(totals->untimed == 0 && totals->messages == totals->merged + f->reads);
  NEED(totals->gaps.count == (f->reads > 0 ? f->reads - 1 : 0) && totals->long_gaps <= totals->gaps.count);
  int64_t half = fa_load_histogram_quantile(&totals->gaps, 0.5), all = fa_load_histogram_quantile(&totals->gaps, 1.0);
  NEED(half <= all && (totals->gaps.count == 0 ? all == 0 : all >= 0));
  NEED(f->stream.audio_ns >= 0 && (totals->messages > 0) == (f->stream.first_ns != 0));
  NEED(fa_load_stream_slip_ns(&f->stream, 0, f->now_ns) >= 0);
  double ppm = fa_load_stream_ppm(&f->stream);
  NEED(totals->messages >= 10 || ppm != ppm); /* too few to say */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static fa_load_totals_t totals[2];
  input_t input = {data, size};
  memset(totals, 0, sizeof totals);
  fuzz_t whole = {.totals = &totals[0], .now_ns = MS}, split = {.totals = &totals[1], .now_ns = MS};
  uint32_t pieces[8];
  for (size_t i = 0; i < 8; i++) pieces[i] = 1 + take8(&input);
  take_in(&whole, input.data, input.left, MS);
  for (size_t at = 0, i = 0; at < input.left; i++) {
    size_t length = pieces[i % 8] < input.left - at ? pieces[i % 8] : input.left - at;
    take_in(&split, input.data + at, length, (int64_t)pieces[(i + 3) % 8] * MS);
    at += length;
  }
  check(&whole);
  check(&split);
  NEED(whole.end == split.end && totals[0].messages == totals[1].messages);
  NEED(whole.stream.audio_ns == split.stream.audio_ns && whole.stream.left == split.stream.left);
  return 0;
}
