/* What is learnt of the agent's own echo. */
#include "check.h"
#include "echo.h"

typedef struct {
  fa_echo_t echo;
  uint32_t past[64], at; /* what was played */
  uint32_t seed;
} line_t;

static line_t line(void) {
  line_t one = {.seed = 3};
  fa_echo_init(&one.echo);
  return one;
}

/* The agent's level of this tick: syllables between 300 and 4000. */
static uint32_t speech(line_t *one) {
  one->seed = one->seed * 1103515245 + 12345;
  return one->at / 8 % 4 == 3 ? 0 : 300 + (one->seed >> 8) % 3700;
}

/* A tick: `delay` ticks later `percent` of what was played comes back, with `extra` on top. Returns the prediction. */
static uint32_t tick(line_t *one, uint32_t delay, uint32_t percent, uint32_t extra, uint32_t *came) {
  uint32_t playing = speech(one);
  one->past[one->at % 64] = playing;
  fa_echo_played(&one->echo, playing);
  *came = one->at < delay ? 0 : one->past[(one->at - delay) % 64] * percent / 100;
  *came += extra;
  one->at++;
  uint32_t predicted = fa_echo_predict(&one->echo);
  fa_echo_heard(&one->echo, *came, 100);
  return predicted;
}

static void test_nothing_played_has_no_echo(void) {
  line_t one = line();
  for (uint32_t i = 0; i < 500; i++) {
    fa_echo_played(&one.echo, 0);
    CHECK_EQ(fa_echo_predict(&one.echo), 0);
    fa_echo_heard(&one.echo, 3000, 100);
  }
}

static void test_half_is_assumed_until_something_is_known(void) {
  line_t one = line();
  fa_echo_played(&one.echo, 2000);
  CHECK_EQ(fa_echo_predict(&one.echo), 1000);
}

static void test_the_delay_is_found_and_the_echo_bounded(void) {
  for (uint32_t delay = 0; delay < FA_ECHO_DELAYS; delay += 4)
    for (uint32_t percent = 3; percent <= 40; percent += 12) {
      line_t one = line();
      uint32_t came, above = 0, predicted = 0, returned = 0;
      for (uint32_t i = 0; i < 1000; i++) {
        uint32_t level = tick(&one, delay, percent, 0, &came);
        if (i < 300) continue;
        if (came > level * 5 / 4) above++;
        predicted += level;
        returned += came;
      }
      CHECK(above == 0);
      CHECK(one.echo.delay <= delay && one.echo.delay + FA_ECHO_WINDOW > delay);
      CHECK(predicted < 3 * returned); /* a bound that is of use */
    }
}

static void test_a_caller_is_not_learnt_for_an_echo(void) {
  line_t one = line();
  uint32_t came;
  for (uint32_t i = 0; i < 300; i++) tick(&one, 5, 10, 0, &came);
  uint32_t before = 0, after = 0;
  for (uint32_t i = 0; i < 40; i++) before += tick(&one, 5, 10, 0, &came);
  for (uint32_t i = 0; i < 20; i++) tick(&one, 5, 10, 2500, &came);
  fa_echo_forget(&one.echo);
  for (uint32_t i = 0; i < 40; i++) after += tick(&one, 5, 10, 0, &came);
  CHECK(after < 2 * before);
}

static void test_what_is_forgotten_is_learnt_again(void) {
  line_t one = line();
  uint32_t came, level = 0, returned = 0;
  for (uint32_t i = 0; i < 200; i++) tick(&one, 5, 10, 0, &came);
  for (uint32_t i = 0; i < 200; i++) tick(&one, 5, 30, 0, &came); /* the path has become louder */
  for (uint32_t i = 0; i < 100; i++) {
    level += tick(&one, 5, 30, 0, &came);
    returned += came;
  }
  CHECK(level >= returned);
}

int main(void) {
  RUN(test_nothing_played_has_no_echo);
  RUN(test_half_is_assumed_until_something_is_known);
  RUN(test_the_delay_is_found_and_the_echo_bounded);
  RUN(test_a_caller_is_not_learnt_for_an_echo);
  RUN(test_what_is_forgotten_is_learnt_again);
  return 0;
}
