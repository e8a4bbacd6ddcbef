/* load_histogram.h - how times are spread: nanoseconds counted in bins of at most 1/1024 of their value.
 *
 * A frame too late by 0.2 ms shows beside one of 20 ms; histogram.h has coarser bins, for readers in other threads.
 * From 0 to 2^40 ns (18 minutes); what is longer is counted in the last bin. The greatest value is kept exactly.
 *
 * Threads: a histogram belongs to one thread. Nothing blocks, allocates or fails. All zero is an empty one.
 */
#ifndef FA_LOAD_HISTOGRAM_H
#define FA_LOAD_HISTOGRAM_H

#include "fa.h"

#define FA_LOAD_BINS (2048 + (40 - 11) * 1024)

typedef struct {
  uint64_t count;
  int64_t max_ns;
  uint64_t bins[FA_LOAD_BINS];
} fa_load_histogram_t;

/* Counts one time; a negative one counts as 0. */
void fa_load_histogram_add(fa_load_histogram_t *histogram, int64_t ns);

/* The time that a share `q` (0..1) of all does not exceed: the upper end of its bin, 0 without any. */
int64_t fa_load_histogram_quantile(const fa_load_histogram_t *histogram, double q);

#endif
