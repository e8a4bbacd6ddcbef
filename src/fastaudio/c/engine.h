/* engine.h - the media thread: sockets, the 20 ms clock, and every call.
 *
 * Threads: `fa_engine_*` are called by one thread, the event loop's, which owns the engine. The media thread is started
 * by `fa_engine_start` and joined by `fa_engine_stop`. Between them: a command ring with an eventfd, the event ring with
 * another, each call's own rings, and counters. The media thread never allocates, never blocks but in epoll_wait, and
 * calls nothing of Python.
 *
 * Connections: a connection is first a small pending entry, until its UUID is there; then it takes a spare call, which
 * the event loop has supplied. Without a spare it is told to hang up (Asterisk closes a refused connection's descriptor
 * twice, so none is refused: app_audiosocket.c). When there are too many entries, the one that has waited longest gives
 * way (pending_full): a call's UUID comes with its connection, so that a flood of silent ones keeps no call out.
 *
 * A shared listener (`shared`): other processes have the socket in their epolls too. Who has no room for a call takes it
 * out of its own, so that another takes the call; a connection that has not told its UUID holds a place for FA_PLACE_MS.
 * One connection is accepted at a time, and the listener put in anew FA_TURN_MS later: behind the others, who come first
 * next time (the kernel wakes who has been in the wait queue for longest: else one process would take all calls), and
 * who of a burst of calls take theirs meanwhile (a thread that runs is sooner than one that is woken). When nobody has
 * room, connections wait in the backlog; an engine without room looks for them, and one who finds some at
 * FA_LOOKS_UNTIL_FULL looks in a row takes them and tells them to hang up, as an engine by itself does at once.
 *
 * Calls are spread over FA_SLOTS slots of 1 ms, so that no tick is a burst. At its slot each call's socket is read, the
 * detector runs, and what is due is written: established calls need no readiness events at all. No calls, no wake-ups.
 */
#ifndef FA_ENGINE_H
#define FA_ENGINE_H

#include <pthread.h>

#include "call.h"
#include "histogram.h"

#define FA_SLOTS 20
#define FA_NETWORKS_MAX 64
#define FA_NOT_READING_TICKS 250     /* 5 s without a byte taken: the peer is gone */
#define FA_DRAIN_TICKS 50            /* 1 s for the peer to close after the hangup */
#define FA_STOP_DRAIN_MS 200         /* the same when the engine stops */
#define FA_TURN_MS 2                 /* a thread is woken within 0.1 ms; 500 calls a second and process */
#define FA_PLACE_MS 500              /* Asterisk's UUID comes with its connection; one lost packet costs 200 ms */
#define FA_LOOK_MS 100               /* of an engine without room, at a shared listener's backlog */
#define FA_LOOKS_UNTIL_FULL 10       /* one second: who has room takes a call within milliseconds */

typedef struct {
  uint8_t address[16]; /* IPv6, or IPv4 mapped into it */
  uint32_t prefix;     /* 0..128 */
} fa_network_t;

typedef struct {
  uint32_t pending_max;     /* connections without a UUID, 1..65536 */
  uint32_t uuid_timeout_ms; /* until a connection must have told its UUID */
  uint32_t events;          /* capacity of the event ring, a power of two */
  uint32_t commands;        /* capacity of the command ring, a power of two */
  int32_t priority;         /* SCHED_FIFO priority asked for, 0 for none */
  bool shared;              /* other processes accept from the same listener */
  bool proxy_protocol;      /* each connection begins with a balancer's header (proxy.h), which tells the peer */
  uint32_t networks_count;  /* 0: any peer; with `proxy_protocol` it is the balancer that must be of them */
  fa_network_t networks[FA_NETWORKS_MAX];
} fa_engine_config_t;

typedef struct {
  _Atomic uint64_t accepted, started, live, pending, wakeups, ticks, frames_in, frames_out;
  _Atomic uint64_t stalls;             /* of slots */
  _Atomic uint64_t caught_up, skipped; /* frames, periods: of all calls */
  _Atomic uint64_t ended[FA_END_REASONS];
  _Atomic int32_t fifo_priority; /* what was granted, 0 for SCHED_OTHER */
  _Atomic uint32_t answered;     /* the number of the last ping; release, pairs with fa_engine_answered */
  fa_histogram_t lateness;       /* of each tick of each call: from its deadline to its turn */
} fa_engine_counters_t;

typedef struct fa_engine fa_engine_t;

/* FA_ERR_ARG, FA_ERR_NOMEM, FA_ERR_OS. */
fa_result_t fa_engine_create(fa_engine_t **engine, const fa_engine_config_t *config);
/* `listener`: a listening, non-blocking TCP socket; stays the caller's. Commands given before are obeyed before the first
 * connection is accepted. FA_ERR_OS. */
fa_result_t fa_engine_start(fa_engine_t *engine, int listener);
/* Hangs up every call, gives the peers FA_STOP_DRAIN_MS to close, ends and joins the thread; blocks for so long at
 * most. Every call handed in, spare ones too, is the caller's again. */
void fa_engine_stop(fa_engine_t *engine);
/* After stop. */
void fa_engine_free(fa_engine_t *engine);

fa_events_t *fa_engine_events(fa_engine_t *engine);
fa_engine_counters_t *fa_engine_counters(fa_engine_t *engine);

/* Commands. FA_AGAIN when the command ring is full: nothing was done, call again.
 * A call handed in by `spare` belongs to the engine until its ENDED event, or until stop. */
fa_result_t fa_engine_spare(fa_engine_t *engine, fa_call_t *call);
fa_result_t fa_engine_flush(fa_engine_t *engine, fa_call_t *call, uint32_t generation);
fa_result_t fa_engine_hold(fa_engine_t *engine, fa_call_t *call);
fa_result_t fa_engine_resume(fa_engine_t *engine, fa_call_t *call, uint32_t rewind_ms);
fa_result_t fa_engine_close(fa_engine_t *engine, fa_call_t *call, uint32_t trail_ticks);
fa_result_t fa_engine_set_bargein(fa_engine_t *engine, fa_call_t *call, const fa_bargein_config_t *config);
/* True when every command given so far has been carried out. A call is freed only then: a command that names it may
 * still be under way when its ENDED event is read. */
bool fa_engine_obeyed(fa_engine_t *engine);
/* Accept connections (so it begins) or leave them in the backlog: to others, or for later. */
fa_result_t fa_engine_accepting(fa_engine_t *engine, bool on);
/* Asks the media thread for a sign of life: once it has run, `fa_engine_answered` is `number`, and an event tells so. */
fa_result_t fa_engine_ping(fa_engine_t *engine, uint32_t number);
uint32_t fa_engine_answered(fa_engine_t *engine);

#endif
