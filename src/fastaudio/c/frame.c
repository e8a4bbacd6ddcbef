#include "frame.h"

#include <string.h>

static const uint32_t rates[] = {8000, 12000, 16000, 24000, 32000, 44100, 48000, 96000, 192000};

uint32_t fa_frame_rate(uint8_t kind) {
  if (kind < FA_KIND_AUDIO || kind > FA_KIND_AUDIO_SLIN192) return 0;
  return rates[kind - FA_KIND_AUDIO];
}

uint8_t fa_frame_kind(uint32_t rate) {
  for (uint8_t i = 0; i < sizeof rates / sizeof rates[0]; i++)
    if (rates[i] == rate) return (uint8_t)(FA_KIND_AUDIO + i);
  return 0;
}

void fa_frame_header(uint8_t out[FA_HEADER_BYTES], uint8_t kind, uint16_t length) {
  out[0] = kind;
  out[1] = (uint8_t)(length >> 8);
  out[2] = (uint8_t)(length & 0xff);
}

void fa_frame_parser_init(fa_frame_parser_t *parser) { memset(parser, 0, sizeof *parser); }

static fa_result_t fail(fa_frame_parser_t *parser, fa_end_t why) {
  parser->error = why;
  return FA_ERR_PROTO;
}

/* Checks a complete header before any payload is taken: nothing is allocated or waited for on a bad length. */
static fa_result_t begin_payload(fa_frame_parser_t *parser) {
  uint8_t kind = parser->header[0];
  uint32_t length = (uint32_t)parser->header[1] << 8 | parser->header[2];
  if (!parser->seen_uuid && kind != FA_KIND_UUID) return fail(parser, FA_END_NOT_UUID);
  switch (kind) {
    case FA_KIND_UUID:
      if (parser->seen_uuid) return fail(parser, FA_END_SECOND_UUID);
      if (length != FA_UUID_BYTES) return fail(parser, FA_END_BAD_LENGTH);
      parser->seen_uuid = true;
      break;
    case FA_KIND_DTMF:
      if (length != 1) return fail(parser, FA_END_BAD_LENGTH);
      break;
    case FA_KIND_HANGUP:
    case FA_KIND_ERROR:
      break;
    default:
      if (fa_frame_rate(kind) == 0) return fail(parser, FA_END_BAD_KIND);
  }
  parser->remaining = length;
  parser->in_payload = true;
  parser->small_have = 0;
  parser->delivered = false;
  return FA_OK;
}

static void end_message(fa_frame_parser_t *parser) {
  parser->in_payload = false;
  parser->header_have = 0;
}

/* UUID and DTMF: gathered whole. */
static fa_result_t take_small(fa_frame_parser_t *parser, const uint8_t **cursor, const uint8_t *end,
                              fa_piece_t *piece) {
  while (parser->remaining > 0 && *cursor < end) {
    parser->small[parser->small_have++] = *(*cursor)++;
    parser->remaining--;
  }
  if (parser->remaining > 0) return FA_AGAIN;
  *piece = (fa_piece_t){.kind = parser->header[0], .last = true, .data = parser->small,
                        .length = parser->small_have};
  end_message(parser);
  return FA_OK;
}

/* Audio: whole samples as they come. One byte of a sample cut by the split waits in `small`; the odd last byte
 * of a message is no sample and is left out, as Asterisk leaves it out (res_audiosocket.c: samples = length/2). */
static fa_result_t take_audio(fa_frame_parser_t *parser, const uint8_t **cursor, const uint8_t *end,
                              fa_piece_t *piece) {
  size_t have = (size_t)(end - *cursor);
  size_t bytes = have < parser->remaining ? have : parser->remaining;
  *piece = (fa_piece_t){.kind = parser->header[0], .rate = fa_frame_rate(parser->header[0])};
  if (parser->small_have == 1 && bytes > 0) {
    parser->small[1] = *(*cursor)++;
    parser->remaining--;
    parser->small_have = 0;
    piece->data = parser->small;
    piece->length = 2;
  } else {
    piece->data = *cursor;
    piece->length = bytes & ~(size_t)1;
    *cursor += bytes;
    parser->remaining -= (uint32_t)bytes;
    if (bytes & 1) {
      parser->small[0] = (*cursor)[-1];
      parser->small_have = 1;
    }
  }
  piece->last = parser->remaining == 0;
  if (piece->length > 0) parser->delivered = true;
  if (piece->last) {
    bool lost = !parser->delivered;
    parser->odd += parser->small_have;
    end_message(parser);
    return piece->length > 0 || lost ? FA_OK : FA_AGAIN;
  }
  return piece->length > 0 ? FA_OK : FA_AGAIN;
}

/* Hangup and error carry nothing that is used; an error's code may follow and is passed over. */
static fa_result_t take_none(fa_frame_parser_t *parser, const uint8_t **cursor, const uint8_t *end,
                             fa_piece_t *piece) {
  size_t have = (size_t)(end - *cursor);
  size_t bytes = have < parser->remaining ? have : parser->remaining;
  *cursor += bytes;
  parser->remaining -= (uint32_t)bytes;
  if (parser->remaining > 0) return FA_AGAIN;
  *piece = (fa_piece_t){.kind = parser->header[0], .last = true};
  end_message(parser);
  return FA_OK;
}

fa_result_t fa_frame_next(fa_frame_parser_t *parser, const uint8_t **cursor, const uint8_t *end,
                          fa_piece_t *piece) {
  if (parser->error != FA_END_NONE) return FA_ERR_PROTO;
  for (;;) {
    if (!parser->in_payload) {
      while (parser->header_have < FA_HEADER_BYTES && *cursor < end)
        parser->header[parser->header_have++] = *(*cursor)++;
      if (parser->header_have < FA_HEADER_BYTES) return FA_AGAIN;
      fa_result_t result = begin_payload(parser);
      if (result != FA_OK) return result;
    }
    bool audio = fa_frame_rate(parser->header[0]) != 0;
    bool small = parser->header[0] == FA_KIND_UUID || parser->header[0] == FA_KIND_DTMF;
    if (parser->remaining > 0 && *cursor == end) return FA_AGAIN;
    fa_result_t result = audio   ? take_audio(parser, cursor, end, piece)
                         : small ? take_small(parser, cursor, end, piece)
                                 : take_none(parser, cursor, end, piece);
    if (result != FA_AGAIN) return result;
    if (*cursor == end && (parser->in_payload || parser->header_have == 0)) return FA_AGAIN;
  }
}
