/* fa.h - results, limits and reasons that every unit of the media core shares.
 *
 * Threads: constants and pure functions only. Functions of the core return fa_result_t (0 or negative), never
 * errno; `fa_result_text` and `fa_end_text` name them for a log.
 */
#ifndef FA_H
#define FA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FA_TICK_MS 20
#define FA_TICK_NS 20000000LL
#define FA_FRAME_SAMPLES_MAX 3840 /* 20 ms at 192 kHz, the fastest kind of AudioSocket */
#define FA_FRAME_BYTES_MAX (2 * FA_FRAME_SAMPLES_MAX)

typedef enum {
  FA_OK = 0,
  FA_AGAIN = -1,       /* nothing to do now: no complete message, a full ring, an empty ring */
  FA_ERR_ARG = -2,     /* an argument is out of range */
  FA_ERR_NOMEM = -3,   /* memory could not be had */
  FA_ERR_OS = -4,      /* a system call failed; errno says why */
  FA_ERR_STALE = -5,   /* the generation was flushed */
  FA_ERR_NO_VAD = -6,  /* a WebRTC detector is asked for and its functions were not given */
  FA_ERR_PROTO = -7    /* the peer broke the protocol; the parser says how */
} fa_result_t;

/* Why a connection or call ended. Values are stable: they index counters. */
typedef enum {
  FA_END_NONE = 0,
  FA_END_CALLER,       /* FIN or RST: how Asterisk tells that the caller hung up */
  FA_END_AGENT,        /* the agent hung up */
  FA_END_PEER_HANGUP,  /* kind 0x00 from the peer (Asterisk never sends it) */
  FA_END_PEER_ERROR,   /* kind 0xff from the peer (Asterisk never sends it) */
  FA_END_NOT_UUID,     /* the first message is not a UUID */
  FA_END_BAD_KIND,     /* an unknown kind */
  FA_END_BAD_LENGTH,   /* a UUID that is not 16 bytes, or a DTMF message that is not 1 */
  FA_END_SECOND_UUID,  /* a UUID after the first */
  FA_END_NOT_READING,  /* the peer took nothing for FA_NOT_READING_TICKS */
  FA_END_SOCKET,       /* a socket error other than a reset */
  FA_END_STOPPED,      /* the engine stopped */
  FA_END_NO_UUID,      /* no UUID in time */
  FA_END_FULL,         /* no room for another call: accepted, told to hang up */
  FA_END_PEER_REFUSED, /* the peer's address is not allowed */
  FA_END_PENDING_FULL, /* too many connections without a UUID */
  FA_END_NO_PROXY,     /* no PROXY header, where a balancer is to send one (proxy.h) */
  FA_END_PROXY_V1,     /* one of version 1 */
  FA_END_BAD_PROXY,    /* one that is malformed */
  FA_END_REASONS
} fa_end_t;

const char *fa_result_text(fa_result_t result);
const char *fa_end_text(fa_end_t reason);

#endif
