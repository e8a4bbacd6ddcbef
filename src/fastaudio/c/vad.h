/* vad.h - is this frame speech, and when did speech begin and end.
 *
 * A detector classes one frame of 20 ms by its level (RMS), by WebRTC's voice-activity detector, by both, or by what
 * a voice is (adaptive.h), with thresholds that it learns. WebRTC's costs about 2 us a frame and runs only where the level has not decided already. Its code is not in
 * here: the functions come from the installed package webrtcvad-wheels, whose extension exports them; note the old
 * signature of Create, which returns through a pointer.
 *
 * Threads: a detector and a gate belong to the media thread once their call runs. `fa_vad_init` allocates (WebRTC's
 * state) and is called where calls are set up. Nothing else blocks, allocates or fails.
 */
#ifndef FA_VAD_H
#define FA_VAD_H

#include "adaptive.h"

typedef struct {
  int (*create)(void **handle); /* WebRtcVad_Create */
  void (*free)(void *handle);   /* WebRtcVad_Free */
  int (*init)(void *handle);
  int (*set_mode)(void *handle, int mode); /* 0..3, 3 the most reluctant to call a frame speech */
  int (*process)(void *handle, int rate, const int16_t *samples, size_t count); /* 1 speech, 0 none, -1 error */
} fa_webrtc_t;

typedef enum { FA_DETECT_RMS = 0, FA_DETECT_WEBRTC = 1, FA_DETECT_RMS_WEBRTC = 2, FA_DETECT_ADAPTIVE = 3 } fa_detector_t;

bool fa_detector_needs_webrtc(fa_detector_t detector);

typedef struct {
  fa_detector_t detector;
  uint32_t rate;        /* 8000 or 16000 samples a second; that of any other audio kind with FA_DETECT_RMS */
  uint32_t webrtc_mode; /* 0..3 */
} fa_vad_config_t;

typedef struct {
  fa_vad_config_t config;
  const fa_webrtc_t *webrtc; /* lives as long as the process */
  void *handle;
  fa_adaptive_t adaptive;
} fa_vad_t;

/* FA_ERR_ARG for a rate or mode out of range, FA_ERR_NO_VAD when WebRTC is asked for and `webrtc` is NULL,
 * FA_ERR_NOMEM. */
fa_result_t fa_vad_init(fa_vad_t *vad, const fa_vad_config_t *config, const fa_webrtc_t *webrtc);
void fa_vad_close(fa_vad_t *vad);

typedef struct {
  uint32_t rms;
  bool voiced_loud; /* speech against the first threshold (barge-in) */
  bool voiced;      /* speech against the second threshold (listening) */
  bool goes_on;     /* speech that began before goes on in it: `voiced`, and for the adaptive detector more than that */
  bool steady;      /* a first sign of speech may be seen in it; always, but for the adaptive detector */
  bool convincing;  /* with the frames before it, enough to act upon; always, but for the adaptive detector */
} fa_vad_frame_t;

/* Classes one frame of 20 ms against two thresholds of RMS at the cost of one. The adaptive detector has its own
 * thresholds, and `webrtc` none. */
fa_vad_frame_t fa_vad_frame(fa_vad_t *vad, const int16_t *samples, uint32_t loud_rms, uint32_t quiet_rms);
/* True when the detector wants to be told what is played. */
bool fa_vad_listens_to_playback(const fa_vad_t *vad);
/* A frame of the caller did not come. */
void fa_vad_gap(fa_vad_t *vad);
/* Once a tick: the RMS of what was played in it, 0 for silence. */
void fa_vad_played(fa_vad_t *vad, uint32_t rms);
/* The agent was interrupted: what came just now is the caller's voice, and no echo to learn from. */
void fa_vad_interrupted(fa_vad_t *vad);

/* A run of voiced and unvoiced frames, newest in bit 0: what every windowed rule is made of. */
typedef struct {
  uint64_t history;
} fa_run_t;

void fa_run_push(fa_run_t *run, bool voiced);
/* Voiced frames among the last `window` (1..64). */
uint32_t fa_run_voiced(const fa_run_t *run, uint32_t window);
/* How many frames ago the oldest voiced frame of the last `window` was; 0 for the newest. `window` holds one. */
uint32_t fa_run_oldest(const fa_run_t *run, uint32_t window);

/* Local speech with hysteresis: starts when 3 of 5 frames are voiced, stops after `stop_frames` in which neither a voice
 * is nor what goes on after one. */
typedef struct {
  fa_run_t run;
  uint32_t silent_run; /* frames since speech last went on */
  uint32_t stop_frames;
  bool speaking;
} fa_gate_t;

typedef enum { FA_GATE_NONE = 0, FA_GATE_START, FA_GATE_STOP } fa_gate_event_t;

void fa_gate_init(fa_gate_t *gate, uint32_t stop_frames);
/* `*frames_back`: how many frames before this one the speech began (START: 0 is this frame), or how many frames of
 * silence lie behind its end (STOP). */
fa_gate_event_t fa_gate_frame(fa_gate_t *gate, bool voiced, bool goes_on, uint32_t *frames_back);

#endif
