/* The detectors with stub WebRTC functions, runs of frames, and the gate. */
#include "check.h"
#include "vad.h"

static int created, freed, processed, answer = 1, init_result;
static int stub_create(void **handle) {
  created++;
  *handle = malloc(1);
  return 0;
}
static void stub_free(void *handle) {
  freed++;
  free(handle);
}
static int stub_init(void *handle) {
  (void)handle;
  return init_result;
}
static int stub_mode(void *handle, int mode) {
  (void)handle;
  return mode > 3 ? -1 : 0;
}
static int stub_process(void *handle, int rate, const int16_t *samples, size_t count) {
  (void)samples;
  CHECK(handle != NULL);
  CHECK_EQ(count, rate / 50);
  processed++;
  return answer;
}
static const fa_webrtc_t stub = {stub_create, stub_free, stub_init, stub_mode, stub_process};

static fa_vad_t make(fa_detector_t detector) {
  fa_vad_t vad;
  fa_vad_config_t config = {.detector = detector, .rate = 8000, .webrtc_mode = 2};
  CHECK_EQ(fa_vad_init(&vad, &config, &stub), FA_OK);
  processed = 0;
  return vad;
}

static const int16_t *tone(int16_t level) {
  static int16_t samples[FA_FRAME_SAMPLES_MAX];
  for (size_t i = 0; i < FA_FRAME_SAMPLES_MAX; i++) samples[i] = level;
  return samples;
}

static void test_set_up(void) {
  fa_vad_t vad;
  fa_vad_config_t config = {.detector = FA_DETECT_RMS, .rate = 8000};
  CHECK_EQ(fa_vad_init(&vad, &config, NULL), FA_OK);
  config.rate = 11025;
  CHECK_EQ(fa_vad_init(&vad, &config, NULL), FA_ERR_ARG);
  config = (fa_vad_config_t){.detector = FA_DETECT_WEBRTC, .rate = 16000};
  CHECK_EQ(fa_vad_init(&vad, &config, NULL), FA_ERR_NO_VAD);
  config.webrtc_mode = 4;
  CHECK_EQ(fa_vad_init(&vad, &config, &stub), FA_ERR_ARG);
  config.webrtc_mode = 0;
  config.detector = (fa_detector_t)4;
  CHECK_EQ(fa_vad_init(&vad, &config, &stub), FA_ERR_ARG);
  config.detector = FA_DETECT_WEBRTC;
  init_result = -1; /* nothing is leaked when WebRTC refuses */
  CHECK_EQ(fa_vad_init(&vad, &config, &stub), FA_ERR_ARG);
  init_result = 0;
  CHECK_EQ(created, freed);
  CHECK(vad.handle == NULL);
}

static void test_level_alone(void) {
  fa_vad_t vad = make(FA_DETECT_RMS);
  fa_vad_frame_t frame = fa_vad_frame(&vad, tone(500), 500, 501);
  CHECK(frame.rms == 500 && frame.voiced_loud && !frame.voiced);
  CHECK_EQ(processed, 0);
  fa_vad_close(&vad);
}

static void test_webrtc_alone(void) {
  fa_vad_t vad = make(FA_DETECT_WEBRTC);
  fa_vad_frame_t frame = fa_vad_frame(&vad, tone(0), 500, 500);
  CHECK(frame.voiced_loud && frame.voiced);
  answer = 0;
  frame = fa_vad_frame(&vad, tone(9000), 500, 500);
  CHECK(!frame.voiced_loud && !frame.voiced);
  answer = -1; /* an error is not speech */
  frame = fa_vad_frame(&vad, tone(9000), 500, 500);
  CHECK(!frame.voiced_loud && !frame.voiced);
  answer = 1;
  CHECK_EQ(processed, 3);
  fa_vad_close(&vad);
}

static void test_both_run_webrtc_only_where_the_level_is_undecided(void) {
  fa_vad_t vad = make(FA_DETECT_RMS_WEBRTC);
  fa_vad_frame_t frame = fa_vad_frame(&vad, tone(200), 800, 300);
  CHECK(!frame.voiced_loud && !frame.voiced);
  CHECK_EQ(processed, 0);
  frame = fa_vad_frame(&vad, tone(400), 800, 300);
  CHECK(!frame.voiced_loud && frame.voiced);
  CHECK_EQ(processed, 1);
  frame = fa_vad_frame(&vad, tone(900), 800, 300);
  CHECK(frame.voiced_loud && frame.voiced);
  answer = 0;
  frame = fa_vad_frame(&vad, tone(900), 800, 300);
  CHECK(!frame.voiced_loud && !frame.voiced);
  answer = 1;
  CHECK_EQ(processed, 3); /* once for two thresholds */
  fa_vad_close(&vad);
  fa_vad_close(&vad); /* twice is harmless */
  CHECK_EQ(created, freed);
}

static void test_runs_against_naive(void) {
  fa_run_t run = {0};
  bool history[2000] = {false};
  uint64_t seed = 3;
  for (uint32_t n = 0; n < 2000; n++) {
    history[n] = check_random(&seed) % 3 == 0;
    fa_run_push(&run, history[n]);
    for (uint32_t window = 1; window <= 64; window += 7) {
      uint32_t voiced = 0, oldest = 0;
      for (uint32_t back = 0; back < window && back <= n; back++)
        if (history[n - back]) voiced++, oldest = back;
      CHECK_EQ(fa_run_voiced(&run, window), voiced);
      if (voiced > 0) CHECK_EQ(fa_run_oldest(&run, window), oldest);
    }
  }
}

/* `x` is voiced, `-` speech that goes on, `.` neither. */
static fa_gate_event_t push(fa_gate_t *gate, const char *frames, uint32_t *back) {
  fa_gate_event_t event = FA_GATE_NONE;
  for (; *frames != 0; frames++) {
    CHECK_EQ(event, FA_GATE_NONE); /* only the last frame of `frames` may decide */
    event = fa_gate_frame(gate, *frames == 'x', *frames == '-', back);
  }
  return event;
}

static void test_gate(void) {
  fa_gate_t gate;
  uint32_t back = 99;
  fa_gate_init(&gate, 4);
  CHECK_EQ(push(&gate, "..x.x..x.", &back), FA_GATE_NONE); /* never three of five */
  CHECK_EQ(push(&gate, "xx", &back), FA_GATE_START);
  CHECK_EQ(back, 3); /* x.xx: the oldest of the window */
  CHECK_EQ(push(&gate, "xxxx...x...", &back), FA_GATE_NONE);
  CHECK_EQ(push(&gate, ".", &back), FA_GATE_STOP);
  CHECK_EQ(back, 4);
  CHECK_EQ(push(&gate, "........xx", &back), FA_GATE_NONE);
  CHECK_EQ(push(&gate, "x", &back), FA_GATE_START);
  CHECK_EQ(back, 2);
  CHECK_EQ(push(&gate, "..----...-...", &back), FA_GATE_NONE); /* what goes on is no silence */
  CHECK_EQ(push(&gate, ".", &back), FA_GATE_STOP);
  CHECK_EQ(back, 4);
  CHECK_EQ(push(&gate, "---x---x---", &back), FA_GATE_NONE); /* and begins nothing */
  fa_gate_init(&gate, 0); /* 0 would never stop */
  CHECK_EQ(push(&gate, "xxx", &back), FA_GATE_START);
  CHECK_EQ(push(&gate, ".", &back), FA_GATE_STOP);
  CHECK_EQ(back, 1);
}

int main(void) {
  check_time_limit(60);
  RUN(test_set_up);
  RUN(test_level_alone);
  RUN(test_webrtc_alone);
  RUN(test_both_run_webrtc_only_where_the_level_is_undecided);
  RUN(test_runs_against_naive);
  RUN(test_gate);
  return 0;
}
