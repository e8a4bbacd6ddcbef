/* Level, detector, runs, gate and barge-in on any samples and any settings: against plain definitions of each rule. */
#include "bargein.h"
#include "fuzz.h"
#include "level.h"
#include "vad.h"

/* ---- the level ---- */

static void check_level(const int16_t *samples, size_t count) {
  uint64_t energy = 0;
  for (size_t i = 0; i < count; i++) energy += (uint64_t)((int64_t)samples[i] * samples[i]);
  NEED(fa_level_energy(samples, count) == energy);
  uint64_t rms = fa_level_rms(samples, count);
  NEED(rms <= 32768 && (count > 0 || rms == 0));
  if (count > 0) NEED(rms * rms * count <= energy && (rms + 1) * (rms + 1) * count > energy);
}

/* ---- the detector ---- */

/* WebRTC's functions, answering as the samples say, errors too. */
static int create(void **handle) {
  *handle = malloc(1);
  return *handle == NULL ? -1 : 0;
}
static int init(void *handle) { return handle == NULL ? -1 : 0; }
static int set_mode(void *handle, int mode) { return handle != NULL && mode >= 0 && mode <= 3 ? 0 : -1; }
static int process(void *handle, int rate, const int16_t *samples, size_t count) {
  NEED(handle != NULL && (size_t)rate == count * 50);
  return (uint16_t)samples[0] % 3 - 1;
}
static const fa_webrtc_t webrtc = {create, free, init, set_mode, process};

static void check_vad(input_t *input, const int16_t *samples) {
  fa_vad_config_t config = {.detector = (fa_detector_t)(take8(input) % 3), .rate = take8(input) & 1 ? 16000 : 8000,
                            .webrtc_mode = take8(input) % 5};
  fa_vad_t vad;
  fa_result_t result = fa_vad_init(&vad, &config, &webrtc);
  NEED((result == FA_OK) == (config.webrtc_mode <= 3));
  if (result != FA_OK) return;
  uint32_t loud = (uint32_t)take(input, 2), quiet = (uint32_t)take(input, 2);
  fa_vad_frame_t frame = fa_vad_frame(&vad, samples, loud, quiet);
  uint32_t rms = fa_level_rms(samples, config.rate / 50);
  bool speech = config.detector == FA_DETECT_RMS || (uint16_t)samples[0] % 3 == 2;
  bool any_level = config.detector == FA_DETECT_WEBRTC;
  NEED(frame.rms == rms);
  NEED(frame.voiced_loud == (speech && (any_level || rms >= loud)));
  NEED(frame.voiced == (speech && (any_level || rms >= quiet)));
  NEED(frame.goes_on == frame.voiced);
  fa_vad_close(&vad);
}

/* ---- runs, gate and barge-in over the same frames ---- */

typedef struct {
  bool voiced[4096];
  uint32_t count;
} history_t;

static uint32_t voiced_of_last(const history_t *history, uint32_t from, uint32_t window) {
  uint32_t voiced = 0;
  for (uint32_t i = 0; i < window && history->count - i > from; i++) voiced += history->voiced[history->count - 1 - i];
  return voiced;
}

static void check_run(const fa_run_t *run, const history_t *history, uint32_t window) {
  NEED(fa_run_voiced(run, window) == voiced_of_last(history, 0, window));
  uint32_t oldest = 0;
  for (uint32_t i = 0; i < window && i < history->count; i++)
    if (history->voiced[history->count - 1 - i]) oldest = i;
  NEED(fa_run_oldest(run, window) == oldest);
}

static void check_gate(fa_gate_t *gate, bool voiced, bool goes_on) {
  bool speaking = gate->speaking;
  uint32_t back = UINT32_MAX;
  switch (fa_gate_frame(gate, voiced, goes_on, &back)) {
    case FA_GATE_NONE: NEED(gate->speaking == speaking && back == UINT32_MAX); break;
    case FA_GATE_START: NEED(!speaking && gate->speaking && voiced && back >= 2 && back < 5); break;
    case FA_GATE_STOP: NEED(speaking && !gate->speaking && !voiced && !goes_on && back == gate->stop_frames); break;
  }
}

/* `from`: the first frame that still counts. */
static void check_bargein(fa_bargein_t *bargein, const history_t *history, uint32_t *from, bool playing) {
  const fa_bargein_config_t *config = &bargein->config;
  fa_bargein_state_t before = bargein->state;
  uint32_t ticks = bargein->ticks + 1;
  bool sign = voiced_of_last(history, *from, config->hold_window) >= config->hold_need;
  bool lasts = voiced_of_last(history, *from, config->barge_window) >= config->barge_need;
  fa_bargein_action_t action = fa_bargein_tick(bargein, playing);
  switch (before) {
    case FA_BARGE_IDLE:
      NEED((action == FA_DO_HOLD) == (config->enabled && playing && sign));
      NEED(action == FA_DO_NONE || action == FA_DO_HOLD);
      break;
    case FA_BARGE_HELD:
      NEED(action != FA_DO_HOLD && action != FA_DO_FLUSH);
      NEED(!lasts || action == FA_DO_BARGE);
      NEED(config->decide_ticks == 0 || ticks < config->decide_ticks || action != FA_DO_NONE);
      break;
    case FA_BARGE_BARGED: NEED(action == (ticks >= config->limit_ticks ? FA_DO_FLUSH : FA_DO_NONE)); break;
  }
  static const fa_bargein_state_t leads_to[] = {[FA_DO_HOLD] = FA_BARGE_HELD, [FA_DO_RESUME] = FA_BARGE_IDLE,
                                                [FA_DO_BARGE] = FA_BARGE_BARGED, [FA_DO_FLUSH] = FA_BARGE_IDLE};
  NEED(bargein->state == (action == FA_DO_NONE ? before : leads_to[action]));
  if (action == FA_DO_RESUME || action == FA_DO_FLUSH) *from = history->count;
}

static bool rule_ok(uint32_t window, uint32_t need) { return window >= 1 && window <= 64 && need >= 1 && need <= window; }

static void check_rules(input_t *input) {
  static history_t history;
  history.count = 0;
  uint32_t from = 0;
  fa_bargein_config_t config = {.enabled = take8(input) % 4,       .hold_window = take8(input) % 70,
                                .hold_need = take8(input) % 70,    .barge_window = take8(input) % 70,
                                .barge_need = take8(input) % 70,   .release_ticks = take8(input) % 40,
                                .decide_ticks = take8(input) % 60, .limit_ticks = take8(input) % 90,
                                .rewind_ms = take8(input)};
  fa_bargein_t bargein;
  bool ok = rule_ok(config.hold_window, config.hold_need) && rule_ok(config.barge_window, config.barge_need) &&
            config.rewind_ms <= 200 && config.release_ticks > 0 && config.limit_ticks > 0;
  NEED((fa_bargein_init(&bargein, &config) == FA_OK) == ok);
  if (!ok) {
    config = fa_bargein_defaults(FA_DETECT_RMS, 800, take8(input) * 6, config.enabled & 1);
    NEED(fa_bargein_init(&bargein, &config) == FA_OK); /* the defaults are always in range */
  }
  fa_gate_t gate;
  fa_gate_init(&gate, take8(input) % 20);
  fa_run_t run = {0};
  while (input->left > 0 && history.count < 4000) {
    uint32_t bits = take8(input);
    if (bits == 0xa5) {
      fa_bargein_reset(&bargein);
      from = history.count;
      continue;
    }
    for (uint32_t i = 0; i < 8; i++) {
      bool voiced = bits >> i & 1;
      history.voiced[history.count++] = voiced;
      fa_run_push(&run, voiced);
      check_gate(&gate, voiced, bits >> (7 - i) & 1);
      fa_bargein_frame(&bargein, voiced, true, true);
      check_bargein(&bargein, &history, &from, bits != 0x33);
    }
    check_run(&run, &history, 1 + bits % 64);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  input_t input = {data, size};
  int16_t samples[320] = {0};
  size_t length = take8(&input) * 4u;
  if (length > input.left) length = input.left;
  if (length > sizeof samples) length = sizeof samples;
  memcpy(samples, input.data, length);
  input.data += length;
  input.left -= length;
  check_level(samples, length / 2);
  check_level(samples, 320);
  check_vad(&input, samples);
  check_rules(&input);
  return 0;
}
