/* engine_internal.h - what the files of the engine share: its state, and who does what.
 *
 *   engine.c    life, the thread's loop, the timer, commands
 *   pending.c   the listening socket and connections that have not told their UUID
 *   slots.c     calls in their slots of 1 ms: sockets, ticks, hangup
 *
 * Threads: everything here belongs to the media thread once it runs; rings and counters say for themselves.
 */
#ifndef FA_ENGINE_INTERNAL_H
#define FA_ENGINE_INTERNAL_H

#include "command.h"
#include "engine.h"
#include "proxy.h"

#define FA_RECEIVE_BYTES 65536

/* A connection that has not told its UUID, or one that is told to hang up. */
typedef struct {
  int fd;
  bool refused;
  bool header_due; /* the balancer's, before the UUID */
  int64_t deadline_ns;
  int64_t place_until_ns; /* until then a place is kept for it, see engine.h */
  fa_proxy_t proxy;
  fa_frame_parser_t parser;
  struct sockaddr_storage peer; /* the balancer's, until its header has told whose */
} fa_pending_t;

typedef struct {
  fa_clock_t clock;
  fa_call_t *first;
  uint32_t count;
} fa_slot_t;

struct fa_engine {
  fa_engine_config_t config;
  fa_events_t events;
  fa_commands_t commands;
  fa_engine_counters_t counters;
  pthread_t thread;
  bool running;  /* the event loop's: the thread is there to be joined */
  bool stopping;
  int listener, epoll, timer;
  bool accept_wanted;      /* what the event loop asked for last */
  bool accepting;          /* the listener is in the epoll */
  int64_t accept_again_ns; /* out of descriptors, or others come first: when to listen again, 0 for never */
  int64_t look_ns;         /* without room at a shared listener: when to look at its backlog, 0 for never */
  uint32_t looks;          /* how many in a row have found somebody there */
  int64_t base_ns;         /* where the slots' grid begins */
  int64_t armed_ns;        /* what the timer is set to, 0 for off */
  fa_slot_t slots[FA_SLOTS];
  fa_call_t *spare;
  uint32_t spare_count;
  fa_pending_t *pending;
  uint32_t pending_count;
  uint8_t receive[FA_RECEIVE_BYTES];
  uint8_t out[FA_OUT_BYTES];
};

/* What an epoll event is about: a call by its address, anything else by a kind with the top bit set, which no address
 * of a process has. */
enum { FA_ON_LISTENER = 0x8000, FA_ON_COMMAND, FA_ON_TIMER, FA_ON_PENDING };
static inline uint64_t fa_tag(uint32_t kind, uint32_t index) { return (uint64_t)kind << 48 | index; }

int64_t fa_now_ns(void);
void fa_engine_count_end(fa_engine_t *engine, fa_end_t reason);

/* ---- pending.c ---- */

/* Puts the listener into the epoll or takes it out. */
void fa_pending_listen(fa_engine_t *engine, bool on);
/* Before each sleep: the listener is in the epoll while connections are wanted and there is room. */
void fa_pending_settle(fa_engine_t *engine);
void fa_pending_accept(fa_engine_t *engine);
/* The entry at `index` may have something to read. Entries move when one is dropped, so it may be another one, which
 * then has nothing to read; level-triggered epoll names the right one again. */
void fa_pending_read(fa_engine_t *engine, uint32_t index);
/* Deadlines, accepting again after descriptors ran out, and looks at a backlog that nobody takes. */
void fa_pending_expire(fa_engine_t *engine, int64_t now_ns);
/* The earliest deadline, 0 for none. */
int64_t fa_pending_next_ns(const fa_engine_t *engine);
void fa_pending_close_all(fa_engine_t *engine);

/* ---- slots.c ---- */

/* A connection with its UUID becomes a call; false when there is no spare. `fd` is no longer in the epoll. */
bool fa_slots_admit(fa_engine_t *engine, int fd, const struct sockaddr_storage *peer, const uint8_t *uuid);
/* The socket of a call that waited takes bytes again. */
void fa_slots_writable(fa_engine_t *engine, fa_call_t *call);
/* Runs every slot that is due. */
void fa_slots_run(fa_engine_t *engine);
/* The earliest deadline, 0 for none. */
int64_t fa_slots_next_ns(const fa_engine_t *engine);
/* Tells every peer to hang up, gives them FA_STOP_DRAIN_MS to close, and ends every call. */
void fa_slots_hang_up_all(fa_engine_t *engine);

#endif
