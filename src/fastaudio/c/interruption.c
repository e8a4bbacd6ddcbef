#include "interruption.h"

#include "level.h"

fa_result_t fa_interruption_init(fa_interruption_t *one, const fa_vad_config_t *vad,
                                 const fa_bargein_config_t *bargein, const fa_webrtc_t *webrtc) {
  *one = (fa_interruption_t){0};
  fa_result_t result = fa_bargein_init(&one->bargein, bargein);
  return result == FA_OK ? fa_vad_init(&one->vad, vad, webrtc) : result;
}

void fa_interruption_close(fa_interruption_t *one) { fa_vad_close(&one->vad); }

fa_state_t fa_interruption_feed(fa_interruption_t *one, const int16_t *caller, const int16_t *played) {
  fa_bargein_t *bargein = &one->bargein;
  uint32_t threshold = bargein->config.rms;
  if (fa_vad_listens_to_playback(&one->vad))
    fa_vad_played(&one->vad, played == NULL ? 0 : fa_level_rms(played, one->vad.config.rate / 50));
  fa_vad_frame_t frame = fa_vad_frame(&one->vad, caller, threshold, threshold);
  fa_bargein_frame(bargein, frame.voiced_loud, frame.steady, frame.convincing);
  switch (fa_bargein_tick(bargein, true)) {
    case FA_DO_RESUME: return FA_STATE_RESUME;
    case FA_DO_BARGE: fa_vad_interrupted(&one->vad); break;
    case FA_DO_FLUSH: fa_bargein_force(bargein, FA_BARGE_BARGED); break; /* nobody answers here: it goes on */
    case FA_DO_HOLD:
    case FA_DO_NONE: break;
  }
  if (bargein->state == FA_BARGE_BARGED && bargein->quiet > bargein->config.release_ticks) fa_bargein_reset(bargein);
  return bargein->state == FA_BARGE_IDLE   ? FA_STATE_IDLE
         : bargein->state == FA_BARGE_HELD ? FA_STATE_HOLD
                                           : FA_STATE_BARGE_IN;
}
