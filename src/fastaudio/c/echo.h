/* echo.h - how loud the agent's own voice comes back.
 *
 * What is played returns weaker and later: by a telephone's hybrid at once, from a loudspeaker or a mobile network
 * after up to half a second. Two bounds are learnt from what came back in the last 2.4 s, and the lower one counts:
 *   wide    the highest ratio of what came back to the loudest that was played in the last 0.56 s: no delay is known;
 *   delayed the same for a window of 100 ms at each delay up to 0.48 s. Where a delay is the true one, the smallest
 *           gain explains all that came back; that delay is taken.
 * Until enough is known an echo of half of what was played is assumed. The newest 0.4 to 0.6 s do not count yet, since
 * they may be the caller, who is taken out again (`fa_echo_forget`) when it was the caller.
 *
 * Threads: belongs to whoever owns it. Nothing blocks, allocates or fails; about 0.06 us a frame while the agent speaks.
 */
#ifndef FA_ECHO_H
#define FA_ECHO_H

#include "fa.h"

#define FA_ECHO_DELAYS 24  /* frames: 0.48 s */
#define FA_ECHO_WINDOW 5   /* frames: 100 ms */
#define FA_ECHO_BLOCKS 15  /* of 10 frames: 2.4 s that count, and 0.6 s that wait */
#define FA_ECHO_UNIT 4096  /* a gain of 1 */

typedef struct {
  uint16_t played[FA_ECHO_WINDOW];                 /* RMS, the newest first */
  uint16_t loudest[FA_ECHO_DELAYS];                /* of FA_ECHO_WINDOW frames that began so many frames ago */
  int16_t gain[FA_ECHO_BLOCKS][FA_ECHO_DELAYS];    /* the highest of a block, in units; 0: nothing was played */
  int16_t wide_gain[FA_ECHO_BLOCKS];
  uint8_t frames[FA_ECHO_BLOCKS];                  /* with something played within the last 0.56 s */
  uint32_t block, block_frames;
  int16_t known_gain[FA_ECHO_DELAYS]; /* the highest of the blocks that count, made anew with each block */
  int16_t known_wide;
  uint32_t known_frames;
  uint32_t delay; /* frames, of the last prediction that knew one */
} fa_echo_t;

void fa_echo_init(fa_echo_t *echo);
/* Media time passes: what was played in this tick, as RMS (0..32768). */
void fa_echo_played(fa_echo_t *echo, uint32_t rms);
/* The level of the echo that a frame of the caller may hold now, as RMS; 0 when nothing was played. */
uint32_t fa_echo_predict(fa_echo_t *echo);
/* What came from the caller, as RMS: learns. `noise`: what is not louder needs no explanation. */
void fa_echo_heard(fa_echo_t *echo, uint32_t rms, uint32_t noise);
/* What came in the last 0.6 s was the caller: it is not learnt. */
void fa_echo_forget(fa_echo_t *echo);

#endif
