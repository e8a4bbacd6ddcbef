#include "echo.h"

#include <string.h>

#define BLOCK_FRAMES 10
#define WAITING 3      /* blocks that do not count yet, the newest among them */
#define AUDIBLE 200    /* RMS: quieter playback than this is taken for none */
#define KNOWN_WIDE 40  /* frames that count, from which the wide gain holds: longer than the longest delay */
#define KNOWN_DELAY 60 /* ... and from which a delay can be told from another */
#define GAIN_MAX 0x7fff

void fa_echo_init(fa_echo_t *echo) { *echo = (fa_echo_t){0}; }

static uint16_t louder(uint16_t a, uint16_t b) { return a > b ? a : b; }

void fa_echo_played(fa_echo_t *echo, uint32_t rms) {
  memmove(echo->played + 1, echo->played, sizeof echo->played - sizeof *echo->played);
  memmove(echo->loudest + 1, echo->loudest, sizeof echo->loudest - sizeof *echo->loudest);
  echo->played[0] = (uint16_t)(rms > UINT16_MAX ? UINT16_MAX : rms);
  /* The window of delay d is frames d to d + 4; that of delay 0 is made new, the others have moved on. */
  uint16_t loudest = 0;
  for (uint32_t i = 0; i < FA_ECHO_WINDOW; i++) loudest = louder(loudest, echo->played[i]);
  echo->loudest[0] = loudest;
}

static uint32_t widest(const fa_echo_t *echo) {
  uint16_t loudest = 0;
  for (uint32_t d = 0; d < FA_ECHO_DELAYS; d++) loudest = louder(loudest, echo->loudest[d]);
  return loudest;
}

static bool counts(const fa_echo_t *echo, uint32_t block) {
  return (echo->block + FA_ECHO_BLOCKS - block) % FA_ECHO_BLOCKS >= WAITING;
}

static uint32_t times(uint32_t level, int32_t gain) {
  int32_t most = FA_ECHO_UNIT / 2; /* an echo is never taken for louder than half */
  return level * (uint32_t)(gain < most ? gain : most) / FA_ECHO_UNIT;
}

/* The echo by the delay at which the smallest gain explains everything; `otherwise` when there is none. */
static uint32_t by_delay(fa_echo_t *echo, uint32_t otherwise) {
  const int16_t *gain = echo->known_gain;
  uint32_t best = FA_ECHO_DELAYS;
  for (uint32_t d = 0; d < FA_ECHO_DELAYS; d++)
    if (gain[d] > 0 && (best == FA_ECHO_DELAYS || gain[d] < gain[best])) best = d;
  if (best == FA_ECHO_DELAYS) return otherwise;
  echo->delay = best;
  uint32_t level = times(echo->loudest[best], gain[best]);
  return level < otherwise ? level : otherwise;
}

uint32_t fa_echo_predict(fa_echo_t *echo) {
  uint32_t loudest = widest(echo);
  if (loudest <= AUDIBLE) return 0;
  uint32_t level = times(loudest, echo->known_frames >= KNOWN_WIDE ? echo->known_wide : GAIN_MAX);
  return echo->known_frames >= KNOWN_DELAY ? by_delay(echo, level) : level;
}

static int16_t higher(int16_t a, int16_t b) { return a > b ? a : b; }

/* What the blocks that count know together. */
static void sum_up(fa_echo_t *echo) {
  memset(echo->known_gain, 0, sizeof echo->known_gain);
  echo->known_wide = 0;
  echo->known_frames = 0;
  for (uint32_t b = 0; b < FA_ECHO_BLOCKS; b++) {
    if (!counts(echo, b)) continue;
    for (uint32_t d = 0; d < FA_ECHO_DELAYS; d++) echo->known_gain[d] = higher(echo->known_gain[d], echo->gain[b][d]);
    echo->known_wide = higher(echo->known_wide, echo->wide_gain[b]);
    echo->known_frames += echo->frames[b];
  }
}

static int16_t ratio(uint32_t rms, uint32_t played) {
  uint32_t gain = rms * FA_ECHO_UNIT / played;
  return (int16_t)(gain > GAIN_MAX ? GAIN_MAX : gain < 1 ? 1 : gain);
}

static void empty(fa_echo_t *echo, uint32_t block) {
  memset(echo->gain[block], 0, sizeof echo->gain[block]);
  echo->wide_gain[block] = 0;
  echo->frames[block] = 0;
}

void fa_echo_heard(fa_echo_t *echo, uint32_t rms, uint32_t noise) {
  uint32_t loudest = widest(echo), b = echo->block;
  if (loudest > AUDIBLE) {
    echo->wide_gain[b] = higher(echo->wide_gain[b], ratio(rms, loudest));
    echo->frames[b]++;
    for (uint32_t d = 0; d < FA_ECHO_DELAYS; d++) {
      bool audible = echo->loudest[d] > AUDIBLE;
      if (!audible && rms <= noise) continue;
      int16_t gain = ratio(rms, audible ? echo->loudest[d] : AUDIBLE); /* what was silent explains nothing loud */
      echo->gain[b][d] = higher(echo->gain[b][d], gain);
    }
  }
  if (++echo->block_frames < BLOCK_FRAMES) return;
  echo->block_frames = 0;
  echo->block = (b + 1) % FA_ECHO_BLOCKS;
  empty(echo, echo->block);
  sum_up(echo);
}

void fa_echo_forget(fa_echo_t *echo) {
  for (uint32_t b = 0; b < FA_ECHO_BLOCKS; b++)
    if (!counts(echo, b)) empty(echo, b);
}
