/* Level: exact against a plain sum, also at the extremes. */
#include <math.h>

#include "check.h"
#include "level.h"

static uint32_t naive(const int16_t *samples, size_t count) {
  if (count == 0) return 0;
  uint64_t sum = 0;
  for (size_t i = 0; i < count; i++) sum += (uint64_t)((int64_t)samples[i] * samples[i]);
  /* The largest r with r * r * count <= sum: no floating point. */
  uint64_t r = 0;
  for (uint64_t bit = 1u << 15; bit != 0; bit >>= 1)
    if ((r + bit) * (r + bit) * count <= sum) r += bit;
  if ((r + 1) * (r + 1) * count <= sum) r++;
  return (uint32_t)r;
}

static void test_extremes(void) {
  int16_t samples[320];
  for (size_t i = 0; i < 320; i++) samples[i] = INT16_MIN;
  CHECK_EQ(fa_level_rms(samples, 320), 32768);
  CHECK_EQ(fa_level_energy(samples, 320), 320LL << 30);
  for (size_t i = 0; i < 320; i++) samples[i] = INT16_MAX;
  CHECK_EQ(fa_level_rms(samples, 320), 32767);
  memset(samples, 0, sizeof samples);
  CHECK_EQ(fa_level_rms(samples, 320), 0);
  CHECK_EQ(fa_level_rms(samples, 0), 0);
  samples[0] = 1;
  CHECK_EQ(fa_level_rms(samples, 1), 1);
  CHECK_EQ(fa_level_rms(samples, 2), 0); /* rounds down */
}

static void test_random_against_naive(void) {
  int16_t samples[640];
  uint64_t seed = 42;
  for (int round = 0; round < 20000; round++) {
    size_t count = 1 + check_random(&seed) % 640;
    unsigned shift = (unsigned)(check_random(&seed) % 16);
    for (size_t i = 0; i < count; i++) samples[i] = (int16_t)((int16_t)check_random(&seed) >> shift);
    CHECK_EQ(fa_level_rms(samples, count), naive(samples, count));
  }
}

static void test_batch(void) {
  int16_t samples[160 * 7];
  uint64_t seed = 7;
  for (size_t i = 0; i < 160 * 7; i++) samples[i] = (int16_t)check_random(&seed);
  uint32_t levels[8] = {0, 0, 0, 0, 0, 0, 0, 12345};
  fa_level_rms_batch(samples, 160, 7, levels);
  for (size_t i = 0; i < 7; i++) CHECK_EQ(levels[i], fa_level_rms(samples + 160 * i, 160));
  CHECK_EQ(levels[7], 12345);
}

int main(void) {
  check_time_limit(60);
  RUN(test_extremes);
  RUN(test_random_against_naive);
  RUN(test_batch);
  return 0;
}
