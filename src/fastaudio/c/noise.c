#include "noise.h"

#include <string.h>

#define LEAST 100        /* RMS: below it A-law leaves little of a voice */
#define USUAL_PERCENT 75  /* so many frames of a line without speech are no louder than its usual level */
#define ABOVE_PERCENT 140 /* of the usual level: speech is 3 dB above it */
#define LEAST_CEILING 16  /* RMS: twice what a silent line of A-law decodes to */
#define KNOWN 11          /* frames from which the usual level means something; until then each frame is noise */

void fa_noise_init(fa_noise_t *noise) {
  *noise = (fa_noise_t){.gate = LEAST};
  for (uint32_t i = 0; i < FA_NOISE_PLACES; i++) noise->ordered[i] = UINT16_MAX;
}

/* The first place in order that is not below `level`: counted, which is quicker than a search whose every step depends
 * on the one before. Places that are not in use hold the highest level. */
static uint32_t place(const fa_noise_t *noise, uint16_t level) {
  uint16_t below = 0;
  for (uint32_t i = 0; i < FA_NOISE_PLACES; i++) below = (uint16_t)(below + (noise->ordered[i] < level));
  return below;
}

static void shift(uint16_t *to, const uint16_t *from, uint32_t count) { memmove(to, from, count * sizeof *to); }

static void replace_oldest(fa_noise_t *noise, uint16_t level) {
  if (noise->count == FA_NOISE_FRAMES) {
    uint32_t at = place(noise, noise->levels[noise->oldest]);
    shift(noise->ordered + at, noise->ordered + at + 1, noise->count-- - at); /* with an unused place behind them */
  }
  uint32_t at = place(noise, level);
  shift(noise->ordered + at + 1, noise->ordered + at, noise->count++ - at);
  noise->ordered[at] = level;
  noise->levels[noise->oldest] = level;
  noise->oldest = (noise->oldest + 1) % FA_NOISE_FRAMES;
}

static uint32_t percentile(const fa_noise_t *noise, uint32_t percent) {
  return noise->ordered[percent * (noise->count - 1) / 100];
}

uint32_t fa_noise_frame(fa_noise_t *noise, uint32_t rms) {
  uint32_t kept = noise->count >= KNOWN && rms > noise->gate ? noise->gate : rms;
  replace_oldest(noise, (uint16_t)(kept > UINT16_MAX ? UINT16_MAX : kept));
  noise->gate = percentile(noise, USUAL_PERCENT) * ABOVE_PERCENT / 100u;
  if (noise->gate < LEAST) noise->gate = LEAST;
  return noise->count < KNOWN && noise->gate < rms ? rms : noise->gate;
}

/* Tukey's fence: half as far again above the quartiles as they are apart is an outlier. */
uint32_t fa_noise_ceiling(const fa_noise_t *noise) {
  uint32_t upper = percentile(noise, 75), lower = percentile(noise, 25);
  uint32_t ceiling = upper + 3 * (upper - lower) / 2;
  return ceiling < LEAST_CEILING ? LEAST_CEILING : ceiling;
}
