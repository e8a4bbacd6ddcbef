/* bare.c - the least that a server can do: epoll, one recv and one send a frame, no parsing, nothing said.
 *
 *   bare PORT_FILE
 *
 * Listens on 127.0.0.1, writes its port to PORT_FILE, and sends silence every 20 ms to each connection on an absolute
 * schedule in 20 slots of 1 ms. What moving the bytes costs, whatever is built on top: the core's baseline.
 */
#define _GNU_SOURCE
#include <netinet/in.h>
#include <netinet/tcp.h>
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

static void drop(int fd) {
  for (uint32_t s = 0; s < SLOTS; s++)
    for (uint32_t i = 0; i < used[s]; i++)
      if (slots[s][i] == fd) slots[s][i--] = slots[s][--used[s]];
  close(fd);
}

int main(int argc, char **argv) {
  if (argc != 2) return 2;
  struct rlimit files = {CALLS, CALLS};
  (void)setrlimit(RLIMIT_NOFILE, &files);
  (void)prctl(PR_SET_TIMERSLACK, 1UL);
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 1024) != 0) return 1;
  (void)getsockname(listener, (struct sockaddr *)&address, &length);
  FILE *file = fopen(argv[1], "w");
  if (file == NULL) return 1;
  fprintf(file, "%d\n", ntohs(address.sin_port));
  fclose(file);
  int epoll = epoll_create1(0), timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
  struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};
  (void)epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
  event.data.fd = timer;
  (void)epoll_ctl(epoll, EPOLL_CTL_ADD, timer, &event);
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  int64_t due = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
  uint32_t slot = 0;
  struct epoll_event events[256];
  for (;;) {
    for (uint32_t i = 0; i < SLOTS && used[slot] == 0; i++) { /* no wake-up for a slot that is empty */
      slot = (slot + 1) % SLOTS;
      due += SLOT_NS;
    }
    struct itimerspec at = {.it_value = {due / 1000000000, due % 1000000000}};
    (void)timerfd_settime(timer, TFD_TIMER_ABSTIME, &at, NULL);
    int ready = epoll_wait(epoll, events, 256, -1);
    for (int i = 0; i < ready; i++) {
      int fd = events[i].data.fd;
      if (fd == timer) {
        uint64_t expirations;
        (void)!read(timer, &expirations, sizeof expirations);
      } else if (fd == listener) {
        int call = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
        if (call < 0) continue;
        (void)setsockopt(call, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        event = (struct epoll_event){.events = EPOLLIN, .data.fd = call};
        (void)epoll_ctl(epoll, EPOLL_CTL_ADD, call, &event);
        uint32_t best = 0;
        for (uint32_t s = 1; s < SLOTS; s++)
          if (used[s] < used[best]) best = s;
        slots[best][used[best]++] = call;
      } else {
        uint8_t buffer[4096];
        if (recv(fd, buffer, sizeof buffer, MSG_DONTWAIT) == 0) drop(fd);
      }
    }
    for (;;) {
      clock_gettime(CLOCK_MONOTONIC, &now);
      if ((int64_t)now.tv_sec * 1000000000 + now.tv_nsec < due) break;
      for (uint32_t i = 0; i < used[slot]; i++)
        (void)!send(slots[slot][i], frame, sizeof frame, MSG_DONTWAIT | MSG_NOSIGNAL);
      slot = (slot + 1) % SLOTS;
      due += SLOT_NS;
    }
  }
}
