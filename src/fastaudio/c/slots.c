#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine_internal.h"

#define READS_A_TICK 4 /* 256 KiB, 16 s of audio: a peer that floods does not keep the thread from other calls */
#define STOP_DRAIN_STEP_MS 10

static const uint8_t hangup[FA_HEADER_BYTES] = {FA_KIND_HANGUP, 0, 0};

/* ---- lists ---- */

static void link_call(fa_engine_t *engine, fa_call_t *call) {
  uint32_t best = 0;
  for (uint32_t i = 1; i < FA_SLOTS; i++)
    if (engine->slots[i].count < engine->slots[best].count) best = i;
  fa_slot_t *slot = &engine->slots[best];
  if (slot->count == 0)
    fa_clock_start(&slot->clock, engine->base_ns + (int64_t)best * (FA_TICK_NS / FA_SLOTS), fa_now_ns());
  call->slot = best;
  call->prev = NULL;
  call->next = slot->first;
  if (slot->first != NULL) slot->first->prev = call;
  slot->first = call;
  slot->count++;
}

static void unlink_call(fa_engine_t *engine, fa_call_t *call) {
  fa_slot_t *slot = &engine->slots[call->slot];
  if (call->prev != NULL) call->prev->next = call->next;
  if (call->next != NULL) call->next->prev = call->prev;
  if (slot->first == call) slot->first = call->next;
  slot->count--;
}

int64_t fa_slots_next_ns(const fa_engine_t *engine) {
  int64_t next = 0;
  for (uint32_t i = 0; i < FA_SLOTS; i++)
    if (engine->slots[i].count > 0 && (next == 0 || engine->slots[i].clock.due_ns < next))
      next = engine->slots[i].clock.due_ns;
  return next;
}

/* ---- begin and end of a call ---- */

/* About a second of frames, as pending.c gives a connection for 8 kHz: a peer that does not read is noticed, not fed. */
static void size_send_buffer(const fa_call_t *call) {
  if (call->rate <= FA_RATE_UNTIL_KNOWN) return;
  int bytes = (int)call->rate * 2;
  (void)setsockopt(call->fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
}

bool fa_slots_admit(fa_engine_t *engine, int fd, const struct sockaddr_storage *peer, const uint8_t *uuid) {
  fa_call_t *call = engine->spare;
  if (call == NULL) return false;
  engine->spare = call->next;
  engine->spare_count--;
  int64_t now = fa_now_ns();
  call->fd = fd;
  call->peer = *peer;
  fa_call_start(call, &engine->events, uuid, now);
  fa_count(&engine->counters.started, 1);
  fa_count(&engine->counters.live, 1);
  link_call(engine, call);
  size_send_buffer(call);
  fa_call_tell_started(call);
  return true;
}

/* A frame's tail must follow within 5 ms (res_audiosocket.c), not at the next tick: only then the socket is watched. */
static void watch(fa_engine_t *engine, fa_call_t *call, bool on) {
  if (call->watching == on) return;
  struct epoll_event event = {.events = EPOLLOUT, .data = {.ptr = call}};
  (void)epoll_ctl(engine->epoll, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, call->fd, &event);
  call->watching = on;
}

static void close_socket(fa_engine_t *engine, fa_call_t *call) {
  if (call->fd < 0) return;
  watch(engine, call, false); /* a child between fork and exec would keep it in the epoll: see pending.c */
  close(call->fd);
  call->fd = -1;
  fa_engine_count_end(engine, call->end);
  fa_count(&engine->counters.live, (uint64_t)-1);
}

static bool tell_ended(fa_call_t *call, int64_t now_ns) {
  uint64_t at = call->capture.now * (call->frame_bytes / 2);
  return fa_call_emit(call, FA_EVENT_ENDED, 0, call->end, at, now_ns);
}

/* Tells the end once; when the event ring is full, the call stays until the next tick. */
static void finish(fa_engine_t *engine, fa_call_t *call, int64_t now_ns) {
  close_socket(engine, call);
  /* Unlinked first: once it is told, the event loop may free the call. */
  unlink_call(engine, call);
  fa_call_guess_rate(call);
  fa_call_tell_started(call);
  if (!call->start_told || !tell_ended(call, now_ns)) link_call(engine, call);
}

/* ---- sockets ---- */

static void end_on_error(fa_call_t *call, int error) {
  /* Asterisk closes with our frames unread: a reset is a normal hangup. */
  if (call->end == FA_END_NONE)
    call->end = error == EPIPE || error == ECONNRESET ? FA_END_CALLER : FA_END_SOCKET;
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
    end_on_error(call, errno);
    break;
  }
  call->out_have = call->out_sent = 0;
  return true;
}

void fa_slots_writable(fa_engine_t *engine, fa_call_t *call) {
  if (flush_out(call)) watch(engine, call, false);
}

static void put_out(fa_engine_t *engine, fa_call_t *call, size_t length) {
  if (length == 0) return;
  ssize_t sent = send(call->fd, engine->out, length, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent == (ssize_t)length) return;
  if (sent < 0) {
    if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) {
      end_on_error(call, errno);
      return;
    }
    sent = 0;
  }
  call->out_have = (uint32_t)(length - (size_t)sent);
  call->out_sent = 0;
  memcpy(call->out, engine->out + sent, call->out_have);
  watch(engine, call, true);
}

/* Reads what has come. A read that does not fill the buffer has emptied the socket. */
static void take_in(fa_engine_t *engine, fa_call_t *call, int64_t now_ns) {
  for (uint32_t n = 0; n < READS_A_TICK && call->end == FA_END_NONE; n++) {
    ssize_t got = recv(call->fd, engine->receive, FA_RECEIVE_BYTES, MSG_DONTWAIT);
    if (got > 0) {
      fa_call_input(call, engine->receive, (size_t)got, now_ns);
      if (got < FA_RECEIVE_BYTES) return;
      continue;
    }
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
    if (call->state == FA_CALL_DRAINING)
      call->end = FA_END_AGENT;
    else if (got == 0)
      call->end = FA_END_CALLER;
    else
      end_on_error(call, errno);
  }
}

/* ---- ticks ---- */

static uint64_t count_of(const _Atomic uint64_t *counter) {
  return atomic_load_explicit(counter, memory_order_relaxed); /* own counter */
}

static void send_tick(fa_engine_t *engine, fa_call_t *call, fa_due_t due, int64_t now_ns) {
  bool can_send = call->out_have == 0 || flush_out(call);
  call->blocked_ticks = can_send ? 0 : call->blocked_ticks + 1;
  if (call->blocked_ticks > FA_NOT_READING_TICKS) call->end = FA_END_NOT_READING;
  if (can_send) watch(engine, call, false);
  put_out(engine, call, fa_call_tick(call, due, can_send, engine->out, now_ns));
  if (call->hung_up && call->out_have == 0) {
    /* 00 00 00, half-close, drain, close: a close with unread audio would reset the connection, and Asterisk
     * would hang the caller up instead of going on in the dialplan. */
    (void)shutdown(call->fd, SHUT_WR);
    call->state = FA_CALL_DRAINING;
  }
}

static void tick_call(fa_engine_t *engine, fa_call_t *call, fa_due_t due, int64_t now_ns) {
  if (!call->ticked) { /* what the slot owes from before this call came is not the call's */
    due = (fa_due_t){.periods = 1};
    call->ticked = true;
  }
  uint64_t in = count_of(&call->counters.frames_in), out = count_of(&call->counters.frames_out);
  uint64_t caught_up = count_of(&call->counters.caught_up), skipped = count_of(&call->counters.skipped);
  if (call->end == FA_END_NONE) {
    fa_call_tell_started(call);
    fa_call_late(call, due);
    bool settled = call->rate_known;
    take_in(engine, call, now_ns);
    if (!settled) size_send_buffer(call);
  }
  if (call->end == FA_END_NONE) {
    if (call->state != FA_CALL_DRAINING)
      send_tick(engine, call, due, now_ns);
    else if (++call->draining_ticks > FA_DRAIN_TICKS)
      call->end = FA_END_AGENT;
  }
  fa_count(&engine->counters.frames_in, count_of(&call->counters.frames_in) - in);
  fa_count(&engine->counters.frames_out, count_of(&call->counters.frames_out) - out);
  if (due.periods > 1) {
    fa_count(&engine->counters.caught_up, count_of(&call->counters.caught_up) - caught_up);
    fa_count(&engine->counters.skipped, count_of(&call->counters.skipped) - skipped);
  }
  if (call->end != FA_END_NONE) finish(engine, call, now_ns);
}

void fa_slots_run(fa_engine_t *engine) {
  for (uint32_t n = 0; n < FA_SLOTS; n++) {
    /* In the order of their deadlines; each slot takes the time anew, so that one does not make the next look late. */
    fa_slot_t *slot = NULL;
    for (uint32_t i = 0; i < FA_SLOTS; i++)
      if (engine->slots[i].count > 0 && (slot == NULL || engine->slots[i].clock.due_ns < slot->clock.due_ns))
        slot = &engine->slots[i];
    int64_t now = fa_now_ns();
    if (slot == NULL || slot->clock.due_ns > now) return;
    fa_due_t due = fa_clock_take(&slot->clock, now);
    int64_t due_ns = now - due.late_ns;
    fa_count(&engine->counters.ticks, slot->count);
    if (due.stalled) fa_count(&engine->counters.stalls, 1);
    for (fa_call_t *call = slot->first, *next; call != NULL; call = next) {
      next = call->next; /* a call that ends leaves the list */
      if (next != NULL) {
        fa_call_fetch_audio(next);
        if (next->next != NULL) fa_call_fetch(next->next);
      }
      fa_histogram_add(&engine->counters.lateness, now - due_ns);
      tick_call(engine, call, due, now);
      now = fa_now_ns(); /* the next call's turn */
    }
  }
}

/* ---- stop ---- */

/* True when the peer has closed, or never will be asked to. */
static bool closed_by_peer(fa_engine_t *engine, const fa_call_t *call) {
  if (call->fd < 0 || !call->hung_up) return true;
  ssize_t got = recv(call->fd, engine->receive, FA_RECEIVE_BYTES, MSG_DONTWAIT);
  return got == 0 || (got < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}

void fa_slots_hang_up_all(fa_engine_t *engine) {
  for (uint32_t i = 0; i < FA_SLOTS; i++)
    for (fa_call_t *call = engine->slots[i].first; call != NULL; call = call->next) {
      if (call->end != FA_END_NONE || call->hung_up) continue;
      call->end = FA_END_STOPPED;
      if (call->out_have > 0) continue; /* behind half a frame a hangup would be read as audio */
      call->hung_up = send(call->fd, hangup, sizeof hangup, MSG_DONTWAIT | MSG_NOSIGNAL) == sizeof hangup;
      (void)shutdown(call->fd, SHUT_WR);
    }
  for (int64_t until = fa_now_ns() + FA_STOP_DRAIN_MS * 1000000LL; fa_now_ns() < until;) {
    bool all = true;
    for (uint32_t i = 0; i < FA_SLOTS; i++)
      for (fa_call_t *call = engine->slots[i].first; call != NULL; call = call->next)
        if (!closed_by_peer(engine, call)) all = false;
    if (all) break;
    (void)poll(NULL, 0, STOP_DRAIN_STEP_MS);
  }
  for (uint32_t i = 0; i < FA_SLOTS; i++)
    while (engine->slots[i].first != NULL) {
      fa_call_t *call = engine->slots[i].first;
      if (call->end == FA_END_NONE) call->end = FA_END_AGENT; /* it was draining */
      close_socket(engine, call);
      unlink_call(engine, call);
      (void)tell_ended(call, fa_now_ns()); /* a full ring counts it; after stop every call is the caller's anyway */
    }
}
