/* The balancer's header: each valid and each invalid kind, whole and byte by byte, and what is wanted of a connection. */
#include "check.h"
#include "proxy.h"

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define SIGNATURE_BYTES 12

static uint8_t stream[70000];

static size_t make(uint8_t version_command, uint8_t family, uint32_t length) {
  memcpy(stream, SIGNATURE, SIGNATURE_BYTES);
  stream[12] = version_command;
  stream[13] = family;
  stream[14] = (uint8_t)(length >> 8);
  stream[15] = (uint8_t)length;
  for (uint32_t i = 0; i < length; i++) stream[16 + i] = (uint8_t)(i + 1);
  return 16 + length;
}

/* Feeds in steps of so many bytes, each a block of its own size: a read past its end is seen. */
static fa_result_t feed(fa_proxy_t *proxy, size_t length, size_t step, size_t *used) {
  fa_result_t result = FA_AGAIN;
  *used = 0;
  for (size_t at = 0; at < length && result == FA_AGAIN; at += step) {
    size_t have = step < length - at ? step : length - at;
    uint8_t *block = malloc(have);
    CHECK(block != NULL);
    memcpy(block, stream + at, have);
    const uint8_t *cursor = block;
    result = fa_proxy_next(proxy, &cursor, block + have);
    *used += (size_t)(cursor - block);
    CHECK(result != FA_AGAIN || cursor == block + have);
    free(block);
  }
  return result;
}

static void accepts(uint8_t version_command, uint8_t family, uint32_t length, fa_proxy_family_t source) {
  size_t whole = make(version_command, family, length), used;
  memset(stream + whole, 0x55, 8); /* what follows */
  for (size_t step = 1; step < whole + 9; step += step < 70 ? 1 : whole) {
    fa_proxy_t proxy;
    fa_proxy_init(&proxy);
    CHECK_EQ(feed(&proxy, whole + 8, step, &used), FA_OK);
    CHECK_EQ(used, whole);
    CHECK_EQ(fa_proxy_wants(&proxy), 0);
    fa_proxy_source_t got = fa_proxy_source(&proxy);
    CHECK_EQ(got.family, source);
    if (source == FA_PROXY_IPV4) {
      CHECK(memcmp(got.address, stream + 16, 4) == 0);
      CHECK_EQ(got.port, 9 << 8 | 10);
    } else if (source == FA_PROXY_IPV6) {
      CHECK(memcmp(got.address, stream + 16, 16) == 0);
      CHECK_EQ(got.port, 33 << 8 | 34);
    }
    const uint8_t *cursor = stream;
    CHECK_EQ(fa_proxy_next(&proxy, &cursor, stream + 8), FA_OK); /* takes nothing more */
    CHECK(cursor == stream);
  }
}

static void refuses_stream(size_t length, fa_end_t why) {
  for (size_t step = 1; step <= length; step++) {
    fa_proxy_t proxy;
    size_t used;
    fa_proxy_init(&proxy);
    CHECK_EQ(feed(&proxy, length, step, &used), FA_ERR_PROTO);
    CHECK_EQ(proxy.error, why);
    const uint8_t *cursor = stream;
    CHECK_EQ(fa_proxy_next(&proxy, &cursor, stream + 8), FA_ERR_PROTO);
    CHECK(cursor == stream);
  }
}

static void refuses(uint8_t version_command, uint8_t family, uint32_t length) {
  (void)make(version_command, family, length);
  refuses_stream(16, FA_END_BAD_PROXY);
}

static void refuses_text(const char *text, fa_end_t why) {
  memcpy(stream, text, strlen(text));
  refuses_stream(strlen(text), why);
}

static void test_headers_that_tell_a_source(void) {
  accepts(0x21, 0x11, 12, FA_PROXY_IPV4);
  accepts(0x21, 0x11, 12 + 7, FA_PROXY_IPV4); /* extensions */
  accepts(0x21, 0x11, 36, FA_PROXY_IPV4);
  accepts(0x21, 0x21, 36, FA_PROXY_IPV6);
  accepts(0x21, 0x21, 36 + 300, FA_PROXY_IPV6);
  accepts(0x21, 0x11, FA_PROXY_BYTES_MAX - 16, FA_PROXY_IPV4);
}

static void test_headers_without_a_source(void) {
  accepts(0x20, 0x00, 0, FA_PROXY_NO_SOURCE);
  accepts(0x20, 0x11, 12, FA_PROXY_NO_SOURCE);
  accepts(0x20, 0x11, 3, FA_PROXY_NO_SOURCE);
  accepts(0x20, 0xff, 5, FA_PROXY_NO_SOURCE);
  accepts(0x21, 0x00, 0, FA_PROXY_NO_SOURCE);
  accepts(0x21, 0x00, 40, FA_PROXY_NO_SOURCE);
  accepts(0x21, 0x12, 12, FA_PROXY_NO_SOURCE);
  accepts(0x21, 0x22, 36, FA_PROXY_NO_SOURCE);
  accepts(0x21, 0x31, 216, FA_PROXY_NO_SOURCE);
  accepts(0x21, 0x32, 216, FA_PROXY_NO_SOURCE);
}

static void test_malformed_headers(void) {
  refuses(0x11, 0x11, 12);
  refuses(0x31, 0x11, 12);
  refuses(0x22, 0x11, 12);
  refuses(0x2f, 0x11, 12);
  refuses(0x21, 0x41, 216);
  refuses(0x21, 0x13, 12);
  refuses(0x21, 0x10, 12);
  refuses(0x21, 0x01, 12);
  refuses(0x21, 0x11, 11);
  refuses(0x21, 0x21, 35);
  refuses(0x21, 0x31, 215);
  refuses(0x21, 0x11, FA_PROXY_BYTES_MAX - 15);
  refuses(0x21, 0x11, 65535);
  refuses(0x20, 0x00, FA_PROXY_BYTES_MAX - 15);
}

static void test_no_headers(void) {
  refuses_text("\x01", FA_END_NO_PROXY);
  refuses_text("GET / HTTP/1.1", FA_END_NO_PROXY);
  refuses_text("POST / HTTP/1.1", FA_END_NO_PROXY);
  refuses_text("PROXIES", FA_END_NO_PROXY);
  refuses_text("PROXY TCP4 192.0.2.7 10.0.0.1 40000 9099\r\n", FA_END_PROXY_V1);
  refuses_text("PROXY UNKNOWN\r\n", FA_END_PROXY_V1);
  for (size_t at = 0; at < SIGNATURE_BYTES; at++) { /* each byte of the signature counts */
    (void)make(0x21, 0x11, 12);
    stream[at] ^= 0x20;
    refuses_stream(at + 1, FA_END_NO_PROXY);
  }
}

/* A connection is read by what is wanted: never more than the header has, and never nothing before it is whole. */
static void test_what_is_wanted(void) {
  fa_proxy_t proxy;
  fa_proxy_init(&proxy);
  size_t whole = make(0x21, 0x21, 36 + 500), at = 0;
  for (uint64_t seed = 1; fa_proxy_wants(&proxy) > 0;) {
    uint32_t wants = fa_proxy_wants(&proxy);
    CHECK(at + wants <= whole);
    size_t got = 1 + (size_t)(check_random(&seed) % wants);
    const uint8_t *cursor = stream + at;
    fa_result_t result = fa_proxy_next(&proxy, &cursor, stream + at + got);
    at += got;
    CHECK_EQ(result, at == whole ? FA_OK : FA_AGAIN);
    CHECK(cursor == stream + at);
  }
  CHECK_EQ(at, whole);
}

int main(void) {
  check_time_limit(60);
  RUN(test_headers_that_tell_a_source);
  RUN(test_headers_without_a_source);
  RUN(test_malformed_headers);
  RUN(test_no_headers);
  RUN(test_what_is_wanted);
  return 0;
}
