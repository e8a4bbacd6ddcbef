/* One call without I/O: frames in and out, events, gaps, late ticks, a peer that takes nothing. */
#include "by_hand.h"

static void test_arguments(void) {
  fa_call_t *none;
  fa_call_config_t bad;
#define REFUSED(field, value) \
  bad = config();             \
  bad.field = value;          \
  CHECK_EQ(fa_call_create(&none, 1, &bad, NULL), FA_ERR_ARG); \
  CHECK(none == NULL)
  REFUSED(rate, 11025);
  REFUSED(playback_slots, 16);
  REFUSED(playback_slots, 100);
  REFUSED(capture_blocks, 64);
  REFUSED(capture_blocks, 131072);
  REFUSED(lead, 4);
  REFUSED(stop_ms, 19);
  REFUSED(stop_ms, 2001);
  REFUSED(bargein.barge_need, 0);
#undef REFUSED
  bad = config();
  CHECK_EQ(fa_call_create(&none, 0, &bad, NULL), FA_ERR_ARG);
  bad.vad.detector = FA_DETECT_WEBRTC;
  CHECK_EQ(fa_call_create(&none, 1, &bad, NULL), FA_ERR_NO_VAD);
}

static void test_silence_is_a_frame_every_tick(void) {
  static const uint32_t rates[] = {8000, 16000};
  for (int r = 0; r < 2; r++) {
    fa_call_config_t with = config();
    with.rate = rates[r];
    set_up_with(&with);
    size_t bytes = rates[r] / 25;
    for (int n = 0; n < 100; n++) {
      CHECK_EQ(tick(), FA_HEADER_BYTES + bytes);
      CHECK_EQ(out[0], r == 0 ? FA_KIND_AUDIO : FA_KIND_AUDIO_SLIN16);
      CHECK_EQ(out[1] << 8 | out[2], bytes);
      for (size_t i = 0; i < bytes; i++) CHECK_EQ(out[FA_HEADER_BYTES + i], 0);
    }
    CHECK_EQ(count_of(&call->counters.frames_out), 100);
    CHECK_EQ(count_of(&call->counters.audio_out), 0);
  }
}

static void test_messages_of_any_size_become_frames(void) {
  set_up(0);
  uint8_t stream[40 * MESSAGE];
  size_t have = 0;
  uint16_t next = 1;
  for (size_t length = 2; length < 700; length += 38) { /* one long count of samples, in pieces of all sizes */
    fa_frame_header(stream + have, FA_KIND_AUDIO, (uint16_t)length);
    have += FA_HEADER_BYTES;
    for (size_t i = 0; i < length / 2; i++, next++, have += 2) memcpy(stream + have, &next, 2);
  }
  for (size_t at = 0; at < have;) {
    size_t take = have - at < 101 ? have - at : 101;
    fa_call_input(call, stream + at, take, 0);
    (void)tick();
    at += take;
  }
  for (int n = 0; n < 10; n++) (void)tick();
  fa_capture_reader_t reader;
  fa_capture_open(&call->capture, &reader, 10000);
  uint32_t flags;
  uint64_t position;
  uint16_t samples[N], expected = 1;
  while (fa_capture_read(&call->capture, &reader, samples, NULL, &flags, &position) == FA_OK)
    if (!(flags & FA_BLOCK_FILLED))
      for (int i = 0; i < N; i++) CHECK_EQ(samples[i], expected++);
  CHECK_EQ(expected - 1, (next - 1) / N * N);
  CHECK_EQ(count_of(&call->counters.frames_in), (uint64_t)(next - 1) / N);
}

static void test_play_events_and_account(void) {
  set_up(0);
  say(3, 2, 5000);
  CHECK_EQ(fa_producer_end(&call->producer, 3), FA_OK);
  CHECK_EQ(tick(), MESSAGE);
  CHECK_EQ(sample_at(0, 0), 5000);
  fa_event_t event = expect_event(FA_EVENT_BEGAN);
  CHECK_EQ(event.generation, 3);
  CHECK_EQ(count_of(&call->heard), (uint64_t)3 << 32 | N);
  (void)tick();
  (void)tick();
  event = expect_event(FA_EVENT_PLAYED);
  CHECK(event.generation == 3 && event.value == 2 * N);
  expect_no_event();
  CHECK_EQ(count_of(&call->counters.audio_out), 2);
  say(4, 1, 100);
  for (int n = 0; n < 4; n++) CHECK_EQ(tick(), MESSAGE);
  CHECK_EQ(count_of(&call->counters.underruns), 1); /* an utterance that is open and has nothing to say */
}

static void test_dtmf_format_and_lost_frames(void) {
  set_up(0);
  static const uint8_t other[] = {0x12, 0, 4, 1, 2, 3, 4}, lost[] = {0x10, 0, 0}, digit[] = {0x03, 0, 1, '7'};
  fa_call_input(call, other, sizeof other, 0);
  fa_call_input(call, other, sizeof other, 0);
  fa_event_t event = expect_event(FA_EVENT_FORMAT);
  CHECK_EQ(event.value, 16000);
  expect_no_event(); /* once */
  CHECK_EQ(count_of(&call->counters.other_format), 2);
  fa_call_input(call, lost, sizeof lost, 0);
  CHECK_EQ(count_of(&call->counters.lost_in), 1);
  (void)tick();
  fa_call_input(call, digit, sizeof digit, 5);
  event = expect_event(FA_EVENT_DTMF);
  CHECK(event.value == '7' && event.position == N && event.time_ns == 5);
  CHECK_EQ(call->end, FA_END_NONE);
}

static fa_end_t end_after(const void *data, size_t length) {
  set_up(0);
  fa_call_input(call, data, length, 0);
  return call->end;
}

static void test_what_ends_a_call(void) {
  CHECK_EQ(end_after("\x00\x00\x00", 3), FA_END_PEER_HANGUP);
  CHECK_EQ(end_after("\xff\x00\x01\x02", 4), FA_END_PEER_ERROR);
  CHECK_EQ(end_after("\x01\x00\x10", 3), FA_END_SECOND_UUID);
  CHECK_EQ(end_after("\x77\x00\x00", 3), FA_END_BAD_KIND);
  CHECK_EQ(end_after("\x03\x00\x02", 3), FA_END_BAD_LENGTH);
}

static void test_local_speech_has_its_place(void) {
  set_up(0);
  for (int n = 0; n < 10; n++) {
    hear(n < 6 ? 10 : 500);
    (void)tick();
  }
  fa_event_t event = expect_event(FA_EVENT_SPEECH);
  CHECK_EQ(event.position, 6 * N);
  for (int n = 0; n < 5; n++) {
    expect_no_event();
    hear(10);
    (void)tick();
  }
  event = expect_event(FA_EVENT_QUIET);
  CHECK_EQ(event.position, 10 * N);
}

static void test_speech_that_runs_into_a_gap_ends(void) {
  set_up(0);
  for (int n = 0; n < 6; n++) {
    hear(500);
    (void)tick();
  }
  (void)expect_event(FA_EVENT_SPEECH);
  for (int n = 0; n < 20; n++) (void)tick(); /* hold or DTX: no frames at all */
  fa_event_t event = expect_event(FA_EVENT_QUIET);
  CHECK_EQ(event.position, 6 * N);
  /* What was said before the gap is no interruption of what the agent says after it. */
  say(1, 20, 1000);
  (void)tick();
  (void)expect_event(FA_EVENT_BEGAN);
  for (int n = 0; n < 5; n++) (void)tick();
  expect_no_event();
  CHECK_EQ(count_of(&call->counters.filled), 21);
}

static void test_a_late_tick_takes_what_came_meanwhile(void) {
  set_up(0);
  hear(500);
  (void)tick();
  fa_due_t late = {.periods = 40, .stalled = true, .late_ns = 39 * FA_TICK_NS};
  fa_call_late(call, late);
  for (int n = 0; n < 40; n++) hear((int16_t)(1000 + n)); /* 800 ms that the host slept through */
  CHECK_EQ(fa_call_tick(call, late, true, out, 0), MESSAGE); /* owed silence is not sent */
  CHECK_EQ(count_of(&call->counters.overrun), 0);
  CHECK_EQ(count_of(&call->counters.stalls), 1);
  CHECK_EQ(count_of(&call->counters.skipped), 39);
  CHECK_EQ(count_of(&call->counters.late_max_ns), 39 * FA_TICK_NS);
  fa_capture_reader_t reader;
  fa_capture_open(&call->capture, &reader, 100);
  for (int n = 0; n < 41; n++) {
    int16_t samples[N];
    uint32_t flags;
    uint64_t position;
    CHECK_EQ(fa_capture_read(&call->capture, &reader, samples, NULL, &flags, &position), FA_OK);
    CHECK_EQ(samples[0], n == 0 ? 500 : 999 + n);
    CHECK_EQ(position, n);
  }
}

static void test_owed_speech_is_caught_up_and_a_stall_is_not(void) {
  set_up(0);
  say(1, 30, 4000);
  CHECK_EQ(fa_call_tick(call, (fa_due_t){.periods = 4, .late_ns = 3 * FA_TICK_NS}, true, out, 0), 4 * MESSAGE);
  CHECK_EQ(count_of(&call->counters.caught_up), 3);
  CHECK_EQ(fa_call_tick(call, (fa_due_t){.periods = 9, .stalled = true}, true, out, 0), MESSAGE);
  CHECK_EQ(count_of(&call->counters.caught_up), 3);
  CHECK_EQ(count_of(&call->heard) & UINT32_MAX, 5 * N); /* the rest waits: nothing is lost */
}

static void test_owed_silence_is_not_caught_up(void) {
  set_up(0);
  CHECK_EQ(fa_call_tick(call, (fa_due_t){.periods = 4, .late_ns = 3 * FA_TICK_NS}, true, out, 0), MESSAGE);
  say(1, 2, 4000);
  CHECK_EQ(fa_producer_end(&call->producer, 1), FA_OK);
  /* Two frames of speech are owed; the silence behind them goes out once, not for each period that is left. */
  CHECK_EQ(fa_call_tick(call, (fa_due_t){.periods = 4, .late_ns = 3 * FA_TICK_NS}, true, out, 0), 3 * MESSAGE);
  CHECK_EQ(count_of(&call->counters.audio_out), 2);
  CHECK_EQ(count_of(&call->counters.frames_out), 4);
}

static void test_stall_with_the_lead_out(void) {
  set_up(3);
  say(1, 30, 4000);
  CHECK_EQ(tick(), 4 * MESSAGE);
  CHECK_EQ(tick(), MESSAGE);
  CHECK_EQ(fa_call_tick(call, (fa_due_t){.periods = 6, .stalled = true}, true, out, 0), MESSAGE);
  for (int n = 0; n < 10; n++) CHECK_EQ(tick(), MESSAGE); /* no lead in this utterance any more */
  CHECK_EQ(fa_producer_end(&call->producer, 1), FA_OK);
  say(2, 10, 4000);
  size_t most = 0;
  for (int n = 0; n < 30; n++) {
    size_t bytes = tick();
    if (bytes > most) most = bytes;
  }
  CHECK_EQ(most, 4 * MESSAGE); /* the next one has it */
}

static void test_a_peer_that_takes_nothing(void) {
  set_up(2);
  say(1, 20, 4000);
  CHECK_EQ(tick(), 3 * MESSAGE);
  for (int n = 0; n < 10; n++) CHECK_EQ(fa_call_tick(call, in_time, false, out, 0), 0);
  CHECK_EQ(count_of(&call->counters.blocked), 10);
  CHECK_EQ(call->playout.ahead, 0);
  CHECK_EQ(count_of(&call->heard) & UINT32_MAX, 3 * N); /* speech waits */
  CHECK_EQ(tick(), 3 * MESSAGE);
}

int main(void) {
  check_time_limit(60);
  RUN(test_arguments);
  RUN(test_silence_is_a_frame_every_tick);
  RUN(test_messages_of_any_size_become_frames);
  RUN(test_play_events_and_account);
  RUN(test_dtmf_format_and_lost_frames);
  RUN(test_what_ends_a_call);
  RUN(test_local_speech_has_its_place);
  RUN(test_speech_that_runs_into_a_gap_ends);
  RUN(test_a_late_tick_takes_what_came_meanwhile);
  RUN(test_owed_speech_is_caught_up_and_a_stall_is_not);
  RUN(test_owed_silence_is_not_caught_up);
  RUN(test_stall_with_the_lead_out);
  RUN(test_a_peer_that_takes_nothing);
  tear_down();
  return 0;
}
