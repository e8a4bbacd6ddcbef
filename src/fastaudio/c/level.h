/* level.h - how loud a frame is. Pure functions; samples are signed 16-bit in the host's order. */
#ifndef FA_LEVEL_H
#define FA_LEVEL_H

#include "fa.h"

/* Sum of squares of `count` samples; exact for count < 2^33. */
uint64_t fa_level_energy(const int16_t *samples, size_t count);

/* Root mean square, rounded down, 0..32768; 0 when count is 0. The same number as audioop.rms(…, 2). */
uint32_t fa_level_rms(const int16_t *samples, size_t count);

/* Root mean square of each of `frames` frames of `count` samples, back to back. */
void fa_level_rms_batch(const int16_t *samples, size_t count, size_t frames, uint32_t *out);

#endif
