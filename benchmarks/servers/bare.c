/* bare.c - the least that a server can do: epoll, one recv and one send a frame, no parsing, nothing said.
 *
 * Listens on 127.0.0.1, prints its port, and sends silence every 20 ms to each connection on an absolute schedule in 20
 * slots of 1 ms, each new connection in the slot with the fewest. What moving the bytes costs, whatever is built on top:
 * the core's baseline. Where it can save a system call it does: the timer is set only when its deadline moves, and, edge
 * triggered, never read.
 */
#define _GNU_SOURCE
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define CALLS 16384
#define SLOT_NS 1000000LL
#define SLOTS 20

static int slots[SLOTS][CALLS / SLOTS + 1];
static uint32_t used[SLOTS];
static const uint8_t frame[323] = {0x10, 0x01, 0x40};

static int64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void drop(int fd) {
  for (uint32_t s = 0; s < SLOTS; s++)
    for (uint32_t i = 0; i < used[s]; i++)
      if (slots[s][i] == fd) slots[s][i--] = slots[s][--used[s]];
  close(fd);
}

static bool take_call(int epoll, int listener) {
  int on = 1, fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
  if (fd < 0) return false;
  uint32_t best = 0;
  for (uint32_t s = 1; s < SLOTS; s++)
    if (used[s] < used[best]) best = s;
  struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
  (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (used[best] == CALLS / SLOTS || epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0)
    close(fd);
  else
    slots[best][used[best]++] = fd;
  return true;
}

int main(void) {
  struct rlimit files;
  (void)getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  (void)setrlimit(RLIMIT_NOFILE, &files);
  (void)prctl(PR_SET_TIMERSLACK, 1UL);
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 1024) != 0) return 1;
  (void)getsockname(listener, (struct sockaddr *)&address, &length);
  printf("%d\n", ntohs(address.sin_port));
  fflush(stdout);
  int epoll = epoll_create1(0), timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
  struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};
  (void)epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
  event = (struct epoll_event){.events = EPOLLIN | EPOLLET, .data.fd = timer};
  (void)epoll_ctl(epoll, EPOLL_CTL_ADD, timer, &event);
  int64_t due = now_ns(), armed = 0;
  uint32_t slot = 0;
  struct epoll_event events[256];
  for (;;) {
    for (uint32_t i = 0; i < SLOTS && used[slot] == 0; i++) { /* no wake-up for a slot that is empty */
      slot = (slot + 1) % SLOTS;
      due += SLOT_NS;
    }
    if (due != armed) {
      struct itimerspec at = {.it_value = {due / 1000000000, due % 1000000000}};
      (void)timerfd_settime(timer, TFD_TIMER_ABSTIME, &at, NULL);
      armed = due;
    }
    int ready = epoll_wait(epoll, events, 256, -1);
    for (int i = 0; i < ready; i++) {
      int fd = events[i].data.fd;
      uint8_t buffer[4096];
      if (fd == listener)
        while (take_call(epoll, listener)) continue;
      else if (fd != timer && recv(fd, buffer, sizeof buffer, MSG_DONTWAIT) == 0)
        drop(fd);
    }
    for (; due <= now_ns(); due += SLOT_NS, slot = (slot + 1) % SLOTS)
      for (uint32_t i = 0; i < used[slot]; i++)
        (void)!send(slots[slot][i], frame, sizeof frame, MSG_DONTWAIT | MSG_NOSIGNAL);
  }
}
