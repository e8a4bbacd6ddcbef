/* The schedule and its histogram at any times: the phase never moves, no period is lost or told twice, and what was
 * late is in the bucket that holds it. */
#include "clock.h"
#include "fuzz.h"
#include "histogram.h"

#define FAR (INT64_C(1) << 60) /* 36 years */

static uint64_t counted(const uint64_t *counts) {
  uint64_t sum = 0;
  for (uint32_t i = 0; i < FA_HISTOGRAM_BUCKETS; i++) sum += counts[i];
  return sum;
}

/* Exactly one bucket grew, by one, and its bounds hold the value. */
static void check_histogram(fa_histogram_t *histogram, int64_t ns) {
  uint64_t before[FA_HISTOGRAM_BUCKETS], after[FA_HISTOGRAM_BUCKETS], max_before, max_after;
  fa_histogram_read(histogram, before, &max_before);
  fa_histogram_add(histogram, ns);
  fa_histogram_read(histogram, after, &max_after);
  uint64_t value = ns > 0 ? (uint64_t)ns : 0, us = value / 1000;
  NEED(counted(after) == counted(before) + 1);
  NEED(max_after == (value > max_before ? value : max_before));
  for (uint32_t i = 0; i < FA_HISTOGRAM_BUCKETS; i++) {
    if (after[i] == before[i]) continue;
    NEED(i == 0 || us >= fa_histogram_bound_us(i - 1));
    NEED(i == FA_HISTOGRAM_BUCKETS - 1 || us < fa_histogram_bound_us(i));
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static fa_histogram_t histogram;
  input_t input = {data, size};
  memset(&histogram, 0, sizeof histogram);
  int64_t base = (int64_t)(take(&input, 8) % (uint64_t)FAR), now = (int64_t)(take(&input, 8) % (uint64_t)FAR);
  fa_clock_t clock;
  fa_clock_start(&clock, base, now);
  NEED(clock.due_ns > now && clock.due_ns - now <= FA_TICK_NS && (clock.due_ns - base) % FA_TICK_NS == 0);
  while (input.left > 0) {
    uint32_t how = take8(&input);
    int64_t step = (int64_t)take(&input, how % 7);
    if (how < 100) step = (int64_t)how * 200000;
    else if (how < 200) step = clock.due_ns - now + (int64_t)(how - 100) * FA_TICK_NS / 4; /* to the nanosecond */
    if (now > INT64_MAX - step - 2 * FA_TICK_NS) break;
    now += step;
    int64_t due_before = clock.due_ns;
    fa_due_t due = fa_clock_take(&clock, now);
    NEED(due.late_ns == now - due_before);
    NEED((due.periods == 0) == (now < due_before));
    NEED(clock.due_ns == due_before + due.periods * FA_TICK_NS);
    NEED(clock.due_ns > now && (clock.due_ns - base) % FA_TICK_NS == 0);
    NEED(due.periods == 0 || clock.due_ns - now <= FA_TICK_NS);
    NEED(due.stalled == (due.late_ns >= FA_STALL_NS));
    check_histogram(&histogram, due.late_ns);
  }
  return 0;
}
