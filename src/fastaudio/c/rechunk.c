#include "rechunk.h"

#include <string.h>

void fa_rechunk_init(fa_rechunk_t *rechunk, uint8_t *carry, uint32_t frame_bytes) {
  rechunk->carry = carry;
  rechunk->have = 0;
  rechunk->frame_bytes = frame_bytes;
}

bool fa_rechunk_push(fa_rechunk_t *rechunk, const uint8_t *data, size_t length, size_t *used, uint8_t *frame) {
  size_t want = rechunk->frame_bytes - rechunk->have;
  if (length < want) {
    memcpy(rechunk->carry + rechunk->have, data, length);
    rechunk->have += (uint32_t)length;
    *used = length;
    return false;
  }
  memcpy(frame, rechunk->carry, rechunk->have);
  memcpy(frame + rechunk->have, data, want);
  rechunk->have = 0;
  *used = want;
  return true;
}

uint32_t fa_rechunk_finish(fa_rechunk_t *rechunk, uint8_t *frame) {
  uint32_t samples = rechunk->have / 2;
  memcpy(frame, rechunk->carry, 2 * (size_t)samples);
  memset(frame + 2 * (size_t)samples, 0, rechunk->frame_bytes - 2 * (size_t)samples);
  rechunk->have = 0;
  return samples;
}
