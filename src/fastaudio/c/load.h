/* load.h - the load generator: callers that send audio on an absolute schedule and time what comes back.
 *
 * Each call does what Asterisk does: it connects, tells its UUID and sends a message every packet time, with one send
 * and without ever waiting. A message that does not fit the socket's buffer ends the call, as in Asterisk. The calls'
 * phases are spread evenly over the packet time, on a grid of FA_LOAD_GRAIN_NS.
 *
 * How arrivals are timed. The kernel stamps each segment as it is delivered (SO_TIMESTAMPNS), on the loopback within
 * the sender's own send(), so the time of an arrival does not depend on when this program looks. That is why there is
 * no epoll: a call is looked at once a message, half a period after its next message should have come. The looks cost
 * one recvmsg a message, and neither a late generator nor a jitter of half a period puts two messages into one read.
 * After a look that finds nothing, and for some time after one that found two, the next is a quarter of a period later.
 * Messages that come together all the same are counted (load_stream.h).
 * The stamps are of CLOCK_REALTIME; what lies between it and CLOCK_MONOTONIC is read anew at each turn of the loop.
 *
 * It shares no schedule, clock or parser with the engine, which it measures. Its own lateness (when a message was sent
 * against when it was due) and the CPU time of its thread are part of the report: beyond a bound they void it.
 *
 * Threads: one thread runs `fa_load_run`, which blocks until the end; any thread may call `fa_load_stop` and
 * `fa_load_progress` meanwhile; the rest belongs to whoever holds the generator while it does not run.
 * Nothing is allocated while it runs. A generator runs once.
 */
#ifndef FA_LOAD_H
#define FA_LOAD_H

#include <netinet/in.h>

#include "load_speech.h"
#include "load_stream.h"
#include "load_turn.h"

#define FA_LOAD_CALLS_MAX 65536
#define FA_LOAD_TURN_MIN_MS 100
#define FA_LOAD_TURN_MAX_MS 4000
#define FA_LOAD_GRAIN_NS 250000LL
#define FA_LOAD_CONNECT_NS 5000000000LL /* how long a connection may take */

typedef struct {
  struct sockaddr_storage peer; /* fa_load_address */
  socklen_t peer_length;
  uint8_t uuid_prefix[12];      /* of each call's UUID; the rest is its number, from 0, big-endian */
  uint32_t calls;               /* 1..FA_LOAD_CALLS_MAX */
  uint32_t calls_a_second;      /* connections opened a second, from 1 */
  uint32_t rate;                /* samples a second that the callers send: 8000..192000 */
  uint32_t packet_ms;           /* 10..60 */
  uint32_t talk_percent;        /* 0..100 of a caller's time is speech */
  uint32_t turn_ms;             /* 0, or 100..4000: callers converse in turns so long (load_turn.h), whatever talk_percent */
  int64_t warmup_ns;            /* from the last connection to the measurement */
  int64_t measure_ns;
} fa_load_config_t;

/* Why a call ended before the run did. */
typedef enum {
  FA_LOAD_END_NONE = 0,
  FA_LOAD_END_CLOSED,      /* the server closed the connection */
  FA_LOAD_END_RESET,       /* the connection was reset */
  FA_LOAD_END_HANGUP,      /* the server hung up by a message */
  FA_LOAD_END_PROTOCOL,    /* the server sent what Asterisk does not take */
  FA_LOAD_END_NOT_READING, /* the server left so much unread that a message did not fit */
  FA_LOAD_END_SOCKET,      /* another error of the socket */
  FA_LOAD_ENDS
} fa_load_end_t;

/* Why a run came to no measurement. */
typedef enum {
  FA_LOAD_TROUBLE_NONE = 0,
  FA_LOAD_TROUBLE_SOCKET,  /* no socket: `error` says why (EMFILE: too few files) */
  FA_LOAD_TROUBLE_CONNECT, /* `error` says why; ETIMEDOUT after FA_LOAD_CONNECT_NS */
  FA_LOAD_TROUBLE_ENDED,   /* a call ended before the measurement; `end` says why */
  FA_LOAD_TROUBLE_STOPPED  /* fa_load_stop */
} fa_load_trouble_kind_t;

typedef struct {
  fa_load_trouble_kind_t kind;
  uint32_t call; /* from 0 */
  int error;     /* errno */
  fa_load_end_t end;
} fa_load_trouble_t;

typedef enum {
  FA_LOAD_PHASE_CONNECTING = 0,
  FA_LOAD_PHASE_WARMING_UP,
  FA_LOAD_PHASE_MEASURING,
  FA_LOAD_PHASE_OVER
} fa_load_phase_t;

typedef struct {
  fa_load_phase_t phase;
  uint32_t connected; /* calls on the line */
  uint64_t messages;  /* of audio, received within the measurement */
} fa_load_progress_t;

typedef struct {
  int64_t measured_ns;
  uint32_t ended[FA_LOAD_ENDS]; /* calls that ended early, by reason */
  uint32_t silent;              /* calls that heard nothing */
  uint64_t sent;                /* messages of audio within the measurement */
  uint64_t messages, long_gaps, merged, untimed;
  int64_t gap_p50_ns, gap_p99_ns, gap_p999_ns, gap_max_ns;
  uint32_t rated;                    /* calls with enough messages for a rate */
  double ppm_median, ppm_worst;      /* of them; the worst by its size, with its sign */
  int64_t slip_median_ns, slip_worst_ns;
  int64_t lag_p50_ns, lag_p99_ns, lag_max_ns; /* own: how late messages were sent */
  int64_t cpu_ns;                             /* own: of the thread, within the measurement */
  uint64_t turns, answers, unanswered, overlaps; /* of callers who converse: fa_load_talk_t */
  int64_t answer_p50_ns, answer_p99_ns, answer_max_ns;
} fa_load_report_t;

typedef struct fa_load fa_load_t;

/* FA_ERR_ARG: an option is out of range; FA_ERR_NOMEM. */
fa_result_t fa_load_create(fa_load_t **load, const fa_load_config_t *config);
void fa_load_free(fa_load_t *load);

/* Runs to the end. FA_ERR_OS when it came to no measurement: fa_load_trouble says why. */
fa_result_t fa_load_run(fa_load_t *load);
void fa_load_stop(fa_load_t *load);

fa_load_progress_t fa_load_progress(const fa_load_t *load);
fa_load_trouble_t fa_load_trouble(const fa_load_t *load);

/* After a run that returned FA_OK. FA_ERR_NOMEM. */
fa_result_t fa_load_report(const fa_load_t *load, fa_load_report_t *report);

/* An IPv4 or IPv6 address as text, and a port. FA_ERR_ARG when it is none. */
fa_result_t fa_load_address(fa_load_config_t *config, const char *address, uint16_t port);
const char *fa_load_end_text(fa_load_end_t end);

#endif
