/* Units as the media thread uses them, with no Python in them, each in a loop. Built by `c_loops` in conftest.py. */
#include <stdlib.h>
#include <string.h>

#include "frame.h"
#include "playout.h"

#define EXPORT __attribute__((visibility("default")))
#define FRAME_BYTES 320
#define SLOTS 128

/* Parses `length` bytes (a UUID message, then anything) `times` over. Returns the bytes of audio seen, 0 on an error. */
EXPORT uint64_t parse_loop(const uint8_t *stream, size_t length, uint32_t times) {
  uint64_t audio = 0;
  for (uint32_t i = 0; i < times; i++) {
    fa_frame_parser_t parser;
    fa_frame_parser_init(&parser);
    const uint8_t *cursor = stream;
    fa_piece_t piece;
    fa_result_t result;
    while ((result = fa_frame_next(&parser, &cursor, stream + length, &piece)) == FA_OK)
      if (piece.kind >= FA_KIND_AUDIO && piece.kind <= FA_KIND_AUDIO_SLIN192) audio += piece.length;
    if (result == FA_ERR_PROTO) return 0;
  }
  return audio;
}

/* Writes `times` messages of one frame one behind the other, 8 of them at most, as a tick does. Returns a byte of it. */
EXPORT uint64_t encode_loop(const uint8_t *frame, uint32_t times) {
  static uint8_t out[8 * (FA_HEADER_BYTES + FRAME_BYTES)];
  for (uint32_t i = 0; i < times; i++) {
    uint8_t *at = out + (size_t)(i % 8) * (FA_HEADER_BYTES + FRAME_BYTES);
    fa_frame_header(at, FA_KIND_AUDIO, FRAME_BYTES);
    memcpy(at + FA_HEADER_BYTES, frame, FRAME_BYTES);
    __asm__ volatile("" ::: "memory"); /* each of them is written */
  }
  return out[times % sizeof out];
}

/* Through the ring, `times` frames: the producer writes one, the consumer makes the frame of its tick. Returns how many
 * were audio. */
EXPORT uint64_t ring_loop(const uint8_t *frame, uint32_t times) {
  static uint64_t slots[SLOTS * (8 + FRAME_BYTES) / 8];
  static fa_ring_t ring;
  uint8_t carry[FRAME_BYTES];
  int16_t tail[FRAME_BYTES / 8], out[FRAME_BYTES / 2];
  fa_producer_t producer;
  fa_playout_t playout;
  if (fa_ring_init(&ring, slots, SLOTS, FRAME_BYTES, 0) != FA_OK) return 0;
  fa_producer_init(&producer, &ring, carry, FRAME_BYTES);
  fa_playout_init(&playout, &ring, tail, 8000, 0);
  uint64_t audio = 0;
  for (uint32_t i = 0; i < times; i++) {
    size_t used;
    fa_played_t played = {0};
    if (fa_producer_write(&producer, 1, frame, FRAME_BYTES, &used) != FA_OK) return 0;
    audio += fa_playout_frame(&playout, out, &played) == FA_PLAY_AUDIO;
  }
  return audio;
}
