/* What the adaptive detector takes for speech that goes on; what it takes for a voice: test_interruption.c. */
#include "adaptive.h"
#include "check.h"
#include "level.h"
#include "voice.h"

static fa_adaptive_t adaptive;
static sound_t sound;

static void begin(void) {
  sound = (sound_t){.rate = 8000, .seed = 11};
  fa_adaptive_init(&adaptive, 8000);
}

/* Frames of a voice at `peak` and noise, while something of level `played` is played; returns in how many of them speech
 * goes on, and checks that what is speech goes on. */
static uint32_t feed(uint32_t frames, double peak, double noise, uint32_t played) {
  uint32_t going = 0;
  for (uint32_t i = 0; i < frames; i++) {
    int16_t samples[160];
    sound_frame(&sound, 120, 12, peak, noise, samples);
    fa_adaptive_played(&adaptive, played);
    fa_adaptive_frame_t frame = fa_adaptive_frame(&adaptive, samples, fa_level_rms(samples, 160));
    CHECK(frame.goes_on || (!frame.speech && !frame.voiced));
    if (frame.goes_on) going++;
  }
  return going;
}

static void test_noise_alone_is_no_speech_that_goes_on(void) {
  begin();
  CHECK_EQ(feed(100, 0, 12, 0), 0);
  for (uint32_t i = 0; i < 10; i++) CHECK_EQ(feed(10, 0, 100, 0) + feed(20, 0, 12, 0), 0);
}

static void test_a_consonant_below_the_gate_goes_on_for_400_ms_and_no_longer(void) {
  begin();
  feed(100, 0, 12, 0);
  CHECK(feed(15, 3000, 12, 0) >= 14);
  uint32_t end = feed(1, 0, 100, 0); /* half of this frame's window is voice */
  CHECK_EQ(end, 1);
  uint32_t going = feed(40, 0, 100, 0); /* an RMS of 58: the gate is never below 100 */
  CHECK(going >= 18 && going <= 20);
}

static void test_silence_does_not_go_on(void) {
  begin();
  feed(100, 0, 12, 0);
  CHECK(feed(15, 3000, 12, 0) >= 14);
  CHECK_EQ(feed(10, 0, 12, 0), 0);
  CHECK(feed(5, 0, 100, 0) == 5); /* behind a pause within the 400 ms: the burst of a stop */
}

static void test_a_weak_voice_goes_on_for_300_ms_and_the_consonant_behind_it(void) {
  begin();
  feed(100, 0, 12, 0);
  feed(15, 3000, 12, 0);
  feed(6, 0, 12, 0); /* what is weak at once rings */
  uint32_t going = feed(40, 90, 12, 0);
  CHECK(going >= 24 && going <= 30); /* 9 frames are left of its 300 ms, and 20 behind them */
}

static void test_a_callers_own_speech_does_not_lift_the_floor(void) {
  begin();
  feed(100, 0, 12, 0);
  uint32_t floor = adaptive.floor;
  for (uint32_t word = 0; word < 30; word++) { /* 9 s of words, stressed where they begin, 60 ms apart */
    feed(3, 6000, 12, 0);
    feed(9, 3000, 12, 0);
    CHECK_EQ(feed(3, 0, 100, 0), 3);
  }
  CHECK(adaptive.noise.gate > 1000);
  CHECK_EQ(adaptive.floor, floor);
  feed(200, 0, 100, 0); /* a noise that is there without a voice does */
  CHECK(adaptive.floor >= 58);
  feed(15, 3000, 100, 0);
  feed(1, 0, 100, 0);
  CHECK_EQ(feed(20, 0, 100, 0), 0);
}

static void test_the_agents_echo_does_not_go_on(void) {
  begin();
  feed(100, 0, 12, 0);
  feed(15, 3000, 12, 0);
  CHECK_EQ(feed(5, 0, 12, 3000), 0);
  CHECK_EQ(feed(10, 0, 800, 3000), 0); /* less than half of what is played */
  CHECK_EQ(feed(1, 0, 12, 0), 0);
}

static void test_a_gap_is_silence_that_takes_time(void) {
  begin();
  feed(100, 0, 12, 0);
  feed(15, 3000, 12, 0);
  for (uint32_t i = 0; i < 15; i++) fa_adaptive_gap(&adaptive);
  uint32_t going = feed(20, 0, 100, 0);
  CHECK(going >= 3 && going <= 5);
}

int main(void) {
  check_time_limit(60);
  RUN(test_noise_alone_is_no_speech_that_goes_on);
  RUN(test_a_consonant_below_the_gate_goes_on_for_400_ms_and_no_longer);
  RUN(test_silence_does_not_go_on);
  RUN(test_a_weak_voice_goes_on_for_300_ms_and_the_consonant_behind_it);
  RUN(test_a_callers_own_speech_does_not_lift_the_floor);
  RUN(test_the_agents_echo_does_not_go_on);
  RUN(test_a_gap_is_silence_that_takes_time);
  return 0;
}
