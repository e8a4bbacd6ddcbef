#include "vad.h"

#include "frame.h"
#include "level.h"

#define START_WINDOW 5
#define START_NEED 3

bool fa_detector_needs_webrtc(fa_detector_t detector) {
  return detector == FA_DETECT_WEBRTC || detector == FA_DETECT_RMS_WEBRTC;
}

fa_result_t fa_vad_init(fa_vad_t *vad, const fa_vad_config_t *config, const fa_webrtc_t *webrtc) {
  *vad = (fa_vad_t){.config = *config, .webrtc = webrtc};
  bool native = config->rate == 8000 || config->rate == 16000;
  if (!native && (config->detector != FA_DETECT_RMS || fa_frame_kind(config->rate) == 0)) return FA_ERR_ARG;
  if (config->webrtc_mode > 3 || (unsigned)config->detector > FA_DETECT_ADAPTIVE) return FA_ERR_ARG;
  if (config->detector == FA_DETECT_ADAPTIVE) fa_adaptive_init(&vad->adaptive, config->rate);
  if (!fa_detector_needs_webrtc(config->detector)) return FA_OK;
  if (webrtc == NULL) return FA_ERR_NO_VAD;
  if (webrtc->create(&vad->handle) != 0 || vad->handle == NULL) return FA_ERR_NOMEM;
  if (webrtc->init(vad->handle) != 0 || webrtc->set_mode(vad->handle, (int)config->webrtc_mode) != 0) {
    fa_vad_close(vad);
    return FA_ERR_ARG;
  }
  return FA_OK;
}

void fa_vad_close(fa_vad_t *vad) {
  if (vad->handle != NULL) vad->webrtc->free(vad->handle);
  vad->handle = NULL;
}

static fa_vad_frame_t adaptive_frame(fa_vad_t *vad, const int16_t *samples, uint32_t rms) {
  fa_adaptive_frame_t frame = fa_adaptive_frame(&vad->adaptive, samples, rms);
  return (fa_vad_frame_t){.rms = rms,
                          .voiced_loud = frame.voiced,
                          .voiced = frame.speech,
                          .goes_on = frame.goes_on,
                          .steady = frame.steady,
                          .convincing = frame.convincing};
}

fa_vad_frame_t fa_vad_frame(fa_vad_t *vad, const int16_t *samples, uint32_t loud_rms, uint32_t quiet_rms) {
  size_t count = vad->config.rate / 50;
  fa_vad_frame_t frame = {.rms = fa_level_rms(samples, count), .steady = true, .convincing = true};
  if (vad->config.detector == FA_DETECT_ADAPTIVE) return adaptive_frame(vad, samples, frame.rms);
  if (vad->config.detector == FA_DETECT_WEBRTC) loud_rms = quiet_rms = 0;
  frame.voiced_loud = frame.rms >= loud_rms;
  frame.voiced = frame.goes_on = frame.rms >= quiet_rms;
  if (vad->config.detector == FA_DETECT_RMS || !(frame.voiced_loud || frame.voiced)) return frame;
  bool speech = vad->webrtc->process(vad->handle, (int)vad->config.rate, samples, count) == 1;
  frame.voiced_loud = frame.voiced_loud && speech;
  frame.voiced = frame.goes_on = frame.voiced && speech;
  return frame;
}

bool fa_vad_listens_to_playback(const fa_vad_t *vad) { return vad->config.detector == FA_DETECT_ADAPTIVE; }

void fa_vad_gap(fa_vad_t *vad) {
  if (vad->config.detector == FA_DETECT_ADAPTIVE) fa_adaptive_gap(&vad->adaptive);
}

void fa_vad_played(fa_vad_t *vad, uint32_t rms) {
  if (vad->config.detector == FA_DETECT_ADAPTIVE) fa_adaptive_played(&vad->adaptive, rms);
}

void fa_vad_interrupted(fa_vad_t *vad) {
  if (vad->config.detector == FA_DETECT_ADAPTIVE) fa_adaptive_interrupted(&vad->adaptive);
}

void fa_run_push(fa_run_t *run, bool voiced) { run->history = run->history << 1 | (voiced ? 1u : 0u); }

static uint64_t last(const fa_run_t *run, uint32_t window) {
  return window >= 64 ? run->history : run->history & ((UINT64_C(1) << window) - 1);
}

uint32_t fa_run_voiced(const fa_run_t *run, uint32_t window) {
  return (uint32_t)__builtin_popcountll(last(run, window));
}

uint32_t fa_run_oldest(const fa_run_t *run, uint32_t window) {
  uint64_t frames = last(run, window);
  return frames == 0 ? 0 : 63 - (uint32_t)__builtin_clzll(frames);
}

void fa_gate_init(fa_gate_t *gate, uint32_t stop_frames) {
  *gate = (fa_gate_t){.stop_frames = stop_frames == 0 ? 1 : stop_frames};
}

fa_gate_event_t fa_gate_frame(fa_gate_t *gate, bool voiced, bool goes_on, uint32_t *frames_back) {
  fa_run_push(&gate->run, voiced);
  gate->silent_run = voiced || goes_on ? 0 : gate->silent_run + 1;
  if (!gate->speaking && fa_run_voiced(&gate->run, START_WINDOW) >= START_NEED) {
    gate->speaking = true;
    *frames_back = fa_run_oldest(&gate->run, START_WINDOW);
    return FA_GATE_START;
  }
  if (gate->speaking && gate->silent_run >= gate->stop_frames) {
    gate->speaking = false;
    gate->run.history = 0;
    *frames_back = gate->silent_run;
    return FA_GATE_STOP;
  }
  return FA_GATE_NONE;
}
