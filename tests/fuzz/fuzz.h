/* fuzz.h - what every fuzz target uses: an assertion, and numbers out of the input.
 *
 * A target asserts what must hold of its unit, beside what the sanitizers see. Corpora: corpus/TARGET.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NEED(condition)                                                         \
  do {                                                                          \
    if (!(condition)) {                                                         \
      fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition); \
      abort();                                                                  \
    }                                                                           \
  } while (0)

typedef struct {
  const uint8_t *data;
  size_t left;
} input_t;

/* The next number of so many bytes, little-endian; what is missing at the end is 0. */
static inline uint64_t take(input_t *input, size_t bytes) {
  uint64_t value = 0;
  for (size_t i = 0; i < bytes && input->left > 0; i++, input->data++, input->left--)
    value |= (uint64_t)*input->data << (8 * i);
  return value;
}

static inline uint32_t take8(input_t *input) { return (uint32_t)take(input, 1); }

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
