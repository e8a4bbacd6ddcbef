/* clock.h - the schedule of ticks, as pure arithmetic on CLOCK_MONOTONIC nanoseconds.
 *
 * Each deadline comes from the one before, so lateness never adds up. When a tick is late, the periods that have
 * passed are owed. Up to FA_CATCH_UP owed periods are caught up; from FA_STALL_NS on (80 ms: where Asterisk's RTP
 * timestamps jump to the wall clock, main/rtp MAX_TIMESTAMP_SKEW 640) the schedule goes on from now instead. The
 * phase of the schedule never moves, so calls stay spread over their slots.
 *
 * Threads: a clock belongs to one thread. Nothing blocks or fails.
 */
#ifndef FA_CLOCK_H
#define FA_CLOCK_H

#include "fa.h"

#define FA_CATCH_UP 3
#define FA_STALL_NS (4 * FA_TICK_NS)

typedef struct {
  int64_t due_ns; /* the next deadline */
} fa_clock_t;

typedef struct {
  uint32_t periods; /* periods that end with this tick: 0 when it is not due, 1 when in time */
  bool stalled;     /* late by FA_STALL_NS or more: the periods before the last are given up */
  int64_t late_ns;  /* how late the first of them is */
} fa_due_t;

/* The first deadline strictly after `now_ns` on the grid base_ns + k * 20 ms. */
void fa_clock_start(fa_clock_t *clock, int64_t base_ns, int64_t now_ns);

/* What is due at `now_ns`; moves the deadline past it. */
fa_due_t fa_clock_take(fa_clock_t *clock, int64_t now_ns);

#endif
