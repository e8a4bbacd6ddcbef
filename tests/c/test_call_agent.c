/* One call without I/O: barge-in, what the agent asks for, hangup, and what it wants to be told. */
#include "by_hand.h"

static void test_barge_in_holds_in_the_tick_and_limits(void) {
  set_up(0);
  say(1, 60, 4000);
  (void)tick();
  (void)expect_event(FA_EVENT_BEGAN);
  for (int n = 0; n < 3; n++) {
    hear(2000);
    CHECK_EQ(tick(), MESSAGE);
    CHECK_EQ(sample_at(0, N - 1), 4000);
  }
  (void)expect_event(FA_EVENT_SPEECH);
  hear(2000);
  CHECK_EQ(tick(), MESSAGE); /* the fourth frame: in this tick the wire falls silent within 5 ms */
  CHECK(sample_at(0, 0) > 3000 && sample_at(0, 40) == 0 && sample_at(0, N - 1) == 0);
  fa_event_t event = expect_event(FA_EVENT_HOLD);
  CHECK(event.generation == 1 && event.value == 4 * N + 40);
  for (int n = 0; n < 5; n++) {
    hear(2000);
    CHECK_EQ(tick(), MESSAGE);
    CHECK_EQ(sample_at(0, 0), 0);
  }
  (void)expect_event(FA_EVENT_BARGE_IN);
  for (int n = 0; n < 75; n++) {
    expect_no_event();
    hear(2000);
    (void)tick();
  }
  event = expect_event(FA_EVENT_FLUSHED); /* no word from the agent for 1.5 s */
  CHECK(event.generation == 1 && event.value == 4 * N + 40);
  CHECK(count_of(&call->counters.holds) == 1 && count_of(&call->counters.barge_ins) == 1);
  CHECK_EQ(count_of(&call->counters.flushes), 1);
}

static void test_a_cough_holds_and_resumes_where_it_stood(void) {
  set_up(0);
  say(1, 60, 4000);
  for (int n = 0; n < 4; n++) {
    hear(2000);
    (void)tick();
  }
  for (int n = 0; n < 9; n++) {
    hear(0);
    CHECK_EQ(tick(), MESSAGE);
    CHECK_EQ(sample_at(0, N - 1), 0);
  }
  uint64_t heard = count_of(&call->heard);
  hear(0);
  (void)tick();
  CHECK_EQ(sample_at(0, N - 1), 4000);
  CHECK_EQ(count_of(&call->counters.resumes), 1);
  CHECK_EQ(count_of(&call->heard), heard + N);
}

static void test_a_hold_before_the_first_frame_does_not_last(void) {
  set_up(0);
  for (int n = 0; n < 20; n++) {
    if (n == 10) say(5, 40, 4000); /* the caller is speaking when the answer comes */
    hear(2000);
    (void)tick();
  }
  fa_event_t event = expect_event(FA_EVENT_SPEECH);
  event = expect_event(FA_EVENT_HOLD);
  CHECK(event.generation == 5 && event.value == 0);
  event = expect_event(FA_EVENT_BARGE_IN);
  CHECK_EQ(event.generation, 5);
  for (int n = 0; n < 80; n++) {
    hear(0);
    (void)tick();
  }
  (void)expect_event(FA_EVENT_QUIET);
  event = expect_event(FA_EVENT_FLUSHED);
  CHECK_EQ(event.generation, 5);
  CHECK(!call->playout.paused);
  say(6, 2, 4000);
  (void)tick();
  CHECK_EQ(sample_at(0, 0), 4000);
}

static void test_the_agents_hold_resume_and_flush(void) {
  set_up(0);
  fa_call_hold(call, 0); /* nothing to hold */
  expect_no_event();
  say(1, 20, 4000);
  (void)tick();
  (void)expect_event(FA_EVENT_BEGAN);
  fa_call_hold(call, 0);
  (void)expect_event(FA_EVENT_HOLD);
  (void)tick();
  (void)tick();
  CHECK_EQ(sample_at(0, 0), 0);
  fa_call_resume(call, 20, 0);
  (void)expect_event(FA_EVENT_RESUME);
  (void)tick();
  CHECK_EQ(count_of(&call->heard) & UINT32_MAX, N + 40); /* a replay is not heard again */
  fa_producer_flush(&call->producer, 1);
  fa_call_flush(call, 1, 0);
  fa_event_t event = expect_event(FA_EVENT_FLUSHED);
  CHECK_EQ(event.generation, 1);
  (void)tick();
  CHECK_EQ(sample_at(0, N - 1), 0);
  fa_call_flush(call, 9, 0);
  event = expect_event(FA_EVENT_FLUSHED); /* an answer, also when there is nothing to throw away */
  CHECK(event.generation == 9 && event.value == 0);
}

static void test_hangup_after_the_trail(void) {
  set_up(0);
  say(1, 20, 4000);
  (void)tick();
  fa_call_close(call, 3, 0);
  fa_call_close(call, 100, 0); /* once */
  CHECK_EQ(tick(), MESSAGE);
  CHECK(sample_at(0, 0) > 3000 && sample_at(0, N - 1) == 0); /* the ramp */
  CHECK_EQ(tick(), MESSAGE);
  CHECK_EQ(sample_at(0, 0), 0);
  CHECK_EQ(tick(), MESSAGE);
  CHECK_EQ(tick(), FA_HEADER_BYTES);
  CHECK(memcmp(out, "\0\0\0", 3) == 0);
  CHECK(call->hung_up);
  CHECK_EQ(tick(), 0); /* once */
  (void)expect_event(FA_EVENT_BEGAN);
  fa_event_t event = expect_event(FA_EVENT_FLUSHED);
  CHECK(event.generation == 1 && event.value == N + 40);
  expect_no_event();
  set_up(0);
  fa_call_close(call, 0, 0);
  CHECK_EQ(tick(), FA_HEADER_BYTES);
  expect_no_event(); /* there was nothing to throw away */
}

static void test_capture_and_space_are_told_once(void) {
  set_up(0);
  atomic_store(&call->capture_target, 3);
  for (int n = 0; n < 8; n++) {
    hear(0);
    (void)tick();
  }
  fa_event_t event = expect_event(FA_EVENT_CAPTURE);
  CHECK_EQ(event.position, 3);
  expect_no_event();
  static int16_t samples[64 * N];
  for (int i = 0; i < 64 * N; i++) samples[i] = 1;
  size_t used;
  CHECK_EQ(fa_producer_write(&call->producer, 1, (const uint8_t *)samples, sizeof samples, &used), FA_OK);
  atomic_store(&call->space_wanted, 1);
  int ticks = 0;
  do {
    (void)tick();
    ticks++;
  } while (atomic_load(&call->space_wanted) == 1 && ticks < 100);
  CHECK_EQ(ticks, 32 + FA_HISTORY_SLOTS); /* half is free, and 200 ms are kept behind */
  (void)expect_event(FA_EVENT_BEGAN);
  (void)expect_event(FA_EVENT_SPACE);
  expect_no_event();
}

static void test_a_wish_outlives_a_full_event_ring(void) {
  set_up(0);
  while (fa_events_push(events, &(fa_event_t){.kind = 99, .call = 7}) == FA_OK) continue;
  atomic_store(&call->capture_target, 1);
  for (int n = 0; n < 3; n++) {
    hear(0);
    (void)tick();
  }
  CHECK(count_of(&call->counters.events_lost) >= 1);
  fa_event_t event;
  while (next_event(&event)) CHECK_EQ(event.kind, 99);
  (void)tick();
  (void)expect_event(FA_EVENT_CAPTURE);
  expect_no_event();
}

int main(void) {
  check_time_limit(60);
  RUN(test_barge_in_holds_in_the_tick_and_limits);
  RUN(test_a_cough_holds_and_resumes_where_it_stood);
  RUN(test_a_hold_before_the_first_frame_does_not_last);
  RUN(test_the_agents_hold_resume_and_flush);
  RUN(test_hangup_after_the_trail);
  RUN(test_capture_and_space_are_told_once);
  RUN(test_a_wish_outlives_a_full_event_ring);
  tear_down();
  return 0;
}
