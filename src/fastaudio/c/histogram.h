/* histogram.h - how often which lateness came, in buckets about an eighth of an octave wide.
 *
 * Each value below 8 us has a bucket of its own; above, each power of two is split into 8 buckets of equal width, so
 * that a bucket's upper bound is at most 12.5 % above any value in it. What is 2^32 us (71 minutes) or more is in the
 * last bucket.
 *
 * Threads: one writer; any thread reads at any time. Nothing is ever reset: who wants to know what came since it last
 * asked subtracts what it saw then. So there is no lock, no count is lost, no reader takes anything from another, and
 * the writer pays one addition. The greatest value since then is in the highest bucket that has grown, and no more
 * than `max_ns`: exact when it is a record, else known to 12.5 %. Nothing blocks, allocates or fails.
 *
 * Memory order: `fa_histogram_add` raises `max_ns` before it counts (release), and `fa_histogram_read` reads it after
 * the counts (acquire): who sees a count sees a maximum that is no less.
 */
#ifndef FA_HISTOGRAM_H
#define FA_HISTOGRAM_H

#include <stdatomic.h>

#include "fa.h"

#define FA_HISTOGRAM_BUCKETS 240

typedef struct {
  _Atomic uint64_t counts[FA_HISTOGRAM_BUCKETS];
  _Atomic uint64_t max_ns;
} fa_histogram_t;

/* Writer. `ns` below 0 counts as 0. */
void fa_histogram_add(fa_histogram_t *histogram, int64_t ns);

/* Any thread. */
void fa_histogram_read(fa_histogram_t *histogram, uint64_t counts[FA_HISTOGRAM_BUCKETS], uint64_t *max_ns);

/* The upper bound of a bucket in us, which is not in it any more. */
uint64_t fa_histogram_bound_us(uint32_t bucket);

#endif
