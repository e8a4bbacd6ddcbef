#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine_internal.h"

#define ACCEPTS_A_WAKE 64
#define ACCEPT_AGAIN_NS 100000000LL
#define SEND_BUFFER_BYTES 16384 /* about a second of frames: a peer that does not read is noticed, not fed */

static void publish_count(fa_engine_t *engine) {
  atomic_store_explicit(&engine->counters.pending, engine->pending_count, memory_order_relaxed); /* a counter */
}

/* Takes an entry out; its socket is left to the caller. */
static int remove_entry(fa_engine_t *engine, uint32_t index) {
  fa_pending_t *entry = &engine->pending[index];
  int fd = entry->fd;
  /* By hand, also before a close: a child between fork and exec holds the socket, and would keep it in the epoll. */
  (void)epoll_ctl(engine->epoll, EPOLL_CTL_DEL, fd, NULL);
  engine->pending_count--;
  if (index != engine->pending_count) {
    *entry = engine->pending[engine->pending_count];
    struct epoll_event event = {.events = EPOLLIN, .data = {.u64 = fa_tag(FA_ON_PENDING, index)}};
    (void)epoll_ctl(engine->epoll, EPOLL_CTL_MOD, entry->fd, &event);
  }
  publish_count(engine);
  return fd;
}

static void drop(fa_engine_t *engine, uint32_t index) { close(remove_entry(engine, index)); }

void fa_pending_close_all(fa_engine_t *engine) {
  while (engine->pending_count > 0) drop(engine, engine->pending_count - 1);
}

/* IPv6, or IPv4 mapped into it. */
static void address_of(const struct sockaddr_storage *peer, uint8_t address[16]) {
  memset(address, 0, 16);
  if (peer->ss_family == AF_INET) {
    address[10] = address[11] = 0xff;
    memcpy(address + 12, &((const struct sockaddr_in *)(const void *)peer)->sin_addr, 4);
  } else {
    memcpy(address, &((const struct sockaddr_in6 *)(const void *)peer)->sin6_addr, 16);
  }
}

static void tell_refused(fa_engine_t *engine, const struct sockaddr_storage *peer, fa_end_t reason) {
  fa_engine_count_end(engine, reason);
  fa_event_t event = {.kind = FA_EVENT_REFUSED, .generation = reason, .time_ns = fa_now_ns()};
  uint8_t address[16];
  address_of(peer, address);
  memcpy(&event.position, address, 8);
  memcpy(&event.call, address + 8, 4);
  memcpy(&event.value, address + 12, 4);
  (void)fa_events_push(&engine->events, &event); /* a full ring counts it */
}

/* Accepted and told to hang up: what Asterisk understands. It closes; the entry waits for that. */
static void refuse(fa_engine_t *engine, fa_pending_t *entry, fa_end_t reason) {
  static const uint8_t hangup[FA_HEADER_BYTES] = {FA_KIND_HANGUP, 0, 0};
  tell_refused(engine, &entry->peer, reason);
  (void)send(entry->fd, hangup, sizeof hangup, MSG_DONTWAIT | MSG_NOSIGNAL);
  (void)shutdown(entry->fd, SHUT_WR);
  entry->refused = true;
  entry->deadline_ns = fa_now_ns() + FA_DRAIN_TICKS * FA_TICK_NS;
}

static void take_uuid(fa_engine_t *engine, uint32_t index, const uint8_t uuid[FA_UUID_BYTES]) {
  fa_pending_t entry = engine->pending[index];
  if (engine->spare == NULL) {
    refuse(engine, &engine->pending[index], FA_END_FULL);
    return;
  }
  (void)remove_entry(engine, index);
  (void)fa_slots_admit(engine, entry.fd, &entry.peer, uuid);
}

/* What a refused peer still sends is thrown away; one read a wake-up, so that a flood does not keep the thread. */
static bool read_refused(fa_engine_t *engine, const fa_pending_t *entry) {
  ssize_t got = recv(entry->fd, engine->receive, FA_RECEIVE_BYTES, MSG_DONTWAIT);
  return got > 0 || (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR));
}

/* A connection of the balancer's own (a health check), or of somebody without an address, stays the balancer's. */
static void take_source(fa_pending_t *entry) {
  fa_proxy_source_t source = fa_proxy_source(&entry->proxy);
  if (source.family == FA_PROXY_NO_SOURCE) return;
  memset(&entry->peer, 0, sizeof entry->peer);
  if (source.family == FA_PROXY_IPV4) {
    struct sockaddr_in *peer = (struct sockaddr_in *)(void *)&entry->peer;
    peer->sin_family = AF_INET;
    peer->sin_port = htons(source.port);
    memcpy(&peer->sin_addr, source.address, sizeof peer->sin_addr);
  } else {
    struct sockaddr_in6 *peer = (struct sockaddr_in6 *)(void *)&entry->peer;
    peer->sin6_family = AF_INET6;
    peer->sin6_port = htons(source.port);
    memcpy(&peer->sin6_addr, source.address, sizeof peer->sin6_addr);
  }
}

/* No more bytes than this: what follows the UUID stays in the socket for the call. */
static size_t wanted(const fa_pending_t *entry) {
  if (entry->header_due) return fa_proxy_wants(&entry->proxy);
  return entry->parser.in_payload ? entry->parser.remaining : (size_t)FA_HEADER_BYTES - entry->parser.header_have;
}

/* FA_OK with the UUID in `piece`, FA_AGAIN, or FA_ERR_PROTO with the reason in `why`. */
static fa_result_t take_bytes(fa_pending_t *entry, const uint8_t *data, size_t length, fa_piece_t *piece, fa_end_t *why) {
  if (entry->header_due) {
    fa_result_t result = fa_proxy_next(&entry->proxy, &data, data + length);
    *why = entry->proxy.error;
    if (result != FA_OK) return result;
    entry->header_due = false;
    take_source(entry);
    return FA_AGAIN;
  }
  fa_result_t result = fa_frame_next(&entry->parser, &data, data + length, piece);
  *why = entry->parser.error;
  return result;
}

void fa_pending_read(fa_engine_t *engine, uint32_t index) {
  if (index >= engine->pending_count) return;
  fa_pending_t *entry = &engine->pending[index];
  if (entry->refused) {
    if (!read_refused(engine, entry)) drop(engine, index);
    return;
  }
  for (;;) {
    ssize_t got = recv(entry->fd, engine->receive, wanted(entry), MSG_DONTWAIT);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
    if (got <= 0) {
      fa_engine_count_end(engine, FA_END_CALLER);
      drop(engine, index);
      return;
    }
    fa_piece_t piece;
    fa_end_t why;
    fa_result_t result = take_bytes(entry, engine->receive, (size_t)got, &piece, &why);
    if (result == FA_ERR_PROTO) {
      tell_refused(engine, &entry->peer, why);
      drop(engine, index);
      return;
    }
    if (result != FA_OK) continue;
    uint8_t uuid[FA_UUID_BYTES];
    memcpy(uuid, piece.data, sizeof uuid); /* the entry moves */
    take_uuid(engine, index, uuid);
    return;
  }
}

void fa_pending_listen(fa_engine_t *engine, bool on) {
  if (engine->listener < 0 || engine->accepting == on) return;
  struct epoll_event event = {.events = EPOLLIN | EPOLLEXCLUSIVE, .data = {.u64 = fa_tag(FA_ON_LISTENER, 0)}};
  (void)epoll_ctl(engine->epoll, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, engine->listener, &event);
  engine->accepting = on;
}

static bool peer_allowed(const fa_engine_t *engine, const struct sockaddr_storage *peer) {
  if (engine->config.networks_count == 0) return true;
  uint8_t address[16];
  address_of(peer, address);
  for (uint32_t i = 0; i < engine->config.networks_count; i++) {
    const fa_network_t *network = &engine->config.networks[i];
    uint32_t bytes = network->prefix / 8, bits = network->prefix % 8;
    if (memcmp(address, network->address, bytes) != 0) continue;
    uint8_t mask = (uint8_t)(0xff00 >> bits);
    if (bits == 0 || (address[bytes] & mask) == (network->address[bytes] & mask)) return true;
  }
  return false;
}

static bool enter(fa_engine_t *engine, int fd, const struct sockaddr_storage *peer) {
  uint32_t index = engine->pending_count;
  struct epoll_event event = {.events = EPOLLIN, .data = {.u64 = fa_tag(FA_ON_PENDING, index)}};
  if (epoll_ctl(engine->epoll, EPOLL_CTL_ADD, fd, &event) != 0) return false;
  fa_pending_t *entry = &engine->pending[index];
  *entry = (fa_pending_t){.fd = fd, .peer = *peer, .header_due = engine->config.proxy_protocol};
  int64_t now = fa_now_ns();
  entry->deadline_ns = now + (int64_t)engine->config.uuid_timeout_ms * 1000000;
  entry->place_until_ns = now + FA_PLACE_MS * 1000000LL;
  fa_proxy_init(&entry->proxy);
  fa_frame_parser_init(&entry->parser);
  engine->pending_count++;
  publish_count(engine);
  return true;
}

/* Who has a UUID tells it at once: whoever has waited longest gives way, so that silent ones do not keep calls out. */
static void make_room(fa_engine_t *engine) {
  uint32_t oldest = 0;
  for (uint32_t i = 1; i < engine->pending_count; i++)
    if (engine->pending[i].deadline_ns < engine->pending[oldest].deadline_ns) oldest = i;
  const fa_pending_t *entry = &engine->pending[oldest];
  if (!entry->refused) tell_refused(engine, &entry->peer, FA_END_PENDING_FULL); /* else it was told why before */
  drop(engine, oldest);
}

static void take_connection(fa_engine_t *engine, int fd, const struct sockaddr_storage *peer) {
  fa_count(&engine->counters.accepted, 1);
  fa_end_t refused = peer_allowed(engine, peer) ? FA_END_NONE : FA_END_PEER_REFUSED;
  if (refused == FA_END_NONE) {
    if (engine->pending_count >= engine->config.pending_max) make_room(engine);
    int on = 1, buffer = SEND_BUFFER_BYTES;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
    if (enter(engine, fd, peer)) return;
    refused = FA_END_SOCKET;
  }
  tell_refused(engine, peer, refused);
  close(fd);
}

/* Accepts one connection. False when there is none: it was the last, or another process was sooner, or descriptors or
 * memory ran out, and the listener, level-triggered, would wake the thread for ever. */
static bool accept_one(fa_engine_t *engine) {
  for (;;) {
    struct sockaddr_storage peer = {0};
    socklen_t length = sizeof peer;
    int fd = accept4(engine->listener, (struct sockaddr *)&peer, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      take_connection(engine, fd, &peer);
      return true;
    }
    if (errno == EINTR || errno == ECONNABORTED) continue;
    if (errno != EAGAIN && errno != EWOULDBLOCK) engine->accept_again_ns = fa_now_ns() + ACCEPT_AGAIN_NS;
    return false;
  }
}

static void accept_some(fa_engine_t *engine) {
  for (uint32_t left = ACCEPTS_A_WAKE; left > 0 && accept_one(engine);) left--;
}

/* One, and then it is the others' turn: fa_pending_settle puts the listener in again, behind them. */
static void accept_in_turn(fa_engine_t *engine) {
  if (accept_one(engine)) engine->accept_again_ns = fa_now_ns() + FA_TURN_MS * 1000000LL;
  fa_pending_listen(engine, false);
}

void fa_pending_accept(fa_engine_t *engine) {
  if (engine->config.shared) accept_in_turn(engine);
  else accept_some(engine);
}

/* ---- when there is room, and when nobody has any ---- */

static bool has_room(const fa_engine_t *engine, int64_t now_ns) {
  uint32_t kept = 0;
  for (uint32_t i = 0; i < engine->pending_count; i++)
    if (!engine->pending[i].refused && engine->pending[i].place_until_ns > now_ns) kept++;
  return engine->spare_count > kept;
}

void fa_pending_settle(fa_engine_t *engine) {
  bool wanted = engine->accept_wanted && engine->accept_again_ns == 0;
  int64_t now = engine->config.shared ? fa_now_ns() : 0;
  bool room = !engine->config.shared || has_room(engine, now);
  fa_pending_listen(engine, wanted && room);
  if (room || !wanted) {
    engine->look_ns = 0;
  } else if (engine->look_ns == 0) {
    engine->look_ns = now + FA_LOOK_MS * 1000000LL;
    engine->looks = 0;
  }
}

static void look_at_backlog(fa_engine_t *engine, int64_t now_ns) {
  struct pollfd backlog = {.fd = engine->listener, .events = POLLIN};
  engine->look_ns = now_ns + FA_LOOK_MS * 1000000LL;
  engine->looks = poll(&backlog, 1, 0) == 1 ? engine->looks + 1 : 0;
  if (engine->looks >= FA_LOOKS_UNTIL_FULL) accept_some(engine);
}

void fa_pending_expire(fa_engine_t *engine, int64_t now_ns) {
  for (uint32_t i = engine->pending_count; i-- > 0;) {
    fa_pending_t *entry = &engine->pending[i];
    if (entry->deadline_ns > now_ns) continue;
    if (!entry->refused) tell_refused(engine, &entry->peer, FA_END_NO_UUID);
    drop(engine, i);
  }
  if (engine->accept_again_ns <= now_ns) engine->accept_again_ns = 0;
  if (engine->look_ns != 0 && engine->look_ns <= now_ns) look_at_backlog(engine, now_ns);
}

int64_t fa_pending_next_ns(const fa_engine_t *engine) {
  int64_t next = engine->accept_again_ns;
  if (next == 0 || (engine->look_ns != 0 && engine->look_ns < next)) next = engine->look_ns;
  for (uint32_t i = 0; i < engine->pending_count; i++)
    if (next == 0 || engine->pending[i].deadline_ns < next) next = engine->pending[i].deadline_ns;
  return next;
}
