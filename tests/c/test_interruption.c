/* The adaptive detector with its state machine: what interrupts and what does not. */
#include "check.h"
#include "interruption.h"
#include "voice.h"

static fa_interruption_t one;
static sound_t sound;
static uint32_t rate;

static void begin(uint32_t at_rate) {
  rate = at_rate;
  sound = (sound_t){.rate = rate, .seed = 11};
  fa_vad_config_t vad = {.detector = FA_DETECT_ADAPTIVE, .rate = rate};
  fa_bargein_config_t bargein = fa_bargein_defaults(FA_DETECT_ADAPTIVE, 800, 300, false);
  CHECK_EQ(fa_interruption_init(&one, &vad, &bargein, NULL), FA_OK);
}

/* Feeds frames of one kind; returns how many frames until `state` came, or -1. */
static int32_t feed(uint32_t frames, double hz, double peak, double noise, const int16_t *played, fa_state_t state) {
  int32_t seen = -1;
  for (uint32_t i = 0; i < frames; i++) {
    int16_t frame[320];
    sound_frame(&sound, hz, 12, peak, noise, frame);
    fa_state_t now = fa_interruption_feed(&one, frame, played);
    if (now == state && seen < 0) seen = (int32_t)i + 1;
  }
  return seen;
}

static void test_a_voice_holds_and_then_interrupts(void) {
  const uint32_t rates[] = {8000, 16000};
  for (uint32_t r = 0; r < 2; r++) {
    begin(rates[r]);
    CHECK_EQ(feed(100, 100, 0, 12, NULL, FA_STATE_HOLD), -1);
    int32_t hold = feed(30, 120, 3000, 12, NULL, FA_STATE_HOLD);
    CHECK(hold >= 3 && hold <= 6);
    CHECK_EQ(feed(1, 120, 3000, 12, NULL, FA_STATE_BARGE_IN), 1); /* and goes on being one */
    CHECK(feed(30, 100, 0, 12, NULL, FA_STATE_IDLE) > 5);         /* until it has been quiet for a while */
    CHECK_EQ(feed(30, 100, 0, 12, NULL, FA_STATE_HOLD), -1);
    fa_interruption_close(&one);
  }
}

static void test_a_word_that_breaks_off_resumes(void) {
  begin(8000);
  feed(100, 100, 0, 12, NULL, FA_STATE_HOLD);
  CHECK(feed(5, 120, 3000, 12, NULL, FA_STATE_HOLD) > 0);
  CHECK(feed(20, 100, 0, 12, NULL, FA_STATE_RESUME) > 0);
  CHECK_EQ(feed(20, 100, 0, 12, NULL, FA_STATE_HOLD), -1);
}

static void test_noise_does_not_even_hold(void) {
  begin(8000);
  CHECK_EQ(feed(300, 100, 0, 3000, NULL, FA_STATE_HOLD), -1);
  for (uint32_t i = 0; i < 20; i++) { /* nor does noise that comes and goes */
    CHECK_EQ(feed(20, 100, 0, 12, NULL, FA_STATE_HOLD), -1);
    CHECK_EQ(feed(20, 100, 0, 6000, NULL, FA_STATE_HOLD), -1);
  }
}

static void test_a_cough_does_not_hold(void) {
  begin(8000);
  feed(100, 100, 0, 60, NULL, FA_STATE_HOLD);
  for (uint32_t i = 0; i < 10; i++) { /* a burst, and a voiced tail */
    CHECK_EQ(feed(5, 100, 0, 5000, NULL, FA_STATE_HOLD), -1);
    CHECK_EQ(feed(8, 150, 3000, 300, NULL, FA_STATE_HOLD), -1);
    CHECK_EQ(feed(40, 100, 0, 60, NULL, FA_STATE_HOLD), -1);
  }
}

static void test_a_knock_does_not_hold(void) {
  begin(8000);
  feed(100, 100, 0, 60, NULL, FA_STATE_HOLD);
  for (uint32_t knock = 0; knock < 10; knock++) {
    for (uint32_t i = 0; i < 12; i++) CHECK_EQ(feed(1, 90, 9000 * pow(0.62, i), 60, NULL, FA_STATE_HOLD), -1);
    CHECK_EQ(feed(40, 100, 0, 60, NULL, FA_STATE_HOLD), -1);
  }
}

static void test_the_agents_own_voice_does_not_hold_and_the_caller_above_it_does(void) {
  begin(8000);
  sound_t agent = {.rate = 8000, .seed = 5};
  int16_t played[320], frame[320];
  for (uint32_t i = 0; i < 400; i++) {
    double peak = i / 12 % 6 > 0 ? 0 : 3000 + 500.0 * (i % 7); /* too seldom to be taken for the line's noise */
    sound_frame(&agent, 150, 12, peak, 10, played);
    for (uint32_t k = 0; k < 160; k++) frame[k] = (int16_t)(played[k] / 4); /* -12 dB */
    CHECK_EQ(fa_interruption_feed(&one, frame, played), FA_STATE_IDLE);
  }
  fa_state_t state = FA_STATE_IDLE;
  for (uint32_t i = 0; i < 32; i++) { /* and is not taken for a louder echo at once */
    sound_frame(&agent, 150, 12, 4000, 10, played);
    sound_frame(&sound, 110, 12, 1900, 0, frame); /* quieter than half of what is played */
    for (uint32_t k = 0; k < 160; k++) frame[k] = (int16_t)(frame[k] + played[k] / 4);
    state = fa_interruption_feed(&one, frame, played);
  }
  CHECK_EQ(state, FA_STATE_BARGE_IN);
}

static void test_steady_hum_is_learnt(void) {
  begin(8000);
  feed(250, 100, 2000, 10, NULL, FA_STATE_HOLD);
  CHECK_EQ(feed(500, 100, 2000, 10, NULL, FA_STATE_HOLD), -1);
}

int main(void) {
  RUN(test_a_voice_holds_and_then_interrupts);
  RUN(test_a_word_that_breaks_off_resumes);
  RUN(test_noise_does_not_even_hold);
  RUN(test_a_cough_does_not_hold);
  RUN(test_a_knock_does_not_hold);
  RUN(test_the_agents_own_voice_does_not_hold_and_the_caller_above_it_does);
  RUN(test_steady_hum_is_learnt);
  return 0;
}
