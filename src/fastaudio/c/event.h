/* event.h - events from the media thread to the event loop: a bounded ring and an eventfd.
 *
 * Threads: one producer (media thread), one consumer (event loop). Neither blocks or allocates.
 * Hand-off (one wake-up for many events): the producer publishes, then exchanges `armed`, and writes the eventfd only
 * when it was not armed; the consumer reads the eventfd, exchanges `armed` to 0, then drains, in that order and with
 * exchanges, not stores: any other order, or a plain store, loses a wake-up (tests/model/handoff.py shows it).
 * At the limit: the event is not written and is counted in `lost`; the producer keeps what must not be lost (the start
 * and the end of a call) and offers it again.
 */
#ifndef FA_EVENT_H
#define FA_EVENT_H

#include <stdatomic.h>

#include "ring.h"

typedef enum {
  FA_EVENT_STARTED = 1, /* a call: its UUID is known */
  FA_EVENT_ENDED,       /* value: fa_end_t; the call may be freed */
  FA_EVENT_DTMF,        /* value: the digit's ASCII code; position */
  FA_EVENT_SPEECH,      /* the caller began to speak at sample `position` */
  FA_EVENT_QUIET,       /* the caller's speech ended at sample `position` */
  FA_EVENT_HOLD,        /* playback of `generation` is held after `value` samples */
  FA_EVENT_RESUME,      /* ... goes on: it was nothing */
  FA_EVENT_BARGE_IN,    /* ... the caller interrupts: flush or resume within the limit */
  FA_EVENT_BEGAN,       /* first audio of `generation` went out */
  FA_EVENT_PLAYED,      /* last audio of `generation` went out: `value` samples */
  FA_EVENT_FLUSHED,     /* `generation` was thrown away after `value` samples */
  FA_EVENT_CAPTURE,     /* captured blocks have reached the number asked for */
  FA_EVENT_SPACE,       /* the playback ring has room again */
  FA_EVENT_REFUSED,     /* a connection was turned away; generation: fa_end_t; position, call, value: the
                           16 bytes of its IPv6 address, or of its IPv4 address mapped into one, as they lie in memory */
  FA_EVENT_FORMAT,      /* the caller's audio is of another rate than the call's; value: the rate */
  FA_EVENT_PONG         /* the answer to a ping; `answered` of the counters has its number */
} fa_event_kind_t;

typedef struct {
  uint32_t kind;       /* fa_event_kind_t */
  uint32_t call;       /* the call's number, 0 for none; but for REFUSED */
  uint32_t generation;
  uint32_t value;
  uint64_t position;   /* samples since the UUID, on the call's time line */
  int64_t time_ns;     /* CLOCK_MONOTONIC */
} fa_event_t;

typedef struct {
  _Alignas(FA_CACHE_LINE) _Atomic uint32_t write;
  bool untold; /* the producer's own: something was pushed */
  _Alignas(FA_CACHE_LINE) _Atomic uint32_t read;
  _Alignas(FA_CACHE_LINE) _Atomic uint32_t armed;
  _Atomic uint64_t lost;
  fa_event_t *slots;
  uint32_t mask;
  int fd; /* eventfd, or -1 in tests */
} fa_events_t;

/* `capacity`: a power of two, 2..65536. FA_ERR_NOMEM, FA_ERR_OS. */
fa_result_t fa_events_init(fa_events_t *events, uint32_t capacity);
void fa_events_close(fa_events_t *events);

/* Producer: publishes. FA_AGAIN when the ring is full (and counted). */
fa_result_t fa_events_push(fa_events_t *events, const fa_event_t *event);
/* Producer: wakes the consumer when something was pushed since the last time. Once for all the calls of a slot: a
 * wake-up costs the consumer more than an event. */
void fa_events_tell(fa_events_t *events);

/* Consumer: empties the eventfd and re-arms; call before draining. */
void fa_events_wake(fa_events_t *events);
/* Consumer: takes up to `max` events. */
uint32_t fa_events_drain(fa_events_t *events, fa_event_t *out, uint32_t max);
/* Consumer: true when events are left. */
bool fa_events_pending(fa_events_t *events);

#endif
