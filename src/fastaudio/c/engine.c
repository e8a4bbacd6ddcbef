#include "engine.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define RECEIVE_BYTES 65536
#define ACCEPTS_A_WAKE 64
#define EPOLL_EVENTS 64
#define SEND_BUFFER_BYTES 16384 /* about a second of frames: a peer that does not read is noticed, not fed */

typedef enum { DO_SPARE, DO_FLUSH, DO_HOLD, DO_RESUME, DO_CLOSE, DO_BARGEIN, DO_ACCEPTING, DO_STOP } command_kind_t;

typedef struct {
  command_kind_t kind;
  uint32_t value;
  fa_call_t *call;
  fa_bargein_config_t bargein;
} command_t;

typedef struct {
  _Alignas(FA_CACHE_LINE) _Atomic uint32_t write;
  _Alignas(FA_CACHE_LINE) _Atomic uint32_t read;
  _Alignas(FA_CACHE_LINE) _Atomic uint32_t armed;
  command_t *slots;
  uint32_t mask;
  int fd;
} commands_t;

/* A connection that has not told its UUID, or one that is told to hang up. */
typedef struct {
  int fd;
  bool refused;
  int64_t deadline_ns;
  fa_frame_parser_t parser;
  struct sockaddr_storage peer;
} pending_t;

typedef struct {
  fa_clock_t clock;
  fa_call_t *first;
  uint32_t count;
} slot_t;

struct fa_engine {
  fa_engine_config_t config;
  fa_events_t events;
  commands_t commands;
  fa_engine_counters_t counters;
  pthread_t thread;
  bool running;
  bool stopping;
  bool accepting;
  int listener, epoll, timer;
  int64_t base_ns;
  int64_t armed_ns; /* what the timer is set to, 0 for off */
  int64_t accept_again_ns; /* out of descriptors: when to look again, 0 for now */
  slot_t slots[FA_SLOTS];
  fa_call_t *spare;
  pending_t *pending;
  uint32_t pending_count;
  uint8_t receive[RECEIVE_BYTES];
  uint8_t out[FA_OUT_BYTES];
};

/* What an epoll event is about: a call by its address, anything else by a kind with the top bit set, which no address
 * of a process has. */
enum { ON_LISTENER = 0x8000, ON_COMMAND, ON_TIMER, ON_PENDING };
static uint64_t tag(uint32_t kind, uint32_t index) { return (uint64_t)kind << 48 | index; }

static int64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* ---- commands: the event loop's side ---- */

static fa_result_t command(fa_engine_t *engine, const command_t *command) {
  commands_t *ring = &engine->commands;
  uint32_t write = atomic_load_explicit(&ring->write, memory_order_relaxed); /* own index */
  uint32_t read = atomic_load_explicit(&ring->read, memory_order_acquire);   /* pairs with take_commands */
  if (write - read > ring->mask) return FA_AGAIN;
  ring->slots[write & ring->mask] = *command;
  atomic_store_explicit(&ring->write, write + 1, memory_order_release); /* pairs with take_commands */
  if (atomic_exchange_explicit(&ring->armed, 1, memory_order_acq_rel) == 0) (void)eventfd_write(ring->fd, 1);
  return FA_OK;
}

fa_result_t fa_engine_spare(fa_engine_t *engine, fa_call_t *call) {
  return command(engine, &(command_t){.kind = DO_SPARE, .call = call});
}
fa_result_t fa_engine_flush(fa_engine_t *engine, fa_call_t *call, uint32_t generation) {
  return command(engine, &(command_t){.kind = DO_FLUSH, .call = call, .value = generation});
}
fa_result_t fa_engine_hold(fa_engine_t *engine, fa_call_t *call) {
  return command(engine, &(command_t){.kind = DO_HOLD, .call = call});
}
fa_result_t fa_engine_resume(fa_engine_t *engine, fa_call_t *call, uint32_t rewind_ms) {
  return command(engine, &(command_t){.kind = DO_RESUME, .call = call, .value = rewind_ms});
}
fa_result_t fa_engine_close(fa_engine_t *engine, fa_call_t *call, uint32_t trail_ticks) {
  return command(engine, &(command_t){.kind = DO_CLOSE, .call = call, .value = trail_ticks});
}
fa_result_t fa_engine_set_bargein(fa_engine_t *engine, fa_call_t *call, const fa_bargein_config_t *config) {
  fa_bargein_t checked;
  fa_result_t result = fa_bargein_init(&checked, config);
  if (result != FA_OK) return result;
  return command(engine, &(command_t){.kind = DO_BARGEIN, .call = call, .bargein = *config});
}
fa_result_t fa_engine_accepting(fa_engine_t *engine, bool on) {
  return command(engine, &(command_t){.kind = DO_ACCEPTING, .value = on});
}

bool fa_engine_obeyed(fa_engine_t *engine) {
  return atomic_load_explicit(&engine->commands.read, memory_order_acquire) == /* pairs with take_commands */
         atomic_load_explicit(&engine->commands.write, memory_order_relaxed);
}

fa_events_t *fa_engine_events(fa_engine_t *engine) { return &engine->events; }
fa_engine_counters_t *fa_engine_counters(fa_engine_t *engine) { return &engine->counters; }

/* ---- the timer ---- */

static void arm(fa_engine_t *engine, int64_t at_ns) {
  if (at_ns == engine->armed_ns) return;
  engine->armed_ns = at_ns;
  struct itimerspec spec = {.it_value = {.tv_sec = at_ns / 1000000000, .tv_nsec = at_ns % 1000000000}};
  (void)timerfd_settime(engine->timer, TFD_TIMER_ABSTIME, &spec, NULL);
}

/* The next moment at which there is something to do; none, and the thread sleeps. */
static void arm_next(fa_engine_t *engine) {
  int64_t next = 0;
  for (uint32_t i = 0; i < FA_SLOTS; i++)
    if (engine->slots[i].count > 0 && (next == 0 || engine->slots[i].clock.due_ns < next))
      next = engine->slots[i].clock.due_ns;
  if (engine->accept_again_ns != 0 && (next == 0 || engine->accept_again_ns < next)) next = engine->accept_again_ns;
  for (uint32_t i = 0; i < engine->pending_count; i++)
    if (next == 0 || engine->pending[i].deadline_ns < next) next = engine->pending[i].deadline_ns;
  arm(engine, next);
}

/* ---- calls in their slots ---- */

static void link_call(fa_engine_t *engine, fa_call_t *call) {
  uint32_t best = 0;
  for (uint32_t i = 1; i < FA_SLOTS; i++)
    if (engine->slots[i].count < engine->slots[best].count) best = i;
  slot_t *slot = &engine->slots[best];
  if (slot->count == 0)
    fa_clock_start(&slot->clock, engine->base_ns + (int64_t)best * (FA_TICK_NS / FA_SLOTS), now_ns());
  call->slot = best;
  call->prev = NULL;
  call->next = slot->first;
  if (slot->first != NULL) slot->first->prev = call;
  slot->first = call;
  slot->count++;
}

static void unlink_call(fa_engine_t *engine, fa_call_t *call) {
  slot_t *slot = &engine->slots[call->slot];
  if (call->prev != NULL) call->prev->next = call->next;
  if (call->next != NULL) call->next->prev = call->prev;
  if (slot->first == call) slot->first = call->next;
  slot->count--;
}

static void count_end(fa_engine_t *engine, fa_end_t reason) { fa_count(&engine->counters.ended[reason], 1); }

/* Tells the end once; when the event ring is full, the call stays until the next tick. */
static void finish(fa_engine_t *engine, fa_call_t *call, int64_t now) {
  if (call->fd >= 0) {
    close(call->fd);
    call->fd = -1;
    count_end(engine, call->end);
    fa_count(&engine->counters.live, (uint64_t)-1);
  }
  /* Unlinked first: once it is told, the event loop may free the call. */
  unlink_call(engine, call);
  uint64_t at = call->capture.now * (call->frame_bytes / 2);
  if (!fa_call_emit(call, FA_EVENT_ENDED, 0, call->end, at, now)) link_call(engine, call);
}

/* Sends what waits; false while some is left. */
static bool flush_out(fa_call_t *call) {
  while (call->out_sent < call->out_have) {
    ssize_t sent = send(call->fd, call->out + call->out_sent, call->out_have - call->out_sent,
                        MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent > 0) {
      call->out_sent += (uint32_t)sent;
      continue;
    }
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return false;
    if (call->end == FA_END_NONE) call->end = errno == EPIPE || errno == ECONNRESET ? FA_END_CALLER : FA_END_SOCKET;
    call->out_sent = call->out_have;
  }
  call->out_have = call->out_sent = 0;
  return true;
}

/* A frame's tail must follow within 5 ms (res_audiosocket.c), not at the next tick: only then the socket is watched. */
static void watch(fa_engine_t *engine, fa_call_t *call, bool on) {
  if (call->watching == on) return;
  struct epoll_event event = {.events = EPOLLOUT, .data = {.ptr = call}};
  (void)epoll_ctl(engine->epoll, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, call->fd, &event);
  call->watching = on;
}

static void put_out(fa_engine_t *engine, fa_call_t *call, size_t length) {
  if (length == 0) return;
  ssize_t sent = send(call->fd, engine->out, length, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent == (ssize_t)length) return;
  if (sent < 0) {
    if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) {
      if (call->end == FA_END_NONE)
        call->end = errno == EPIPE || errno == ECONNRESET ? FA_END_CALLER : FA_END_SOCKET;
      return;
    }
    sent = 0;
  }
  call->out_have = (uint32_t)(length - (size_t)sent);
  call->out_sent = 0;
  memcpy(call->out, engine->out + sent, call->out_have);
  watch(engine, call, true);
}

/* Reads all that has come. A read that does not fill the buffer has emptied the socket. */
static void take_in(fa_engine_t *engine, fa_call_t *call, int64_t now) {
  for (;;) {
    ssize_t got = recv(call->fd, engine->receive, RECEIVE_BYTES, MSG_DONTWAIT);
    if (got > 0) {
      fa_call_input(call, engine->receive, (size_t)got, now);
      if (got == RECEIVE_BYTES && call->end == FA_END_NONE) continue;
      return;
    }
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
    if (call->state == FA_CALL_DRAINING)
      call->end = FA_END_AGENT;
    else if (call->end == FA_END_NONE) /* Asterisk closes with our frames unread: a reset is a normal hangup */
      call->end = got == 0 || errno == ECONNRESET ? FA_END_CALLER : FA_END_SOCKET;
    return;
  }
}

static uint64_t count_of(const _Atomic uint64_t *counter) {
  return atomic_load_explicit(counter, memory_order_relaxed); /* own counter */
}

static void tick_call(fa_engine_t *engine, fa_call_t *call, fa_due_t due, int64_t now) {
  uint64_t in = count_of(&call->counters.frames_in), out = count_of(&call->counters.frames_out);
  if (call->end == FA_END_NONE) take_in(engine, call, now);
  if (call->end == FA_END_NONE && call->state == FA_CALL_DRAINING &&
      ++call->draining_ticks > FA_DRAIN_TICKS)
    call->end = FA_END_AGENT;
  if (call->end == FA_END_NONE && call->state != FA_CALL_DRAINING) {
    bool can_send = call->out_have == 0 || flush_out(call);
    call->blocked_ticks = can_send ? 0 : call->blocked_ticks + 1;
    if (call->blocked_ticks > FA_NOT_READING_TICKS) call->end = FA_END_NOT_READING;
    if (can_send) watch(engine, call, false);
    put_out(engine, call, fa_call_tick(call, due, can_send, engine->out, now));
    if (call->hung_up && call->out_have == 0) {
      /* 00 00 00, half-close, drain, close: a close with unread audio would reset the connection, and Asterisk
       * would hang the caller up instead of going on in the dialplan. */
      (void)shutdown(call->fd, SHUT_WR);
      call->state = FA_CALL_DRAINING;
    }
  }
  fa_count(&engine->counters.frames_in, count_of(&call->counters.frames_in) - in);
  fa_count(&engine->counters.frames_out, count_of(&call->counters.frames_out) - out);
  if (call->end != FA_END_NONE) finish(engine, call, now);
}

static void record_lateness(fa_engine_t *engine, int64_t late_ns, uint32_t calls) {
  uint64_t us = (uint64_t)late_ns / 1000;
  uint32_t bucket = us == 0 ? 0 : 64 - (uint32_t)__builtin_clzll(us);
  if (bucket >= FA_LATENESS_BUCKETS) bucket = FA_LATENESS_BUCKETS - 1;
  fa_count(&engine->counters.lateness[bucket], calls);
  if ((uint64_t)late_ns > atomic_load_explicit(&engine->counters.late_max_ns, memory_order_relaxed))
    atomic_store_explicit(&engine->counters.late_max_ns, (uint64_t)late_ns, memory_order_relaxed);
}

static void run_slots(fa_engine_t *engine) {
  for (uint32_t n = 0; n < FA_SLOTS; n++) {
    /* In the order of their deadlines; each slot takes the time anew, so that one does not make the next look late. */
    slot_t *slot = NULL;
    for (uint32_t i = 0; i < FA_SLOTS; i++)
      if (engine->slots[i].count > 0 && (slot == NULL || engine->slots[i].clock.due_ns < slot->clock.due_ns))
        slot = &engine->slots[i];
    int64_t now = now_ns();
    if (slot == NULL || slot->clock.due_ns > now) return;
    fa_due_t due = fa_clock_take(&slot->clock, now);
    record_lateness(engine, due.late_ns, slot->count);
    fa_count(&engine->counters.ticks, slot->count);
    if (due.stalled) fa_count(&engine->counters.stalls, 1);
    for (fa_call_t *call = slot->first, *next; call != NULL; call = next) {
      next = call->next;
      tick_call(engine, call, due, now);
    }
  }
}

/* ---- connections without a UUID ---- */

static void drop_pending(fa_engine_t *engine, uint32_t index, bool close_it) {
  pending_t *entry = &engine->pending[index];
  if (close_it)
    close(entry->fd);
  else
    (void)epoll_ctl(engine->epoll, EPOLL_CTL_DEL, entry->fd, NULL);
  engine->pending_count--;
  if (index != engine->pending_count) {
    *entry = engine->pending[engine->pending_count];
    struct epoll_event event = {.events = EPOLLIN, .data = {.u64 = tag(ON_PENDING, index)}};
    (void)epoll_ctl(engine->epoll, EPOLL_CTL_MOD, entry->fd, &event);
  }
  atomic_store_explicit(&engine->counters.pending, engine->pending_count, memory_order_relaxed);
}

static void tell_refused(fa_engine_t *engine, const struct sockaddr_storage *peer, fa_end_t reason) {
  count_end(engine, reason);
  fa_event_t event = {.kind = FA_EVENT_REFUSED, .generation = reason, .time_ns = now_ns()};
  if (peer->ss_family == AF_INET) event.value = ((const struct sockaddr_in *)(const void *)peer)->sin_addr.s_addr;
  (void)fa_events_push(&engine->events, &event); /* a full ring counts it */
}

/* Accepted and told to hang up: what Asterisk understands. It closes; the entry waits for that. */
static void refuse(fa_engine_t *engine, pending_t *entry, fa_end_t reason) {
  static const uint8_t hangup[FA_HEADER_BYTES] = {FA_KIND_HANGUP, 0, 0};
  tell_refused(engine, &entry->peer, reason);
  (void)send(entry->fd, hangup, sizeof hangup, MSG_DONTWAIT | MSG_NOSIGNAL);
  (void)shutdown(entry->fd, SHUT_WR);
  entry->refused = true;
  entry->deadline_ns = now_ns() + FA_DRAIN_TICKS * FA_TICK_NS;
}

static bool promote(fa_engine_t *engine, uint32_t index, const uint8_t *uuid) {
  pending_t *entry = &engine->pending[index];
  fa_call_t *call = engine->spare;
  if (call == NULL || engine->stopping) {
    refuse(engine, entry, FA_END_FULL);
    return false;
  }
  engine->spare = call->next;
  int64_t now = now_ns();
  call->fd = entry->fd;
  call->peer = entry->peer;
  fa_call_start(call, &engine->events, uuid, now);
  fa_count(&engine->counters.started, 1);
  fa_count(&engine->counters.live, 1);
  drop_pending(engine, index, false);
  link_call(engine, call);
  if (!fa_call_emit(call, FA_EVENT_STARTED, 0, 0, 0, now)) call->end = FA_END_FULL; /* nobody could serve it */
  return true;
}

/* Only the UUID message is read here: what follows it stays in the socket for the call. */
static void read_pending(fa_engine_t *engine, uint32_t index) {
  pending_t *entry = &engine->pending[index];
  for (;;) {
    size_t want = entry->refused ? RECEIVE_BYTES : (size_t)FA_HEADER_BYTES - entry->parser.header_have;
    if (!entry->refused && entry->parser.in_payload) want = entry->parser.remaining;
    ssize_t got = recv(entry->fd, engine->receive, want, MSG_DONTWAIT);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
    if (got <= 0) {
      if (!entry->refused) count_end(engine, FA_END_CALLER);
      drop_pending(engine, index, true);
      return;
    }
    if (entry->refused) continue;
    const uint8_t *cursor = engine->receive;
    fa_piece_t piece;
    fa_result_t result = fa_frame_next(&entry->parser, &cursor, engine->receive + got, &piece);
    if (result == FA_ERR_PROTO) {
      tell_refused(engine, &entry->peer, entry->parser.error);
      drop_pending(engine, index, true);
      return;
    }
    if (result != FA_OK) continue;
    uint8_t uuid[FA_UUID_BYTES];
    memcpy(uuid, piece.data, sizeof uuid);
    if (promote(engine, index, uuid)) return;
  }
}

static void expire_pending(fa_engine_t *engine) {
  int64_t now = now_ns();
  for (uint32_t i = engine->pending_count; i-- > 0;) {
    pending_t *entry = &engine->pending[i];
    if (entry->deadline_ns > now) continue;
    if (!entry->refused) tell_refused(engine, &entry->peer, FA_END_NO_UUID);
    drop_pending(engine, i, true);
  }
}

static void accepting(fa_engine_t *engine, bool on) {
  if (engine->listener < 0 || engine->accepting == on) return;
  struct epoll_event event = {.events = EPOLLIN | EPOLLEXCLUSIVE, .data = {.u64 = tag(ON_LISTENER, 0)}};
  (void)epoll_ctl(engine->epoll, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, engine->listener, &event);
  engine->accepting = on;
}

static bool peer_allowed(const fa_engine_t *engine, const struct sockaddr_storage *peer) {
  if (engine->config.networks_count == 0) return true;
  uint8_t address[16] = {0};
  if (peer->ss_family == AF_INET) {
    address[10] = address[11] = 0xff;
    memcpy(address + 12, &((const struct sockaddr_in *)(const void *)peer)->sin_addr, 4);
  } else {
    memcpy(address, &((const struct sockaddr_in6 *)(const void *)peer)->sin6_addr, 16);
  }
  for (uint32_t i = 0; i < engine->config.networks_count; i++) {
    const fa_network_t *network = &engine->config.networks[i];
    uint32_t bytes = network->prefix / 8, bits = network->prefix % 8;
    if (memcmp(address, network->address, bytes) != 0) continue;
    uint8_t mask = (uint8_t)(0xff00 >> bits);
    if (bits == 0 || (address[bytes] & mask) == (network->address[bytes] & mask)) return true;
  }
  return false;
}

static void accept_some(fa_engine_t *engine) {
  for (uint32_t n = 0; n < ACCEPTS_A_WAKE; n++) {
    struct sockaddr_storage peer = {0};
    socklen_t length = sizeof peer;
    int fd = accept4(engine->listener, (struct sockaddr *)&peer, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
      if (errno == EINTR || errno == ECONNABORTED) continue;
      if (errno == EMFILE || errno == ENFILE) { /* level-triggered, it would wake us for ever */
        accepting(engine, false);
        engine->accept_again_ns = now_ns() + 100000000;
      }
      return;
    }
    fa_count(&engine->counters.accepted, 1);
    fa_end_t refused = !peer_allowed(engine, &peer)                         ? FA_END_PEER_REFUSED
                       : engine->pending_count >= engine->config.pending_max ? FA_END_PENDING_FULL
                                                                            : FA_END_NONE;
    if (refused != FA_END_NONE) {
      tell_refused(engine, &peer, refused);
      close(fd);
      continue;
    }
    int on = 1, buffer = SEND_BUFFER_BYTES;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
    uint32_t index = engine->pending_count;
    struct epoll_event event = {.events = EPOLLIN, .data = {.u64 = tag(ON_PENDING, index)}};
    if (epoll_ctl(engine->epoll, EPOLL_CTL_ADD, fd, &event) != 0) {
      close(fd);
      continue;
    }
    engine->pending_count++;
    pending_t *entry = &engine->pending[index];
    *entry = (pending_t){.fd = fd, .peer = peer};
    entry->deadline_ns = now_ns() + (int64_t)engine->config.uuid_timeout_ms * 1000000;
    fa_frame_parser_init(&entry->parser);
    atomic_store_explicit(&engine->counters.pending, engine->pending_count, memory_order_relaxed);
  }
}

/* ---- commands: the media thread's side ---- */

static void obey(fa_engine_t *engine, const command_t *command) {
  fa_call_t *call = command->call;
  int64_t now = now_ns();
  switch (command->kind) {
    case DO_SPARE:
      call->next = engine->spare;
      engine->spare = call;
      break;
    case DO_FLUSH: fa_call_flush(call, command->value, now); break;
    case DO_HOLD: fa_call_hold(call, now); break;
    case DO_RESUME: fa_call_resume(call, command->value, now); break;
    case DO_CLOSE: fa_call_close(call, command->value, now); break;
    case DO_BARGEIN: (void)fa_call_set_bargein(call, &command->bargein); break;
    case DO_ACCEPTING: accepting(engine, command->value != 0); break;
    case DO_STOP: engine->stopping = true; break;
  }
}

static void take_commands(fa_engine_t *engine) {
  commands_t *ring = &engine->commands;
  eventfd_t count;
  (void)eventfd_read(ring->fd, &count);
  (void)atomic_exchange_explicit(&ring->armed, 0, memory_order_acq_rel); /* pairs with command; before the drain */
  uint32_t read = atomic_load_explicit(&ring->read, memory_order_relaxed); /* own index */
  uint32_t write = atomic_load_explicit(&ring->write, memory_order_acquire); /* pairs with command */
  for (; read != write; read++) {
    obey(engine, &ring->slots[read & ring->mask]);
    atomic_store_explicit(&ring->read, read + 1, memory_order_release); /* pairs with command */
  }
}

/* ---- the thread ---- */

static void ask_for_time(fa_engine_t *engine) {
  (void)pthread_setname_np(pthread_self(), "fa-media");
  (void)prctl(PR_SET_TIMERSLACK, 1UL);
  if (engine->config.priority <= 0) return;
  struct sched_param param = {.sched_priority = engine->config.priority};
  if (pthread_setschedparam(pthread_self(), SCHED_FIFO | SCHED_RESET_ON_FORK, &param) == 0)
    atomic_store_explicit(&engine->counters.fifo_priority, engine->config.priority, memory_order_relaxed);
}

static void hang_up_all(fa_engine_t *engine) {
  static const uint8_t hangup[FA_HEADER_BYTES] = {FA_KIND_HANGUP, 0, 0};
  for (uint32_t i = 0; i < FA_SLOTS; i++) {
    while (engine->slots[i].first != NULL) {
      fa_call_t *call = engine->slots[i].first;
      /* Behind half a frame a hangup would be read as audio. */
      if (call->fd >= 0 && !call->hung_up && call->out_have == 0) {
        (void)send(call->fd, hangup, sizeof hangup, MSG_DONTWAIT | MSG_NOSIGNAL);
        (void)shutdown(call->fd, SHUT_WR);
      }
      if (call->end == FA_END_NONE) call->end = FA_END_STOPPED;
      if (call->fd >= 0) {
        close(call->fd);
        call->fd = -1;
        count_end(engine, call->end);
        fa_count(&engine->counters.live, (uint64_t)-1);
      }
      unlink_call(engine, call);
      (void)fa_call_emit(call, FA_EVENT_ENDED, 0, call->end, 0, now_ns());
    }
  }
  while (engine->pending_count > 0) drop_pending(engine, engine->pending_count - 1, true);
}

static void *run(void *argument) {
  fa_engine_t *engine = argument;
  ask_for_time(engine);
  struct epoll_event events[EPOLL_EVENTS];
  while (!engine->stopping) {
    arm_next(engine);
    int count = epoll_wait(engine->epoll, events, EPOLL_EVENTS, -1);
    fa_count(&engine->counters.wakeups, 1);
    bool timer = false;
    for (int i = 0; i < count; i++) {
      uint64_t data = events[i].data.u64;
      switch (data >> 48) {
        case ON_LISTENER: accept_some(engine); break;
        case ON_COMMAND: take_commands(engine); break;
        case ON_TIMER: timer = true; break;
        case ON_PENDING:
          /* Entries move when one is dropped: this may be another one, which then has nothing to read, and
           * level-triggered epoll names the right one again. */
          if ((uint32_t)data < engine->pending_count) read_pending(engine, (uint32_t)data);
          break;
        default: { /* a call's socket takes bytes again */
          fa_call_t *call = events[i].data.ptr;
          if (flush_out(call)) watch(engine, call, false);
        }
      }
    }
    if (timer) {
      uint64_t expirations;
      (void)!read(engine->timer, &expirations, sizeof expirations);
      engine->armed_ns = 0;
      expire_pending(engine);
      if (engine->accept_again_ns != 0 && engine->accept_again_ns <= now_ns()) {
        engine->accept_again_ns = 0;
        accepting(engine, true);
      }
    }
    run_slots(engine);
  }
  hang_up_all(engine);
  return NULL;
}

/* ---- life ---- */

static bool power_of_two(uint32_t n) { return n >= 2 && n <= 65536 && (n & (n - 1)) == 0; }

static fa_result_t add(fa_engine_t *engine, int fd, uint32_t kind) {
  struct epoll_event event = {.events = EPOLLIN, .data = {.u64 = tag(kind, 0)}};
  return epoll_ctl(engine->epoll, EPOLL_CTL_ADD, fd, &event) == 0 ? FA_OK : FA_ERR_OS;
}

fa_result_t fa_engine_create(fa_engine_t **out, const fa_engine_config_t *config) {
  *out = NULL;
  if (!power_of_two(config->events) || !power_of_two(config->commands)) return FA_ERR_ARG;
  if (config->pending_max == 0 || config->pending_max > 65536 || config->networks_count > FA_NETWORKS_MAX)
    return FA_ERR_ARG;
  size_t size = (sizeof(fa_engine_t) + FA_CACHE_LINE - 1) & ~(size_t)(FA_CACHE_LINE - 1);
  fa_engine_t *engine = aligned_alloc(FA_CACHE_LINE, size);
  if (engine == NULL) return FA_ERR_NOMEM;
  memset(engine, 0, sizeof *engine);
  engine->config = *config;
  engine->listener = engine->epoll = engine->timer = engine->commands.fd = -1;
  engine->pending = calloc(config->pending_max, sizeof *engine->pending);
  engine->commands.slots = calloc(config->commands, sizeof *engine->commands.slots);
  engine->commands.mask = config->commands - 1;
  fa_result_t result = engine->pending && engine->commands.slots ? FA_OK : FA_ERR_NOMEM;
  if (result == FA_OK) result = fa_events_init(&engine->events, config->events);
  if (result == FA_OK) {
    engine->epoll = epoll_create1(EPOLL_CLOEXEC);
    engine->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    engine->commands.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (engine->epoll < 0 || engine->timer < 0 || engine->commands.fd < 0) result = FA_ERR_OS;
  }
  if (result == FA_OK) result = add(engine, engine->timer, ON_TIMER);
  if (result == FA_OK) result = add(engine, engine->commands.fd, ON_COMMAND);
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
  engine->base_ns = now_ns();
  accepting(engine, true);
  if (pthread_create(&engine->thread, NULL, run, engine) != 0) return FA_ERR_OS;
  engine->running = true;
  return FA_OK;
}

void fa_engine_stop(fa_engine_t *engine) {
  if (!engine->running) return;
  while (command(engine, &(command_t){.kind = DO_STOP}) == FA_AGAIN) sched_yield();
  pthread_join(engine->thread, NULL);
  engine->running = false;
}

void fa_engine_free(fa_engine_t *engine) {
  if (engine == NULL) return;
  if (engine->epoll >= 0) close(engine->epoll);
  if (engine->timer >= 0) close(engine->timer);
  if (engine->commands.fd >= 0) close(engine->commands.fd);
  fa_events_close(&engine->events);
  free(engine->commands.slots);
  free(engine->pending);
  free(engine);
}
