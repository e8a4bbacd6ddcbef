/* The balancer's header on any bytes: whole and split, it must see the same, and take not one byte more than there are. */
#include "fuzz.h"
#include "proxy.h"

typedef struct {
  size_t used;
  fa_result_t result;
  fa_end_t error;
  fa_proxy_source_t source;
} seen_t;

static void feed(fa_proxy_t *proxy, seen_t *seen, const uint8_t *data, size_t length) {
  uint8_t *exact = malloc(length == 0 ? 1 : length); /* of just this size: a read past the end is seen */
  NEED(exact != NULL);
  if (length > 0) memcpy(exact, data, length);
  const uint8_t *cursor = exact;
  uint32_t wants = fa_proxy_wants(proxy);
  seen->result = fa_proxy_next(proxy, &cursor, exact + length);
  size_t used = (size_t)(cursor - exact);
  NEED(used <= length && (seen->result != FA_AGAIN || used == length));
  NEED(wants > 0 || used == 0);
  NEED((seen->result == FA_ERR_PROTO) == (proxy->error != FA_END_NONE));
  NEED((seen->result == FA_OK) == (proxy->error == FA_END_NONE && fa_proxy_wants(proxy) == 0));
  seen->used += used;
  NEED(seen->used <= FA_PROXY_BYTES_MAX);
  seen->error = proxy->error;
  if (seen->result == FA_OK) seen->source = fa_proxy_source(proxy);
  free(exact);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 2) return 0;
  size_t cut = ((size_t)data[0] << 8 | data[1]) % (size - 1);
  data += 2;
  size -= 2;
  seen_t whole = {0}, split = {0};
  fa_proxy_t proxy;
  fa_proxy_init(&proxy);
  feed(&proxy, &whole, data, size);
  fa_proxy_init(&proxy);
  feed(&proxy, &split, data, cut);
  feed(&proxy, &split, data + cut, size - cut);
  NEED(whole.used == split.used && whole.result == split.result && whole.error == split.error);
  NEED(whole.source.family == split.source.family && whole.source.port == split.source.port);
  NEED(memcmp(whole.source.address, split.source.address, sizeof whole.source.address) == 0);
  return 0;
}
