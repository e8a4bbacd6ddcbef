/* playout.h - what goes to the caller: generations, hold, resume, flush, lead, and an exact account.
 *
 * An utterance is a generation: the producer writes its frames into the ring and marks the last. The consumer sends
 * one frame a tick, and silence when there is nothing to say.
 *
 * Lead: while speaking, up to `lead` frames are sent ahead of the clock, so that a stall of the host is not heard.
 * It is given back by sending nothing for as many ticks when the utterance ends, runs dry, is held or is flushed:
 * the only gap there ever is. After a stall it is not built again in the same utterance (nothing goes out twice as
 * fast).
 * Hold: the wire falls silent within 5 ms (a ramp, so that nothing clicks) and the ring keeps everything. Resume goes
 * on from the held sample, or up to 200 ms before it: slots already sent are released that much later.
 * Flush: everything of the generations up to a number is dropped, also what the producer still writes of them.
 * Account: `heard` counts the samples of the current generation that went out, the furthest point ever reached;
 * silence and replay do not count.
 *
 * Threads: `fa_playout_*` on the consumer (media thread), `fa_producer_*` on the producer (event loop). Nothing blocks
 * or allocates.
 */
#ifndef FA_PLAYOUT_H
#define FA_PLAYOUT_H

#include "rechunk.h"
#include "ring.h"

#define FA_HISTORY_SLOTS 10 /* 200 ms: how far resume can go back */
#define FA_LEAD_MAX 3

/* ---- producer ---- */

typedef struct {
  fa_ring_t *ring;
  fa_rechunk_t rechunk;
  uint32_t generation; /* open utterance, 0 for none */
  uint64_t stale;      /* bytes refused because their generation was flushed */
  uint32_t flushed;    /* nothing up to it is accepted any more */
  uint32_t ended;      /* the last generation that was ended: it cannot be opened again */
} fa_producer_t;

/* `carry` has room for frame_bytes and lives as long as the producer. */
void fa_producer_init(fa_producer_t *producer, fa_ring_t *ring, uint8_t *carry, uint32_t frame_bytes);
/* Writes PCM of `generation` (>= the open one; a newer one ends the open one first). *used is what was taken, which
 * is less than `length` when the ring is full: FA_AGAIN then. FA_ERR_STALE when the generation was flushed or ended. */
fa_result_t fa_producer_write(fa_producer_t *producer, uint32_t generation, const uint8_t *data, size_t length,
                              size_t *used);
/* Marks the end of `generation`. FA_AGAIN when the ring is full: call again. FA_ERR_STALE as above. */
fa_result_t fa_producer_end(fa_producer_t *producer, uint32_t generation);
/* Refuses everything up to `generation` from now on and drops what is carried of it. */
void fa_producer_flush(fa_producer_t *producer, uint32_t generation);

/* ---- consumer ---- */

typedef enum { FA_PLAY_SILENCE = 0, FA_PLAY_AUDIO = 1 } fa_play_t;

typedef struct {
  fa_ring_t *ring;
  uint32_t frame_samples;
  uint32_t rate;
  uint32_t lead;
  uint32_t cursor;      /* next slot */
  uint32_t released;    /* first slot not given back */
  uint32_t offset;      /* samples of the cursor's slot that went out */
  uint32_t ahead;       /* frames sent ahead of the clock */
  uint32_t generation;  /* of the last audio, 0 for none */
  bool open;            /* the generation has begun and not ended */
  bool paused;          /* held: the ring is kept, silence goes out */
  bool no_lead;         /* a stall came: no lead until the utterance ends */
  bool dry;             /* the open utterance has run out of audio */
  bool ramp_up;         /* the next audio rises from silence */
  uint32_t flushed;     /* generations up to it are dropped */
  uint32_t position;    /* samples of the generation sent, rewound by a resume */
  uint32_t heard;       /* the furthest position */
  int16_t *tail;        /* a falling ramp that still has to go out: up to 5 ms */
  uint32_t tail_samples;
  uint64_t underruns;   /* times an open utterance ran dry */
} fa_playout_t;

/* What happened while a frame was made or audio was flushed; the caller turns it into events. */
typedef struct {
  bool began;     /* first audio of `generation` */
  bool ended;     /* last audio of `generation` went out; `heard` is its length */
  bool flushed;   /* `generation` was thrown away after `heard` samples */
  uint32_t generation;
  uint32_t heard;
} fa_played_t;

/* `rate` is a multiple of 50; `tail` has room for fa_playout_ramp(rate) samples and lives as long as the playout. */
void fa_playout_init(fa_playout_t *playout, fa_ring_t *ring, int16_t *tail, uint32_t rate, uint32_t lead);
/* Samples of a ramp of 5 ms. */
static inline uint32_t fa_playout_ramp(uint32_t rate) { return rate / 200; }
/* True while an utterance is open or audio waits. */
bool fa_playout_active(fa_playout_t *playout);
/* The generation under way, or else the one that waits, or else the last one. `*heard` is how much of it went out. */
uint32_t fa_playout_generation(fa_playout_t *playout, uint32_t *heard);
/* Makes the next frame (frame_samples samples). FA_PLAY_SILENCE leaves `out` all zero. */
fa_play_t fa_playout_frame(fa_playout_t *playout, int16_t *out, fa_played_t *played);
/* For a tick that has no audio and owes `periods` frames: 0 when they are given back from the lead, else 1. Owed
 * silence beyond one frame is not sent. */
uint32_t fa_playout_silence_due(fa_playout_t *playout, uint32_t periods);
bool fa_playout_wants_lead(fa_playout_t *playout);
void fa_playout_stalled(fa_playout_t *playout);

/* Also before the first frame of a generation that waits. The ramp is shorter than 5 ms only where less is left. */
void fa_playout_hold(fa_playout_t *playout);
/* `rewind_ms` 0..200, bounded by what is kept of this generation. */
void fa_playout_resume(fa_playout_t *playout, uint32_t rewind_ms);
/* Drops generations up to `generation`; `played->flushed` when the open one was among them or audio of it waited. */
void fa_playout_flush(fa_playout_t *playout, uint32_t generation, fa_played_t *played);
/* While held: a newer generation in the ring throws the held one away. Returns true when it did. */
bool fa_playout_supersede(fa_playout_t *playout, fa_played_t *played);

#endif
