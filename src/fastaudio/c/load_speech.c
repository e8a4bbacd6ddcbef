#include "load_speech.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "frame.h"

#define HARMONICS 15
#define TWO_PI 6.283185307179586
#define NOISE_PEAK 60
#define VOICE_LEVEL 2500
#define FLUENT 0.3 /* level between syllables, of that within */

static double resonance(double hz, double formant, double width) {
  double away = (hz - formant) / width;
  return 1 / (1 + away * away);
}

/* Samples of a whole loop; pitch and weights change every millisecond. */
static void speak(int16_t *out, uint32_t rate, uint32_t packet_ms, uint32_t talk_percent, bool fluent) {
  double phase = 0, pitch = 0, syllable = 0, weight[HARMONICS] = {0};
  uint32_t loop_ms = FA_LOAD_LOOP_MS / packet_ms * packet_ms, samples = (uint32_t)((uint64_t)rate * loop_ms / 1000);
  uint32_t step = rate / 1000, random = 1;
  for (uint32_t i = 0; i < samples; i++) {
    if (i % step == 0) {
      double t = (double)i / rate;
      bool talks = (uint64_t)i * 100 < (uint64_t)samples * talk_percent;
      pitch = 120 + 25 * sin(TWO_PI * 0.7 * t);
      syllable = talks ? fmax(fluent ? FLUENT : 0, sin(TWO_PI * 3 * t)) : 0;
      for (int k = 0; k < HARMONICS; k++) {
        double hz = (k + 1) * pitch;
        weight[k] = resonance(hz, 500, 300) + resonance(hz, 1500, 400);
      }
    }
    phase += TWO_PI * pitch / rate;
    double voice = 0;
    if (syllable > 0)
      for (int k = 0; k < HARMONICS; k++) voice += weight[k] * sin((k + 1) * phase);
    random = random * 1664525 + 1013904223;
    double noise = (double)(random >> 16) / 65536 * 2 * NOISE_PEAK - NOISE_PEAK;
    out[i] = (int16_t)(VOICE_LEVEL * voice * syllable + noise);
  }
}

fa_result_t fa_load_speech_make(fa_load_speech_t *speech, uint32_t rate, uint32_t packet_ms, uint32_t talk_percent,
                                bool fluent) {
  uint8_t kind = fa_frame_kind(rate);
  if (kind == 0 || packet_ms < 10 || packet_ms > 60 || talk_percent > 100) return FA_ERR_ARG;
  uint32_t samples = rate * packet_ms / 1000, payload = 2 * samples;
  *speech = (fa_load_speech_t){.count = FA_LOAD_LOOP_MS / packet_ms, .bytes = FA_HEADER_BYTES + payload};
  int16_t *loop = malloc((size_t)rate * 2 * FA_LOAD_LOOP_MS / 1000);
  speech->messages = malloc((size_t)speech->count * speech->bytes);
  if (loop == NULL || speech->messages == NULL) {
    free(loop);
    fa_load_speech_free(speech);
    return FA_ERR_NOMEM;
  }
  speak(loop, rate, packet_ms, talk_percent, fluent);
  speech->talk = speech->count * talk_percent / 100;
  for (uint32_t i = 0; i < speech->count; i++) {
    uint8_t *message = speech->messages + (size_t)i * speech->bytes;
    fa_frame_header(message, kind, (uint16_t)payload);
    memcpy(message + FA_HEADER_BYTES, loop + (size_t)i * samples, payload);
  }
  free(loop);
  return FA_OK;
}

void fa_load_speech_free(fa_load_speech_t *speech) {
  free(speech->messages);
  *speech = (fa_load_speech_t){0};
}

const uint8_t *fa_load_speech_message(const fa_load_speech_t *speech, uint32_t caller, uint64_t n) {
  return speech->messages + (size_t)((n + 7ULL * caller) % speech->count) * speech->bytes;
}

const uint8_t *fa_load_speech_word(const fa_load_speech_t *speech, uint64_t n) {
  return speech->messages + (size_t)(n % speech->talk) * speech->bytes;
}

const uint8_t *fa_load_speech_noise(const fa_load_speech_t *speech, uint64_t n) {
  return speech->messages + (size_t)(speech->talk + n % (speech->count - speech->talk)) * speech->bytes;
}
