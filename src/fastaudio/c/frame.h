/* frame.h - AudioSocket messages: an incremental parser and the header writer.
 *
 * A message is a kind (1 byte), a length (2 bytes, big-endian) and a payload (Asterisk:
 * include/asterisk/res_audiosocket.h). The parser takes any split of the stream and any length from 0 to 65535
 * in constant memory: audio comes out in pieces as it arrives, always of whole 16-bit samples; UUID and DTMF
 * come out whole.
 *
 * Threads: a parser belongs to one thread. No function blocks, allocates or does I/O.
 * Failure: FA_ERR_PROTO, with the reason in `parser->error`; the parser then stays failed.
 */
#ifndef FA_FRAME_H
#define FA_FRAME_H

#include "fa.h"

#define FA_HEADER_BYTES 3
#define FA_UUID_BYTES 16

enum {
  FA_KIND_HANGUP = 0x00,
  FA_KIND_UUID = 0x01,
  FA_KIND_DTMF = 0x03,
  FA_KIND_AUDIO = 0x10,        /* signed linear, 8 kHz */
  FA_KIND_AUDIO_SLIN12 = 0x11, /* to 0x18: 12, 16, 24, 32, 44.1, 48, 96, 192 kHz */
  FA_KIND_AUDIO_SLIN16 = 0x12,
  FA_KIND_AUDIO_SLIN192 = 0x18,
  FA_KIND_ERROR = 0xff
};

typedef struct {
  uint8_t kind;        /* FA_KIND_* */
  bool last;           /* audio: the last piece of its message, but where one odd byte still follows */
  uint32_t rate;       /* audio: samples a second; else 0 */
  const uint8_t *data; /* UUID: 16 bytes; DTMF: 1; audio: an even number of bytes. Valid until the next call */
  size_t length;       /* bytes; audio: 0 when the whole message is empty or holds no whole sample (a lost frame) */
} fa_piece_t;

typedef struct {
  uint8_t header[FA_HEADER_BYTES];
  uint8_t header_have;
  bool in_payload;
  bool seen_uuid;
  bool delivered; /* some audio of the current message has come out */
  uint8_t small[FA_UUID_BYTES];
  uint8_t small_have;
  uint32_t remaining; /* payload bytes of the current message still to come */
  uint64_t odd;       /* audio messages so far whose odd last byte was left out */
  fa_end_t error;
} fa_frame_parser_t;

void fa_frame_parser_init(fa_frame_parser_t *parser);

/* Takes the next piece out of [*cursor, end), and moves *cursor past what it used.
 * Returns FA_OK with *piece set; FA_AGAIN when all bytes are used and no piece is complete; FA_ERR_PROTO. */
fa_result_t fa_frame_next(fa_frame_parser_t *parser, const uint8_t **cursor, const uint8_t *end,
                          fa_piece_t *piece);

/* Writes the three header bytes. `length` is 0..65535. */
void fa_frame_header(uint8_t out[FA_HEADER_BYTES], uint8_t kind, uint16_t length);

/* Samples a second of an audio kind, 0 for any other kind. */
uint32_t fa_frame_rate(uint8_t kind);

/* The audio kind of a rate in samples a second, 0 if AudioSocket has none. */
uint8_t fa_frame_kind(uint32_t rate);

#endif
