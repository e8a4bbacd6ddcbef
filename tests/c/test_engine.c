/* Calls over real loopback sockets: the clock, playback, barge-in, hangup. */
#include "loopback.h"

static void test_frames_every_20_ms_from_the_uuid_on(void) {
  start();
  fa_call_t *call;
  int fd = call_up(1, &call);
  for (size_t i = 0; i < FA_UUID_BYTES; i++) CHECK_EQ(call->uuid[i], 1);
  int16_t samples[N];
  CHECK_EQ(next_message(fd, samples), FA_KIND_AUDIO);
  int64_t began = check_now_ns();
  for (int n = 0; n < 50; n++) {
    CHECK_EQ(next_message(fd, samples), FA_KIND_AUDIO);
    for (int i = 0; i < N; i++) CHECK_EQ(samples[i], 0);
    tell_frame(fd, 0);
  }
  int64_t took_ms = (check_now_ns() - began) / 1000000;
  CHECK(took_ms > 940); /* never faster than the clock; slower only by what the host stole */
  CHECK(took_ms < 3000);
  fa_engine_counters_t *counters = fa_engine_counters(engine);
  CHECK(count_of(&counters->live) == 1 && count_of(&counters->started) == 1 && count_of(&counters->accepted) == 1);
  CHECK(count_of(&counters->ticks) >= 50);
  uint64_t lateness[FA_HISTOGRAM_BUCKETS], late_max_ns, ticks = 0;
  fa_histogram_read(&counters->lateness, lateness, &late_max_ns);
  for (int b = 0; b < FA_HISTOGRAM_BUCKETS; b++) ticks += lateness[b];
  CHECK(ticks >= 50 && late_max_ns > 0);
  close(fd);
  fa_event_t event = wait_event(FA_EVENT_ENDED);
  CHECK_EQ(event.value, FA_END_CALLER);
  CHECK(count_of(&call->counters.frames_in) >= 40);
  CHECK_EQ(count_of(&counters->live), 0);
  finish();
}

static void test_audio_behind_the_uuid_in_one_segment_is_heard(void) {
  start();
  fa_call_t *call = spare(1);
  obeyed();
  int fd = dial();
  uint8_t bytes[FA_HEADER_BYTES + FA_UUID_BYTES + 3 * MESSAGE] = {FA_KIND_UUID, 0, FA_UUID_BYTES};
  for (size_t i = 0; i < 3; i++)
    fa_frame_header(bytes + FA_HEADER_BYTES + FA_UUID_BYTES + i * MESSAGE, FA_KIND_AUDIO, 2 * N);
  for (size_t i = 0; i < 10; i++) tell(fd, bytes + i, 1), check_sleep_ms(1); /* and a UUID in pieces */
  tell(fd, bytes + 10, sizeof bytes - 10);
  (void)wait_event(FA_EVENT_STARTED);
  for (int i = 0; i < WAIT_MS && count_of(&call->counters.frames_in) < 3; i++) check_sleep_ms(1);
  CHECK_EQ(count_of(&call->counters.frames_in), 3);
  close(fd);
  finish();
}

static void test_play_to_the_end(void) {
  start();
  fa_call_t *call;
  int fd = call_up(1, &call);
  int16_t said[20 * N], samples[N];
  for (int i = 0; i < 20 * N; i++) said[i] = (int16_t)(i + 1);
  size_t used;
  CHECK_EQ(fa_producer_write(&call->producer, 1, (const uint8_t *)said, sizeof said, &used), FA_OK);
  CHECK_EQ(fa_producer_end(&call->producer, 1), FA_OK);
  for (int at = 0; at < 20 * N;) {
    CHECK_EQ(next_message(fd, samples), FA_KIND_AUDIO);
    if (samples[0] == 0) {
      CHECK_EQ(at, 0); /* no silence in the middle */
      continue;
    }
    for (int i = 0; i < N; i++) CHECK_EQ(samples[i], said[at + i]);
    at += N;
  }
  fa_event_t event = wait_event(FA_EVENT_BEGAN);
  CHECK_EQ(event.generation, 1);
  event = wait_event(FA_EVENT_PLAYED);
  CHECK_EQ(event.value, 20 * N);
  close(fd);
  finish();
}

static void test_barge_in_holds_without_the_event_loop(void) {
  start();
  fa_call_t *call;
  int fd = call_up(1, &call);
  static int16_t said[100 * N];
  int16_t samples[N];
  for (int i = 0; i < 100 * N; i++) said[i] = 3000;
  size_t used;
  CHECK_EQ(fa_producer_write(&call->producer, 1, (const uint8_t *)said, sizeof said, &used), FA_OK);
  do CHECK_EQ(next_message(fd, samples), FA_KIND_AUDIO);
  while (samples[N - 1] == 0);
  bool silent = false;
  for (int n = 0; n < 60 && !silent; n++) { /* nobody reads an event: the media thread decides */
    tell_frame(fd, 6000);
    CHECK_EQ(next_message(fd, samples), FA_KIND_AUDIO);
    silent = samples[0] == 0;
  }
  CHECK(silent);
  CHECK_EQ(count_of(&call->counters.holds), 1);
  fa_event_t event = wait_event(FA_EVENT_HOLD);
  CHECK_EQ(event.generation, 1);
  CHECK_EQ(fa_engine_flush(engine, call, 1), FA_OK);
  event = wait_event(FA_EVENT_FLUSHED);
  CHECK(event.generation == 1 && event.value > 0 && event.value < 100 * N);
  close(fd);
  finish();
}

static void test_commands_reach_the_call(void) {
  start();
  fa_call_t *call;
  int fd = call_up(1, &call);
  static int16_t said[100 * N];
  memset(said, 1, sizeof said);
  size_t used;
  CHECK_EQ(fa_producer_write(&call->producer, 1, (const uint8_t *)said, sizeof said, &used), FA_OK);
  (void)wait_event(FA_EVENT_BEGAN);
  CHECK_EQ(fa_engine_hold(engine, call), FA_OK);
  (void)wait_event(FA_EVENT_HOLD);
  CHECK_EQ(fa_engine_resume(engine, call, 100), FA_OK);
  (void)wait_event(FA_EVENT_RESUME);
  fa_bargein_config_t bad = fa_bargein_defaults(FA_DETECT_RMS, 800, 300, false);
  CHECK_EQ(fa_engine_set_bargein(engine, call, &bad), FA_OK);
  bad.hold_need = 60;
  CHECK_EQ(fa_engine_set_bargein(engine, call, &bad), FA_ERR_ARG);
  obeyed();
  close(fd);
  (void)wait_event(FA_EVENT_ENDED);
  CHECK_EQ(fa_engine_flush(engine, call, 1), FA_OK); /* it crossed with the end: no harm, and no event */
  CHECK_EQ(fa_engine_close(engine, call, 1), FA_OK);
  obeyed();
  expect_no_event_of(FA_EVENT_FLUSHED);
  finish();
}

static void test_hangup_half_close_drain(void) {
  start();
  fa_call_t *call;
  int fd = call_up(1, &call);
  CHECK_EQ(fa_engine_close(engine, call, 3), FA_OK);
  int16_t samples[N];
  int kind;
  while ((kind = next_message(fd, samples)) == FA_KIND_AUDIO) tell_frame(fd, 100);
  CHECK_EQ(kind, FA_KIND_HANGUP);
  tell_frame(fd, 100); /* Asterisk may still be writing: no reset for that */
  CHECK_EQ(next_message(fd, samples), -1);
  expect_no_event_of(FA_EVENT_ENDED); /* drained until the peer closes */
  for (int n = 0; n < 5; n++) {
    tell_frame(fd, 100);
    check_sleep_ms(10);
  }
  close(fd);
  fa_event_t event = wait_event(FA_EVENT_ENDED);
  CHECK_EQ(event.value, FA_END_AGENT);
  /* A peer that never closes does not keep the call. */
  fd = call_up(2, &call);
  CHECK_EQ(fa_engine_close(engine, call, 0), FA_OK);
  int64_t began = check_now_ns();
  event = wait_event(FA_EVENT_ENDED);
  CHECK_EQ(event.value, FA_END_AGENT);
  CHECK(check_now_ns() - began > 800000000);
  close(fd);
  finish();
}

static void test_caller_resets(void) {
  start();
  fa_call_t *call;
  int fd = call_up(1, &call);
  struct linger now = {.l_onoff = 1, .l_linger = 0};
  CHECK_EQ(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now), 0);
  close(fd);
  fa_event_t event = wait_event(FA_EVENT_ENDED);
  CHECK_EQ(event.value, FA_END_CALLER);
  finish();
}

static void test_a_peer_that_breaks_the_protocol(void) {
  start();
  fa_call_t *call;
  int fd = call_up(1, &call);
  tell(fd, "\x42\x00\x00", 3);
  fa_event_t event = wait_event(FA_EVENT_ENDED);
  CHECK_EQ(event.value, FA_END_BAD_KIND);
  close(fd);
  CHECK_EQ(count_of(&fa_engine_counters(engine)->ended[FA_END_BAD_KIND]), 1);
  finish();
}

/* The media thread lays the call's memory out; the event loop reads it behind STARTED. */
static void test_the_rate_of_the_caller(void) {
  start();
  fa_call_config_t with = {.rate = FA_RATE_OF_CALLER, .playback_slots = 128, .capture_blocks = 128, .lead = 2,
                           .listen_rms = 300, .stop_ms = 200, .bargein = fa_bargein_defaults(FA_DETECT_RMS, 800, 300, false)};
  for (uint32_t id = 1; id <= 2; id++) {
    CHECK_EQ(fa_call_create(&calls[call_count], id, &with, NULL), FA_OK);
    CHECK_EQ(fa_engine_spare(engine, calls[call_count++]), FA_OK);
  }
  obeyed();
  CHECK_EQ(fa_engine_accepting(engine, false), FA_OK);
  obeyed();
  int leaving = dial(); /* gone before it is looked at */
  tell_uuid(leaving, 1);
  close(leaving);
  CHECK_EQ(fa_engine_accepting(engine, true), FA_OK); /* its rate is not known: it is told all the same, to be freed */
  uint32_t left = wait_event(FA_EVENT_STARTED).call;
  CHECK_EQ(wait_event(FA_EVENT_ENDED).call, left);
  int fd = dial();
  tell_uuid(fd, 2);
  uint8_t message[FA_HEADER_BYTES + 1764] = {0};
  fa_frame_header(message, fa_frame_kind(44100), 1764);
  tell(fd, message, sizeof message);
  uint32_t id = wait_event(FA_EVENT_STARTED).call;
  CHECK_EQ(id, 3 - left);
  fa_call_t *call = calls[id - 1];
  CHECK_EQ(call->rate, 44100);
  size_t used;
  memset(message, 1, sizeof message);
  CHECK_EQ(fa_producer_write(&call->producer, 1, message, 1764, &used), FA_OK);
  for (bool heard = false; !heard;) {
    CHECK_EQ(recv(fd, message, FA_HEADER_BYTES, MSG_WAITALL), FA_HEADER_BYTES);
    size_t length = (size_t)message[1] << 8 | message[2];
    CHECK_EQ(length, message[0] == FA_KIND_AUDIO ? 320 : 1764);
    CHECK_EQ(recv(fd, message, length, MSG_WAITALL), length);
    heard = message[length - 1] == 1;
  }
  close(fd);
  (void)wait_event(FA_EVENT_ENDED);
  finish();
}

static void test_calls_are_spread_over_the_slots(void) {
  start();
  int fds[2 * FA_SLOTS];
  uint32_t count[FA_SLOTS] = {0};
  for (uint32_t i = 0; i < 2 * FA_SLOTS; i++) {
    fa_call_t *call;
    fds[i] = call_up(i + 1, &call);
    CHECK(call->slot < FA_SLOTS);
    count[call->slot]++; /* it was put there before STARTED was told, and stays */
  }
  for (uint32_t i = 0; i < FA_SLOTS; i++) CHECK_EQ(count[i], 2);
  for (uint32_t i = 0; i < 2 * FA_SLOTS; i++) close(fds[i]);
  finish();
}

int main(void) {
  check_time_limit(60);
  RUN(test_frames_every_20_ms_from_the_uuid_on);
  RUN(test_audio_behind_the_uuid_in_one_segment_is_heard);
  RUN(test_play_to_the_end);
  RUN(test_barge_in_holds_without_the_event_loop);
  RUN(test_commands_reach_the_call);
  RUN(test_hangup_half_close_drain);
  RUN(test_caller_resets);
  RUN(test_a_peer_that_breaks_the_protocol);
  RUN(test_the_rate_of_the_caller);
  RUN(test_calls_are_spread_over_the_slots);
  return 0;
}
