/* Playback: the producer's rules, utterances, underruns, the lead, and the account. */
#include "playing.h"

static void test_producer_rules(void) {
  set_up(0);
  size_t used;
  const uint8_t pcm[4] = {1, 2, 3, 4};
  CHECK_EQ(fa_producer_write(&producer, 0, pcm, 4, &used), FA_ERR_ARG);
  CHECK_EQ(fa_producer_write(&producer, 2, pcm, 4, &used), FA_OK);
  CHECK_EQ(fa_producer_write(&producer, 1, pcm, 4, &used), FA_ERR_STALE);
  CHECK_EQ(producer.stale, 4);
  CHECK_EQ(fa_producer_end(&producer, 2), FA_OK);
  CHECK_EQ(fa_producer_end(&producer, 2), FA_ERR_STALE); /* once */
  CHECK_EQ(fa_producer_write(&producer, 2, pcm, 4, &used), FA_ERR_STALE); /* an ended one does not open again */
  fa_producer_flush(&producer, 5);
  CHECK_EQ(fa_producer_write(&producer, 5, pcm, 4, &used), FA_ERR_STALE);
  CHECK_EQ(fa_producer_end(&producer, 4), FA_ERR_STALE);
  CHECK_EQ(used, 0);
  CHECK_EQ(fa_producer_write(&producer, 6, pcm, 4, &used), FA_OK);
}

static void test_producer_stops_at_a_full_ring(void) {
  set_up(0);
  static uint8_t pcm[2 * N * (SLOTS + 3)];
  size_t used;
  CHECK_EQ(fa_producer_write(&producer, 1, pcm, sizeof pcm, &used), FA_AGAIN);
  CHECK_EQ(used, 2 * N * SLOTS);
  CHECK_EQ(fa_producer_end(&producer, 1), FA_AGAIN);
  CHECK_EQ(fa_producer_write(&producer, 2, pcm, 2, &used), FA_AGAIN); /* the end of 1 has no room */
  for (int i = 0; i < 12; i++) CHECK_EQ(frame(), FA_PLAY_AUDIO); /* 10 slots are kept for a resume */
  CHECK_EQ(fa_producer_write(&producer, 1, pcm, 2 * N, &used), FA_OK);
  CHECK_EQ(fa_producer_end(&producer, 1), FA_OK);
}

static void test_an_utterance_and_its_account(void) {
  set_up(0);
  CHECK(!fa_playout_active(&playout));
  CHECK_EQ(frame(), FA_PLAY_SILENCE);
  say(1, 0, 2 * N + 30);
  CHECK(fa_playout_active(&playout));
  CHECK_EQ(frame(), FA_PLAY_AUDIO);
  expect(1, 0, N);
  CHECK(played.began && played.generation == 1 && !played.ended);
  CHECK_EQ(frame(), FA_PLAY_AUDIO);
  expect(1, N, N);
  CHECK(!played.began && !played.ended);
  CHECK_EQ(playout.heard, 2 * N);
  CHECK_EQ(fa_producer_end(&producer, 1), FA_OK);
  CHECK_EQ(frame(), FA_PLAY_AUDIO); /* a tail of 30 samples, padded */
  expect(1, 2 * N, 30);
  CHECK(played.ended && played.heard == 2 * N + 30); /* padding is not heard */
  CHECK(!fa_playout_active(&playout));
  CHECK_EQ(playout.underruns, 0);
}

static void test_end_without_tail_and_without_audio(void) {
  set_up(0);
  say(1, 0, N);
  CHECK_EQ(fa_producer_end(&producer, 1), FA_OK);
  CHECK_EQ(fa_producer_end(&producer, 2), FA_OK); /* nothing was said in it */
  CHECK_EQ(frame(), FA_PLAY_AUDIO); /* the end is no frame of its own */
  CHECK(played.ended && played.generation == 1 && played.heard == N);
  CHECK_EQ(frame(), FA_PLAY_SILENCE);
  CHECK(played.began && played.ended && played.generation == 2 && played.heard == 0);
  CHECK(!fa_playout_active(&playout));
  CHECK_EQ(playout.underruns, 0);
}

static void test_generations_do_not_share_a_frame(void) {
  set_up(0);
  say(1, 0, N + 10);
  say(2, 0, N); /* ends 1 by itself */
  (void)frame();
  CHECK_EQ(frame(), FA_PLAY_AUDIO);
  expect(1, N, 10);
  CHECK(played.ended && played.generation == 1 && played.heard == N + 10);
  CHECK_EQ(frame(), FA_PLAY_AUDIO);
  expect(2, 0, N);
  CHECK(played.began && played.generation == 2);
}

static void test_underrun_counts_once_a_gap(void) {
  set_up(0);
  say(1, 0, N);
  (void)frame();
  for (int i = 0; i < 5; i++) CHECK_EQ(frame(), FA_PLAY_SILENCE);
  CHECK_EQ(playout.underruns, 1);
  CHECK(fa_playout_active(&playout));
  say(1, N, N);
  CHECK_EQ(frame(), FA_PLAY_AUDIO);
  expect(1, N, N);
  CHECK(!played.began); /* the same utterance goes on */
  (void)frame();
  CHECK_EQ(playout.underruns, 2);
  CHECK_EQ(fa_producer_end(&producer, 1), FA_OK);
  (void)frame();
  CHECK(played.ended && played.heard == 2 * N);
  (void)frame();
  CHECK_EQ(playout.underruns, 2);
}

/* One tick as the call makes it: frames of audio sent. */
static uint32_t tick(uint32_t periods, uint32_t *silence) {
  uint32_t audio = 0;
  *silence = 0;
  for (uint32_t sent = 0; sent < periods; sent++) {
    if (frame() == FA_PLAY_AUDIO) {
      audio++;
      continue;
    }
    *silence = fa_playout_silence_due(&playout, periods - sent);
    break;
  }
  while (fa_playout_wants_lead(&playout)) {
    CHECK_EQ(frame(), FA_PLAY_AUDIO);
    playout.ahead++;
    audio++;
  }
  return audio;
}

static void test_lead_is_built_and_given_back(void) {
  set_up(3);
  uint32_t silence;
  say(1, 0, 8 * N);
  CHECK_EQ(fa_producer_end(&producer, 1), FA_OK);
  CHECK_EQ(tick(1, &silence), 4); /* the frame and three ahead */
  for (int i = 0; i < 4; i++) CHECK_EQ(tick(1, &silence), 1);
  for (int i = 0; i < 3; i++) {
    CHECK_EQ(tick(1, &silence), 0); /* given back: nothing at all is sent */
    CHECK_EQ(silence, 0);
  }
  CHECK_EQ(tick(1, &silence), 0);
  CHECK_EQ(silence, 1);
  CHECK_EQ(playout.ahead, 0);
  /* Nine ticks, eight frames of audio and one of silence: the wire kept the rate. */
}

static void test_lead_after_a_stall_waits_for_the_next_utterance(void) {
  set_up(2);
  uint32_t silence;
  say(1, 0, 6 * N);
  CHECK_EQ(tick(1, &silence), 3);
  fa_playout_stalled(&playout);
  CHECK_EQ(playout.ahead, 0);
  CHECK_EQ(tick(1, &silence), 1);
  CHECK_EQ(fa_producer_end(&producer, 1), FA_OK);
  say(2, 0, 4 * N);
  CHECK_EQ(tick(1, &silence), 1);
  CHECK_EQ(tick(1, &silence), 3); /* the last of 1, then the lead of 2 is built */
  CHECK_EQ(silence, 0);
  CHECK_EQ(playout.ahead, 2);
}

static void test_owed_silence_is_not_sent_but_pays_back_the_lead(void) {
  set_up(3);
  uint32_t silence;
  say(1, 0, 4 * N);
  CHECK_EQ(fa_producer_end(&producer, 1), FA_OK);
  CHECK_EQ(tick(1, &silence), 4);
  CHECK_EQ(tick(2, &silence), 0);
  CHECK(silence == 0 && playout.ahead == 1);
  CHECK_EQ(tick(3, &silence), 0);
  CHECK(silence == 1 && playout.ahead == 0);
}

int main(void) {
  check_time_limit(60);
  RUN(test_producer_rules);
  RUN(test_producer_stops_at_a_full_ring);
  RUN(test_an_utterance_and_its_account);
  RUN(test_end_without_tail_and_without_audio);
  RUN(test_generations_do_not_share_a_frame);
  RUN(test_underrun_counts_once_a_gap);
  RUN(test_lead_is_built_and_given_back);
  RUN(test_lead_after_a_stall_waits_for_the_next_utterance);
  RUN(test_owed_silence_is_not_sent_but_pays_back_the_lead);
  return 0;
}
