/* Playback held, resumed to the sample, flushed and superseded. */
#include "playing.h"

/* The ramp in `out`: samples from `from` on fall linearly to 0, then silence. */
static void expect_falling(uint32_t generation, uint32_t from, uint32_t count) {
  for (uint32_t i = 0; i < count; i++)
    CHECK_EQ(out[i], sample(generation, from + i) * (int)(count - 1 - i) / (int)count);
  for (uint32_t i = count; i < N; i++) CHECK_EQ(out[i], 0);
}

static void test_hold_and_resume_lose_no_sample(void) {
  set_up(2);
  say(1, 0, 6 * N);
  CHECK_EQ(fa_producer_end(&producer, 1), FA_OK);
  (void)frame();
  fa_playout_hold(&playout);
  fa_playout_hold(&playout); /* twice is once */
  CHECK_EQ(frame(), FA_PLAY_AUDIO);
  expect_falling(1, N, RAMP);
  CHECK_EQ(playout.heard, N + RAMP);
  for (int i = 0; i < 20; i++) CHECK_EQ(frame(), FA_PLAY_SILENCE);
  CHECK(!fa_playout_wants_lead(&playout));
  CHECK(fa_playout_active(&playout));
  CHECK_EQ(playout.underruns, 0);
  fa_playout_resume(&playout, 0);
  CHECK_EQ(frame(), FA_PLAY_AUDIO);
  for (int i = 0; i < N; i++) /* rises over 5 ms from where it stood, across the edge of a slot */
    CHECK_EQ(out[i], i < RAMP ? sample(1, N + RAMP + (uint32_t)i) * i / RAMP : sample(1, N + RAMP + (uint32_t)i));
  CHECK_EQ(frame(), FA_PLAY_AUDIO);
  expect(1, 2 * N + RAMP, N);
  (void)frame();
  (void)frame();
  CHECK_EQ(frame(), FA_PLAY_AUDIO);
  expect(1, 5 * N + RAMP, N - RAMP);
  CHECK(played.ended && played.heard == 6 * N);
}

static void test_resume_rewinds_across_slots(void) {
  for (uint32_t rewind_ms = 0; rewind_ms <= 200; rewind_ms += 5) {
    set_up(0);
    say(1, 0, 30 * N);
    for (int i = 0; i < 14; i++) (void)frame();
    fa_playout_hold(&playout);
    (void)frame();
    uint32_t held = 14 * N + RAMP;
    CHECK_EQ(playout.position, held);
    fa_playout_resume(&playout, rewind_ms);
    uint32_t at = held - rewind_ms * 8;
    CHECK_EQ(playout.position, at);
    (void)frame();
    for (uint32_t i = RAMP; i < N; i++) CHECK_EQ(out[i], sample(1, at + i));
    (void)frame();
    expect(1, at + N, N);
    CHECK_EQ(playout.heard, at + 2 * N > held ? at + 2 * N : held); /* replay is not heard twice */
  }
}

static void test_rewind_stops_at_the_beginning_of_the_utterance(void) {
  set_up(0);
  say(1, 0, 3 * N);
  CHECK_EQ(fa_producer_end(&producer, 1), FA_OK);
  say(2, 0, 5 * N);
  for (int i = 0; i < 5; i++) (void)frame(); /* three of 1, two of 2 */
  CHECK_EQ(playout.position, 2 * N);
  fa_playout_hold(&playout);
  (void)frame();
  fa_playout_resume(&playout, 200);
  CHECK_EQ(playout.position, 0);
  (void)frame();
  for (uint32_t i = RAMP; i < N; i++) CHECK_EQ(out[i], sample(2, i));
}

static void test_a_flush_of_what_is_over_leaves_the_rewind(void) {
  set_up(0);
  say(1, 0, N);
  CHECK_EQ(fa_producer_end(&producer, 1), FA_OK);
  say(2, 0, 6 * N);
  for (int i = 0; i < 5; i++) (void)frame(); /* one of 1, four of 2 */
  fa_playout_hold(&playout);
  (void)frame();
  uint32_t held = playout.position;
  fa_played_t flushed = {0};
  fa_playout_flush(&playout, 1, &flushed);
  CHECK(!flushed.flushed && playout.paused);
  fa_playout_resume(&playout, 60);
  CHECK_EQ(playout.position, held - 3 * N);
  (void)frame();
  for (uint32_t i = RAMP; i < N; i++) CHECK_EQ(out[i], sample(2, held - 3 * N + i));
}

static void test_hold_with_little_left(void) {
  /* The slot's rest is shorter than the ramp: it goes on into the next slot. */
  set_up(0);
  say(1, 0, 4 * N);
  (void)frame();
  for (uint32_t n = 1; n <= 4; n++) { /* each hold takes 40 samples: the rest shrinks to nothing */
    fa_playout_hold(&playout);
    CHECK_EQ(frame(), FA_PLAY_AUDIO);
    expect_falling(1, N + (n - 1) * RAMP, RAMP);
    fa_playout_resume(&playout, 0);
  }
  CHECK_EQ(playout.position, N + 4 * RAMP);
  /* Less than a ramp before the end of the utterance: the last sample stays, so that the utterance does not end. */
  set_up(0);
  say(1, 0, N + 10);
  CHECK_EQ(fa_producer_end(&producer, 1), FA_OK);
  (void)frame();
  fa_playout_hold(&playout);
  CHECK_EQ(frame(), FA_PLAY_AUDIO);
  expect_falling(1, N, 9);
  CHECK(fa_playout_active(&playout));
  CHECK(!played.ended);
  fa_playout_resume(&playout, 0);
  CHECK_EQ(frame(), FA_PLAY_AUDIO);
  CHECK(played.ended && played.heard == N + 10);
  /* Nothing is left but the mark of the end, which came late. */
  set_up(0);
  say(1, 0, N);
  (void)frame();
  CHECK_EQ(fa_producer_end(&producer, 1), FA_OK);
  fa_playout_hold(&playout);
  CHECK_EQ(frame(), FA_PLAY_SILENCE);
  CHECK(fa_playout_active(&playout));
  fa_playout_resume(&playout, 0);
  (void)frame();
  CHECK(played.ended && played.heard == N);
}

static void test_hold_during_an_underrun(void) {
  set_up(0);
  say(1, 0, N);
  (void)frame();
  (void)frame();
  CHECK_EQ(playout.underruns, 1);
  fa_playout_hold(&playout);
  CHECK_EQ(frame(), FA_PLAY_SILENCE);
  say(1, N, N);
  CHECK_EQ(frame(), FA_PLAY_SILENCE); /* held: what comes meanwhile waits */
  fa_playout_resume(&playout, 0);
  CHECK_EQ(frame(), FA_PLAY_AUDIO);
  CHECK_EQ(out[N - 1], sample(1, 2 * N - 1));
  CHECK_EQ(playout.underruns, 1);
}

static void test_hold_before_the_first_frame(void) {
  set_up(0);
  say(1, 0, N);
  CHECK_EQ(fa_producer_end(&producer, 1), FA_OK);
  (void)frame();
  (void)frame();
  say(2, 0, 2 * N);
  fa_playout_hold(&playout);
  uint32_t heard = 99;
  CHECK_EQ(fa_playout_generation(&playout, &heard), 2);
  CHECK_EQ(heard, 0);
  CHECK(!fa_playout_supersede(&playout, &played)); /* it does not throw itself away */
  CHECK_EQ(frame(), FA_PLAY_SILENCE);
  played = (fa_played_t){0};
  fa_playout_flush(&playout, 2, &played); /* and does not stay held for ever */
  CHECK(played.flushed && played.generation == 2 && played.heard == 0);
  CHECK(!playout.paused);
}

static void test_flush(void) {
  set_up(0);
  say(1, 0, 4 * N);
  say(2, 0, 4 * N);
  say(3, 0, 2 * N);
  (void)frame();
  played = (fa_played_t){0};
  fa_playout_flush(&playout, 2, &played);
  CHECK(played.flushed && played.generation == 1 && played.heard == N + RAMP);
  CHECK_EQ(frame(), FA_PLAY_AUDIO); /* the ramp, so that nothing clicks */
  expect_falling(1, N, RAMP);
  CHECK_EQ(frame(), FA_PLAY_AUDIO);
  expect(3, 0, N);
  CHECK(played.began && played.generation == 3);
  played = (fa_played_t){0};
  fa_playout_flush(&playout, 2, &played); /* long gone */
  CHECK(!played.flushed);
  /* What the producer still writes of a flushed generation is dropped, its end too. */
  fa_playout_flush(&playout, 3, &played);
  (void)frame();
  say(3, 2 * N, 3 * N);
  CHECK_EQ(fa_producer_end(&producer, 3), FA_OK);
  say(4, 0, N);
  CHECK_EQ(frame(), FA_PLAY_AUDIO);
  expect(4, 0, N);
  CHECK_EQ(fa_ring_free(ring), SLOTS - 0 - (ring->write - playout.released));
}

static void test_flush_while_held(void) {
  set_up(0);
  say(1, 0, 4 * N);
  say(3, 0, 2 * N);
  (void)frame();
  fa_playout_hold(&playout);
  (void)frame();
  played = (fa_played_t){0};
  fa_playout_flush(&playout, 0, &played); /* older than what is held */
  CHECK(!played.flushed && playout.paused);
  fa_playout_flush(&playout, 2, &played); /* a newer generation waits, and comes at once and unramped */
  CHECK(played.flushed && played.generation == 1 && played.heard == N + RAMP && !playout.paused);
  CHECK_EQ(frame(), FA_PLAY_AUDIO);
  expect(3, 0, N);
}

static void test_a_newer_generation_supersedes_a_held_one(void) {
  set_up(0);
  say(1, 0, 4 * N);
  (void)frame();
  CHECK(!fa_playout_supersede(&playout, &played)); /* not held */
  fa_playout_hold(&playout);
  CHECK(!fa_playout_supersede(&playout, &played)); /* nothing newer */
  say(2, 0, N);
  (void)frame();
  played = (fa_played_t){0};
  CHECK(fa_playout_supersede(&playout, &played));
  CHECK(played.flushed && played.generation == 1 && played.heard == N + RAMP);
  CHECK_EQ(frame(), FA_PLAY_AUDIO);
  expect(2, 0, N);
}

static void test_a_generation_given_up_without_an_end_is_told(void) {
  /* The producer flushes and goes on with a newer one before the media thread has seen the flush. */
  set_up(0);
  say(1, 0, N + 20);
  fa_producer_flush(&producer, 1);
  say(2, 0, N);
  (void)frame();
  (void)frame();
  CHECK(played.flushed && played.generation == 1 && played.heard == N);
  CHECK_EQ(frame(), FA_PLAY_AUDIO);
  expect(2, 0, N);
  CHECK(played.began && played.generation == 2);
}

/* Random holds, resumes, gaps and lengths: what goes out, put together, is what was said; nothing is lost or doubled. */
static void test_any_history_keeps_every_sample(void) {
  uint64_t seed = 17;
  for (int round = 0; round < 300; round++) {
    set_up(check_random(&seed) % 4);
    uint32_t total = 1 + (uint32_t)(check_random(&seed) % 4000), said = 0, at = 0;
    bool ended = false, done = false;
    for (int step = 0; step < 4000 && !done; step++) {
      if (said < total) {
        uint32_t count = (uint32_t)(check_random(&seed) % 300);
        if (count > total - said) count = total - said;
        if (fa_ring_free(ring) >= 4) say(1, said, count), said += count;
      } else if (!ended) {
        ended = fa_producer_end(&producer, 1) == FA_OK;
      }
      uint64_t dice = check_random(&seed) % 12;
      if (dice == 0) fa_playout_hold(&playout);
      if (dice == 1) fa_playout_resume(&playout, 0);
      if (dice < 2) at = playout.position; /* a ramp changes the samples, not the place */
      uint32_t before = playout.position;
      bool plain = playout.tail_samples == 0 && !playout.ramp_up && playout.position == at;
      fa_play_t kind = frame();
      if (played.ended) CHECK_EQ(played.heard, total);
      done = played.ended;
      uint32_t moved = done ? total - before : playout.position - before;
      CHECK_EQ(playout.heard, playout.position);
      if (kind == FA_PLAY_AUDIO && plain) expect(1, before, moved);
      at = before + moved;
    }
    CHECK(done || playout.paused || !ended);
    if (!done) { /* let it go on to the end */
      fa_playout_resume(&playout, 0);
      while (said < total) {
        uint32_t count = total - said < 160 ? total - said : 160;
        say(1, said, count);
        said += count;
        (void)frame();
      }
      for (int i = 0; i < 100 && !ended; i++) ended = fa_producer_end(&producer, 1) == FA_OK, (void)frame();
      for (int i = 0; i < 100 && !played.ended; i++) (void)frame();
      CHECK_EQ(played.heard, total);
    }
  }
}

int main(void) {
  check_time_limit(60);
  RUN(test_hold_and_resume_lose_no_sample);
  RUN(test_resume_rewinds_across_slots);
  RUN(test_rewind_stops_at_the_beginning_of_the_utterance);
  RUN(test_a_flush_of_what_is_over_leaves_the_rewind);
  RUN(test_hold_with_little_left);
  RUN(test_hold_during_an_underrun);
  RUN(test_hold_before_the_first_frame);
  RUN(test_flush);
  RUN(test_flush_while_held);
  RUN(test_a_newer_generation_supersedes_a_held_one);
  RUN(test_a_generation_given_up_without_an_end_is_told);
  RUN(test_any_history_keeps_every_sample);
  return 0;
}
