#include "histogram.h"

#define SPLIT_BITS 3 /* each power of two is split into 8 */
#define SPLIT (1U << SPLIT_BITS)

static uint32_t bucket_of(uint64_t us) {
  if (us < SPLIT) return (uint32_t)us;
  uint32_t octave = 63 - (uint32_t)__builtin_clzll(us) - SPLIT_BITS;
  uint32_t bucket = SPLIT + octave * SPLIT + ((uint32_t)(us >> octave) & (SPLIT - 1));
  return bucket < FA_HISTOGRAM_BUCKETS ? bucket : FA_HISTOGRAM_BUCKETS - 1;
}

uint64_t fa_histogram_bound_us(uint32_t bucket) {
  if (bucket < SPLIT) return bucket + 1;
  uint32_t octave = bucket / SPLIT - 1;
  return (uint64_t)(SPLIT + bucket % SPLIT + 1) << octave;
}

void fa_histogram_add(fa_histogram_t *histogram, int64_t ns) {
  uint64_t value = ns > 0 ? (uint64_t)ns : 0;
  if (value > atomic_load_explicit(&histogram->max_ns, memory_order_relaxed)) /* own value */
    atomic_store_explicit(&histogram->max_ns, value, memory_order_relaxed);   /* carried by the count */
  _Atomic uint64_t *count = &histogram->counts[bucket_of(value / 1000)];
  uint64_t old = atomic_load_explicit(count, memory_order_relaxed); /* one writer: a plain addition is enough */
  atomic_store_explicit(count, old + 1, memory_order_release);      /* pairs with fa_histogram_read */
}

void fa_histogram_read(fa_histogram_t *histogram, uint64_t counts[FA_HISTOGRAM_BUCKETS], uint64_t *max_ns) {
  for (uint32_t i = 0; i < FA_HISTOGRAM_BUCKETS; i++)
    counts[i] = atomic_load_explicit(&histogram->counts[i], memory_order_acquire); /* pairs with fa_histogram_add */
  *max_ns = atomic_load_explicit(&histogram->max_ns, memory_order_relaxed);
}
