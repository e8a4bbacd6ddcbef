/* Events and commands: order, the limit, and two threads that sleep on the eventfd and lose no wake-up. */
#include <poll.h>
#include <pthread.h>
#include <sched.h>

#include "check.h"
#include "command.h"
#include "event.h"

#define EVENTS 200000u

static fa_events_t *events;
static fa_commands_t *commands;

static bool readable(int fd, int timeout_ms) {
  struct pollfd wait = {.fd = fd, .events = POLLIN};
  return poll(&wait, 1, timeout_ms) == 1;
}

static void test_order_and_limit(void) {
  CHECK_EQ(fa_events_init(events, 3), FA_ERR_ARG);
  CHECK_EQ(fa_events_init(events, 1), FA_ERR_ARG);
  CHECK_EQ(fa_events_init(events, 8), FA_OK);
  CHECK(!readable(events->fd, 0));
  uint32_t taken = 0;
  for (uint32_t round = 0; round < 5; round++) {
    for (uint32_t n = 0; n < 8; n++) CHECK_EQ(fa_events_push(events, &(fa_event_t){.value = round * 8 + n}), FA_OK);
    CHECK_EQ(fa_events_push(events, &(fa_event_t){.value = 999}), FA_AGAIN);
    CHECK(!readable(events->fd, 0)); /* all of them are told of at once */
    fa_events_tell(events);
    CHECK(readable(events->fd, 0));
    fa_events_wake(events);
    CHECK(!readable(events->fd, 0));
    fa_event_t out[8];
    while (fa_events_pending(events)) {
      uint32_t count = fa_events_drain(events, out, 3);
      CHECK(count >= 1 && count <= 3);
      for (uint32_t i = 0; i < count; i++) CHECK_EQ(out[i].value, taken++);
    }
    CHECK_EQ(fa_events_drain(events, out, 8), 0);
    fa_events_tell(events); /* nothing new: nobody is woken */
    CHECK(!readable(events->fd, 0));
  }
  CHECK_EQ(taken, 40);
  CHECK_EQ(atomic_load(&events->lost), 5);
  fa_events_close(events);
  fa_events_close(events);
}

static void *produce_events(void *unused) {
  (void)unused;
  uint64_t seed = 21, lost = 0;
  for (uint32_t n = 0; n < EVENTS;) {
    fa_event_t event = {.kind = n, .call = n * 3, .generation = ~n, .value = n, .position = (uint64_t)n << 20};
    if (fa_events_push(events, &event) == FA_OK) n++;
    if (check_random(&seed) % 3 == 0 && atomic_load(&events->lost) == lost) continue; /* told of with the next */
    lost = atomic_load(&events->lost); /* a full ring is a reason to wake the other side */
    fa_events_tell(events);
    if (check_random(&seed) % 7 == 0) sched_yield();
  }
  fa_events_tell(events);
  return NULL;
}

/* The consumer sleeps whenever it has drained: a lost wake-up is a poll that times out with events left. */
static void no_wake_up_is_lost(uint32_t capacity) {
  CHECK_EQ(fa_events_init(events, capacity), FA_OK);
  pthread_t thread;
  CHECK_EQ(pthread_create(&thread, NULL, produce_events, NULL), 0);
  for (uint32_t n = 0; n < EVENTS;) {
    CHECK(readable(events->fd, 5000));
    fa_events_wake(events);
    fa_event_t out[5];
    for (uint32_t count; (count = fa_events_drain(events, out, 5)) > 0;) {
      for (uint32_t i = 0; i < count; i++, n++) {
        CHECK(out[i].value == n && out[i].kind == n && out[i].call == n * 3 && out[i].generation == ~n);
        CHECK_EQ(out[i].position, (uint64_t)n << 20);
      }
      if (n % 3 == 0) sched_yield(); /* the other side goes on in the middle of a drain, on one core too */
    }
  }
  pthread_join(thread, NULL);
  fa_events_close(events);
}

/* A large ring has both threads at work at once, a small one has its slots written again at once. */
static void test_no_wake_up_is_lost(void) {
  no_wake_up_is_lost(64);
  no_wake_up_is_lost(4);
}

static void *consume_commands(void *unused) {
  (void)unused;
  for (uint32_t n = 0; n < EVENTS;) {
    CHECK(readable(commands->fd, 5000));
    fa_commands_wake(commands);
    for (const fa_command_t *command; (command = fa_commands_peek(commands)) != NULL; n++) {
      CHECK_EQ(command->value, n);
      CHECK_EQ(command->bargein.rms, ~n);
      fa_commands_pop(commands);
      if (n % 5 == 0) sched_yield();
    }
  }
  return NULL;
}

static void the_other_way(uint32_t capacity) {
  CHECK_EQ(fa_commands_init(commands, capacity), FA_OK);
  CHECK(fa_commands_done(commands));
  CHECK(fa_commands_peek(commands) == NULL);
  pthread_t thread;
  CHECK_EQ(pthread_create(&thread, NULL, consume_commands, NULL), 0);
  for (uint32_t n = 0; n < EVENTS;) {
    fa_command_t command = {.kind = FA_COMMAND_FLUSH, .value = n, .bargein = {.rms = ~n}};
    if (fa_commands_push(commands, &command) == FA_OK)
      n++;
    else
      sched_yield();
  }
  pthread_join(thread, NULL);
  CHECK(fa_commands_done(commands));
  fa_commands_close(commands);
}

static void test_commands_the_other_way(void) {
  the_other_way(64);
  the_other_way(4);
}

static void test_a_command_is_done_only_when_it_is_carried_out(void) {
  CHECK_EQ(fa_commands_init(commands, 3), FA_ERR_ARG);
  CHECK_EQ(fa_commands_init(commands, 2), FA_OK);
  CHECK_EQ(fa_commands_push(commands, &(fa_command_t){.value = 1}), FA_OK);
  CHECK_EQ(fa_commands_push(commands, &(fa_command_t){.value = 2}), FA_OK);
  CHECK_EQ(fa_commands_push(commands, &(fa_command_t){.value = 3}), FA_AGAIN);
  CHECK_EQ(fa_commands_peek(commands)->value, 1);
  CHECK(!fa_commands_done(commands));
  fa_commands_pop(commands);
  CHECK_EQ(fa_commands_peek(commands)->value, 2);
  CHECK(!fa_commands_done(commands));
  fa_commands_pop(commands);
  CHECK(fa_commands_done(commands));
  fa_commands_close(commands);
}

int main(void) {
  check_time_limit(60);
  events = aligned_alloc(FA_CACHE_LINE, sizeof *events);
  commands = aligned_alloc(FA_CACHE_LINE, sizeof *commands);
  RUN(test_order_and_limit);
  RUN(test_no_wake_up_is_lost);
  RUN(test_a_command_is_done_only_when_it_is_carried_out);
  RUN(test_commands_the_other_way);
  free(events);
  free(commands);
  return 0;
}
