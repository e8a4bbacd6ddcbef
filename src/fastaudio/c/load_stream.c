#include "load_stream.h"

#include <math.h>
#include <string.h>

#include "frame.h"

#define ENOUGH 10 /* messages, for a slope */

static void book(fa_load_stream_t *stream, fa_load_totals_t *totals, int64_t at_ns, bool timed) {
  totals->messages++;
  if (!timed) totals->untimed++;
  if (stream->of_read > 0) {
    totals->merged++;
  } else if (stream->first_ns != 0) {
    int64_t gap = at_ns - stream->last_ns;
    fa_load_histogram_add(&totals->gaps, gap);
    if (gap > FA_LOAD_LONG_GAP_NS) totals->long_gaps++;
  }
  if (stream->first_ns == 0) stream->first_ns = at_ns;
  double audio = (double)stream->audio_ns / 1e6, time = (double)(at_ns - stream->first_ns) / 1e6;
  double from_mean = audio - stream->mean_audio;
  stream->count++;
  stream->mean_audio += from_mean / stream->count;
  stream->spread += from_mean * (audio - stream->mean_audio);
  stream->mean_time += (time - stream->mean_time) / stream->count;
  stream->together += from_mean * (time - stream->mean_time);
  stream->audio_ns += stream->period_ns;
}

fa_load_read_t fa_load_stream_read(fa_load_stream_t *stream, fa_load_totals_t *totals, const uint8_t *data,
                                   size_t length, int64_t at_ns, bool timed) {
  stream->of_read = 0;
  for (size_t at = 0; at < length;) {
    if (stream->header_have < FA_HEADER_BYTES) {
      stream->header[stream->header_have++] = data[at++];
      if (stream->header_have < FA_HEADER_BYTES) continue;
      if (stream->header[0] == FA_KIND_HANGUP) return FA_LOAD_READ_HANGUP;
      stream->left = (uint32_t)stream->header[1] << 8 | stream->header[2];
      if (fa_frame_rate(stream->header[0]) == 0 || stream->left == 0) return FA_LOAD_READ_PROTOCOL;
      continue;
    }
    uint32_t some = length - at < stream->left ? (uint32_t)(length - at) : stream->left;
    stream->sounding = stream->sounding || data[at] != 0 || memcmp(data + at, data + at + 1, some - 1) != 0;
    stream->left -= some;
    at += some;
    if (stream->left > 0) continue;
    uint32_t samples = ((uint32_t)stream->header[1] << 8 | stream->header[2]) / 2;
    stream->period_ns = samples * 1000000000LL / fa_frame_rate(stream->header[0]);
    if (totals != NULL) book(stream, totals, at_ns, timed);
    stream->last_ns = at_ns;
    if (stream->sounding) stream->sound_ns = at_ns;
    stream->sounding = false;
    stream->header_have = 0;
    stream->of_read++;
  }
  return FA_LOAD_READ_GOOD;
}

double fa_load_stream_ppm(const fa_load_stream_t *stream) {
  if (stream->count < ENOUGH || stream->together <= 0) return NAN;
  return (stream->spread / stream->together - 1) * 1e6;
}

int64_t fa_load_stream_slip_ns(const fa_load_stream_t *stream, int64_t begin_ns, int64_t end_ns) {
  int64_t slip = end_ns - (stream->first_ns != 0 ? stream->first_ns : begin_ns) - stream->audio_ns;
  return slip > 0 ? slip : 0;
}
