/* When the caller interrupts: hold, resume, barge-in, the decision in time, and the limit. */
#include "bargein.h"
#include "check.h"

static fa_bargein_t make(void) {
  fa_bargein_config_t config = {.enabled = 1, .rms = 800, .hold_window = 5, .hold_need = 4, .barge_window = 15,
                                .barge_need = 9, .release_ticks = 10, .decide_ticks = 50, .limit_ticks = 75};
  fa_bargein_t bargein;
  CHECK_EQ(fa_bargein_init(&bargein, &config), FA_OK);
  return bargein;
}

/* Frames ('x' voiced, '.' not, ' ' none) each with its tick. Returns the action of the last; all before do nothing. */
static fa_bargein_action_t run(fa_bargein_t *bargein, const char *frames, bool playing) {
  fa_bargein_action_t action = FA_DO_NONE;
  for (; *frames != 0; frames++) {
    CHECK_EQ(action, FA_DO_NONE);
    if (*frames != ' ') fa_bargein_frame(bargein, *frames == 'x', true, true);
    action = fa_bargein_tick(bargein, playing);
  }
  return action;
}

static void test_arguments(void) {
  fa_bargein_t bargein = make();
  fa_bargein_config_t good = bargein.config, bad;
#define REFUSED(field, value) \
  bad = good;                 \
  bad.field = value;          \
  CHECK_EQ(fa_bargein_init(&bargein, &bad), FA_ERR_ARG)
  REFUSED(hold_window, 0);
  REFUSED(hold_window, 65);
  REFUSED(hold_need, 0);
  REFUSED(hold_need, 6);
  REFUSED(barge_window, 8);
  REFUSED(barge_need, 0);
  REFUSED(rewind_ms, 201);
  REFUSED(release_ticks, 0);
  REFUSED(limit_ticks, 0);
#undef REFUSED
}

static void test_defaults_are_valid(void) {
  for (uint32_t ms = 0; ms < 3000; ms += 20)
    for (int unbroken = 0; unbroken < 2; unbroken++) {
      fa_bargein_config_t config = fa_bargein_defaults(FA_DETECT_RMS, 700, ms, unbroken);
      fa_bargein_t bargein;
      CHECK_EQ(fa_bargein_init(&bargein, &config), FA_OK);
      if (unbroken) CHECK_EQ(config.barge_need, config.barge_window);
      if (ms == 300 && !unbroken) CHECK(config.barge_window == 15 && config.barge_need == 9);
    }
}

static void test_hold_needs_four_of_five_while_playing(void) {
  fa_bargein_t bargein = make();
  CHECK_EQ(run(&bargein, "xxxxxxxx", false), FA_DO_NONE);
  fa_bargein_reset(&bargein);
  CHECK_EQ(run(&bargein, "xxx..xxx..x.x.x", true), FA_DO_NONE);
  CHECK_EQ(run(&bargein, "...xx.xx", true), FA_DO_HOLD);
  fa_bargein_t off = make();
  off.config.enabled = 0;
  CHECK_EQ(run(&off, "xxxxxxxxxxxxxxxxxxxxxxxx", true), FA_DO_NONE);
}

static void test_a_cough_resumes(void) {
  fa_bargein_t bargein = make();
  CHECK_EQ(run(&bargein, "xxxx", true), FA_DO_HOLD);
  CHECK_EQ(run(&bargein, "x.........", true), FA_DO_NONE);
  CHECK_EQ(run(&bargein, ".", true), FA_DO_RESUME);
  CHECK_EQ(bargein.state, FA_BARGE_IDLE);
  CHECK_EQ(run(&bargein, "xxx", true), FA_DO_NONE); /* the old frames are forgotten */
  CHECK_EQ(run(&bargein, "x", true), FA_DO_HOLD);
  /* No frames at all (loss, hold) are no speech either. */
  CHECK_EQ(run(&bargein, "         ", true), FA_DO_NONE);
  CHECK_EQ(run(&bargein, " ", true), FA_DO_RESUME);
}

static void test_speech_that_lasts_barges_in(void) {
  fa_bargein_t bargein = make();
  CHECK_EQ(run(&bargein, "xxxx", true), FA_DO_HOLD);
  CHECK_EQ(run(&bargein, "x..xx..x", true), FA_DO_NONE); /* 8 of 12 */
  CHECK_EQ(run(&bargein, "x", true), FA_DO_BARGE);
  CHECK_EQ(bargein.state, FA_BARGE_BARGED);
}

static void test_limit_flushes(void) {
  fa_bargein_t bargein = make();
  CHECK_EQ(run(&bargein, "xxxx", true), FA_DO_HOLD);
  CHECK_EQ(run(&bargein, "xxxxx", true), FA_DO_BARGE);
  for (int i = 0; i < 74; i++) CHECK_EQ(run(&bargein, "x", true), FA_DO_NONE);
  CHECK_EQ(run(&bargein, "x", true), FA_DO_FLUSH);
  CHECK_EQ(bargein.state, FA_BARGE_IDLE);
}

static void test_undecided_is_decided_in_time(void) {
  fa_bargein_t bargein = make();
  bargein.config.barge_need = 15; /* never reached by what follows */
  CHECK_EQ(run(&bargein, "xxxx", true), FA_DO_HOLD);
  int ticks = 0;
  fa_bargein_action_t action = FA_DO_NONE;
  while (action == FA_DO_NONE && ticks < 200) action = run(&bargein, ticks++ % 3 == 0 ? "x" : ".", true);
  CHECK_EQ(action, FA_DO_BARGE);
  CHECK_EQ(ticks, 50);
}

static void test_the_agents_word(void) {
  fa_bargein_t bargein = make();
  fa_bargein_force(&bargein, FA_BARGE_BARGED);
  for (int i = 0; i < 74; i++) CHECK_EQ(run(&bargein, ".", true), FA_DO_NONE);
  CHECK_EQ(run(&bargein, ".", true), FA_DO_FLUSH);
  fa_bargein_force(&bargein, FA_BARGE_BARGED);
  fa_bargein_reset(&bargein);
  for (int i = 0; i < 100; i++) CHECK_EQ(run(&bargein, ".", true), FA_DO_NONE);
}

int main(void) {
  check_time_limit(60);
  RUN(test_arguments);
  RUN(test_defaults_are_valid);
  RUN(test_hold_needs_four_of_five_while_playing);
  RUN(test_a_cough_resumes);
  RUN(test_speech_that_lasts_barges_in);
  RUN(test_limit_flushes);
  RUN(test_undecided_is_decided_in_time);
  RUN(test_the_agents_word);
  return 0;
}
