/* The histogram of lateness: bounds, and readers that ask while the writer counts. */
#include "histogram.h"

#include <pthread.h>

#include "check.h"

#define VALUES 2000000

static fa_histogram_t histogram;
static uint64_t counts[FA_HISTOGRAM_BUCKETS], max_ns;

static void clear(void) {
  for (int i = 0; i < FA_HISTOGRAM_BUCKETS; i++) atomic_store(&histogram.counts[i], 0);
  atomic_store(&histogram.max_ns, 0);
}

/* The one bucket that has grown. */
static uint32_t bucket_for(int64_t ns) {
  clear();
  fa_histogram_add(&histogram, ns);
  fa_histogram_read(&histogram, counts, &max_ns);
  uint32_t found = FA_HISTOGRAM_BUCKETS;
  for (uint32_t i = 0; i < FA_HISTOGRAM_BUCKETS; i++) {
    if (counts[i] == 0) continue;
    CHECK_EQ(counts[i], 1);
    CHECK_EQ(found, FA_HISTOGRAM_BUCKETS);
    found = i;
  }
  CHECK(found < FA_HISTOGRAM_BUCKETS);
  return found;
}

static void test_each_value_is_in_its_bucket(void) {
  uint64_t seed = 5;
  for (int i = 0; i < 100000; i++) {
    uint64_t us = check_random(&seed) >> (32 + check_random(&seed) % 32);
    uint32_t bucket = bucket_for((int64_t)us * 1000 + 999);
    CHECK(us < fa_histogram_bound_us(bucket));
    CHECK(bucket == 0 || us >= fa_histogram_bound_us(bucket - 1));
    CHECK(us < 8 ? fa_histogram_bound_us(bucket) == us + 1 : fa_histogram_bound_us(bucket) * 8 <= us * 9);
    CHECK_EQ(max_ns, us * 1000 + 999);
  }
}

static void test_edges(void) {
  CHECK_EQ(bucket_for(-5), 0);
  CHECK_EQ(max_ns, 0);
  CHECK_EQ(bucket_for(999), 0);
  CHECK_EQ(bucket_for(1000), 1);
  CHECK_EQ(bucket_for(INT64_MAX), FA_HISTOGRAM_BUCKETS - 1);
  CHECK_EQ(fa_histogram_bound_us(FA_HISTOGRAM_BUCKETS - 1), 1ULL << 32);
  for (uint32_t i = 1; i < FA_HISTOGRAM_BUCKETS; i++)
    CHECK(fa_histogram_bound_us(i) > fa_histogram_bound_us(i - 1));
}

static void *write_rising(void *unused) {
  for (int64_t i = 0; i < VALUES; i++) fa_histogram_add(&histogram, i * 50);
  return unused;
}

/* Asks all the time: what each answer adds to the one before adds up, and no count is seen before its maximum. */
static void test_no_count_is_lost_while_another_thread_asks(void) {
  clear();
  pthread_t writer;
  CHECK_EQ(pthread_create(&writer, NULL, write_rising, NULL), 0);
  uint64_t before[FA_HISTOGRAM_BUCKETS] = {0}, sum = 0, answers = 0;
  while (sum < VALUES) {
    fa_histogram_read(&histogram, counts, &max_ns);
    for (uint32_t i = 0; i < FA_HISTOGRAM_BUCKETS; i++) {
      CHECK(counts[i] >= before[i]);
      if (counts[i] > before[i] && i > 0) CHECK(max_ns / 1000 >= fa_histogram_bound_us(i - 1));
      sum += counts[i] - before[i];
      before[i] = counts[i];
    }
    answers++;
  }
  CHECK_EQ(pthread_join(writer, NULL), 0);
  CHECK_EQ(sum, VALUES);
  CHECK_EQ(max_ns, (VALUES - 1) * 50);
  CHECK(answers > 1);
}

int main(void) {
  check_time_limit(60);
  RUN(test_each_value_is_in_its_bucket);
  RUN(test_edges);
  RUN(test_no_count_is_lost_while_another_thread_asks);
  return 0;
}
