/* capture.h - both sides of a call on one time line, a stereo block of 20 ms a tick, for any number of readers.
 *
 * A block holds the caller's frame, the frame that was sent, and flags. Position p is the p-th 20 ms after the
 * UUID; blocks are published in order once both sides are known.
 *
 * The caller's side has gaps (loss, DTX, hold) and its own clock. The rule: frames are placed in order as they
 * arrive; only when they are more than FA_FILL_BEHIND frames (100 ms) behind the clock is one filled with silence,
 * flagged. When frames come again after a fill they are taken to end now: the rest of the gap is filled first. Frames
 * that are ahead of the clock (late ones behind a fill, or a fast clock) are kept, up to FA_AHEAD_MAX, and the surplus
 * shrinks by leaving out quiet frames, counted.
 *
 * Threads: one writer (the media thread), any number of readers elsewhere; a reader is used by one thread at a time.
 * The writer never waits: a reader that falls behind loses its oldest blocks, counted in its own `lost`.
 *
 * Memory order: the writer raises `claim` before it writes blocks below it, and `ready` (release) after a block is
 * whole. The audio words are atomic, stored with release and loaded with acquire, so that a reader that saw one word of
 * a newer block also sees the claim that came before it, and drops what it copied. (A sequence lock after H. Boehm,
 * "Can seqlocks get along with programming language memory models?", with no fences: the thread sanitizer knows none. tests/model/capture.py tries every value that a load may return.)
 */
#ifndef FA_CAPTURE_H
#define FA_CAPTURE_H

#include <stdatomic.h>

#include "ring.h"

#define FA_FILL_BEHIND 5  /* frames: 100 ms */
#define FA_AHEAD_MAX 25   /* frames of surplus kept: 500 ms */
#define FA_AHEAD_QUIET 2  /* surplus that is plain jitter; above it quiet frames are left out */
#define FA_WRITE_WINDOW (FA_AHEAD_MAX + 8) /* blocks beyond `ready` that may be under way */

enum {
  FA_BLOCK_FILLED = 1,  /* the caller's side is silence in place of frames that did not come */
  FA_BLOCK_HELD = 2,    /* playback was held */
  FA_BLOCK_SPEECH = 4,  /* the detector calls the caller's side speech */
  FA_BLOCK_SENT = 8     /* the sent side is audio, not silence */
};

typedef struct {
  _Alignas(FA_CACHE_LINE) _Atomic uint64_t ready; /* blocks published */
  _Atomic uint64_t claim;                         /* blocks below it may be written now */
  _Alignas(FA_CACHE_LINE) _Atomic uint64_t *caller; /* capacity * words */
  _Atomic uint64_t *sent;
  _Atomic uint32_t *flags;
  uint32_t mask;
  uint32_t frame_bytes;
  uint32_t words; /* of 8 bytes, a side of a block; the last is not full at 44.1 kHz */
  /* the writer's own */
  uint64_t now;        /* ticks: positions below it are due */
  uint64_t caller_at;  /* next position of the caller's side */
  uint64_t sent_at;    /* next position of the sent side */
  bool filling;
  uint64_t filled, left_out, overrun;
} fa_capture_t;

typedef struct {
  uint64_t next; /* next position to read */
  uint64_t lost; /* blocks that were overwritten before they were read */
} fa_capture_reader_t;

/* Bytes that `fa_capture_init` needs: three planes, so that a quiet call never touches the sent one. */
size_t fa_capture_bytes(uint32_t capacity, uint32_t frame_bytes);
/* `capacity` is a power of two above 2 * FA_WRITE_WINDOW; `frame_bytes` is even; `memory` is aligned to 8. */
fa_result_t fa_capture_init(fa_capture_t *capture, void *memory, uint32_t capacity, uint32_t frame_bytes);

/* ---- writer ---- */

/* The clock moves on by `periods`. */
void fa_capture_tick(fa_capture_t *capture, uint32_t periods);
/* About `frames` frames are about to be placed: after a fill they are taken to end now. */
void fa_capture_arriving(fa_capture_t *capture, uint32_t frames);
/* Places a frame of the caller. Returns its position, or UINT64_MAX when it was left out. `quiet` frames are left
 * out while the caller is ahead. */
uint64_t fa_capture_caller(fa_capture_t *capture, const void *frame, uint32_t flags, bool quiet);
/* Records what was sent at the next position: NULL for silence. */
void fa_capture_sent(fa_capture_t *capture, const void *frame, uint32_t flags);
/* Everything due was silence but for the last `but` positions: a stall, in which nothing was sent. */
void fa_capture_unsent(fa_capture_t *capture, uint32_t but);
/* Fills what is more than 100 ms behind, and publishes. */
void fa_capture_publish(fa_capture_t *capture);

/* ---- readers ---- */

/* A reader that begins `preroll` blocks ago, or at the oldest block kept. */
void fa_capture_open(fa_capture_t *capture, fa_capture_reader_t *reader, uint32_t preroll);
/* Copies one block. `caller` and `sent` take frame_bytes each; `sent` may be NULL.
 * FA_AGAIN when there is none yet. */
fa_result_t fa_capture_read(fa_capture_t *capture, fa_capture_reader_t *reader, void *caller, void *sent,
                            uint32_t *flags, uint64_t *position);
uint64_t fa_capture_ready(fa_capture_t *capture);

#endif
