/* Rechunking: what comes out is what went in, frame by frame, for any sizes; the tail is padded once. */
#include "check.h"
#include "rechunk.h"

static void round_trip(uint32_t frame_bytes, size_t total, uint64_t seed) {
  uint8_t *in = malloc(total + 1), *out = calloc(1, total + frame_bytes + 1);
  CHECK(in != NULL && out != NULL);
  for (size_t i = 0; i < total; i++) in[i] = (uint8_t)check_random(&seed);
  fa_rechunk_t rechunk;
  static uint8_t carry[FA_FRAME_BYTES_MAX];
  fa_rechunk_init(&rechunk, carry, frame_bytes);
  uint8_t frame[FA_FRAME_BYTES_MAX];
  size_t have = 0;
  for (size_t at = 0; at < total;) {
    size_t length = 1 + check_random(&seed) % (3 * frame_bytes);
    if (length > total - at) length = total - at;
    size_t used = 0;
    bool whole = fa_rechunk_push(&rechunk, in + at, length, &used, frame);
    CHECK(used >= 1 && used <= length);
    CHECK(whole || used == length);
    CHECK(rechunk.have < frame_bytes);
    at += used;
    if (!whole) continue;
    CHECK_EQ(rechunk.have, 0);
    memcpy(out + have, frame, frame_bytes);
    have += frame_bytes;
  }
  CHECK_EQ(have, total / frame_bytes * frame_bytes);
  memset(frame, 0xaa, sizeof frame);
  uint32_t samples = fa_rechunk_finish(&rechunk, frame);
  CHECK_EQ(samples, (total - have) / 2);
  memcpy(out + have, frame, 2 * (size_t)samples);
  for (uint32_t i = 2 * samples; i < frame_bytes; i++) CHECK_EQ(frame[i], 0);
  if (frame_bytes < FA_FRAME_BYTES_MAX) CHECK_EQ(frame[frame_bytes], 0xaa);
  CHECK(memcmp(in, out, total & ~(size_t)1) == 0);
  CHECK_EQ(fa_rechunk_finish(&rechunk, frame), 0); /* nothing is carried twice */
  free(in);
  free(out);
}

static void test_any_sizes(void) {
  static const uint32_t sizes[] = {2, 6, 320, 640};
  for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++)
    for (uint64_t seed = 1; seed < 200; seed++) round_trip(sizes[s], seed * 13 % 4001, seed);
}

static void test_edges(void) {
  for (size_t total = 0; total < 1300; total++) round_trip(320, total, total + 1);
  round_trip(640, 65537, 5);
}

int main(void) {
  check_time_limit(60);
  RUN(test_any_sizes);
  RUN(test_edges);
  return 0;
}
