#include "load_histogram.h"

/* The first 2048 bins are 1 ns wide; from there on each power of two has 1024 of equal width. */
static uint32_t bin_of(uint64_t ns) {
  if (ns < 2048) return (uint32_t)ns;
  uint32_t shift = 63 - (uint32_t)__builtin_clzll(ns) - 10;
  uint32_t bin = shift * 1024 + (uint32_t)(ns >> shift);
  return bin < FA_LOAD_BINS ? bin : FA_LOAD_BINS - 1;
}

static int64_t upper_end(uint32_t bin) {
  if (bin < 2048) return bin;
  uint32_t shift = bin / 1024 - 1;
  return ((int64_t)(bin % 1024 + 1024 + 1) << shift) - 1;
}

void fa_load_histogram_add(fa_load_histogram_t *histogram, int64_t ns) {
  if (ns < 0) ns = 0;
  histogram->bins[bin_of((uint64_t)ns)]++;
  histogram->count++;
  if (ns > histogram->max_ns) histogram->max_ns = ns;
}

int64_t fa_load_histogram_quantile(const fa_load_histogram_t *histogram, double q) {
  uint64_t seen = 0;
  for (uint32_t bin = 0; bin < FA_LOAD_BINS; bin++) {
    seen += histogram->bins[bin];
    if (histogram->bins[bin] == 0 || (double)seen < q * (double)histogram->count) continue;
    int64_t end = upper_end(bin);
    return bin < FA_LOAD_BINS - 1 && end < histogram->max_ns ? end : histogram->max_ns;
  }
  return histogram->max_ns;
}
