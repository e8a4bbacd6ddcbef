/* load_stream.h - what one caller of the load generator receives: messages, when they came, and the account of them.
 *
 * Bytes are cut into messages by their headers; a message has arrived with its last byte. The account is kept in the
 * stream's own audio time, so it holds for messages of any length and rate:
 *   gap    between the arrivals of two messages;
 *   slope  arrival time over audio time, by least squares: what the far end's clock makes of a second;
 *   slip   what should have come since the first arrival of the measurement, less what has.
 *
 * Arrival times come with the bytes of one read. When a read completes more than one message, all but the last came at
 * a time between the last read and this one that nobody knows: the first is booked at the time of the read, so that
 * its gap is an upper bound; the gaps inside the read are left out, and counted in `merged`.
 *
 * Threads: a stream and the totals belong to one thread. Nothing blocks or allocates.
 */
#ifndef FA_LOAD_STREAM_H
#define FA_LOAD_STREAM_H

#include "load_histogram.h"

#define FA_LOAD_LONG_GAP_NS 40000000LL

/* Over all the streams of a run. */
typedef struct {
  fa_load_histogram_t gaps;
  uint64_t long_gaps; /* longer than FA_LOAD_LONG_GAP_NS */
  uint64_t messages;  /* of audio */
  uint64_t merged;    /* of them, those that came with a later one in the same read */
  uint64_t untimed;   /* of them, those whose read had no time of the kernel's */
} fa_load_totals_t;

typedef struct {
  uint8_t header[3];
  uint8_t header_have;
  uint32_t of_read;  /* messages that the last read completed */
  uint32_t left;     /* payload bytes of the current message still to come */
  int64_t period_ns; /* of audio in the last message, 0 before the first */
  int64_t last_ns;   /* arrival of the last message, measured or not; 0 before the first */
  bool sounding;     /* the current message is not silence: not all zeros */
  int64_t sound_ns;  /* arrival of the last message that was not; 0 before the first */
  /* within the measurement */
  int64_t first_ns; /* 0 before the first arrival */
  int64_t audio_ns; /* received */
  double count, mean_audio, mean_time, spread, together; /* running sums of the least squares, in ms */
} fa_load_stream_t;

typedef enum {
  FA_LOAD_READ_GOOD = 0,
  FA_LOAD_READ_HANGUP,  /* the server said kind 0x00 */
  FA_LOAD_READ_PROTOCOL /* a kind that Asterisk does not take from a server, or audio of length 0 */
} fa_load_read_t;

/* Takes the bytes of one read, the last of which arrived at `at_ns`. Messages are booked in `totals` when it is not
 * NULL, that is within the measurement; `timed`: at_ns is the kernel's. Stops at the first message that ends a call. */
fa_load_read_t fa_load_stream_read(fa_load_stream_t *stream, fa_load_totals_t *totals, const uint8_t *data,
                                   size_t length, int64_t at_ns, bool timed);

/* The rate's error in ppm: positive when audio comes faster than real time. NaN with fewer than 10 messages. */
double fa_load_stream_ppm(const fa_load_stream_t *stream);

/* How far the stream is behind at `end_ns`, 0 when it is not. A stream that never began is behind since begin_ns. */
int64_t fa_load_stream_slip_ns(const fa_load_stream_t *stream, int64_t begin_ns, int64_t end_ns);

#endif
