/* adaptive.h - the detector that knows what is being played: is this frame the caller's voice.
 *
 * A frame is voiced when it is louder than the line's noise (noise.h), louder than the echo of what the agent is saying
 * (echo.h), and repeats at the pitch of a voice (pitch.h); and when it is not the end of something much louder, since
 * what is struck rings down while a voice is driven. A run of voiced frames convinces when they carry at least half of
 * the energy of all loud frames of the last 400 ms: vowels are the loudest part of speech, while the loudest part of a
 * cough or a slammed door is its burst, whatever rings after it. And it is a first sign only while it does not fall:
 * a knock is loudest when it begins.
 *
 * Speech that has begun goes on through what a voice is not: consonants, weak syllables, the ends of words. Once a voice
 * is heard the bar is lower, namely what the line did not exceed before the voice (`fa_noise_ceiling`), since the caller's
 * own speech lifts the gate of noise.h by 3 dB in 0.4 s. Above it, and above the echo, a pitch within 300 ms of a voiced
 * frame is the voice still, and anything within 400 ms of that is a consonant: noise that begins while the caller speaks
 * is not taken for speech for longer than that.
 *
 * The cues of noise, pitch and echo are those of the cheap detectors in the literature of telephony; the constants are
 * physical (periods, decibels, delays) and not fitted. Benchmarks: benchmarks/bargein.
 *
 * Threads: belongs to whoever owns it. Nothing blocks, allocates or fails.
 */
#ifndef FA_ADAPTIVE_H
#define FA_ADAPTIVE_H

#include "echo.h"
#include "noise.h"
#include "pitch.h"

#define FA_ADAPTIVE_ENERGY 20 /* frames: 400 ms */

typedef struct {
  fa_noise_t noise;
  fa_echo_t echo;
  fa_pitch_t pitch;
  uint32_t loud[FA_ADAPTIVE_ENERGY]; /* levels (RMS) of loud frames, 0 for the others; the newest first */
  uint32_t voiced;                   /* which of them were voiced, the newest in bit 0 */
  uint32_t since_voiced;             /* frames */
  uint32_t since_pitch;              /* frames since one that was voiced, or voice still */
  uint32_t floor;                    /* RMS that the line did not exceed before the voice */
} fa_adaptive_t;

typedef struct {
  bool voiced;     /* the caller's voice */
  bool steady;     /* no quieter than just before: a sign of speech */
  bool convincing; /* what is voiced is most of what is loud */
  bool speech;     /* voiced, or loud and within 200 ms of a voiced frame: consonants and the ends of words */
  bool goes_on;    /* speech that began before goes on in it; so it does in all that is speech */
} fa_adaptive_frame_t;

/* `rate`: 8000 or 16000. */
void fa_adaptive_init(fa_adaptive_t *adaptive, uint32_t rate);
/* Classes a frame of the caller (20 ms) of level `rms`. */
fa_adaptive_frame_t fa_adaptive_frame(fa_adaptive_t *adaptive, const int16_t *samples, uint32_t rms);
/* A frame that did not come is silence. */
void fa_adaptive_gap(fa_adaptive_t *adaptive);
/* Once a tick: the level of what was played in it, 0 for silence. */
void fa_adaptive_played(fa_adaptive_t *adaptive, uint32_t rms);
/* It was the caller: what came just now is not learnt as echo. */
void fa_adaptive_interrupted(fa_adaptive_t *adaptive);

#endif
