/* proxy.h - the header of the PROXY protocol, version 2, by which a balancer tells who is connected to it.
 *
 * Sixteen bytes (a signature of 12, version and command, family and transport, a length, big-endian), then so many bytes
 * of addresses and extensions (HAProxy: doc/proxy-protocol.txt, 2.2). The parser takes any split of the stream in constant
 * memory, and not one byte more than the header. Extensions (TLVs) are skipped, a checksum among them. LOCAL (a health
 * check), UNSPEC, a Unix address and datagrams are accepted without a source.
 *
 * Threads: a parser belongs to one thread. No function blocks, allocates or does I/O.
 * Failure: FA_ERR_PROTO, with the reason in `proxy->error`; the parser then stays failed. FA_END_NO_PROXY: it begins with
 * something else; FA_END_PROXY_V1: with the textual header of version 1; FA_END_BAD_PROXY: an unknown version, command,
 * family or transport, a length without room for its addresses, or a header of more than FA_PROXY_BYTES_MAX.
 */
#ifndef FA_PROXY_H
#define FA_PROXY_H

#include "fa.h"

#define FA_PROXY_HEAD_BYTES 16
#define FA_PROXY_ADDRESS_BYTES 36 /* two IPv6 addresses and two ports */
#define FA_PROXY_BYTES_MAX 4096   /* HAProxy's longest has a certificate's names in it: some hundred bytes */

typedef enum { FA_PROXY_NO_SOURCE = 0, FA_PROXY_IPV4 = 4, FA_PROXY_IPV6 = 6 } fa_proxy_family_t;

typedef struct {
  uint8_t kept[FA_PROXY_HEAD_BYTES + FA_PROXY_ADDRESS_BYTES];
  uint32_t have;   /* bytes of the header so far */
  uint32_t length; /* of the whole header, as far as it is known */
  bool text;       /* it begins as version 1 does */
  fa_end_t error;
} fa_proxy_t;

typedef struct {
  fa_proxy_family_t family;
  uint8_t address[16]; /* 4 bytes of an IPv4 address, 16 of an IPv6 one */
  uint16_t port;
} fa_proxy_source_t;

void fa_proxy_init(fa_proxy_t *proxy);

/* How many bytes may be taken from the connection without taking what follows the header; 0 when it is whole. */
uint32_t fa_proxy_wants(const fa_proxy_t *proxy);

/* Takes bytes out of [*cursor, end), and moves *cursor past what it used.
 * Returns FA_OK when the header is whole; FA_AGAIN when all bytes are used and it is not; FA_ERR_PROTO. */
fa_result_t fa_proxy_next(fa_proxy_t *proxy, const uint8_t **cursor, const uint8_t *end);

/* Who is connected to the balancer, once the header is whole. */
fa_proxy_source_t fa_proxy_source(const fa_proxy_t *proxy);

#endif
