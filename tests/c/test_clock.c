/* The schedule: no drift, every period accounted for, the phase kept, a stall from 80 ms on. */
#include "check.h"
#include "clock.h"

#define MS 1000000LL

static void test_first_deadline_is_on_the_grid(void) {
  for (int64_t now = -45 * MS; now < 90 * MS; now += 333333) {
    fa_clock_t clock;
    fa_clock_start(&clock, 7 * MS, now);
    CHECK(clock.due_ns > now);
    CHECK(clock.due_ns - now <= FA_TICK_NS);
    CHECK_EQ((clock.due_ns - 7 * MS) % FA_TICK_NS, 0);
  }
}

static void test_in_time(void) {
  fa_clock_t clock;
  fa_clock_start(&clock, 0, 5 * MS);
  CHECK_EQ(clock.due_ns, 20 * MS);
  CHECK_EQ(fa_clock_take(&clock, 20 * MS - 1).periods, 0);
  CHECK_EQ(clock.due_ns, 20 * MS);
  fa_due_t due = fa_clock_take(&clock, 20 * MS);
  CHECK(due.periods == 1 && !due.stalled && due.late_ns == 0);
  CHECK_EQ(fa_clock_take(&clock, 20 * MS).periods, 0); /* once */
  due = fa_clock_take(&clock, 40 * MS + 19999999);
  CHECK(due.periods == 1 && due.late_ns == 19999999);
}

static void test_owed_and_stalled(void) {
  static const struct { int64_t late; uint32_t periods; bool stalled; } cases[] = {
      {0, 1, false},           {20 * MS - 1, 1, false}, {20 * MS, 2, false},   {60 * MS, 4, false},
      {80 * MS - 1, 4, false}, {80 * MS, 5, true},      {1000 * MS, 51, true}, {3600000 * MS, 180001, true},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    fa_clock_t clock;
    fa_clock_start(&clock, 3 * MS, 0);
    fa_due_t due = fa_clock_take(&clock, 3 * MS + cases[i].late);
    CHECK_EQ(due.periods, cases[i].periods);
    CHECK_EQ(due.stalled, cases[i].stalled);
    CHECK_EQ(due.late_ns, cases[i].late);
    CHECK_EQ((clock.due_ns - 3 * MS) % FA_TICK_NS, 0); /* the phase is kept */
  }
}

static void test_lateness_never_adds_up(void) {
  fa_clock_t clock;
  fa_clock_start(&clock, 11 * MS, 11 * MS);
  uint64_t seed = 99;
  int64_t now = 11 * MS;
  uint64_t periods = 0;
  for (int i = 0; i < 200000; i++) {
    int64_t late = (int64_t)(check_random(&seed) % (uint64_t)(i % 1000 == 0 ? 300 * MS : 30 * MS));
    now = clock.due_ns + late;
    periods += fa_clock_take(&clock, now).periods;
    CHECK(clock.due_ns > now && clock.due_ns - now <= FA_TICK_NS);
    /* Every period since the start is handed out exactly once. */
    CHECK_EQ(11 * MS + (int64_t)(periods + 1) * FA_TICK_NS, clock.due_ns);
  }
}

int main(void) {
  check_time_limit(60);
  RUN(test_first_deadline_is_on_the_grid);
  RUN(test_in_time);
  RUN(test_owed_and_stalled);
  RUN(test_lateness_never_adds_up);
  return 0;
}
