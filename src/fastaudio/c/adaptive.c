#include "adaptive.h"

#include <string.h>

#define VOICED 0.36        /* the square of a correlation of 0.6 */
#define ECHO_PERCENT 125   /* of the echo that is predicted: 2 dB above it */
#define RINGING 6          /* frames: a voiced sound does not fall by 10 dB within them and stay voiced for long */
#define RINGING_RATIO 3
#define STEADY 3           /* frames: a voice that begins does not fall by 3.5 dB within them, and a knock does */
#define SPEECH_FRAMES 10   /* 200 ms */
#define VOICE_FRAMES 15    /* 300 ms: a voice that has become weak is not weak for longer than a syllable or two */
#define SEARCH_FRAMES 10   /* 200 ms: no need to search for it before, since what is audible goes on anyway */
#define UNVOICED_FRAMES 20 /* 400 ms: no cluster of consonants is longer */

static const int16_t silence[FA_PITCH_FRAME_MAX];

void fa_adaptive_init(fa_adaptive_t *adaptive, uint32_t rate) {
  *adaptive = (fa_adaptive_t){.since_voiced = FA_NOISE_FRAMES, .since_pitch = UNVOICED_FRAMES};
  fa_noise_init(&adaptive->noise);
  fa_echo_init(&adaptive->echo);
  fa_pitch_init(&adaptive->pitch, rate);
}

/* True when something at least RINGING_RATIO times as loud came just before. */
static bool rings(const fa_adaptive_t *adaptive, uint32_t rms) {
  for (uint32_t i = 0; i < RINGING; i++)
    if (adaptive->loud[i] > rms * RINGING_RATIO) return true;
  return false;
}

static bool convincing(const fa_adaptive_t *adaptive) {
  uint64_t voiced = 0, all = 0;
  for (uint32_t i = 0; i < FA_ADAPTIVE_ENERGY; i++) {
    uint64_t energy = (uint64_t)adaptive->loud[i] * adaptive->loud[i];
    all += energy;
    if (adaptive->voiced >> i & 1) voiced += energy;
  }
  return 2 * voiced >= all;
}

static bool steady(const fa_adaptive_t *adaptive) {
  for (uint32_t i = 1; i <= STEADY; i++)
    if (2 * adaptive->loud[i] > 3 * adaptive->loud[0]) return false;
  return true;
}

static void remember(fa_adaptive_t *adaptive, uint32_t loud, bool voiced, bool pitch) {
  memmove(adaptive->loud + 1, adaptive->loud, sizeof adaptive->loud - sizeof *adaptive->loud);
  adaptive->loud[0] = loud;
  adaptive->voiced = adaptive->voiced << 1 | (voiced ? 1u : 0u);
  adaptive->since_voiced = voiced ? 0 : adaptive->since_voiced + 1;
  adaptive->since_pitch = pitch ? 0 : adaptive->since_pitch + 1;
}

fa_adaptive_frame_t fa_adaptive_frame(fa_adaptive_t *adaptive, const int16_t *samples, uint32_t rms) {
  uint32_t gate = fa_noise_frame(&adaptive->noise, rms);
  bool above_echo = rms > fa_echo_predict(&adaptive->echo) * ECHO_PERCENT / 100;
  bool loud = rms > gate && above_echo;
  fa_echo_heard(&adaptive->echo, rms, gate);
  if (adaptive->since_voiced >= FA_NOISE_FRAMES) adaptive->floor = fa_noise_ceiling(&adaptive->noise);
  bool audible = loud || (rms > adaptive->floor && above_echo);
  bool weak = audible && adaptive->since_voiced < VOICE_FRAMES && adaptive->since_pitch >= SEARCH_FRAMES;
  bool pitch = (loud || weak) && !rings(adaptive, rms) && fa_pitch_strength(&adaptive->pitch, samples, VOICED) > VOICED;
  bool voiced = loud && pitch;
  fa_pitch_keep(&adaptive->pitch, samples);
  remember(adaptive, loud ? rms : 0, voiced, pitch);
  return (fa_adaptive_frame_t){.voiced = voiced,
                               .steady = voiced && steady(adaptive),
                               .convincing = voiced && convincing(adaptive),
                               .speech = voiced || (loud && adaptive->since_voiced < SPEECH_FRAMES),
                               .goes_on = audible && adaptive->since_pitch < UNVOICED_FRAMES};
}

void fa_adaptive_gap(fa_adaptive_t *adaptive) {
  (void)fa_noise_frame(&adaptive->noise, 0);
  fa_echo_heard(&adaptive->echo, 0, 0);
  fa_pitch_keep(&adaptive->pitch, silence);
  remember(adaptive, 0, false, false);
}

void fa_adaptive_played(fa_adaptive_t *adaptive, uint32_t rms) { fa_echo_played(&adaptive->echo, rms); }

void fa_adaptive_interrupted(fa_adaptive_t *adaptive) { fa_echo_forget(&adaptive->echo); }
