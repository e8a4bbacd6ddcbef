/* bargein.h - when the caller interrupts: a pure state machine over voiced frames and ticks.
 *
 *   IDLE --first sign while the agent plays--> HELD --speech lasts--> BARGED --flush or resume by the agent--> IDLE
 *                                              HELD --it was a cough--> IDLE (resume)
 *                                              BARGED --no word from the agent for limit_ticks--> IDLE (flush)
 *
 * The classic `rms` rule is need == window (unbroken); a majority of the window misses far fewer callers.
 * Threads: belongs to the media thread. Nothing blocks, allocates or fails.
 */
#ifndef FA_BARGEIN_H
#define FA_BARGEIN_H

#include "fa.h"
#include "vad.h"

typedef struct {
  uint32_t enabled;       /* 0: never holds */
  uint32_t rms;           /* level of speech while the agent speaks, of 32768 */
  uint32_t hold_window;   /* frames, 1..64: hold when hold_need of them are voiced */
  uint32_t hold_need;
  uint32_t barge_window;  /* frames, 1..64: barge-in when barge_need of them are voiced */
  uint32_t barge_need;
  uint32_t release_ticks; /* held and not voiced for so long: resume */
  uint32_t decide_ticks;  /* held for so long without either: barge-in, since it goes on */
  uint32_t limit_ticks;   /* barge-in and no word from the agent: flush (75 = 1.5 s) */
  uint32_t rewind_ms;     /* resume so much before the held sample, 0..200 */
} fa_bargein_config_t;

typedef enum { FA_BARGE_IDLE = 0, FA_BARGE_HELD, FA_BARGE_BARGED } fa_bargein_state_t;
typedef enum { FA_DO_NONE = 0, FA_DO_HOLD, FA_DO_RESUME, FA_DO_BARGE, FA_DO_FLUSH } fa_bargein_action_t;

typedef struct {
  fa_bargein_config_t config;
  fa_bargein_state_t state;
  fa_run_t run;
  uint32_t ticks; /* in this state */
  uint32_t quiet; /* ticks since a voiced frame */
  bool steady;     /* the newest frame lets a hold begin ... */
  bool convincing; /* ... or a barge-in */
} fa_bargein_t;

/* FA_ERR_ARG when a window is not 1..64 or a need is not 1..window. */
fa_result_t fa_bargein_init(fa_bargein_t *bargein, const fa_bargein_config_t *config);
/* The defaults for a detector. Barge-in: every frame of `barge_ms` (100..1280) when `unbroken`, else 60 % of them; 45 %
 * of them for the adaptive detector, whose frames are vowels. Hold: 4 of 5 frames; 3 of 5 for the adaptive one. */
fa_bargein_config_t fa_bargein_defaults(fa_detector_t detector, uint32_t rms, uint32_t barge_ms, bool unbroken);

/* One frame of the caller; `steady`: it may begin a hold, `convincing`: it may decide a barge-in, as vad.h says. */
void fa_bargein_frame(fa_bargein_t *bargein, bool voiced, bool steady, bool convincing);
/* One tick of the clock, after the frames that came before it; `playing`: an utterance is open. */
fa_bargein_action_t fa_bargein_tick(fa_bargein_t *bargein, bool playing);
/* The agent has decided (flushed, resumed, or held by itself). */
void fa_bargein_reset(fa_bargein_t *bargein);
void fa_bargein_force(fa_bargein_t *bargein, fa_bargein_state_t state);

#endif
