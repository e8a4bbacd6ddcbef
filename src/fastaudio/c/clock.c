#include "clock.h"

void fa_clock_start(fa_clock_t *clock, int64_t base_ns, int64_t now_ns) {
  int64_t periods = (now_ns - base_ns) / FA_TICK_NS;
  int64_t due = base_ns + periods * FA_TICK_NS;
  while (due <= now_ns) due += FA_TICK_NS; /* at most twice: division rounds towards zero */
  clock->due_ns = due;
}

fa_due_t fa_clock_take(fa_clock_t *clock, int64_t now_ns) {
  fa_due_t due = {0, false, now_ns - clock->due_ns};
  if (due.late_ns < 0) return due;
  int64_t periods = 1 + due.late_ns / FA_TICK_NS;
  due.periods = (uint32_t)periods;
  due.stalled = due.late_ns >= FA_STALL_NS;
  clock->due_ns += periods * FA_TICK_NS;
  return due;
}
