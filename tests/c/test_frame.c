/* The parser: every split of a stream, every kind, odd, empty and longest messages, and each way to break the protocol. */
#include "check.h"
#include "frame.h"

#define MAX 70000

typedef struct {
  uint8_t audio[2 * MAX];
  size_t audio_bytes;
  uint32_t uuids, dtmf, lost, hangups, errors, lasts;
  uint32_t rate;
  uint8_t digit;
  uint8_t uuid[FA_UUID_BYTES];
  fa_end_t error;
} seen_t;

static size_t put(uint8_t *out, uint8_t kind, const void *payload, size_t length) {
  fa_frame_header(out, kind, (uint16_t)length);
  if (length > 0) memcpy(out + FA_HEADER_BYTES, payload, length);
  return FA_HEADER_BYTES + length;
}

static const uint8_t uuid[FA_UUID_BYTES] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};

static void feed(fa_frame_parser_t *parser, seen_t *seen, const uint8_t *data, size_t length) {
  /* A copy of just this size, so that the address sanitizer sees a read past the end. */
  uint8_t *copy = malloc(length == 0 ? 1 : length);
  CHECK(copy != NULL);
  memcpy(copy, data, length);
  const uint8_t *cursor = copy;
  fa_piece_t piece;
  fa_result_t result;
  while ((result = fa_frame_next(parser, &cursor, copy + length, &piece)) == FA_OK) {
    seen->lasts += piece.last;
    switch (piece.kind) {
      case FA_KIND_UUID:
        CHECK_EQ(piece.length, FA_UUID_BYTES);
        memcpy(seen->uuid, piece.data, FA_UUID_BYTES);
        seen->uuids++;
        break;
      case FA_KIND_DTMF:
        CHECK_EQ(piece.length, 1);
        seen->digit = piece.data[0];
        seen->dtmf++;
        break;
      case FA_KIND_HANGUP: seen->hangups++; break;
      case FA_KIND_ERROR: seen->errors++; break;
      default:
        CHECK_EQ(piece.length % 2, 0);
        CHECK(piece.rate != 0);
        seen->rate = piece.rate;
        if (piece.length == 0) seen->lost++;
        memcpy(seen->audio + seen->audio_bytes, piece.data, piece.length);
        seen->audio_bytes += piece.length;
    }
  }
  if (result == FA_AGAIN) CHECK(cursor == copy + length);
  seen->error = parser->error;
  CHECK((result == FA_ERR_PROTO) == (parser->error != FA_END_NONE));
  free(copy);
}

static void same(const seen_t *a, const seen_t *b) {
  CHECK_EQ(a->audio_bytes, b->audio_bytes);
  CHECK(memcmp(a->audio, b->audio, a->audio_bytes) == 0);
  CHECK(memcmp(a->uuid, b->uuid, sizeof a->uuid) == 0);
  CHECK_EQ(a->uuids, b->uuids);
  CHECK_EQ(a->dtmf, b->dtmf);
  CHECK_EQ(a->digit, b->digit);
  CHECK_EQ(a->lost, b->lost);
  CHECK_EQ(a->hangups, b->hangups);
  CHECK_EQ(a->errors, b->errors);
  CHECK_EQ(a->error, b->error);
}

static uint8_t stream[3 * MAX];
static seen_t whole, split;

/* A stream with every kind and with lengths around the edges; returns its size. */
static size_t mixed_stream(void) {
  static uint8_t pcm[64];
  for (size_t i = 0; i < sizeof pcm; i++) pcm[i] = (uint8_t)(i * 7 + 1);
  size_t n = put(stream, FA_KIND_UUID, uuid, sizeof uuid);
  n += put(stream + n, FA_KIND_AUDIO, pcm, 8);
  n += put(stream + n, FA_KIND_AUDIO, pcm, 0);
  n += put(stream + n, FA_KIND_AUDIO, pcm + 8, 7);
  n += put(stream + n, FA_KIND_DTMF, "#", 1);
  n += put(stream + n, FA_KIND_AUDIO, pcm + 16, 1);
  for (uint8_t kind = FA_KIND_AUDIO; kind <= FA_KIND_AUDIO_SLIN192; kind++)
    n += put(stream + n, kind, pcm + 20, 4);
  n += put(stream + n, FA_KIND_ERROR, "\x01", 1);
  n += put(stream + n, FA_KIND_HANGUP, NULL, 0);
  n += put(stream + n, FA_KIND_AUDIO, pcm + 30, 2);
  return n;
}

static void test_every_split_gives_the_same(void) {
  size_t n = mixed_stream();
  fa_frame_parser_t parser;
  fa_frame_parser_init(&parser);
  memset(&whole, 0, sizeof whole);
  feed(&parser, &whole, stream, n);
  CHECK_EQ(whole.audio_bytes, 8 + 6 + 9 * 4 + 2);
  CHECK_EQ(whole.lost, 2); /* the empty message and the one of a single byte */
  CHECK_EQ(whole.digit, '#');
  CHECK(memcmp(whole.uuid, uuid, sizeof uuid) == 0);
  CHECK(whole.uuids == 1 && whole.dtmf == 1 && whole.errors == 1 && whole.hangups == 1);
  for (size_t first = 0; first <= n; first++)
    for (size_t second = first; second <= n; second++) {
      memset(&split, 0, sizeof split);
      fa_frame_parser_init(&parser);
      feed(&parser, &split, stream, first);
      feed(&parser, &split, stream + first, second - first);
      feed(&parser, &split, stream + second, n - second);
      same(&split, &whole);
    }
  memset(&split, 0, sizeof split);
  fa_frame_parser_init(&parser);
  for (size_t i = 0; i < n; i++) feed(&parser, &split, stream + i, 1);
  same(&split, &whole);
}

static void test_longest_messages(void) {
  static uint8_t pcm[65535];
  for (size_t i = 0; i < sizeof pcm; i++) pcm[i] = (uint8_t)(i % 251);
  size_t n = put(stream, FA_KIND_UUID, uuid, sizeof uuid);
  n += put(stream + n, FA_KIND_AUDIO, pcm, sizeof pcm);
  n += put(stream + n, FA_KIND_AUDIO_SLIN16, pcm, 65534);
  for (size_t chunk = 1; chunk < 200000; chunk = chunk * 3 + 1) {
    memset(&split, 0, sizeof split);
    fa_frame_parser_t parser;
    fa_frame_parser_init(&parser);
    for (size_t at = 0; at < n; at += chunk) feed(&parser, &split, stream + at, n - at < chunk ? n - at : chunk);
    CHECK_EQ(split.audio_bytes, 2 * 65534);
    CHECK(memcmp(split.audio, pcm, 65534) == 0);
    CHECK(memcmp(split.audio + 65534, pcm, 65534) == 0);
    CHECK_EQ(split.rate, 16000);
    CHECK_EQ(split.error, FA_END_NONE);
  }
}

/* How the parser fails on `data`, the same for every split. */
static fa_end_t error_of(const void *data, size_t length, bool after_uuid) {
  uint8_t bytes[64];
  size_t n = after_uuid ? put(bytes, FA_KIND_UUID, uuid, sizeof uuid) : 0;
  memcpy(bytes + n, data, length);
  fa_end_t expected = FA_END_NONE;
  for (size_t cut = 0; cut <= n + length; cut++) {
    fa_frame_parser_t parser;
    fa_frame_parser_init(&parser);
    memset(&split, 0, sizeof split);
    feed(&parser, &split, bytes, cut);
    feed(&parser, &split, bytes + cut, n + length - cut);
    if (cut == 0) expected = parser.error;
    CHECK_EQ(parser.error, expected);
    if (expected == FA_END_NONE) continue;
    feed(&parser, &split, bytes, n); /* a failed parser stays failed */
    CHECK_EQ(parser.error, expected);
  }
  return expected;
}

static void test_protocol_errors(void) {
  CHECK_EQ(error_of("\x10\x00\x02zz", 5, false), FA_END_NOT_UUID);
  CHECK_EQ(error_of("\x00\x00\x00", 3, false), FA_END_NOT_UUID);
  CHECK_EQ(error_of("GET", 3, false), FA_END_NOT_UUID);
  CHECK_EQ(error_of("\x01\x00\x0f", 3, false), FA_END_BAD_LENGTH);
  CHECK_EQ(error_of("\x01\xff\xff", 3, false), FA_END_BAD_LENGTH);
  CHECK_EQ(error_of("\x01\x00\x10", 3, true), FA_END_SECOND_UUID);
  CHECK_EQ(error_of("\x03\x00\x00", 3, true), FA_END_BAD_LENGTH);
  CHECK_EQ(error_of("\x03\x00\x02", 3, true), FA_END_BAD_LENGTH);
  for (int kind = 0; kind < 256; kind++) {
    bool known = kind <= 1 || kind == 3 || kind == 0xff || (kind >= 0x10 && kind <= 0x18);
    uint8_t header[3] = {(uint8_t)kind, 0, 0};
    if (!known) CHECK_EQ(error_of(header, 3, true), FA_END_BAD_KIND);
  }
  CHECK_EQ(error_of("\x00\x00\x00", 3, true), FA_END_NONE);
}

static void test_rates_and_kinds_agree(void) {
  for (int kind = 0; kind < 256; kind++) {
    uint32_t rate = fa_frame_rate((uint8_t)kind);
    CHECK_EQ(rate != 0, kind >= 0x10 && kind <= 0x18);
    if (rate != 0) CHECK_EQ(fa_frame_kind(rate), kind);
  }
  CHECK_EQ(fa_frame_kind(11025), 0);
  uint8_t header[3];
  fa_frame_header(header, FA_KIND_AUDIO, 0x1234);
  CHECK(header[0] == 0x10 && header[1] == 0x12 && header[2] == 0x34);
}

int main(void) {
  check_time_limit(60);
  RUN(test_every_split_gives_the_same);
  RUN(test_longest_messages);
  RUN(test_protocol_errors);
  RUN(test_rates_and_kinds_agree);
  return 0;
}
