/* loopback.h - an engine on a loopback port and a peer for it, shared by the tests of the engine.
 *
 * Times are bounded generously: a loaded host is no failure, a hang is. */
#ifndef LOOPBACK_H
#define LOOPBACK_H

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "check.h"
#include "engine.h"

#define N 160
#define MESSAGE (FA_HEADER_BYTES + 2 * N)
#define CALLS_MAX 64
#define WAIT_MS 5000
#define EVENT_MS 20000 /* a starved media thread tells late: after all slots of a turn, under a sanitizer for seconds */

static fa_engine_t *engine;
static int listener = -1;
static uint16_t port;
static fa_call_t *calls[CALLS_MAX];
static uint32_t call_count;
static bool told; /* there may be more in the event ring, of what was told */

static inline fa_engine_config_t config(void) {
  return (fa_engine_config_t){.pending_max = 32, .uuid_timeout_ms = 10000, .events = 1024, .commands = 64};
}

static inline void start_with(const fa_engine_config_t *with) {
  listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  CHECK_EQ(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
  CHECK_EQ(listen(listener, 128), 0);
  CHECK_EQ(getsockname(listener, (struct sockaddr *)&address, &length), 0);
  port = address.sin_port;
  CHECK_EQ(fa_engine_create(&engine, with), FA_OK);
  told = false;
  CHECK_EQ(fa_engine_start(engine, listener), FA_OK);
}

static inline void start(void) {
  fa_engine_config_t with = config();
  start_with(&with);
}

static inline void finish(void) {
  fa_engine_stop(engine);
  for (uint32_t i = 0; i < call_count; i++) fa_call_free(calls[i]);
  call_count = 0;
  fa_engine_free(engine);
  close(listener);
}

static inline fa_call_t *spare(uint32_t id) {
  fa_call_config_t with = {.rate = 8000, .playback_slots = 128, .capture_blocks = 128, .lead = 2, .listen_rms = 300,
                           .stop_ms = 200, .vad = {.detector = FA_DETECT_RMS},
                           .bargein = fa_bargein_defaults(FA_DETECT_RMS, 800, 300, false)};
  CHECK(call_count < CALLS_MAX);
  CHECK_EQ(fa_call_create(&calls[call_count], id, &with, NULL), FA_OK);
  CHECK_EQ(fa_engine_spare(engine, calls[call_count]), FA_OK);
  return calls[call_count++];
}

/* Until the media thread has done what it was told. */
static inline void obeyed(void) {
  for (int i = 0; i < WAIT_MS && !fa_engine_obeyed(engine); i++) check_sleep_ms(1);
  CHECK(fa_engine_obeyed(engine));
}

static inline uint64_t count_of(const _Atomic uint64_t *counter) { return atomic_load(counter); }

/* Waits as the event loop does: what is in the ring is looked for only when the eventfd has told of it. */
static inline fa_event_t wait_event_for(uint32_t kind, int wait_ms) {
  fa_events_t *events = fa_engine_events(engine);
  int64_t until = check_now_ns() + wait_ms * 1000000LL;
  for (int64_t left_ns; (left_ns = until - check_now_ns()) > 0;) {
    fa_event_t event;
    while (told) {
      told = fa_events_drain(events, &event, 1) == 1;
      if (told && event.kind == kind) return event;
    }
    struct pollfd wait = {.fd = events->fd, .events = POLLIN};
    if (poll(&wait, 1, (int)(left_ns / 1000000) + 1) != 1) continue;
    fa_events_wake(events);
    told = true;
  }
  fprintf(stderr, "nobody told of an event of kind %u\n", kind);
  exit(1);
}

static inline fa_event_t wait_event(uint32_t kind) { return wait_event_for(kind, EVENT_MS); }

/* The same without waiting to be told: an event loop that was woken for something else finds an event this soon. */
static inline fa_event_t find_event(uint32_t kind) {
  for (int i = 0; i < 4 * WAIT_MS; i++) {
    fa_event_t event;
    while (fa_events_drain(fa_engine_events(engine), &event, 1) == 1)
      if (event.kind == kind) return event;
    struct timespec moment = {.tv_nsec = 250000};
    (void)nanosleep(&moment, NULL);
  }
  fprintf(stderr, "no event of kind %u\n", kind);
  exit(1);
}

static inline void expect_no_event_of(uint32_t kind) {
  fa_event_t event;
  while (fa_events_drain(fa_engine_events(engine), &event, 1) == 1) CHECK(event.kind != kind);
}

/* ---- a peer ---- */

static inline int dial(void) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = port, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  CHECK_EQ(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
  struct timeval limit = {.tv_sec = WAIT_MS / 1000};
  CHECK_EQ(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit), 0);
  return fd;
}

static inline void tell(int fd, const void *data, size_t length) { CHECK_EQ(send(fd, data, length, MSG_NOSIGNAL), length); }

static inline void tell_uuid(int fd, uint8_t mark) {
  uint8_t message[FA_HEADER_BYTES + FA_UUID_BYTES] = {FA_KIND_UUID, 0, FA_UUID_BYTES};
  memset(message + FA_HEADER_BYTES, mark, FA_UUID_BYTES);
  tell(fd, message, sizeof message);
}

static inline void tell_frame(int fd, int16_t level) {
  uint8_t message[MESSAGE];
  fa_frame_header(message, FA_KIND_AUDIO, 2 * N);
  for (size_t i = 0; i < N; i++) memcpy(message + FA_HEADER_BYTES + 2 * i, &level, 2);
  tell(fd, message, sizeof message);
}

/* The next message: its kind, -1 at the end, -2 at a reset. Audio is put into `samples`. */
static inline int next_message(int fd, int16_t samples[N]) {
  uint8_t message[MESSAGE];
  ssize_t got = recv(fd, message, FA_HEADER_BYTES, MSG_WAITALL);
  if (got == 0) return -1;
  if (got < 0 && errno == ECONNRESET) return -2;
  CHECK_EQ(got, FA_HEADER_BYTES);
  size_t length = (size_t)message[1] << 8 | message[2];
  if (message[0] == FA_KIND_AUDIO) {
    CHECK_EQ(length, 2 * N);
    CHECK_EQ(recv(fd, samples, length, MSG_WAITALL), length);
  } else {
    CHECK_EQ(length, 0);
  }
  return message[0];
}

static inline int call_up(uint32_t id, fa_call_t **call) {
  *call = spare(id);
  obeyed();
  int fd = dial();
  tell_uuid(fd, (uint8_t)id);
  fa_event_t event = wait_event(FA_EVENT_STARTED);
  CHECK_EQ(event.call, id);
  return fd;
}

#endif
