/* The gate above the line's noise. */
#include "check.h"
#include "noise.h"

static uint32_t after(fa_noise_t *noise, uint32_t rms, uint32_t frames) {
  uint32_t gate = 0;
  for (uint32_t i = 0; i < frames; i++) gate = fa_noise_frame(noise, rms);
  return gate;
}

static void test_a_quiet_line_has_the_least_gate(void) {
  fa_noise_t noise;
  fa_noise_init(&noise);
  CHECK_EQ(after(&noise, 8, 100), 100);
}

static void test_nothing_is_louder_than_a_noise_that_is_not_known_yet(void) {
  fa_noise_t noise;
  fa_noise_init(&noise);
  for (uint32_t i = 0; i < 10; i++) CHECK(fa_noise_frame(&noise, 1000 * (i + 1)) >= 1000 * (i + 1));
}

static void test_the_gate_is_3_db_above_a_steady_noise(void) {
  fa_noise_t noise;
  fa_noise_init(&noise);
  CHECK_EQ(after(&noise, 500, 75), 700);
  CHECK_EQ(after(&noise, 500, 1000), 700);
}

static void test_speech_hardly_lifts_it_and_is_forgotten(void) {
  fa_noise_t noise;
  fa_noise_init(&noise);
  after(&noise, 200, 75);
  for (uint32_t word = 0; word < 3; word++) { /* words and pauses of 300 ms */
    CHECK(after(&noise, 4000, 15) < 1000);
    CHECK(after(&noise, 200, 15) < 1000);
  }
  CHECK_EQ(after(&noise, 200, 75), 280);
}

static void test_a_noise_that_stays_is_learnt_in_seconds(void) {
  fa_noise_t noise;
  fa_noise_init(&noise);
  after(&noise, 8, 75);
  CHECK(after(&noise, 800, 50) < 800);
  CHECK(after(&noise, 800, 450) > 800);
  CHECK_EQ(after(&noise, 800, 75), 1120);
}

static void test_the_ceiling_is_just_above_what_the_line_does(void) {
  fa_noise_t noise;
  fa_noise_init(&noise);
  after(&noise, 8, 75);
  CHECK_EQ(fa_noise_ceiling(&noise), 16); /* the least */
  after(&noise, 500, 300);
  CHECK_EQ(fa_noise_ceiling(&noise), 500);
  for (uint32_t i = 0; i < 75; i++) after(&noise, i % 2 ? 420 : 460, 1);
  CHECK_EQ(fa_noise_ceiling(&noise), 520); /* 40 between the quartiles: 60 above the upper one */
  fa_noise_init(&noise);
  after(&noise, 300, 1);
  CHECK_EQ(fa_noise_ceiling(&noise), 300);
}

static void test_levels_keep_their_order(void) {
  fa_noise_t noise;
  fa_noise_init(&noise);
  uint32_t seed = 1;
  for (uint32_t i = 0; i < 5000; i++) {
    seed = seed * 1103515245 + 12345;
    fa_noise_frame(&noise, (seed >> 8) % 33000);
    CHECK(noise.count <= FA_NOISE_FRAMES);
    for (uint32_t k = noise.count; k < FA_NOISE_PLACES; k++) CHECK_EQ(noise.ordered[k], UINT16_MAX);
    for (uint32_t k = 1; k < noise.count; k++) CHECK(noise.ordered[k - 1] <= noise.ordered[k]);
  }
}

int main(void) {
  RUN(test_a_quiet_line_has_the_least_gate);
  RUN(test_nothing_is_louder_than_a_noise_that_is_not_known_yet);
  RUN(test_the_gate_is_3_db_above_a_steady_noise);
  RUN(test_speech_hardly_lifts_it_and_is_forgotten);
  RUN(test_a_noise_that_stays_is_learnt_in_seconds);
  RUN(test_the_ceiling_is_just_above_what_the_line_does);
  RUN(test_levels_keep_their_order);
  return 0;
}
