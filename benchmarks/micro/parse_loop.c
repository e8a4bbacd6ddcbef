/* The parser as the media thread uses it: over a receive buffer, with no Python in it. Built by bench_wire.py. */
#include "frame.h"

/* Parses `length` bytes (a UUID message, then anything) `times` over. Returns the bytes of audio seen, 0 on an error. */
uint64_t parse_loop(const uint8_t *stream, size_t length, uint32_t times) {
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
