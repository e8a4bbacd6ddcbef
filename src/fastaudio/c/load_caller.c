#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "frame.h"
#include "load_internal.h"

#define LOOK_MAX_NS 100000000 /* the longest way to the next look, within the wheel */
#define LOOK_MIN_NS 1000000
#define RESTLESS 50 /* messages */
#define CONNECT_LOOK_NS 2000000

static void ended(fa_load_t *load, uint32_t number, fa_load_end_t end) {
  fa_caller_t *caller = &load->callers[number];
  (void)close(caller->fd);
  caller->fd = -1;
  caller->state = FA_CALLER_ENDED;
  caller->end = (uint8_t)end;
  caller->since_ns = fa_load_now_ns();
  load->on--;
  if (caller->since_ns < load->measure_ns) fa_load_give_up(load, (fa_load_trouble_t){FA_LOAD_TROUBLE_ENDED, number, 0, end});
}

static void look_at(fa_load_t *load, uint32_t number, int64_t at_ns) {
  int64_t grain = (at_ns - load->start_ns) / FA_LOAD_GRAIN_NS;
  if (grain < load->look_grain) grain = load->look_grain;
  uint32_t slot = (uint32_t)(grain % FA_LOAD_LOOKS);
  load->callers[number].next_look = load->looks[slot];
  load->looks[slot] = number;
}

static void connected(fa_load_t *load, uint32_t number) {
  fa_caller_t *caller = &load->callers[number];
  uint8_t hello[FA_HEADER_BYTES + FA_UUID_BYTES];
  uint32_t last = htonl(number);
  fa_frame_header(hello, FA_KIND_UUID, FA_UUID_BYTES);
  memcpy(hello + FA_HEADER_BYTES, load->config.uuid_prefix, sizeof load->config.uuid_prefix);
  memcpy(hello + FA_HEADER_BYTES + sizeof load->config.uuid_prefix, &last, sizeof last);
  if (send(caller->fd, hello, sizeof hello, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)sizeof hello) {
    fa_load_give_up(load, (fa_load_trouble_t){FA_LOAD_TROUBLE_CONNECT, number, errno, FA_LOAD_END_NONE});
    return;
  }
  caller->state = FA_CALLER_ON;
  load->on++;
}

void fa_caller_dial(fa_load_t *load, uint32_t number, int64_t now) {
  fa_caller_t *caller = &load->callers[number];
  int on = 1;
  caller->fd = socket(load->config.peer.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (caller->fd < 0 || setsockopt(caller->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0 ||
      setsockopt(caller->fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on) != 0) {
    fa_load_give_up(load, (fa_load_trouble_t){FA_LOAD_TROUBLE_SOCKET, number, errno, FA_LOAD_END_NONE});
    return;
  }
  caller->since_ns = now;
  caller->state = FA_CALLER_CONNECTING;
  if (connect(caller->fd, (const struct sockaddr *)&load->config.peer, load->config.peer_length) == 0)
    connected(load, number);
  else if (errno != EINPROGRESS)
    fa_load_give_up(load, (fa_load_trouble_t){FA_LOAD_TROUBLE_CONNECT, number, errno, FA_LOAD_END_NONE});
  look_at(load, number, now + CONNECT_LOOK_NS);
}

static void look_for_connection(fa_load_t *load, uint32_t number, int64_t now) {
  fa_caller_t *caller = &load->callers[number];
  struct pollfd ready = {.fd = caller->fd, .events = POLLOUT};
  if (poll(&ready, 1, 0) == 1) {
    int error = 0;
    socklen_t length = sizeof error;
    (void)getsockopt(caller->fd, SOL_SOCKET, SO_ERROR, &error, &length);
    if (error == 0)
      connected(load, number);
    else
      fa_load_give_up(load, (fa_load_trouble_t){FA_LOAD_TROUBLE_CONNECT, number, error, FA_LOAD_END_NONE});
  } else if (now - caller->since_ns > FA_LOAD_CONNECT_NS) {
    fa_load_give_up(load, (fa_load_trouble_t){FA_LOAD_TROUBLE_CONNECT, number, ETIMEDOUT, FA_LOAD_END_NONE});
  }
  look_at(load, number, now + CONNECT_LOOK_NS);
}

static const uint8_t *next_message(fa_load_t *load, uint32_t number, int64_t due_ns) {
  fa_caller_t *caller = &load->callers[number];
  if (load->config.turn_ms == 0) return fa_load_speech_message(&load->speech, number, caller->sent);
  fa_load_talk_t *talk = fa_load_measures(load, due_ns) ? &load->talk : NULL;
  if (fa_load_turn_next(&caller->turn, talk, load->speech.talk, due_ns))
    return fa_load_speech_word(&load->speech, caller->turn.said - 1);
  return fa_load_speech_noise(&load->speech, caller->sent);
}

void fa_caller_say(fa_load_t *load, uint32_t number, int64_t due_ns) {
  fa_caller_t *caller = &load->callers[number];
  const uint8_t *message = next_message(load, number, due_ns);
  ssize_t took = send(caller->fd, message, load->speech.bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
  caller->sent++;
  if (took == (ssize_t)load->speech.bytes) return;
  bool full = took >= 0 || errno == EAGAIN || errno == EWOULDBLOCK;
  bool reset = !full && (errno == ECONNRESET || errno == EPIPE);
  ended(load, number, full ? FA_LOAD_END_NOT_READING : reset ? FA_LOAD_END_RESET : FA_LOAD_END_SOCKET);
}

/* The kernel's receive time of what was read, on CLOCK_MONOTONIC; 0 when it has none. */
static int64_t received_ns(const fa_load_t *load, struct msghdr *message) {
  for (struct cmsghdr *item = CMSG_FIRSTHDR(message); item != NULL; item = CMSG_NXTHDR(message, item)) {
    if (item->cmsg_level != SOL_SOCKET || item->cmsg_type != SCM_TIMESTAMPNS) continue;
    struct timespec t;
    memcpy(&t, CMSG_DATA(item), sizeof t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec - load->realtime_ns;
  }
  return 0;
}

/* Takes what has come. Returns whether anything had. */
bool fa_caller_listen(fa_load_t *load, uint32_t number, int64_t now) {
  fa_caller_t *caller = &load->callers[number];
  _Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(sizeof(struct timespec))];
  struct iovec into = {load->buffer, sizeof load->buffer};
  struct msghdr message = {.msg_iov = &into, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  ssize_t got = recvmsg(caller->fd, &message, MSG_DONTWAIT);
  if (got < 0) {
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) return false;
    ended(load, number, errno == ECONNRESET ? FA_LOAD_END_RESET : FA_LOAD_END_SOCKET);
    return false;
  }
  if (got == 0) {
    ended(load, number, FA_LOAD_END_CLOSED);
    return false;
  }
  int64_t at_ns = received_ns(load, &message);
  bool timed = at_ns != 0;
  if (!timed) at_ns = now;
  bool measures = fa_load_measures(load, at_ns);
  fa_load_totals_t *totals = measures ? &load->totals : NULL;
  fa_load_read_t read = fa_load_stream_read(&caller->stream, totals, load->buffer, (size_t)got, at_ns, timed);
  if (load->config.turn_ms != 0 && caller->stream.sound_ns == at_ns)
    fa_load_turn_hear(&caller->turn, measures ? &load->talk : NULL, at_ns);
  if (read != FA_LOAD_READ_GOOD)
    ended(load, number, read == FA_LOAD_READ_HANGUP ? FA_LOAD_END_HANGUP : FA_LOAD_END_PROTOCOL);
  return read == FA_LOAD_READ_GOOD;
}

void fa_caller_look(fa_load_t *load, uint32_t number, int64_t now) {
  fa_caller_t *caller = &load->callers[number];
  if (caller->state == FA_CALLER_CONNECTING) {
    look_for_connection(load, number, now);
    return;
  }
  if (caller->state != FA_CALLER_ON) return;
  bool heard = fa_caller_listen(load, number, now);
  if (caller->state != FA_CALLER_ON) return;
  int64_t period = caller->stream.period_ns != 0 ? caller->stream.period_ns : FA_TICK_NS, next = now + period / 4;
  /* Two in one read by the server's doing. After a late look it is our own, and more looks would make us later still. */
  if (heard && caller->stream.of_read > 1 && load->look_late_ns < period / 4) caller->restless = RESTLESS;
  if (heard && caller->restless > 0)
    caller->restless--;
  else if (heard)
    next = caller->stream.last_ns + period + period / 2;
  if (next < now + LOOK_MIN_NS) next = now + LOOK_MIN_NS;
  if (next > now + LOOK_MAX_NS) next = now + LOOK_MAX_NS;
  look_at(load, number, next);
}
