/* interruption.h - a barge-in detector by itself: frames in, its state out. What a call does, without the call.
 *
 * The agent is taken to speak all the time. Once a barge-in is decided it lasts until the caller has been quiet for the
 * release time.
 *
 * Threads: belongs to whoever owns it. `fa_interruption_init` may allocate (WebRTC's state); nothing else does, or blocks.
 */
#ifndef FA_INTERRUPTION_H
#define FA_INTERRUPTION_H

#include "bargein.h"
#include "vad.h"

typedef enum {
  FA_STATE_IDLE = 0,
  FA_STATE_HOLD,
  FA_STATE_RESUME, /* for one frame: it was no interruption */
  FA_STATE_BARGE_IN
} fa_state_t;

typedef struct {
  fa_vad_t vad;
  fa_bargein_t bargein;
} fa_interruption_t;

/* As fa_vad_init and fa_bargein_init. */
fa_result_t fa_interruption_init(fa_interruption_t *one, const fa_vad_config_t *vad,
                                 const fa_bargein_config_t *bargein, const fa_webrtc_t *webrtc);
void fa_interruption_close(fa_interruption_t *one);
/* One frame of 20 ms from the caller, and what was played at the same time (NULL: not known). */
fa_state_t fa_interruption_feed(fa_interruption_t *one, const int16_t *caller, const int16_t *played);

#endif
