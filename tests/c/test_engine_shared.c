/* Engines that share a listener: calls go round, who is full or drains leaves them to the others, and pings.
 *
 * Two engines in one process are two epolls on one socket, as two processes have them. */
#include "loopback.h"

enum { TWO = 2, SETTLE_MS = 50 };

static fa_engine_t *engines[TWO];
static uint32_t next_id = 1;

static void start_two(void) {
  fa_engine_config_t with = config();
  with.shared = true;
  start_with(&with);
  engines[0] = engine;
  CHECK_EQ(fa_engine_create(&engines[1], &with), FA_OK);
  CHECK_EQ(fa_engine_start(engines[1], listener), FA_OK);
}

static void use(uint32_t which) { engine = engines[which]; }

/* So many spare calls, and the engine in its epoll_wait. */
static void supply(uint32_t which, uint32_t count) {
  use(which);
  for (uint32_t i = 0; i < count; i++) (void)spare(next_id++);
  obeyed();
  check_sleep_ms(SETTLE_MS);
}

static void finish_two(void) {
  fa_engine_stop(engines[1]);
  use(0);
  finish();
  fa_engine_free(engines[1]);
}

static uint64_t started(uint32_t which) { return count_of(&fa_engine_counters(engines[which])->started); }
static uint64_t accepted(uint32_t which) { return count_of(&fa_engine_counters(engines[which])->accepted); }
static uint64_t ended(uint32_t which, fa_end_t why) { return count_of(&fa_engine_counters(engines[which])->ended[why]); }

static void wait_until_started(uint64_t both) {
  for (int i = 0; i < WAIT_MS && started(0) + started(1) < both; i++) check_sleep_ms(1);
  CHECK_EQ(started(0) + started(1), both);
}

static int call_somebody(uint64_t both) {
  int fd = dial();
  tell_uuid(fd, 1);
  wait_until_started(both);
  return fd;
}

static void test_calls_go_round(void) {
  start_two();
  supply(0, 12);
  supply(1, 12);
  int fds[12];
  for (uint32_t i = 0; i < 12; i++) {
    fds[i] = call_somebody(i + 1);
    check_sleep_ms(5);
  }
  CHECK(started(0) >= 3 && started(1) >= 3); /* six each, but for an engine that was just at a tick */
  for (uint32_t i = 0; i < 12; i++) close(fds[i]);
  finish_two();
}

static void accept_calls(uint32_t which, bool on) {
  use(which);
  CHECK_EQ(fa_engine_accepting(engine, on), FA_OK);
  obeyed();
}

/* All are there at once: who runs does not take those of who is still to be woken. */
static void test_a_burst_goes_round(void) {
  enum { BURST = 24 };
  start_two();
  for (uint32_t i = 0; i < TWO; i++) {
    supply(i, BURST);
    accept_calls(i, false);
  }
  check_sleep_ms(SETTLE_MS);
  int fds[BURST];
  for (uint32_t i = 0; i < BURST; i++) {
    fds[i] = dial();
    tell_uuid(fds[i], 1);
  }
  for (uint32_t i = 0; i < TWO; i++) accept_calls(i, true);
  wait_until_started(BURST);
  CHECK(started(0) >= BURST / 4 && started(1) >= BURST / 4);
  for (uint32_t i = 0; i < BURST; i++) close(fds[i]);
  finish_two();
}

static void test_who_is_full_leaves_calls_to_the_other(void) {
  start_two();
  supply(0, 2);
  supply(1, 8);
  for (uint32_t i = 0; i < TWO; i++) accept_calls(i, false);
  check_sleep_ms(SETTLE_MS);
  int fds[10];
  for (uint32_t i = 0; i < 10; i++) { /* all are there at once: more than one engine has room for */
    fds[i] = dial();
    tell_uuid(fds[i], 1);
  }
  for (uint32_t i = 0; i < TWO; i++) accept_calls(i, true);
  wait_until_started(10);
  CHECK(started(0) == 2 && started(1) == 8);
  CHECK(ended(0, FA_END_FULL) == 0 && ended(1, FA_END_FULL) == 0);
  for (uint32_t i = 0; i < 10; i++) close(fds[i]);
  finish_two();
}

/* Nobody has room: the call waits, and whoever has room first takes it. */
static void test_a_call_waits_for_room(void) {
  start_two();
  check_sleep_ms(SETTLE_MS);
  int fd = dial();
  tell_uuid(fd, 1);
  check_sleep_ms(200);
  CHECK_EQ(accepted(0) + accepted(1), 0);
  use(1);
  (void)spare(next_id++);
  wait_until_started(1);
  CHECK_EQ(started(1), 1);
  CHECK_EQ(ended(0, FA_END_FULL) + ended(1, FA_END_FULL), 0);
  close(fd);
  finish_two();
}

static void test_when_nobody_has_room_for_long_they_are_told_to_hang_up(void) {
  start_two();
  int16_t samples[N];
  int fds[3];
  check_sleep_ms(SETTLE_MS);
  int64_t began = check_now_ns();
  for (uint32_t i = 0; i < 3; i++) {
    fds[i] = dial();
    tell_uuid(fds[i], 1);
  }
  for (uint32_t i = 0; i < 3; i++) CHECK_EQ(next_message(fds[i], samples), FA_KIND_HANGUP);
  CHECK(check_now_ns() - began > (FA_LOOKS_UNTIL_FULL - 1) * FA_LOOK_MS * 1000000LL);
  CHECK_EQ(ended(0, FA_END_FULL) + ended(1, FA_END_FULL), 3);
  for (uint32_t i = 0; i < 3; i++) close(fds[i]);
  finish_two();
}

static void test_who_does_not_accept_leaves_calls_to_the_other(void) {
  start_two();
  supply(0, 8);
  supply(1, 8);
  accept_calls(0, false);
  check_sleep_ms(SETTLE_MS);
  int fds[5];
  for (uint32_t i = 0; i < 4; i++) fds[i] = call_somebody(i + 1);
  CHECK(started(0) == 0 && started(1) == 4);
  accept_calls(1, false);
  check_sleep_ms(SETTLE_MS);
  fds[4] = dial();
  tell_uuid(fds[4], 1);
  check_sleep_ms(SETTLE_MS);
  CHECK_EQ(accepted(0) + accepted(1), 4);
  accept_calls(0, true);
  wait_until_started(5); /* it has waited in the backlog */
  CHECK_EQ(started(0), 1);
  for (uint32_t i = 0; i < 5; i++) close(fds[i]);
  finish_two();
}

/* Full and not accepting: not even to be told to hang up, another process may take them. */
static void test_who_does_not_accept_tells_nobody_to_hang_up(void) {
  start_two();
  for (uint32_t i = 0; i < TWO; i++) accept_calls(i, false);
  check_sleep_ms(SETTLE_MS);
  int fd = dial();
  tell_uuid(fd, 1);
  check_sleep_ms(FA_LOOK_MS * (FA_LOOKS_UNTIL_FULL + 3));
  CHECK_EQ(accepted(0) + accepted(1), 0);
  close(fd);
  finish_two();
}

/* Asked for before the engine starts: not one connection is taken in between. */
static void test_not_accepting_from_the_start(void) {
  start();
  fa_engine_stop(engine);
  int fd = dial();
  tell_uuid(fd, 1);
  (void)spare(next_id++);
  CHECK_EQ(fa_engine_accepting(engine, false), FA_OK);
  CHECK_EQ(fa_engine_start(engine, listener), FA_OK);
  obeyed();
  check_sleep_ms(SETTLE_MS);
  CHECK_EQ(count_of(&fa_engine_counters(engine)->accepted), 0);
  CHECK_EQ(fa_engine_accepting(engine, true), FA_OK);
  (void)wait_event(FA_EVENT_STARTED);
  close(fd);
  finish();
}

/* A connection that has not told its UUID holds a place, for a moment. */
static void test_a_silent_connection_holds_a_place_for_a_moment(void) {
  start_two();
  supply(0, 1);
  int silent = dial();
  for (int i = 0; i < WAIT_MS && accepted(0) < 1; i++) check_sleep_ms(1);
  int fd = dial();
  int64_t began = check_now_ns();
  tell_uuid(fd, 1);
  wait_until_started(1); /* the other engine has no room at all */
  int64_t waited_ms = (check_now_ns() - began) / 1000000;
  CHECK(waited_ms > FA_PLACE_MS / 2);
  CHECK_EQ(accepted(0), 2);
  CHECK_EQ(ended(0, FA_END_FULL), 0);
  close(silent);
  close(fd);
  finish_two();
}

static void test_a_place_is_kept_for_who_was_accepted(void) {
  start_two();
  supply(0, 1);
  int slow = dial();
  for (int i = 0; i < WAIT_MS && accepted(0) < 1; i++) check_sleep_ms(1);
  supply(1, 1);
  int fd = dial();
  tell_uuid(fd, 2); /* for the other, though this one has not begun a call */
  wait_until_started(1);
  CHECK_EQ(started(1), 1);
  tell_uuid(slow, 1);
  wait_until_started(2);
  CHECK_EQ(started(0), 1);
  close(slow);
  close(fd);
  finish_two();
}

static void test_a_ping_is_answered(void) {
  start();
  CHECK_EQ(fa_engine_answered(engine), 0);
  CHECK_EQ(fa_engine_ping(engine, 7), FA_OK);
  fa_event_t event = wait_event(FA_EVENT_PONG);
  CHECK_EQ(event.value, 7);
  CHECK_EQ(fa_engine_answered(engine), 7);
  fa_engine_stop(engine);
  CHECK_EQ(fa_engine_ping(engine, 8), FA_OK);
  check_sleep_ms(20);
  CHECK_EQ(fa_engine_answered(engine), 7); /* nobody is there */
  finish();
}

int main(void) {
  check_time_limit(60);
  RUN(test_calls_go_round);
  RUN(test_a_burst_goes_round);
  RUN(test_who_is_full_leaves_calls_to_the_other);
  RUN(test_a_call_waits_for_room);
  RUN(test_when_nobody_has_room_for_long_they_are_told_to_hang_up);
  RUN(test_who_does_not_accept_leaves_calls_to_the_other);
  RUN(test_who_does_not_accept_tells_nobody_to_hang_up);
  RUN(test_not_accepting_from_the_start);
  RUN(test_a_silent_connection_holds_a_place_for_a_moment);
  RUN(test_a_place_is_kept_for_who_was_accepted);
  RUN(test_a_ping_is_answered);
  return 0;
}
