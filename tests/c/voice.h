/* voice.h - sounds for the detectors' tests: a voiced sound, noise, tones and knocks, in frames of 20 ms. */
#ifndef VOICE_H
#define VOICE_H

#include <math.h>

#include "check.h"
#include "fa.h"

typedef struct {
  double rate, phase;
  uint64_t seed;
} sound_t;

static inline double sound_random(sound_t *sound) { /* -1..1 */
  sound->seed = sound->seed * 6364136223846793005u + 1442695040888963407u;
  return (double)(int64_t)(sound->seed >> 11) / (double)(1ll << 52) - 1;
}

/* `harmonics` of `hz`, each weaker than the one below, at a peak of about `peak`; and white noise of up to `noise`. */
static inline void sound_frame(sound_t *sound, double hz, uint32_t harmonics, double peak, double noise, int16_t *out) {
  for (uint32_t i = 0; i < (uint32_t)sound->rate / 50; i++) {
    double sum = 0;
    sound->phase += 2 * 3.14159265358979 * hz / sound->rate;
    for (uint32_t k = 1; k <= harmonics; k++) sum += sin(k * sound->phase) / k;
    out[i] = (int16_t)(peak * sum / 1.6 + noise * sound_random(sound));
  }
}

#endif
