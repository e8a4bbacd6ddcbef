/* The adaptive detector and the interruption around it, on any sound from the caller and any sound played, at both rates:
 * silence is nobody, measures stay in their range, states follow each other as they may, and the same twice is the same. */
#include "fuzz.h"
#include "interruption.h"
#include "level.h"

#define SILENT_FRAMES 40 /* longer than an interruption needs to end */
#define ECHO_FRAMES 28    /* 0.56 s: how long what was played can come back */
#define LOUDEST 32768

typedef struct {
  uint32_t rate;
  fa_adaptive_t adaptive, twin;
  fa_interruption_t whole;
  fa_state_t state;
  uint32_t unplayed; /* frames since something was played */
  uint64_t noise;
} fuzz_t;

/* Sounds that the detector has an opinion about, and what the input brings. */
static void sound(fuzz_t *f, input_t *input, int16_t *samples) {
  uint32_t count = f->rate / 50, kind = take8(input), period = 2 + take8(input), level = take8(input) * 128u;
  for (uint32_t i = 0; i < count; i++) {
    f->noise ^= f->noise << 13, f->noise ^= f->noise >> 7, f->noise ^= f->noise << 17;
    switch (kind % 6) {
      case 0: samples[i] = 0; break;
      case 1: samples[i] = i / period % 2 ? INT16_MAX : INT16_MIN; break;
      case 2: samples[i] = (int16_t)(i % period * level / period); break; /* a saw: a voice of this pitch */
      case 3: samples[i] = (int16_t)((int32_t)(f->noise % (2 * level + 1)) - (int32_t)level); break;
      case 4: samples[i] = (int16_t)level; break;
      default: samples[i] = (int16_t)take(input, i % period == 0 ? 2 : 1);
    }
  }
}

static void check_parts(const fa_adaptive_t *adaptive) {
  const fa_noise_t *noise = &adaptive->noise;
  NEED(noise->count <= FA_NOISE_FRAMES && noise->oldest < FA_NOISE_FRAMES);
  for (uint32_t i = 1; i < noise->count; i++) NEED(noise->ordered[i - 1] <= noise->ordered[i]);
  uint64_t as_they_came = 0, in_order = 0;
  for (uint32_t i = 0; i < noise->count; i++) as_they_came += noise->levels[i], in_order += noise->ordered[i];
  NEED(as_they_came == in_order);
  for (uint32_t i = 0; i < FA_ADAPTIVE_ENERGY; i++) NEED(adaptive->loud[i] <= LOUDEST);
  NEED(adaptive->echo.block < FA_ECHO_BLOCKS && adaptive->echo.delay < FA_ECHO_DELAYS);
}

static void check_frame(fuzz_t *f, const int16_t *caller, uint32_t played_rms) {
  uint32_t rms = fa_level_rms(caller, f->rate / 50);
  fa_adaptive_played(&f->adaptive, played_rms);
  fa_adaptive_played(&f->twin, played_rms);
  f->unplayed = played_rms > 0 ? 0 : f->unplayed + 1;
  fa_echo_t echo = f->adaptive.echo;
  uint32_t expected = fa_echo_predict(&echo);
  NEED(f->unplayed <= ECHO_FRAMES || expected == 0);
  fa_adaptive_frame_t frame = fa_adaptive_frame(&f->adaptive, caller, rms);
  fa_adaptive_frame_t again = fa_adaptive_frame(&f->twin, caller, rms);
  NEED(frame.voiced == again.voiced && frame.speech == again.speech && frame.goes_on == again.goes_on);
  NEED(frame.convincing == again.convincing && frame.steady == again.steady);
  NEED(!(frame.convincing || frame.steady) || frame.voiced);
  NEED(!frame.voiced || frame.speech);
  NEED(!frame.speech || frame.goes_on);
  NEED(!frame.goes_on || (rms > expected && rms > 16)); /* it is more than the agent's own echo, and never silence */
  check_parts(&f->adaptive);
}

/* What may come next. A hold, a resume and a barge-in are decided one a frame. */
static void feed(fuzz_t *f, const int16_t *caller, const int16_t *played) {
  static const uint8_t may_follow[] = {
      [FA_STATE_IDLE] = 1 << FA_STATE_IDLE | 1 << FA_STATE_HOLD,
      [FA_STATE_HOLD] = 1 << FA_STATE_HOLD | 1 << FA_STATE_RESUME | 1 << FA_STATE_BARGE_IN,
      [FA_STATE_RESUME] = 1 << FA_STATE_IDLE | 1 << FA_STATE_HOLD,
      [FA_STATE_BARGE_IN] = 1 << FA_STATE_BARGE_IN | 1 << FA_STATE_IDLE,
  };
  fa_state_t next = fa_interruption_feed(&f->whole, caller, played);
  NEED((unsigned)next <= FA_STATE_BARGE_IN && (may_follow[f->state] >> next & 1));
  f->state = next;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const fa_detector_t detectors[] = {FA_DETECT_ADAPTIVE, FA_DETECT_RMS, FA_DETECT_ADAPTIVE, FA_DETECT_ADAPTIVE};
  input_t input = {data, size};
  uint32_t set = take8(&input);
  fuzz_t f = {.rate = set & 1 ? 16000 : 8000, .noise = 88172645463325252u, .unplayed = ECHO_FRAMES};
  fa_vad_config_t vad = {.detector = detectors[set >> 1 & 3], .rate = f.rate};
  fa_bargein_config_t rules = fa_bargein_defaults(vad.detector, 800, 60 + (set >> 4) * 40, set >> 3 & 1);
  NEED(fa_interruption_init(&f.whole, &vad, &rules, NULL) == FA_OK);
  fa_adaptive_init(&f.adaptive, f.rate);
  fa_adaptive_init(&f.twin, f.rate);
  int16_t caller[320], played[320];
  while (input.left > 0) {
    uint32_t op = take8(&input), times = 1 + op % 16; /* a sound lasts a few frames, or nothing is known of it */
    sound(&f, &input, caller);
    sound(&f, &input, played);
    bool known = op < 230;
    double strength = fa_pitch_strength(&f.adaptive.pitch, caller, 1), enough = take8(&input) / 255.0;
    NEED(strength >= 0 && strength <= 1.000001);
    NEED((fa_pitch_strength(&f.adaptive.pitch, caller, enough) > enough) == (strength > enough)); /* it may stop there */
    for (uint32_t i = 0; i < times; i++) {
      check_frame(&f, caller, known ? fa_level_rms(played, f.rate / 50) : 0);
      feed(&f, caller, known ? played : NULL);
    }
    if (op % 32 == 31) fa_adaptive_gap(&f.adaptive), fa_adaptive_gap(&f.twin);
    if (op % 64 == 30) fa_adaptive_interrupted(&f.adaptive), fa_adaptive_interrupted(&f.twin);
  }
  /* Whatever came: a caller who is silent interrupts nobody any more. */
  memset(caller, 0, sizeof caller);
  for (uint32_t i = 0; i < SILENT_FRAMES; i++) {
    check_frame(&f, caller, 0);
    feed(&f, caller, NULL);
  }
  NEED(f.state == FA_STATE_IDLE);
  fa_interruption_close(&f.whole);
  return 0;
}
