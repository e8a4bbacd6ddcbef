/* pitch.h - does the sound repeat itself at the pitch of a voice.
 *
 * The vocal folds open 60 to 440 times a second, so voiced speech looks like itself one period later. Coughs, keys,
 * breath, traffic and white noise do not. The measure is the highest normalised cross-correlation (NCCF) over those
 * periods in 40 ms, of the signal below about 1 kHz, where pitch and the first formant are. Two things repeat and are
 * no voice: what repeats sooner than 440 times a second (whistles, beeps, a dog), and a rumble so slow that it has not
 * turned round within the shortest period.
 *
 * Threads: belongs to whoever owns it. Nothing blocks, allocates or fails; 0.3 to 0.6 us a call of `fa_pitch_strength`.
 */
#ifndef FA_PITCH_H
#define FA_PITCH_H

#include "fa.h"

#define FA_PITCH_FRAME_MAX 320 /* samples of a frame at 16 kHz */
#define FA_PITCH_WINDOW 160 /* samples at 4 kHz: 40 ms */

typedef struct {
  uint32_t rate;
  int16_t before[FA_PITCH_FRAME_MAX]; /* the frame before, as it came */
} fa_pitch_t;

/* `rate`: 8000 or 16000 samples a second. */
void fa_pitch_init(fa_pitch_t *pitch, uint32_t rate);
/* The square of the highest correlation, 0..1, of the frame before and this one (20 ms each); 0 for what is no voice.
 * The search ends at the first that is above `enough` (1: it goes on to the end). */
double fa_pitch_strength(const fa_pitch_t *pitch, const int16_t *samples, double enough);
/* Keeps a frame for the next call; each frame of the stream must be kept. */
void fa_pitch_keep(fa_pitch_t *pitch, const int16_t *samples);

#endif
