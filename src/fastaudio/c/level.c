#include "level.h"

#include <math.h>

uint64_t fa_level_energy(const int16_t *samples, size_t count) {
  uint64_t energy = 0;
  for (size_t i = 0; i < count; i++) {
    int32_t sample = samples[i];
    energy += (uint32_t)(sample * sample); /* at most 2^30: no overflow */
  }
  return energy;
}

uint32_t fa_level_rms(const int16_t *samples, size_t count) {
  if (count == 0) return 0;
  return (uint32_t)sqrt((double)fa_level_energy(samples, count) / (double)count);
}

void fa_level_rms_batch(const int16_t *samples, size_t count, size_t frames, uint32_t *out) {
  for (size_t i = 0; i < frames; i++) out[i] = fa_level_rms(samples + i * count, count);
}
