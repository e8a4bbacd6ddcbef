/* load_internal.h - the load generator's state, shared by load.c (set-up and loop), load_caller.c (one call) and
 * load_report.c. Everything belongs to the thread that runs the generator, but for the atomics. */
#ifndef FA_LOAD_INTERNAL_H
#define FA_LOAD_INTERNAL_H

#include <stdatomic.h>
#include <time.h>

#include "load.h"

#define FA_LOAD_LOOKS 512 /* slots of the wheel of looks: 128 ms */
#define FA_LOAD_NOBODY UINT32_MAX

typedef enum { FA_CALLER_IDLE = 0, FA_CALLER_CONNECTING, FA_CALLER_ON, FA_CALLER_ENDED } fa_caller_state_t;

typedef struct {
  int fd;
  uint8_t state;           /* fa_caller_state_t */
  uint8_t end;             /* fa_load_end_t */
  uint8_t restless;        /* messages for which it is looked at more often */
  uint32_t next_look;      /* the next call in the same slot of the wheel */
  int64_t since_ns;        /* connecting: when that began; ended: when that was */
  uint64_t sent;           /* messages */
  fa_load_stream_t stream; /* what it hears */
  fa_load_turn_t turn;     /* of one who converses */
} fa_caller_t;

struct fa_load {
  fa_load_config_t config;
  fa_load_speech_t speech;
  fa_caller_t *callers;
  uint32_t dialled, on;
  int64_t start_ns;     /* all deadlines are start_ns + k * FA_LOAD_GRAIN_NS */
  int64_t send_grain;   /* the next one at which something may be sent */
  int64_t look_grain;   /* the next one at which something may be looked at */
  int64_t look_late_ns; /* how late the looks of this turn are */
  int64_t realtime_ns;  /* CLOCK_REALTIME less CLOCK_MONOTONIC */
  int64_t measure_ns;   /* when the measurement begins and ends; INT64_MAX until it is known */
  int64_t end_ns;
  int64_t cpu_from_ns, cpu_ns;
  uint64_t sent;
  fa_load_totals_t totals;
  fa_load_talk_t talk;
  fa_load_histogram_t lag;
  fa_load_trouble_t trouble;
  _Atomic bool stop;                 /* relaxed: fa_load_stop to the loop, says nothing about other memory */
  _Atomic uint32_t phase, connected; /* relaxed: the loop to fa_load_progress, each a figure by itself */
  _Atomic uint64_t messages;         /* relaxed: the same */
  uint32_t looks[FA_LOAD_LOOKS];     /* the first call of each slot, or FA_LOAD_NOBODY */
  uint8_t buffer[65536];
};

static inline int64_t fa_load_clock_ns(clockid_t clock) {
  struct timespec t;
  (void)clock_gettime(clock, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Whether something that happened then is part of the measurement. */
static inline bool fa_load_measures(const fa_load_t *load, int64_t at_ns) {
  return at_ns >= load->measure_ns && at_ns < load->end_ns;
}

static inline int64_t fa_load_now_ns(void) { return fa_load_clock_ns(CLOCK_MONOTONIC); }

/* The first trouble is the one that is told. */
static inline void fa_load_give_up(fa_load_t *load, fa_load_trouble_t trouble) {
  if (load->trouble.kind == FA_LOAD_TROUBLE_NONE) load->trouble = trouble;
}

/* ---- one call: load_caller.c ---- */

/* Begins to connect. */
void fa_caller_dial(fa_load_t *load, uint32_t number, int64_t now_ns);

/* Sends the next message, which is due at `due_ns`. */
void fa_caller_say(fa_load_t *load, uint32_t number, int64_t due_ns);

/* Sees to a connection that is being made, or takes what has come; puts the call into the wheel for the next time. */
void fa_caller_look(fa_load_t *load, uint32_t number, int64_t now_ns);

/* Takes what has come. Returns whether anything had, and the call goes on. */
bool fa_caller_listen(fa_load_t *load, uint32_t number, int64_t now_ns);

#endif
