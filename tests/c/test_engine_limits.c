/* The engine at its limits: full, refused, silent and stuck peers, no descriptors, a full event ring, idle, stop. */
#include "loopback.h"

static void test_full_is_told_to_hang_up(void) {
  start();
  int fd = dial(), other = dial();
  tell_uuid(fd, 1);
  int16_t samples[N];
  CHECK_EQ(next_message(fd, samples), FA_KIND_HANGUP);
  CHECK_EQ(next_message(fd, samples), -1);
  fa_event_t event = wait_event(FA_EVENT_REFUSED);
  CHECK(event.generation == FA_END_FULL && event.value == htonl(INADDR_LOOPBACK));
  CHECK(event.call == htonl(0xffff) && event.position == 0); /* mapped into IPv6 */
  tell_frame(fd, 1); /* thrown away */
  check_sleep_ms(20);
  CHECK_EQ(count_of(&fa_engine_counters(engine)->pending), 2);
  close(fd); /* the entry behind it moves, and is still read */
  for (int i = 0; i < WAIT_MS && count_of(&fa_engine_counters(engine)->pending) > 1; i++) check_sleep_ms(1);
  (void)spare(9);
  obeyed();
  tell_uuid(other, 9);
  event = wait_event(FA_EVENT_STARTED);
  CHECK_EQ(event.call, 9);
  close(other);
  finish();
}

static void test_connections_that_never_become_calls(void) {
  fa_engine_config_t with = config();
  with.uuid_timeout_ms = 300;
  with.pending_max = 2;
  start_with(&with);
  (void)spare(1);
  int16_t samples[N];
  int silent = dial(), half = dial();
  tell(half, "\x01\x00", 2);
  for (int i = 0; i < WAIT_MS && count_of(&fa_engine_counters(engine)->pending) < 2; i++) check_sleep_ms(1);
  int third = dial(); /* the one that has waited longest gives way */
  fa_event_t event = wait_event(FA_EVENT_REFUSED);
  CHECK_EQ(event.generation, FA_END_PENDING_FULL);
  CHECK(next_message(silent, samples) < 0);
  for (int n = 0; n < 2; n++) {
    event = wait_event(FA_EVENT_REFUSED);
    CHECK_EQ(event.generation, FA_END_NO_UUID);
  }
  CHECK(next_message(half, samples) < 0);
  CHECK(next_message(third, samples) < 0);
  close(third);
  close(silent);
  close(half);
  int wrong = dial();
  tell(wrong, "GET / HTTP/1.1\r\n", 16);
  event = wait_event(FA_EVENT_REFUSED);
  CHECK_EQ(event.generation, FA_END_NOT_UUID);
  CHECK(next_message(wrong, samples) < 0);
  close(wrong);
  int gone = dial();
  close(gone);
  for (int i = 0; i < WAIT_MS && count_of(&fa_engine_counters(engine)->ended[FA_END_CALLER]) == 0; i++)
    check_sleep_ms(1);
  CHECK_EQ(count_of(&fa_engine_counters(engine)->ended[FA_END_CALLER]), 1);
  CHECK_EQ(count_of(&fa_engine_counters(engine)->pending), 0);
  CHECK_EQ(count_of(&fa_engine_counters(engine)->started), 0);
  finish();
}

static void test_a_flood_of_silent_connections_keeps_no_call_out(void) {
  enum { FLOOD = 20, ROOM = 4 };
  fa_engine_config_t with = config();
  with.pending_max = ROOM;
  start_with(&with);
  fa_engine_counters_t *counters = fa_engine_counters(engine);
  int full = dial(), fds[FLOOD];
  tell_uuid(full, 1); /* there is no spare: told so, and waits to be closed */
  CHECK_EQ(wait_event(FA_EVENT_REFUSED).generation, FA_END_FULL);
  for (int i = 0; i < FLOOD; i++) fds[i] = dial();
  fa_call_t *call;
  int fd = call_up(7, &call);
  CHECK_EQ(count_of(&counters->ended[FA_END_FULL]), 1);
  CHECK_EQ(count_of(&counters->ended[FA_END_PENDING_FULL]), FLOOD + 1 - ROOM); /* who was told why is not counted anew */
  CHECK_EQ(count_of(&counters->pending), ROOM - 1);
  for (int i = 0; i < FLOOD; i++) close(fds[i]);
  close(full);
  close(fd);
  finish();
}

static void test_networks(void) {
  fa_engine_config_t with = config();
  with.networks_count = 1;
  with.networks[0] = (fa_network_t){.address = {[10] = 0xff, 0xff, 10, 0, 0, 0}, .prefix = 104};
  start_with(&with);
  int fd = dial();
  fa_event_t event = wait_event(FA_EVENT_REFUSED);
  CHECK_EQ(event.generation, FA_END_PEER_REFUSED);
  close(fd);
  finish();
  with.networks[0] = (fa_network_t){.address = {[10] = 0xff, 0xff, 126, 0, 0, 0}, .prefix = 96 + 7};
  start_with(&with); /* 126.0.0.0/7 holds 127.0.0.1 */
  fa_call_t *call;
  close(call_up(1, &call));
  finish();
  with.networks[0].prefix = 129;
  CHECK_EQ(fa_engine_create(&engine, &with), FA_ERR_ARG);
}

static void test_a_peer_that_never_reads(void) {
  start();
  fa_call_t *call = spare(1);
  obeyed();
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  int small = 2048;
  CHECK_EQ(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small), 0);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = port, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  CHECK_EQ(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
  tell_uuid(fd, 1);
  (void)wait_event(FA_EVENT_STARTED);
  for (int i = 0; i < 400 && count_of(&call->counters.blocked) < 5; i++) check_sleep_ms(20);
  CHECK(count_of(&call->counters.blocked) >= 5); /* its buffers are full */
  /* It reads again: messages go on whole, the one that was cut too. */
  int16_t samples[N];
  struct timeval limit = {.tv_sec = WAIT_MS / 1000};
  CHECK_EQ(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit), 0);
  uint64_t sent = count_of(&call->counters.frames_out);
  for (uint64_t n = 0; n < sent + 20; n++) {
    CHECK_EQ(next_message(fd, samples), FA_KIND_AUDIO);
    for (int i = 0; i < N; i++) CHECK_EQ(samples[i], 0);
  }
  /* And never again: the call ends. */
  fa_event_t event = wait_event_for(FA_EVENT_ENDED, 4 * WAIT_MS);
  CHECK_EQ(event.value, FA_END_NOT_READING);
  close(fd);
  finish();
}

static void test_out_of_descriptors(void) {
  start();
  fa_call_t *call;
  struct rlimit before, tight;
  CHECK_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  tight = before;
  tight.rlim_cur = (rlim_t)fd + 1;
  CHECK_EQ(setrlimit(RLIMIT_NOFILE, &tight), 0);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = port, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  CHECK_EQ(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
  check_sleep_ms(300);
  CHECK_EQ(count_of(&fa_engine_counters(engine)->accepted), 0);
  CHECK(count_of(&fa_engine_counters(engine)->wakeups) < 20); /* it waits, and does not spin */
  CHECK_EQ(fa_engine_accepting(engine, false), FA_OK);
  obeyed();
  CHECK_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  check_sleep_ms(300);
  CHECK_EQ(count_of(&fa_engine_counters(engine)->accepted), 0); /* off is off */
  CHECK_EQ(fa_engine_accepting(engine, true), FA_OK);
  for (int i = 0; i < WAIT_MS && count_of(&fa_engine_counters(engine)->accepted) == 0; i++) check_sleep_ms(1);
  CHECK_EQ(count_of(&fa_engine_counters(engine)->accepted), 1);
  close(fd);
  close(call_up(1, &call));
  finish();
}

static void test_an_end_waits_for_room_in_the_event_ring(void) {
  fa_engine_config_t with = config();
  with.events = 2;
  start_with(&with);
  int fds[8];
  for (uint32_t i = 0; i < 8; i++) (void)spare(i + 1);
  obeyed();
  for (uint8_t i = 0; i < 8; i++) {
    fds[i] = dial();
    tell_uuid(fds[i], i);
  }
  for (int i = 0; i < WAIT_MS && count_of(&fa_engine_counters(engine)->started) < 8; i++) check_sleep_ms(1);
  check_sleep_ms(100); /* the ring is full: two are told, six wait */
  bool started[9] = {false}, ended[9] = {false};
  for (uint32_t seen = 0; seen < 8; seen++) {
    fa_event_t event = wait_event(FA_EVENT_STARTED);
    CHECK(!started[event.call]);
    started[event.call] = true;
  }
  for (uint32_t i = 0; i < 8; i++) close(fds[i]);
  for (int i = 0; i < WAIT_MS && count_of(&fa_engine_counters(engine)->live) > 0; i++) check_sleep_ms(1);
  for (uint32_t seen = 0; seen < 8; seen++) {
    fa_event_t event = wait_event(FA_EVENT_ENDED);
    CHECK(started[event.call] && !ended[event.call]);
    CHECK_EQ(event.value, FA_END_CALLER);
    ended[event.call] = true;
  }
  CHECK_EQ(count_of(&fa_engine_counters(engine)->live), 0);
  CHECK_EQ(count_of(&fa_engine_counters(engine)->ended[FA_END_CALLER]), 8);
  finish();
}

/* Calls that come and go while they are freed at once, as the event loop does. */
static void test_calls_come_and_go(void) {
  start();
  uint32_t id = 0, ended = 0;
  int fds[24];
  for (int round = 0; round < 6; round++) {
    for (int i = 0; i < 24; i++) {
      (void)spare(++id);
      obeyed();
      fds[i] = dial();
      tell_uuid(fds[i], 1);
    }
    for (int i = 0; i < 24; i++) (void)wait_event(FA_EVENT_STARTED);
    for (int i = 0; i < 24; i++) {
      tell_frame(fds[i], 1);
      close(fds[i]);
    }
    for (int i = 0; i < 24; i++) {
      fa_event_t event = find_event(FA_EVENT_ENDED);
      for (uint32_t c = 0; c < call_count; c++)
        if (calls[c]->id == event.call) {
          fa_call_free(calls[c]); /* the media thread must not touch it again */
          calls[c] = calls[--call_count];
          ended++;
          break;
        }
    }
  }
  CHECK_EQ(ended, id);
  CHECK_EQ(call_count, 0);
  finish();
}

static void test_idle_makes_no_wake_ups(void) {
  start();
  fa_call_t *call;
  close(call_up(1, &call));
  (void)wait_event(FA_EVENT_ENDED);
  check_sleep_ms(50);
  uint64_t before = count_of(&fa_engine_counters(engine)->wakeups);
  check_sleep_ms(300);
  CHECK_EQ(count_of(&fa_engine_counters(engine)->wakeups), before);
  finish();
}

static void test_stop_hangs_up_and_can_start_again(void) {
  start();
  fa_call_t *call;
  int fd = call_up(1, &call);
  fa_call_t *unused = spare(2);
  int16_t samples[N];
  CHECK_EQ(next_message(fd, samples), FA_KIND_AUDIO);
  tell_frame(fd, 1); /* unread when it stops: a close would reset */
  int pending = dial();
  fa_engine_stop(engine);
  fa_event_t event = wait_event(FA_EVENT_ENDED);
  CHECK(event.call == 1 && event.value == FA_END_STOPPED);
  int kind;
  while ((kind = next_message(fd, samples)) == FA_KIND_AUDIO) continue;
  CHECK_EQ(kind, FA_KIND_HANGUP);
  CHECK_EQ(next_message(fd, samples), -1);
  close(fd);
  close(pending);
  CHECK_EQ(unused->state, FA_CALL_SPARE);
  fa_engine_stop(engine); /* twice is harmless */
  CHECK_EQ(fa_engine_start(engine, listener), FA_OK);
  CHECK_EQ(fa_engine_start(engine, listener), FA_ERR_ARG);
  close(call_up(3, &call)); /* the spare of before is not the engine's any more */
  (void)wait_event(FA_EVENT_ENDED);
  finish();
}

int main(int argc, char **argv) {
  check_time_limit(60);
  if (argc > 1 && strcmp(argv[1], "not-reading") == 0) { /* by itself: it takes the seconds that such a peer is given */
    RUN(test_a_peer_that_never_reads);
    return 0;
  }
  RUN(test_full_is_told_to_hang_up);
  RUN(test_connections_that_never_become_calls);
  RUN(test_a_flood_of_silent_connections_keeps_no_call_out);
  RUN(test_networks);
  RUN(test_out_of_descriptors);
  RUN(test_an_end_waits_for_room_in_the_event_ring);
  RUN(test_calls_come_and_go);
  RUN(test_idle_makes_no_wake_ups);
  RUN(test_stop_hangs_up_and_can_start_again);
  return 0;
}
