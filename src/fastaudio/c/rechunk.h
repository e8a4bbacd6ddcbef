/* rechunk.h - PCM of any size becomes frames of one size.
 *
 * The odd tail is carried over to the next chunk and is padded with silence only at the end of an utterance.
 * Threads: a rechunker belongs to the producer of its ring. No function blocks, allocates or fails.
 */
#ifndef FA_RECHUNK_H
#define FA_RECHUNK_H

#include "fa.h"

typedef struct {
  uint8_t *carry;       /* frame_bytes bytes of the caller's */
  uint32_t have;        /* bytes carried, 0..frame_bytes-1 between calls */
  uint32_t frame_bytes; /* 320 at 8 kHz, 640 at 16 kHz */
} fa_rechunk_t;

/* `frame_bytes` is even, 2..FA_FRAME_BYTES_MAX; `carry` has room for so many and lives as long as the rechunker. */
void fa_rechunk_init(fa_rechunk_t *rechunk, uint8_t *carry, uint32_t frame_bytes);

/* Copies from [data, data+length) until a frame is whole. Returns true with the frame in `frame`
 * (frame_bytes bytes), false when all bytes are carried; *used is what was taken of `data`. */
bool fa_rechunk_push(fa_rechunk_t *rechunk, const uint8_t *data, size_t length, size_t *used, uint8_t *frame);

/* Ends an utterance: writes what is carried and silence behind it. Returns the number of whole samples that are
 * audio (0: nothing was carried and `frame` is all silence). An odd last byte is no sample and is left out. */
uint32_t fa_rechunk_finish(fa_rechunk_t *rechunk, uint8_t *frame);

#endif
