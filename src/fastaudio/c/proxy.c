#include "proxy.h"

#include <string.h>

enum { VERSION_COMMAND = 12, FAMILY_TRANSPORT = 13, LENGTH = 14 };
enum { LOCAL = 0, PROXY = 1 };
enum { UNSPEC = 0, INET = 1, INET6 = 2, UNIX = 3, FAMILIES };
enum { STREAM = 1, DATAGRAM = 2 };

static const uint8_t signature[VERSION_COMMAND] = "\r\n\r\n\0\r\nQUIT\n";
static const uint8_t text_signature[] = {'P', 'R', 'O', 'X', 'Y', ' '};
static const uint32_t address_bytes[FAMILIES] = {[INET] = 12, [INET6] = 36, [UNIX] = 216};

void fa_proxy_init(fa_proxy_t *proxy) { *proxy = (fa_proxy_t){.length = FA_PROXY_HEAD_BYTES}; }

uint32_t fa_proxy_wants(const fa_proxy_t *proxy) { return proxy->length - proxy->have; }

static bool is_proxied(const fa_proxy_t *proxy) { return (proxy->kept[VERSION_COMMAND] & 0x0f) == PROXY; }
static uint32_t family_of(const fa_proxy_t *proxy) { return proxy->kept[FAMILY_TRANSPORT] >> 4; }
static uint32_t transport_of(const fa_proxy_t *proxy) { return proxy->kept[FAMILY_TRANSPORT] & 0x0f; }

/* FA_END_NONE while the bytes so far are those of a header. The newest is at `have` - 1. */
static fa_end_t check_signature(fa_proxy_t *proxy) {
  uint32_t at = proxy->have - 1;
  uint8_t byte = proxy->kept[at];
  if (at == 0) proxy->text = byte == text_signature[0];
  if (!proxy->text) return byte == signature[at] ? FA_END_NONE : FA_END_NO_PROXY;
  if (byte != text_signature[at]) return FA_END_NO_PROXY;
  return proxy->have == sizeof text_signature ? FA_END_PROXY_V1 : FA_END_NONE;
}

/* What a local connection says of its addresses is to be ignored. */
static fa_end_t check_addresses(const fa_proxy_t *proxy, uint32_t length) {
  if (!is_proxied(proxy)) return FA_END_NONE;
  uint32_t family = family_of(proxy), transport = transport_of(proxy);
  if (family >= FAMILIES || transport > DATAGRAM) return FA_END_BAD_PROXY;
  if ((family == UNSPEC) != (transport == 0)) return FA_END_BAD_PROXY;
  return length < address_bytes[family] ? FA_END_BAD_PROXY : FA_END_NONE;
}

static fa_end_t check_head(fa_proxy_t *proxy) {
  if (proxy->have <= VERSION_COMMAND) return check_signature(proxy);
  uint8_t version_command = proxy->kept[VERSION_COMMAND];
  if (version_command >> 4 != 2 || (version_command & 0x0f) > PROXY) return FA_END_BAD_PROXY;
  if (proxy->have < FA_PROXY_HEAD_BYTES) return FA_END_NONE;
  uint32_t length = (uint32_t)proxy->kept[LENGTH] << 8 | proxy->kept[LENGTH + 1];
  if (length > FA_PROXY_BYTES_MAX - FA_PROXY_HEAD_BYTES) return FA_END_BAD_PROXY;
  proxy->length = FA_PROXY_HEAD_BYTES + length;
  return check_addresses(proxy, length);
}

fa_result_t fa_proxy_next(fa_proxy_t *proxy, const uint8_t **cursor, const uint8_t *end) {
  while (proxy->error == FA_END_NONE && *cursor < end && proxy->have < FA_PROXY_HEAD_BYTES) {
    proxy->kept[proxy->have++] = *(*cursor)++;
    proxy->error = check_head(proxy);
  }
  if (proxy->error != FA_END_NONE) return FA_ERR_PROTO;
  if (proxy->have >= FA_PROXY_HEAD_BYTES && *cursor < end) {
    uint32_t wants = fa_proxy_wants(proxy);
    uint32_t taken = (size_t)(end - *cursor) < wants ? (uint32_t)(end - *cursor) : wants;
    if (proxy->have < sizeof proxy->kept) {
      size_t room = sizeof proxy->kept - proxy->have;
      memcpy(proxy->kept + proxy->have, *cursor, taken < room ? taken : room);
    }
    proxy->have += taken;
    *cursor += taken;
  }
  return proxy->have == proxy->length ? FA_OK : FA_AGAIN;
}

fa_proxy_source_t fa_proxy_source(const fa_proxy_t *proxy) {
  fa_proxy_source_t source = {.family = FA_PROXY_NO_SOURCE};
  if (!is_proxied(proxy) || transport_of(proxy) != STREAM) return source;
  uint32_t family = family_of(proxy);
  if (family != INET && family != INET6) return source;
  /* Source address, destination address, source port, destination port. */
  size_t bytes = family == INET ? 4 : 16;
  const uint8_t *addresses = proxy->kept + FA_PROXY_HEAD_BYTES;
  source.family = family == INET ? FA_PROXY_IPV4 : FA_PROXY_IPV6;
  memcpy(source.address, addresses, bytes);
  source.port = (uint16_t)(addresses[2 * bytes] << 8 | addresses[2 * bytes + 1]);
  return source;
}
