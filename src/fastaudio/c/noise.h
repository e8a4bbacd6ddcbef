/* noise.h - how loud the line is when nobody speaks.
 *
 * The levels of the last 1.5 s are kept in order. Three quarters of them are no louder than the line's usual level:
 * steady noise stays near it, babble and music rise above it now and then, and speech is louder still. What is louder
 * than the gate counts as the gate only, so that a caller's own speech hardly lifts it, and a noise that stays does in a
 * few seconds.
 *
 * Threads: belongs to whoever owns it. Nothing blocks, allocates or fails.
 */
#ifndef FA_NOISE_H
#define FA_NOISE_H

#include "fa.h"

#define FA_NOISE_FRAMES 75 /* 1.5 s */
#define FA_NOISE_PLACES 80 /* in steps of eight, which are counted at once */

typedef struct {
  uint16_t levels[FA_NOISE_FRAMES];  /* RMS, as they came */
  uint16_t ordered[FA_NOISE_PLACES]; /* the same, the lowest first */
  uint32_t count, oldest;
  uint32_t gate; /* RMS */
} fa_noise_t;

void fa_noise_init(fa_noise_t *noise);
/* Takes the level (RMS, 0..32768) of a frame; returns the gate: speech is louder. */
uint32_t fa_noise_frame(fa_noise_t *noise, uint32_t rms);
/* The level (RMS) that the line by itself hardly exceeds: below the gate where its noise is steady. It means something
 * when nobody spoke in the last 1.5 s, and after the first frame. */
uint32_t fa_noise_ceiling(const fa_noise_t *noise);

#endif
