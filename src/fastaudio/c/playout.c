#include "playout.h"

#include <string.h>

/* ---- producer ---- */

void fa_producer_init(fa_producer_t *producer, fa_ring_t *ring, uint8_t *carry, uint32_t frame_bytes) {
  *producer = (fa_producer_t){.ring = ring};
  fa_rechunk_init(&producer->rechunk, carry, frame_bytes);
}

static fa_result_t push_last(fa_producer_t *producer) {
  fa_slot_head_t *slot = fa_ring_acquire(producer->ring);
  if (slot == NULL) return FA_AGAIN;
  slot->generation = producer->generation;
  slot->samples = (uint16_t)fa_rechunk_finish(&producer->rechunk, fa_slot_audio(slot));
  slot->last = 1;
  fa_ring_commit(producer->ring);
  producer->ended = producer->generation;
  producer->generation = 0;
  return FA_OK;
}

/* Opens `generation`; an older open one is ended first, so that its tail is not lost. */
static fa_result_t open_generation(fa_producer_t *producer, uint32_t generation) {
  if (generation == 0) return FA_ERR_ARG;
  if (generation <= producer->flushed || generation <= producer->ended) return FA_ERR_STALE;
  if (producer->generation == generation) return FA_OK;
  if (producer->generation > generation) return FA_ERR_STALE;
  if (producer->generation != 0) {
    fa_result_t result = push_last(producer);
    if (result != FA_OK) return result;
  }
  producer->generation = generation;
  return FA_OK;
}

fa_result_t fa_producer_write(fa_producer_t *producer, uint32_t generation, const uint8_t *data, size_t length,
                              size_t *used) {
  *used = 0;
  fa_result_t result = open_generation(producer, generation);
  if (result == FA_ERR_STALE) producer->stale += length;
  if (result != FA_OK) return result;
  while (*used < length) {
    fa_slot_head_t *slot = fa_ring_acquire(producer->ring);
    if (slot == NULL) return FA_AGAIN;
    size_t taken = 0;
    bool whole = fa_rechunk_push(&producer->rechunk, data + *used, length - *used, &taken, fa_slot_audio(slot));
    *used += taken;
    if (!whole) break;
    slot->generation = generation;
    slot->samples = (uint16_t)(producer->rechunk.frame_bytes / 2);
    slot->last = 0;
    fa_ring_commit(producer->ring);
  }
  return FA_OK;
}

fa_result_t fa_producer_end(fa_producer_t *producer, uint32_t generation) {
  fa_result_t result = open_generation(producer, generation);
  return result == FA_OK ? push_last(producer) : result;
}

void fa_producer_flush(fa_producer_t *producer, uint32_t generation) {
  if (generation > producer->flushed) producer->flushed = generation;
  if (producer->generation != 0 && producer->generation <= generation) {
    producer->rechunk.have = 0;
    producer->generation = 0;
  }
}

/* ---- consumer ---- */

void fa_playout_init(fa_playout_t *playout, fa_ring_t *ring, int16_t *tail, uint32_t rate, uint32_t lead) {
  uint32_t start = atomic_load_explicit(&ring->read, memory_order_relaxed); /* neither side runs yet */
  *playout = (fa_playout_t){.ring = ring,
                            .tail = tail,
                            .rate = rate,
                            .frame_samples = rate / 50,
                            .lead = lead > FA_LEAD_MAX ? FA_LEAD_MAX : lead,
                            .cursor = start,
                            .released = start};
}

/* Gives slots back, but for the last 200 ms of the current utterance. */
static void release(fa_playout_t *playout, uint32_t keep) {
  uint32_t upto = playout->cursor - keep;
  if ((int32_t)(upto - playout->released) > 0) {
    playout->released = upto;
    fa_ring_release(playout->ring, upto);
  }
}

static void next_slot(fa_playout_t *playout) {
  playout->cursor++;
  playout->offset = 0;
  release(playout, FA_HISTORY_SLOTS);
}

static void close_utterance(fa_playout_t *playout) {
  playout->open = false;
  playout->dry = false;
  playout->no_lead = false;
  release(playout, 0);
}

/* The slot to play next; slots of flushed generations are dropped on the way. */
static fa_slot_head_t *current(fa_playout_t *playout) {
  for (;;) {
    fa_slot_head_t *slot = fa_ring_peek(playout->ring, playout->cursor);
    if (slot == NULL || slot->generation > playout->flushed) return slot;
    next_slot(playout);
    release(playout, 0);
  }
}

bool fa_playout_active(fa_playout_t *playout) { return playout->open || current(playout) != NULL; }

uint32_t fa_playout_generation(fa_playout_t *playout, uint32_t *heard) {
  fa_slot_head_t *slot = playout->open ? NULL : current(playout);
  *heard = slot == NULL ? playout->heard : 0;
  return slot == NULL ? playout->generation : slot->generation;
}

uint32_t fa_playout_silence_due(fa_playout_t *playout, uint32_t periods) {
  if (playout->ahead >= periods) {
    playout->ahead -= periods;
    return 0;
  }
  playout->ahead = 0;
  return 1;
}

bool fa_playout_wants_lead(fa_playout_t *playout) {
  if (playout->paused || playout->no_lead || playout->ahead >= playout->lead || playout->tail_samples > 0)
    return false;
  fa_slot_head_t *slot = current(playout);
  return slot != NULL && slot->samples > 0;
}

void fa_playout_stalled(fa_playout_t *playout) {
  playout->ahead = 0;
  if (playout->open) playout->no_lead = true;
}

/* A linear ramp over 5 ms; `from` and `to` say which way. */
static void ramp(int16_t *samples, uint32_t count, bool up) {
  for (uint32_t i = 0; i < count; i++) {
    int32_t gain = (int32_t)(up ? i : count - 1 - i);
    samples[i] = (int16_t)(samples[i] * gain / (int32_t)count);
  }
}

static uint32_t ramp_samples(const fa_playout_t *playout) { return fa_playout_ramp(playout->rate); }

static void begin(fa_playout_t *playout, uint32_t generation, fa_played_t *played) {
  playout->generation = generation;
  playout->position = playout->heard = 0;
  playout->open = true;
  playout->dry = false;
  playout->ramp_up = false;
  played->began = true;
  played->generation = generation;
}

static void advance(fa_playout_t *playout, uint32_t samples) {
  playout->offset += samples;
  playout->position += samples;
  if (playout->position > playout->heard) playout->heard = playout->position;
}

/* An utterance of whole frames ends with a slot that holds nothing: it is over with the frame before. */
static bool ends_here(fa_playout_t *playout) {
  const fa_slot_head_t *slot = playout->open ? current(playout) : NULL;
  return slot != NULL && slot->generation == playout->generation && slot->samples == 0 && slot->last != 0;
}

/* Copies up to `want` samples of one utterance; stops at its end. */
static uint32_t pull(fa_playout_t *playout, int16_t *out, uint32_t want, fa_played_t *played) {
  uint32_t have = 0;
  while (have < want || (have > 0 && ends_here(playout))) {
    fa_slot_head_t *slot = current(playout);
    if (slot == NULL) break;
    if (playout->open && slot->generation != playout->generation) {
      if (have > 0) break;
      /* The producer gave it up without an end: its flush is still under way to this thread. */
      played->flushed = true;
      played->generation = playout->generation;
      played->heard = playout->heard;
      close_utterance(playout);
      break;
    }
    if (!playout->open) begin(playout, slot->generation, played);
    uint32_t left = slot->samples - playout->offset;
    uint32_t take = left < want - have ? left : want - have;
    memcpy(out + have, (const int16_t *)(const void *)fa_slot_audio(slot) + playout->offset, 2 * (size_t)take);
    have += take;
    advance(playout, take);
    if (playout->offset < slot->samples) continue;
    bool last = slot->last != 0;
    next_slot(playout);
    if (last) {
      played->ended = true;
      played->generation = playout->generation;
      played->heard = playout->heard;
      close_utterance(playout);
      break;
    }
  }
  return have;
}

fa_play_t fa_playout_frame(fa_playout_t *playout, int16_t *out, fa_played_t *played) {
  uint32_t want = playout->frame_samples;
  memset(out, 0, 2 * (size_t)want);
  if (playout->tail_samples > 0) {
    memcpy(out, playout->tail, 2 * (size_t)playout->tail_samples);
    playout->tail_samples = 0;
    return FA_PLAY_AUDIO;
  }
  if (playout->paused) return FA_PLAY_SILENCE;
  uint32_t have = pull(playout, out, want, played);
  if (have > 0 && playout->ramp_up) {
    uint32_t count = ramp_samples(playout);
    ramp(out, count < have ? count : have, true);
    playout->ramp_up = false;
  }
  bool dry = playout->open && have < want;
  if (dry && !playout->dry) playout->underruns++;
  playout->dry = dry;
  return have > 0 ? FA_PLAY_AUDIO : FA_PLAY_SILENCE;
}

/* How many of `want` samples can be taken without ending the utterance: resume still needs the place. Two slots are
 * enough, since a whole one is longer than the ramp. */
static uint32_t tail_available(fa_playout_t *playout, const fa_slot_head_t *slot, uint32_t want) {
  uint32_t left = slot->samples - playout->offset;
  if (left > want) return want;
  bool last = slot->last != 0;
  const fa_slot_head_t *next = last ? NULL : fa_ring_peek(playout->ring, playout->cursor + 1);
  if (next != NULL && next->generation == playout->generation) {
    left += next->samples;
    last = next->last != 0;
  }
  if (left > want) return want;
  return last && left > 0 ? left - 1 : left;
}

/* Takes 5 ms from where playback stands and lets them fall to silence in the next frame. */
static void fall_silent(fa_playout_t *playout) {
  fa_slot_head_t *slot = current(playout);
  if (!playout->open || playout->tail_samples > 0 || slot == NULL || slot->generation != playout->generation) return;
  fa_played_t ignored = {0}; /* nothing begins or ends in a tail */
  uint32_t count = tail_available(playout, slot, ramp_samples(playout));
  playout->tail_samples = pull(playout, playout->tail, count, &ignored);
  ramp(playout->tail, playout->tail_samples, false);
}

void fa_playout_hold(fa_playout_t *playout) {
  if (playout->paused) return;
  fall_silent(playout);
  playout->paused = true;
}

void fa_playout_resume(fa_playout_t *playout, uint32_t rewind_ms) {
  if (!playout->paused) return;
  playout->paused = false;
  playout->ramp_up = true;
  uint32_t back = rewind_ms * playout->rate / 1000;
  if (back > playout->position) back = playout->position;
  while (back > 0) {
    if (playout->offset > 0) {
      uint32_t step = back < playout->offset ? back : playout->offset;
      playout->offset -= step;
      playout->position -= step;
      back -= step;
      continue;
    }
    if (playout->cursor == playout->released) break;
    fa_slot_head_t *slot = fa_ring_slot(playout->ring, playout->cursor - 1);
    if (slot->generation != playout->generation) break;
    playout->cursor--;
    playout->offset = slot->samples;
  }
}

void fa_playout_flush(fa_playout_t *playout, uint32_t generation, fa_played_t *played) {
  if (generation <= playout->flushed) return;
  bool current_goes = playout->open && playout->generation <= generation;
  if (current_goes && !playout->paused) fall_silent(playout);
  /* Audio of a generation that had not begun is flushed as unheard. */
  fa_slot_head_t *slot = current(playout);
  bool waiting_goes = !current_goes && slot != NULL && slot->generation <= generation;
  played->flushed = current_goes || waiting_goes;
  if (played->flushed) {
    played->generation = current_goes ? playout->generation : slot->generation;
    played->heard = current_goes ? playout->heard : 0;
  }
  playout->flushed = generation;
  if (current_goes || waiting_goes) {
    close_utterance(playout);
    playout->paused = false;
    playout->offset = 0;
  }
  (void)current(playout); /* what is kept of an utterance that stays is for a resume to go back to */
}

bool fa_playout_supersede(fa_playout_t *playout, fa_played_t *played) {
  if (!playout->paused) return false;
  uint32_t filled = fa_ring_filled(playout->ring, playout->cursor);
  if (filled == 0) return false;
  fa_slot_head_t *newest = fa_ring_slot(playout->ring, playout->cursor + filled - 1);
  uint32_t heard;
  if (newest->generation <= fa_playout_generation(playout, &heard)) return false;
  fa_playout_flush(playout, newest->generation - 1, played);
  return played->flushed;
}
