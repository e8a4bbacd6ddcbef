/* What repeats at the pitch of a voice, and what does not. */
#include "check.h"
#include "pitch.h"
#include "voice.h"

static double strength(uint32_t rate, double hz, uint32_t harmonics, double peak, double noise) {
  fa_pitch_t pitch;
  fa_pitch_init(&pitch, rate);
  sound_t sound = {.rate = rate, .seed = 7};
  int16_t frame[320];
  double least = 1;
  for (uint32_t i = 0; i < 20; i++) {
    sound_frame(&sound, hz, harmonics, peak, noise, frame);
    double one = fa_pitch_strength(&pitch, frame, 1);
    CHECK(one >= 0 && one <= 1.0000001);
    if (i > 0 && one < least) least = one;
    fa_pitch_keep(&pitch, frame);
  }
  return least;
}

static void test_voices_of_men_women_and_children(void) {
  const double pitches[] = {70, 100, 140, 200, 260, 330, 420};
  const uint32_t rates[] = {8000, 16000};
  for (uint32_t r = 0; r < 2; r++)
    for (uint32_t i = 0; i < sizeof pitches / sizeof *pitches; i++) {
      CHECK(strength(rates[r], pitches[i], 12, 8000, 0) > 0.8);
      CHECK(strength(rates[r], pitches[i], 12, 100, 10) > 0.5); /* a quiet one, with A-law's grain */
      CHECK(strength(rates[r], pitches[i], 12, 32767, 0) > 0.8); /* as loud as can be */
    }
}

static void test_a_hum_has_one_harmonic(void) {
  CHECK(strength(8000, 110, 1, 3000, 30) > 0.8);
  CHECK(strength(16000, 200, 1, 3000, 30) > 0.8);
}

static void test_what_is_no_voice(void) {
  CHECK(strength(8000, 100, 0, 0, 8000) < 0.36); /* white noise */
  CHECK(strength(16000, 100, 0, 0, 8000) < 0.36);
  CHECK_EQ(strength(8000, 100, 0, 0, 0) > 0, 0);   /* nothing at all */
  CHECK_EQ(strength(8000, 600, 1, 8000, 0) > 0, 0); /* a whistle */
  CHECK(strength(8000, 30, 1, 8000, 0) < 0.3); /* a rumble */
}

int main(void) {
  RUN(test_voices_of_men_women_and_children);
  RUN(test_a_hum_has_one_harmonic);
  RUN(test_what_is_no_voice);
  return 0;
}
