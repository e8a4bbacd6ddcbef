#include "pitch.h"

#include <string.h>

#define SHORTEST 9 /* samples at 4 kHz: 444 Hz */
#define LONGEST 66 /* 61 Hz */
#define FIRST 2    /* where the search for a quicker repetition begins: 2 kHz */
#define GROUP 8    /* samples that an instruction takes */
#define HALF 80    /* samples at 4 kHz of a frame */
#define TURNED 0.5 /* a correlation below this shows that the sound has moved on since lag 0 */
#define AS_GOOD 0.81 /* of the strength: a quicker repetition that is nine tenths as good is the period itself */
#define PEAK 2047  /* products of 12 bits: 160 of them fit 32 bits, and eight fit an instruction */

void fa_pitch_init(fa_pitch_t *pitch, uint32_t rate) { *pitch = (fa_pitch_t){.rate = rate}; }

void fa_pitch_keep(fa_pitch_t *pitch, const int16_t *samples) {
  memcpy(pitch->before, samples, pitch->rate / 50 * sizeof *samples);
}

/* A frame at 8 kHz to 4 kHz: sums of four neighbours, which lets little through above 1 kHz. `next`: the two samples
 * behind the frame. */
static void halve(const int32_t *samples, const int32_t next[2], int32_t *out) {
  for (uint32_t i = 0; i < HALF - 1; i++)
    out[i] = samples[2 * i] + samples[2 * i + 1] + samples[2 * i + 2] + samples[2 * i + 3];
  out[HALF - 1] = samples[2 * HALF - 2] + samples[2 * HALF - 1] + next[0] + next[1];
}

/* A frame as 8 kHz: at 16 kHz the sums of pairs, at half their size. */
static void at_8khz(const int16_t *samples, uint32_t rate, int32_t *out) {
  for (uint32_t i = 0; i < 2 * HALF; i++)
    out[i] = rate == 8000 ? samples[i] : (samples[2 * i] + samples[2 * i + 1]) >> 1;
}

/* Takes the mean away and scales the window to 12 bits. */
static void level_out(const int32_t *sums, int16_t *window) {
  int32_t total = 0, peak = 1;
  for (uint32_t i = 0; i < FA_PITCH_WINDOW; i++) total += sums[i];
  int32_t mean = total / FA_PITCH_WINDOW;
  for (uint32_t i = 0; i < FA_PITCH_WINDOW; i++) {
    int32_t size = sums[i] < mean ? mean - sums[i] : sums[i] - mean;
    peak = size > peak ? size : peak;
  }
  uint32_t shift = 0;
  while (peak >> shift > PEAK) shift++;
  /* Compilers that matter shift a negative number's sign in. */
  for (uint32_t i = 0; i < FA_PITCH_WINDOW; i++) window[i] = (int16_t)((sums[i] - mean) >> shift);
}

/* Whole groups of eight, the last filled up with zeros from behind the window: vectors without a rest. */
static int32_t correlate(const int16_t *window, uint32_t lag) {
  int32_t sum = 0;
  uint32_t count = (FA_PITCH_WINDOW - lag + GROUP - 1) / GROUP * GROUP;
  for (uint32_t i = 0; i < count; i++) sum += (int32_t)window[i] * window[i + lag];
  return sum;
}

double fa_pitch_strength(const fa_pitch_t *pitch, const int16_t *samples, double enough) {
  int32_t before[2 * HALF], now[2 * HALF], sums[FA_PITCH_WINDOW];
  at_8khz(pitch->before, pitch->rate, before);
  at_8khz(samples, pitch->rate, now);
  halve(before, now, sums);
  const int32_t nothing[2] = {0, 0};
  halve(now, nothing, sums + HALF);

  int16_t window[FA_PITCH_WINDOW + GROUP] = {0};
  level_out(sums, window);
  int32_t energy[FA_PITCH_WINDOW + 1]; /* of the samples before each */
  energy[0] = 0;
  for (uint32_t i = 0; i < FA_PITCH_WINDOW; i++) energy[i + 1] = energy[i] + (int32_t)window[i] * window[i];

  double voice = 0, quicker = 0;
  bool turned = false;
  for (uint32_t lag = FIRST; lag <= LONGEST; lag++) {
    double product = correlate(window, lag);
    double of_both = (double)energy[FA_PITCH_WINDOW - lag] * (energy[FA_PITCH_WINDOW] - energy[lag]);
    double strength = product > 0 && of_both > 0 ? product * product / of_both : 0;
    if (strength < TURNED * TURNED) turned = true;
    if (!turned) continue;
    if (lag < SHORTEST) {
      if (strength > quicker) quicker = strength;
    } else if (strength > voice) {
      voice = strength;
      if (voice > enough && quicker <= AS_GOOD * voice) break;
    }
  }
  return quicker > AS_GOOD * voice ? 0 : voice;
}
