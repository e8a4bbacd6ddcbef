/* Producer, ring and playout against a simple model: nothing of an utterance is lost, repeated or out of order but by a
 * resume that goes back, the account is exact, and what was flushed is never heard. */
#include "fuzz.h"
#include "playout.h"

#define GENERATIONS 256
#define SLOTS 32
#define FRAME_BYTES_MAX 960 /* 24 kHz */

typedef struct {
  fa_ring_t *ring;
  fa_producer_t producer;
  fa_playout_t playout;
  uint8_t carry[FRAME_BYTES_MAX];
  int16_t tail[FRAME_BYTES_MAX / 4];
  uint32_t rate;
  /* the model */
  uint64_t bytes[GENERATIONS]; /* that the producer took */
  bool ended[GENERATIONS];     /* its end was taken */
  bool over[GENERATIONS];      /* told as ended or flushed */
  uint32_t writing;            /* the generation that the agent writes */
  uint32_t open;               /* the generation that is heard, 0 for none */
  uint32_t last;               /* the last one that began */
  uint32_t heard;              /* of it, the furthest */
  uint32_t flushed;            /* by the consumer */
} fuzz_t;

static int16_t sample_of(uint32_t generation, uint64_t i) { return (int16_t)(1 + (generation * 7919u + i) % 32000); }

/* ---- the producer ---- */

/* A newer generation ends the one that was open. */
static void note_end(fuzz_t *f, uint32_t was_open) {
  if (was_open != 0 && was_open != f->producer.generation) f->ended[was_open] = true;
}

static void write_some(fuzz_t *f, size_t length) {
  int16_t samples[1024];
  uint8_t *bytes = (uint8_t *)samples;
  uint64_t at = f->bytes[f->writing];
  if (length > sizeof samples - 2) length = sizeof samples - 2;
  for (size_t i = 0; i < sizeof samples / 2; i++) samples[i] = sample_of(f->writing, at / 2 + i);
  size_t used = 0;
  uint32_t was_open = f->producer.generation;
  fa_result_t result = fa_producer_write(&f->producer, f->writing, bytes + at % 2, length, &used);
  NEED(used <= length && (result == FA_OK) == (used == length && result != FA_ERR_STALE && result != FA_AGAIN));
  NEED(result == FA_OK || result == FA_AGAIN || result == FA_ERR_STALE);
  bool stale = f->writing <= f->producer.flushed || f->ended[f->writing];
  NEED(stale == (result == FA_ERR_STALE));
  f->bytes[f->writing] += used;
  note_end(f, was_open);
}

static void end(fuzz_t *f) {
  bool stale = f->writing <= f->producer.flushed || f->ended[f->writing];
  uint32_t was_open = f->producer.generation;
  fa_result_t result = fa_producer_end(&f->producer, f->writing);
  NEED(stale == (result == FA_ERR_STALE));
  note_end(f, was_open);
  if (result == FA_OK) f->ended[f->writing] = true;
}

/* ---- the consumer ---- */

static void told(fuzz_t *f, const fa_played_t *played) {
  uint32_t g = played->generation;
  if (!played->ended && !played->flushed) return;
  NEED(g > 0 && g < GENERATIONS && !f->over[g]);
  NEED(!(played->ended && played->flushed));
  if (played->ended) {
    NEED(f->ended[g] && f->open == g);
    NEED(played->heard == f->bytes[g] / 2 && played->heard == f->heard);
  } else {
    NEED(played->heard == (f->open == g ? f->heard : 0));
  }
  f->over[g] = true;
  if (f->open == g) f->open = 0;
}

/* `count` samples in `out` are those of `generation` from `from` on; where a ramp is, no louder. */
static void check_samples(const int16_t *out, uint32_t count, uint32_t generation, uint32_t from, uint32_t ramp) {
  for (uint32_t i = 0; i < count; i++) {
    int16_t want = sample_of(generation, from + i);
    NEED(i < ramp ? out[i] >= 0 && out[i] <= want : out[i] == want);
  }
}

static void frame(fuzz_t *f) {
  fa_playout_t *playout = &f->playout;
  int16_t out[FRAME_BYTES_MAX / 2];
  memset(out, 0x55, sizeof out);
  uint32_t want = f->rate / 50, position = playout->position, tail = playout->tail_samples;
  bool paused = playout->paused;
  uint32_t ramp = playout->ramp_up ? fa_playout_ramp(f->rate) : 0, heard = 0;
  int16_t falling[FRAME_BYTES_MAX / 4];
  memcpy(falling, f->tail, sizeof falling);
  fa_played_t played = {0};
  fa_play_t kind = fa_playout_frame(playout, out, &played);
  if (tail > 0) {
    NEED(kind == FA_PLAY_AUDIO && playout->tail_samples == 0 && playout->position == position);
    NEED(memcmp(out, falling, 2 * (size_t)tail) == 0);
    heard = tail;
  } else if (paused) {
    NEED(kind == FA_PLAY_SILENCE && playout->position == position);
  } else {
    if (played.began) {
      NEED(f->open == 0 && playout->generation > f->last && playout->generation > f->flushed);
      f->open = f->last = playout->generation;
      f->heard = position = ramp = 0;
    }
    heard = playout->position - position;
    NEED(playout->position >= position && heard <= want && (heard > 0) == (kind == FA_PLAY_AUDIO));
    if (heard > 0) check_samples(out, heard, playout->generation, position, ramp);
    NEED(heard == 0 || ramp == 0 || out[0] == 0); /* it rises from silence */
    NEED(2 * (uint64_t)playout->position <= f->bytes[playout->generation]);
    if (playout->position > f->heard) f->heard = playout->position;
    NEED(f->heard == playout->heard);
  }
  for (uint32_t i = heard; i < want; i++) NEED(out[i] == 0);
  told(f, &played);
  NEED(playout->open == (f->open != 0));
}

/* A tail may have been taken: it is of the open utterance, from where playback stood, and no louder. */
static void check_tail(fuzz_t *f, uint32_t position, uint32_t generation, uint32_t tail) {
  if (tail > 0 || f->playout.tail_samples == 0) return;
  NEED(f->playout.tail_samples <= fa_playout_ramp(f->rate));
  check_samples(f->tail, f->playout.tail_samples, generation, position, UINT32_MAX);
  NEED(f->tail[f->playout.tail_samples - 1] == 0);
  if (position + f->playout.tail_samples > f->heard) f->heard = position + f->playout.tail_samples;
}

static void hold(fuzz_t *f) {
  uint32_t position = f->playout.position, tail = f->playout.tail_samples;
  fa_playout_hold(&f->playout);
  NEED(f->playout.paused);
  check_tail(f, position, f->open, tail);
}

static void resume(fuzz_t *f, uint32_t rewind_ms) {
  uint32_t position = f->playout.position, back = rewind_ms * f->rate / 1000;
  bool paused = f->playout.paused;
  fa_playout_resume(&f->playout, rewind_ms);
  NEED(!f->playout.paused && f->playout.position <= position);
  /* It goes back as far as it was asked to, or to the beginning, or to what is kept: 200 ms behind the furthest. */
  uint32_t kept = FA_HISTORY_SLOTS * f->rate / 50;
  if (paused && f->open != 0 && f->heard - f->playout.position < kept)
    NEED(position - f->playout.position == (back < position ? back : position));
  NEED(paused || f->playout.position == position);
}

static void flush(fuzz_t *f, uint32_t generation) {
  uint32_t position = f->playout.position, tail = f->playout.tail_samples, open = f->open;
  fa_played_t played = {0};
  fa_playout_flush(&f->playout, generation, &played);
  check_tail(f, position, open, tail);
  if (generation > f->flushed) f->flushed = generation;
  NEED(!(open != 0 && open <= generation) || played.flushed);
  told(f, &played);
}

static void supersede(fuzz_t *f) {
  fa_played_t played = {0};
  uint32_t position = f->playout.position, tail = f->playout.tail_samples, open = f->open;
  bool paused = f->playout.paused;
  bool done = fa_playout_supersede(&f->playout, &played);
  NEED(done == played.flushed && (!done || paused));
  check_tail(f, position, open, tail);
  if (f->playout.flushed > f->flushed) f->flushed = f->playout.flushed;
  told(f, &played);
}

static void step(fuzz_t *f, uint32_t op, uint32_t value) {
  switch (op) {
    case 0:
      if (f->writing < GENERATIONS - 2) f->writing++;
      break;
    case 1: end(f); break;
    case 2: hold(f); break;
    case 3: resume(f, value % 201); break;
    case 4:
      fa_producer_flush(&f->producer, value % GENERATIONS);
      flush(f, value % GENERATIONS);
      break;
    case 5: fa_producer_flush(&f->producer, value % GENERATIONS); break; /* the command is still under way */
    case 6: supersede(f); break;
    case 7: fa_playout_stalled(&f->playout); break;
    case 8: (void)fa_playout_silence_due(&f->playout, value % 8); break;
    default:
      if (fa_playout_wants_lead(&f->playout)) {
        frame(f);
        f->playout.ahead++;
      }
      NEED(f->playout.ahead <= FA_LEAD_MAX);
  }
}

/* In the end everything that was not flushed is heard to its last sample. */
static void drain(fuzz_t *f) {
  resume(f, 0);
  for (uint32_t i = 0; i < 2 * SLOTS; i++) frame(f);
  if (f->producer.generation != 0) {
    f->writing = f->producer.generation;
    end(f);
    frame(f), frame(f);
  }
  for (uint32_t g = 1; g < GENERATIONS; g++)
    if (f->ended[g] && g > f->flushed && g > f->producer.flushed) NEED(f->over[g]);
  NEED(fa_ring_filled(f->ring, f->playout.cursor) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const uint32_t rates[] = {8000, 16000, 24000, 8000};
  static uint64_t memory[SLOTS * (8 + FRAME_BYTES_MAX) / 8];
  static fa_ring_t ring;
  input_t input = {data, size};
  uint32_t set = take8(&input);
  fuzz_t f = {.ring = &ring, .rate = rates[set & 3], .writing = 1};
  NEED(fa_ring_init(&ring, memory, SLOTS, f.rate / 50 * 2, set & 4 ? UINT32_MAX - 9 : 0) == FA_OK);
  fa_producer_init(&f.producer, &ring, f.carry, f.rate / 50 * 2);
  fa_playout_init(&f.playout, &ring, f.tail, f.rate, set >> 3 & 3);
  while (input.left > 0) {
    uint32_t op = take8(&input);
    if (op < 90)
      write_some(&f, op % 3 == 0 ? take8(&input) : (size_t)op * 9);
    else if (op < 200)
      frame(&f);
    else
      step(&f, op % 11, take8(&input));
  }
  drain(&f);
  return 0;
}
