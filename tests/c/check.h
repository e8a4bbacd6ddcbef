/* check.h - what every C test uses: assertions that say where and what, a seeded generator, a time limit.
 *
 * A failed check ends the program with status 1. Sanitizers end it with their own.
 */
#ifndef CHECK_H
#define CHECK_H

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CHECK(condition)                                                             \
  do {                                                                               \
    if (!(condition)) {                                                              \
      fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition);      \
      exit(1);                                                                       \
    }                                                                                \
  } while (0)

/* Both sides as signed 64-bit numbers. */
#define CHECK_EQ(got, want)                                                                                         \
  do {                                                                                                              \
    int64_t check_got = (int64_t)(got), check_want = (int64_t)(want);                                               \
    if (check_got != check_want) {                                                                                  \
      fprintf(stderr, "%s:%d: %s is %" PRId64 ", not %s = %" PRId64 "\n", __FILE__, __LINE__, #got, check_got, #want, \
              check_want);                                                                                          \
      exit(1);                                                                                                      \
    }                                                                                                               \
  } while (0)

#define RUN(test)                                \
  do {                                           \
    test();                                      \
    printf("ok %s\n", #test);                    \
    fflush(stdout);                              \
  } while (0)

/* Ends the program with a failure after `seconds`: a hang is a failure, not a wait. */
static inline void check_time_limit(unsigned seconds) { alarm(seconds); }

/* xorshift64*: the same numbers on every run. */
static inline uint64_t check_random(uint64_t *state) {
  *state ^= *state >> 12;
  *state ^= *state << 25;
  *state ^= *state >> 27;
  return *state * UINT64_C(2685821657736338717);
}

static inline int64_t check_now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static inline void check_sleep_ms(long ms) {
  struct timespec t = {ms / 1000, ms % 1000 * 1000000};
  while (nanosleep(&t, &t) != 0) continue;
}

#endif
