#include "bargein.h"

fa_bargein_config_t fa_bargein_defaults(fa_detector_t detector, uint32_t rms, uint32_t barge_ms, bool unbroken) {
  uint32_t percent = detector == FA_DETECT_ADAPTIVE ? 45 : 60, hold = detector == FA_DETECT_ADAPTIVE ? 3 : 4;
  uint32_t window = barge_ms / FA_TICK_MS;
  if (window < 1) window = 1;
  if (window > 64) window = 64;
  uint32_t need = unbroken ? window : (window * percent + 99) / 100;
  return (fa_bargein_config_t){
      .enabled = 1,
      .rms = rms,
      .hold_window = window < 5 ? window : 5,
      .hold_need = window < hold ? window : hold,
      .barge_window = window,
      .barge_need = need,
      .release_ticks = 10,
      .decide_ticks = 50,
      .limit_ticks = 75,
      .rewind_ms = 0,
  };
}

static bool rule_ok(uint32_t window, uint32_t need) { return window >= 1 && window <= 64 && need >= 1 && need <= window; }

fa_result_t fa_bargein_init(fa_bargein_t *bargein, const fa_bargein_config_t *config) {
  if (!rule_ok(config->hold_window, config->hold_need) || !rule_ok(config->barge_window, config->barge_need))
    return FA_ERR_ARG;
  if (config->rewind_ms > 200 || config->release_ticks == 0 || config->limit_ticks == 0) return FA_ERR_ARG;
  *bargein = (fa_bargein_t){.config = *config};
  return FA_OK;
}

void fa_bargein_frame(fa_bargein_t *bargein, bool voiced, bool steady, bool convincing) {
  fa_run_push(&bargein->run, voiced);
  bargein->steady = steady;
  bargein->convincing = convincing;
  if (voiced) bargein->quiet = 0;
}

static void enter(fa_bargein_t *bargein, fa_bargein_state_t state) {
  bargein->state = state;
  bargein->ticks = 0;
}

void fa_bargein_reset(fa_bargein_t *bargein) {
  enter(bargein, FA_BARGE_IDLE);
  bargein->run = (fa_run_t){0};
}

void fa_bargein_force(fa_bargein_t *bargein, fa_bargein_state_t state) { enter(bargein, state); }

fa_bargein_action_t fa_bargein_tick(fa_bargein_t *bargein, bool playing) {
  const fa_bargein_config_t *config = &bargein->config;
  bargein->ticks++;
  bargein->quiet++;
  switch (bargein->state) {
    case FA_BARGE_IDLE:
      if (!config->enabled || !playing) return FA_DO_NONE;
      if (!bargein->steady || !bargein->convincing) return FA_DO_NONE;
      if (fa_run_voiced(&bargein->run, config->hold_window) < config->hold_need) return FA_DO_NONE;
      enter(bargein, FA_BARGE_HELD);
      bargein->quiet = 1;
      return FA_DO_HOLD;
    case FA_BARGE_HELD:
      if (bargein->convincing && fa_run_voiced(&bargein->run, config->barge_window) >= config->barge_need) {
        enter(bargein, FA_BARGE_BARGED);
        return FA_DO_BARGE;
      }
      if (bargein->quiet > config->release_ticks) {
        fa_bargein_reset(bargein);
        return FA_DO_RESUME;
      }
      if (config->decide_ticks != 0 && bargein->ticks >= config->decide_ticks) {
        enter(bargein, FA_BARGE_BARGED);
        return FA_DO_BARGE;
      }
      return FA_DO_NONE;
    case FA_BARGE_BARGED:
      if (bargein->ticks < config->limit_ticks) return FA_DO_NONE;
      fa_bargein_reset(bargein);
      return FA_DO_FLUSH;
  }
  return FA_DO_NONE;
}
