/* The engine behind a balancer: whose call it is, what is no header, and that the time limit covers both. */
#include "loopback.h"

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"

static const uint8_t from_asterisk[] = SIGNATURE "\x21\x11\x00\x0c\xc0\x00\x02\x07\x0a\x00\x00\x01\x9c\x40\x23\x8b";
static const uint8_t from_ipv6[] = SIGNATURE "\x21\x21\x00\x24\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x07"
                                             "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x9c\x40\x23\x8b";
static const uint8_t of_itself[] = SIGNATURE "\x20\x00\x00\x00";

static void start_behind_a_balancer(uint32_t uuid_timeout_ms) {
  fa_engine_config_t with = config();
  with.proxy_protocol = true;
  with.uuid_timeout_ms = uuid_timeout_ms;
  start_with(&with);
}

/* The header, the UUID and a digit in one stream, cut at `cut`: nothing of the digit may be read with the header. */
static fa_call_t *call_behind(const uint8_t *header, size_t length, size_t cut, int *fd) {
  static uint32_t id = 0;
  uint8_t stream[128] = {0};
  memcpy(stream, header, length);
  memcpy(stream + length, "\x01\x00\x10", 3);
  memcpy(stream + length + 19, "\x03\x00\x01" "5", 4);
  fa_call_t *call = spare(++id);
  obeyed();
  *fd = dial();
  tell(*fd, stream, cut);
  check_sleep_ms(2);
  tell(*fd, stream + cut, length + 23 - cut);
  CHECK_EQ(wait_event(FA_EVENT_STARTED).call, id);
  CHECK_EQ(wait_event(FA_EVENT_DTMF).value, '5');
  return call;
}

static void test_a_call_is_whose_the_header_says(void) {
  start_behind_a_balancer(10000);
  int fd;
  for (size_t cut = 1; cut < sizeof from_asterisk + 22; cut += 7) {
    fa_call_t *call = call_behind(from_asterisk, sizeof from_asterisk - 1, cut, &fd);
    const struct sockaddr_in *peer = (const struct sockaddr_in *)(const void *)&call->peer;
    CHECK_EQ(peer->sin_family, AF_INET);
    CHECK_EQ(peer->sin_addr.s_addr, inet_addr("192.0.2.7"));
    CHECK_EQ(ntohs(peer->sin_port), 40000);
    close(fd);
  }
  fa_call_t *call = call_behind(from_ipv6, sizeof from_ipv6 - 1, 30, &fd);
  const struct sockaddr_in6 *peer = (const struct sockaddr_in6 *)(const void *)&call->peer;
  CHECK_EQ(peer->sin6_family, AF_INET6);
  CHECK(memcmp(&peer->sin6_addr, from_ipv6 + 16, 16) == 0);
  CHECK_EQ(ntohs(peer->sin6_port), 40000);
  close(fd);
  call = call_behind(of_itself, sizeof of_itself - 1, 3, &fd);
  CHECK_EQ(((const struct sockaddr_in *)(const void *)&call->peer)->sin_addr.s_addr, htonl(INADDR_LOOPBACK));
  close(fd);
  finish();
}

static void turned_away(const void *data, size_t length, fa_end_t why, uint32_t who) {
  uint64_t before = count_of(&fa_engine_counters(engine)->ended[why]);
  int fd = dial();
  if (length > 0) tell(fd, data, length);
  fa_event_t event = wait_event(FA_EVENT_REFUSED);
  CHECK_EQ(event.generation, why);
  CHECK_EQ(event.value, who);
  CHECK_EQ(count_of(&fa_engine_counters(engine)->ended[why]), before + 1);
  int16_t samples[N];
  CHECK(next_message(fd, samples) < 0);
  close(fd);
}

static void test_what_is_no_header_ends_that_connection(void) {
  start_behind_a_balancer(300);
  uint32_t balancer = htonl(INADDR_LOOPBACK), asterisk = inet_addr("192.0.2.7");
  (void)spare(1);
  turned_away("\x01\x00\x10 who has no balancer", 20, FA_END_NO_PROXY, balancer);
  turned_away("PROXY TCP4 192.0.2.7 10.0.0.1 40000 9099\r\n", 42, FA_END_PROXY_V1, balancer);
  turned_away(SIGNATURE "\x11", 13, FA_END_BAD_PROXY, balancer);
  turned_away(from_asterisk, 11, FA_END_NO_UUID, balancer);
  turned_away(from_asterisk, sizeof from_asterisk - 1, FA_END_NO_UUID, asterisk);
  turned_away("", 0, FA_END_NO_UUID, balancer);
  CHECK_EQ(count_of(&fa_engine_counters(engine)->started), 0);
  CHECK_EQ(count_of(&fa_engine_counters(engine)->pending), 0);
  finish();
}

/* A balancer's health check comes, says so and goes. */
static void test_a_health_check_is_no_fault(void) {
  start_behind_a_balancer(10000);
  int fd = dial();
  tell(fd, of_itself, sizeof of_itself - 1);
  close(fd);
  for (int i = 0; i < WAIT_MS && count_of(&fa_engine_counters(engine)->ended[FA_END_CALLER]) == 0; i++)
    check_sleep_ms(1);
  CHECK_EQ(count_of(&fa_engine_counters(engine)->ended[FA_END_CALLER]), 1);
  expect_no_event_of(FA_EVENT_REFUSED);
  finish();
}

int main(void) {
  check_time_limit(60);
  RUN(test_a_call_is_whose_the_header_says);
  RUN(test_what_is_no_header_ends_that_connection);
  RUN(test_a_health_check_is_no_fault);
  return 0;
}
