#include "level.h"

#include <math.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

uint64_t fa_level_energy(const int16_t *samples, size_t count) {
  uint64_t energy = 0;
  size_t i = 0;
#ifdef __SSE2__
  /* Eight samples at a time: the sum of two squares is at most 2^31, which fits when it is taken as unsigned. */
  const __m128i zero = _mm_setzero_si128();
  __m128i sum = zero;
  for (; i + 8 <= count; i += 8) {
    __m128i eight = _mm_loadu_si128((const __m128i *)(const void *)(samples + i));
    __m128i pairs = _mm_madd_epi16(eight, eight);
    sum = _mm_add_epi64(sum, _mm_add_epi64(_mm_unpacklo_epi32(pairs, zero), _mm_unpackhi_epi32(pairs, zero)));
  }
  uint64_t halves[2];
  _mm_storeu_si128((__m128i *)(void *)halves, sum);
  energy = halves[0] + halves[1];
#endif
  for (; i < count; i++) {
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
