#include "engine.h"

#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "engine_internal.h"

#define EPOLL_EVENTS 64

int64_t fa_now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

void fa_engine_count_end(fa_engine_t *engine, fa_end_t reason) { fa_count(&engine->counters.ended[reason], 1); }

/* ---- commands: the event loop's side ---- */

static fa_result_t push(fa_engine_t *engine, fa_command_t command) {
  return fa_commands_push(&engine->commands, &command);
}

fa_result_t fa_engine_spare(fa_engine_t *engine, fa_call_t *call) {
  return push(engine, (fa_command_t){.kind = FA_COMMAND_SPARE, .call = call});
}
fa_result_t fa_engine_flush(fa_engine_t *engine, fa_call_t *call, uint32_t generation) {
  return push(engine, (fa_command_t){.kind = FA_COMMAND_FLUSH, .call = call, .value = generation});
}
fa_result_t fa_engine_hold(fa_engine_t *engine, fa_call_t *call) {
  return push(engine, (fa_command_t){.kind = FA_COMMAND_HOLD, .call = call});
}
fa_result_t fa_engine_resume(fa_engine_t *engine, fa_call_t *call, uint32_t rewind_ms) {
  return push(engine, (fa_command_t){.kind = FA_COMMAND_RESUME, .call = call, .value = rewind_ms});
}
fa_result_t fa_engine_close(fa_engine_t *engine, fa_call_t *call, uint32_t trail_ticks) {
  return push(engine, (fa_command_t){.kind = FA_COMMAND_CLOSE, .call = call, .value = trail_ticks});
}
fa_result_t fa_engine_set_bargein(fa_engine_t *engine, fa_call_t *call, const fa_bargein_config_t *config) {
  fa_bargein_t checked;
  fa_result_t result = fa_bargein_init(&checked, config);
  if (result != FA_OK) return result;
  return push(engine, (fa_command_t){.kind = FA_COMMAND_BARGEIN, .call = call, .bargein = *config});
}
fa_result_t fa_engine_accepting(fa_engine_t *engine, bool on) {
  return push(engine, (fa_command_t){.kind = FA_COMMAND_ACCEPTING, .value = on});
}

fa_result_t fa_engine_ping(fa_engine_t *engine, uint32_t number) {
  return push(engine, (fa_command_t){.kind = FA_COMMAND_PING, .value = number});
}
uint32_t fa_engine_answered(fa_engine_t *engine) {
  return atomic_load_explicit(&engine->counters.answered, memory_order_acquire); /* pairs with answer */
}

bool fa_engine_obeyed(fa_engine_t *engine) { return fa_commands_done(&engine->commands); }
fa_events_t *fa_engine_events(fa_engine_t *engine) { return &engine->events; }
fa_engine_counters_t *fa_engine_counters(fa_engine_t *engine) { return &engine->counters; }

/* ---- commands: the media thread's side ---- */

static void obey_for_call(fa_call_t *call, const fa_command_t *command) {
  if (command->kind == FA_COMMAND_BARGEIN) {
    (void)fa_call_set_bargein(call, &command->bargein); /* a spare has it from the start */
    return;
  }
  if (call->fd < 0) return; /* it has ended: the command crossed with its ENDED event */
  int64_t now = fa_now_ns();
  switch (command->kind) {
    case FA_COMMAND_FLUSH: fa_call_flush(call, command->value, now); break;
    case FA_COMMAND_HOLD: fa_call_hold(call, now); break;
    case FA_COMMAND_RESUME: fa_call_resume(call, command->value, now); break;
    case FA_COMMAND_CLOSE: fa_call_close(call, command->value, now); break;
    default: break;
  }
}

static void answer(fa_engine_t *engine, uint32_t number) {
  atomic_store_explicit(&engine->counters.answered, number, memory_order_release); /* pairs with fa_engine_answered */
  fa_event_t event = {.kind = FA_EVENT_PONG, .value = number, .time_ns = fa_now_ns()};
  (void)fa_events_push(&engine->events, &event); /* a full ring: the event loop comes anyway, and asks the counter */
}

static void obey(fa_engine_t *engine, const fa_command_t *command) {
  switch (command->kind) {
    case FA_COMMAND_SPARE:
      command->call->next = engine->spare;
      engine->spare = command->call;
      engine->spare_count++;
      break;
    case FA_COMMAND_ACCEPTING: engine->accept_wanted = command->value != 0; break;
    case FA_COMMAND_PING: answer(engine, command->value); break;
    case FA_COMMAND_STOP: engine->stopping = true; break;
    default: obey_for_call(command->call, command);
  }
}

static void take_commands(fa_engine_t *engine) {
  fa_commands_wake(&engine->commands);
  for (const fa_command_t *command; (command = fa_commands_peek(&engine->commands)) != NULL;) {
    obey(engine, command);
    fa_commands_pop(&engine->commands);
  }
}

/* ---- the thread ---- */

/* Sets the timer to the next moment at which there is something to do; none, and the thread sleeps. */
static void arm_next(fa_engine_t *engine) {
  int64_t tick = fa_slots_next_ns(engine), deadline = fa_pending_next_ns(engine);
  int64_t at_ns = tick == 0 || (deadline != 0 && deadline < tick) ? deadline : tick;
  if (at_ns == engine->armed_ns) return;
  engine->armed_ns = at_ns;
  struct itimerspec spec = {.it_value = {.tv_sec = at_ns / 1000000000, .tv_nsec = at_ns % 1000000000}};
  (void)timerfd_settime(engine->timer, TFD_TIMER_ABSTIME, &spec, NULL);
}

static void timer_fired(fa_engine_t *engine) {
  uint64_t expirations;
  (void)!read(engine->timer, &expirations, sizeof expirations);
  engine->armed_ns = 0;
  fa_pending_expire(engine, fa_now_ns());
}

static void ask_for_time(fa_engine_t *engine) {
  (void)pthread_setname_np(pthread_self(), "fa-media");
  (void)prctl(PR_SET_TIMERSLACK, 1UL);
  if (engine->config.priority <= 0) return;
  struct sched_param param = {.sched_priority = engine->config.priority};
  if (pthread_setschedparam(pthread_self(), SCHED_FIFO | SCHED_RESET_ON_FORK, &param) == 0)
    atomic_store_explicit(&engine->counters.fifo_priority, engine->config.priority, memory_order_relaxed);
}

static void *run(void *argument) {
  fa_engine_t *engine = argument;
  ask_for_time(engine);
  struct epoll_event events[EPOLL_EVENTS];
  take_commands(engine);
  fa_events_tell(&engine->events);
  while (!engine->stopping) {
    fa_pending_settle(engine);
    arm_next(engine);
    int count = epoll_wait(engine->epoll, events, EPOLL_EVENTS, -1);
    fa_count(&engine->counters.wakeups, 1);
    bool timer = false;
    for (int i = 0; i < count; i++) {
      uint64_t data = events[i].data.u64;
      switch (data >> 48) {
        case FA_ON_LISTENER: fa_pending_accept(engine); break;
        case FA_ON_COMMAND: take_commands(engine); break;
        case FA_ON_TIMER: timer = true; break;
        case FA_ON_PENDING: fa_pending_read(engine, (uint32_t)data); break;
        default: fa_slots_writable(engine, events[i].data.ptr); /* calls end below, so this one is still there */
      }
    }
    if (timer) timer_fired(engine);
    fa_slots_run(engine);
    fa_events_tell(&engine->events);
  }
  fa_slots_hang_up_all(engine);
  fa_pending_close_all(engine);
  fa_events_tell(&engine->events);
  return NULL;
}

/* ---- life ---- */

static fa_result_t add(fa_engine_t *engine, int fd, uint32_t kind) {
  struct epoll_event event = {.events = EPOLLIN, .data = {.u64 = fa_tag(kind, 0)}};
  return epoll_ctl(engine->epoll, EPOLL_CTL_ADD, fd, &event) == 0 ? FA_OK : FA_ERR_OS;
}

static fa_result_t set_up(fa_engine_t *engine) {
  const fa_engine_config_t *config = &engine->config;
  engine->pending = calloc(config->pending_max, sizeof *engine->pending);
  if (engine->pending == NULL) return FA_ERR_NOMEM;
  fa_result_t result = fa_events_init(&engine->events, config->events);
  if (result == FA_OK) result = fa_commands_init(&engine->commands, config->commands);
  if (result != FA_OK) return result;
  engine->epoll = epoll_create1(EPOLL_CLOEXEC);
  engine->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  if (engine->epoll < 0 || engine->timer < 0) return FA_ERR_OS;
  result = add(engine, engine->timer, FA_ON_TIMER);
  return result == FA_OK ? add(engine, engine->commands.fd, FA_ON_COMMAND) : result;
}

fa_result_t fa_engine_create(fa_engine_t **out, const fa_engine_config_t *config) {
  *out = NULL;
  if (config->pending_max == 0 || config->pending_max > 65536 || config->networks_count > FA_NETWORKS_MAX)
    return FA_ERR_ARG;
  for (uint32_t i = 0; i < config->networks_count; i++)
    if (config->networks[i].prefix > 128) return FA_ERR_ARG;
  size_t size = (sizeof(fa_engine_t) + FA_CACHE_LINE - 1) & ~(size_t)(FA_CACHE_LINE - 1);
  fa_engine_t *engine = aligned_alloc(FA_CACHE_LINE, size);
  if (engine == NULL) return FA_ERR_NOMEM;
  memset(engine, 0, sizeof *engine);
  engine->config = *config;
  engine->listener = engine->epoll = engine->timer = -1;
  engine->accept_wanted = true;
  fa_result_t result = set_up(engine);
  if (result != FA_OK) {
    fa_engine_free(engine);
    return result;
  }
  *out = engine;
  return FA_OK;
}

fa_result_t fa_engine_start(fa_engine_t *engine, int listener) {
  if (engine->running) return FA_ERR_ARG;
  engine->listener = listener;
  engine->base_ns = fa_now_ns();
  engine->stopping = false;
  /* The thread inherits a full mask: signals are the main thread's. */
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  engine->running = pthread_create(&engine->thread, NULL, run, engine) == 0;
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return engine->running ? FA_OK : FA_ERR_OS;
}

void fa_engine_stop(fa_engine_t *engine) {
  if (!engine->running) return;
  while (push(engine, (fa_command_t){.kind = FA_COMMAND_STOP}) == FA_AGAIN) sched_yield();
  pthread_join(engine->thread, NULL);
  engine->running = false;
  fa_pending_listen(engine, false);
  engine->accept_again_ns = engine->look_ns = 0;
  engine->spare = NULL; /* the caller's again */
  engine->spare_count = 0;
}

void fa_engine_free(fa_engine_t *engine) {
  if (engine == NULL) return;
  if (engine->epoll >= 0) close(engine->epoll);
  if (engine->timer >= 0) close(engine->timer);
  fa_commands_close(&engine->commands);
  fa_events_close(&engine->events);
  free(engine->pending);
  free(engine);
}
