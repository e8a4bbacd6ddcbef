/* The parser on any bytes: whole and split at a place that the input chooses, it must see the same. */
#include "frame.h"
#include "fuzz.h"

typedef struct {
  uint64_t hash, bytes;
  uint32_t small, lost;
  fa_end_t error;
} seen_t;

static void feed(fa_frame_parser_t *parser, seen_t *seen, const uint8_t *data, size_t length) {
  uint8_t *copy = malloc(length + 1); /* of just this size: a read past the end is seen */
  NEED(copy != NULL);
  uint8_t *exact = length == 0 ? copy : realloc(copy, length);
  NEED(exact != NULL);
  if (length > 0) memcpy(exact, data, length);
  const uint8_t *cursor = exact, *end = exact + length;
  fa_piece_t piece;
  fa_result_t result;
  while ((result = fa_frame_next(parser, &cursor, end, &piece)) == FA_OK) {
    NEED(cursor <= end && (piece.rate == 0 || piece.length % 2 == 0));
    for (size_t i = 0; i < piece.length; i++) seen->hash = (seen->hash ^ piece.data[i]) * UINT64_C(0x100000001b3);
    seen->bytes += piece.length;
    if (piece.rate == 0) seen->small++;
    if (piece.rate != 0 && piece.length == 0) seen->lost++;
  }
  NEED(result != FA_AGAIN || cursor == end);
  NEED((result == FA_ERR_PROTO) == (parser->error != FA_END_NONE));
  seen->error = parser->error;
  free(exact);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 2) return 0;
  size_t cut = ((size_t)data[0] << 8 | data[1]) % (size - 1);
  data += 2;
  size -= 2;
  seen_t whole = {0}, split = {0};
  fa_frame_parser_t parser;
  fa_frame_parser_init(&parser);
  feed(&parser, &whole, data, size);
  fa_frame_parser_init(&parser);
  feed(&parser, &split, data, cut);
  feed(&parser, &split, data + cut, size - cut);
  NEED(whole.hash == split.hash && whole.bytes == split.bytes && whole.small == split.small);
  NEED(whole.lost == split.lost && whole.error == split.error);
  return 0;
}
