/* load.c - callers: N AudioSocket calls that send and receive a frame every 20 ms, and measure what comes.
 *
 *   load HOST PORT CALLS WARMUP_S SECONDS
 *
 * Each call tells a UUID and then sends 323 bytes every 20 ms on an absolute schedule; the calls' phases are spread over
 * the 20 ms. The audio is speech-like (bursts of a voiced sound), so that detectors have their work. What comes back is
 * cut into messages by its headers; the arrival of the last byte of each audio message is taken.
 *
 * Prints "measuring" when the warm-up is over and one line of JSON at the end: gaps between arrivals of one call (us),
 * the slope of arrivals over the frame number of each call as an error in ppm of 50 frames a second (least squares),
 * and its own lateness, without which none of it would mean anything. One thread, epoll, no allocation while it runs.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define TICK_NS 20000000LL
#define FRAME_BYTES 323
#define BIN_US 10
#define BINS 200001 /* the last one: 2 s and more */
#define SPEECH_FRAMES 250

typedef struct {
  int fd;
  int64_t due_ns; /* the next frame to send */
  uint32_t sent;
  uint8_t header[3];
  uint32_t header_have, left; /* of the message that is arriving */
  int64_t last_ns;            /* the last arrival within the measurement */
  /* least squares of arrival time over frame number, from the first arrival on */
  int64_t first_ns;
  double n, sum_k, sum_t, sum_kk, sum_kt;
  bool ended;
} call_t;

static uint32_t gaps[BINS], lateness[BINS];
static uint64_t gaps_count, lateness_count, gap_max_us;
static uint8_t speech[SPEECH_FRAMES][FRAME_BYTES];

static int64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void count(uint32_t *bins, uint64_t *total, int64_t ns) {
  int64_t bin = ns / 1000 / BIN_US;
  bins[bin < 0 ? 0 : bin >= BINS ? BINS - 1 : bin]++;
  (*total)++;
}

static double quantile_ms(const uint32_t *bins, uint64_t total, double q) {
  uint64_t seen = 0;
  for (uint32_t i = 0; i < BINS; i++) {
    seen += bins[i];
    if (total > 0 && (double)seen >= q * (double)total) return (i + 0.5) * BIN_US / 1000.0;
  }
  return 0;
}

/* Five seconds of harmonics of a gliding pitch in syllables, with pauses. */
static void make_speech(void) {
  double phase = 0;
  for (uint32_t f = 0; f < SPEECH_FRAMES; f++) {
    speech[f][0] = 0x10;
    speech[f][1] = 320 >> 8;
    speech[f][2] = 320 & 0xff;
    for (uint32_t i = 0; i < 160; i++) {
      double t = (f * 160 + i) / 8000.0, pitch = 120 + 25 * sin(2 * M_PI * 0.7 * t), voice = 0;
      phase += 2 * M_PI * pitch / 8000;
      for (int k = 1; k <= 15; k++)
        voice += sin(k * phase) * (1 / (1 + pow((k * pitch - 500) / 300, 2)) + 1 / (1 + pow((k * pitch - 1500) / 400, 2)));
      double syllable = sin(2 * M_PI * 3 * t), phrase = sin(2 * M_PI * 0.4 * t) > -0.3 ? 1 : 0;
      int16_t sample = (int16_t)(2500 * voice * (syllable > 0 ? syllable : 0) * phrase + rand() % 120 - 60);
      memcpy(&speech[f][3 + 2 * i], &sample, 2);
    }
  }
}

static void arrived(call_t *call, int64_t now, bool measuring) {
  if (!measuring) return;
  if (call->last_ns != 0) {
    int64_t gap = now - call->last_ns;
    count(gaps, &gaps_count, gap);
    if ((uint64_t)gap / 1000 > gap_max_us) gap_max_us = (uint64_t)gap / 1000;
  } else {
    call->first_ns = now;
  }
  call->last_ns = now;
  double k = call->n, t = (double)(now - call->first_ns);
  call->n++;
  call->sum_k += k;
  call->sum_t += t;
  call->sum_kk += k * k;
  call->sum_kt += k * t;
}

static void take(call_t *call, bool measuring) {
  uint8_t buffer[16384];
  for (;;) {
    ssize_t got = recv(call->fd, buffer, sizeof buffer, MSG_DONTWAIT);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
      call->ended = true;
      return;
    }
    int64_t now = now_ns();
    for (ssize_t at = 0; at < got;) {
      if (call->header_have < 3) {
        call->header[call->header_have++] = buffer[at++];
        if (call->header_have == 3) call->left = (uint32_t)call->header[1] << 8 | call->header[2];
      } else {
        uint32_t some = (uint32_t)(got - at) < call->left ? (uint32_t)(got - at) : call->left;
        call->left -= some;
        at += some;
      }
      if (call->header_have == 3 && call->left == 0) {
        if (call->header[0] == 0x10) arrived(call, now, measuring);
        call->header_have = 0;
      }
    }
    if (got < (ssize_t)sizeof buffer) return;
  }
}

static int dial(const char *host, int port, uint32_t number) {
  int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
  struct sockaddr_in peer = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  if (fd < 0 || inet_pton(AF_INET, host, &peer.sin_addr) != 1) return -1;
  if (connect(fd, (struct sockaddr *)&peer, sizeof peer) != 0) return -1;
  (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  uint8_t hello[19] = {0x01, 0x00, 0x10, 'l', 'o', 'a', 'd'};
  memcpy(hello + 15, &number, 4);
  if (send(fd, hello, sizeof hello, MSG_NOSIGNAL) != sizeof hello) return -1;
  return fd;
}

static int compare(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static void report(call_t *calls, uint32_t count_of_calls, double seconds) {
  double *ppm = calloc(count_of_calls, sizeof *ppm), frames = 0;
  uint32_t ended = 0, counted = 0;
  for (uint32_t i = 0; i < count_of_calls; i++) {
    call_t *c = &calls[i];
    frames += c->n;
    ended += c->ended;
    double below = c->n * c->sum_kk - c->sum_k * c->sum_k;
    if (c->n < 10 || below == 0) continue;
    double slope = (c->n * c->sum_kt - c->sum_k * c->sum_t) / below;
    ppm[counted++] = (TICK_NS / slope - 1) * 1e6;
  }
  qsort(ppm, counted, sizeof *ppm, compare);
  printf("{\"calls\": %u, \"ended_early\": %u, \"frames\": %.0f, \"seconds\": %.3f, \"gap_p50_ms\": %.2f, "
         "\"gap_p99_ms\": %.2f, \"gap_max_ms\": %.2f, \"rate_ppm_median\": %.0f, \"rate_ppm_low\": %.0f, "
         "\"rate_ppm_high\": %.0f, \"own_lag_p50_ms\": %.2f, \"own_lag_p99_ms\": %.2f}\n",
         count_of_calls, ended, frames, seconds, quantile_ms(gaps, gaps_count, 0.5), quantile_ms(gaps, gaps_count, 0.99),
         (double)gap_max_us / 1000, counted ? ppm[counted / 2] : 0, counted ? ppm[0] : 0, counted ? ppm[counted - 1] : 0,
         quantile_ms(lateness, lateness_count, 0.5), quantile_ms(lateness, lateness_count, 0.99));
  free(ppm);
}

int main(int argc, char **argv) {
  if (argc != 6) {
    fprintf(stderr, "usage: load HOST PORT CALLS WARMUP_S SECONDS\n");
    return 2;
  }
  uint32_t count_of_calls = (uint32_t)atoi(argv[3]);
  double warmup_s = atof(argv[4]), seconds = atof(argv[5]);
  struct rlimit files = {count_of_calls + 64, count_of_calls + 64};
  (void)setrlimit(RLIMIT_NOFILE, &files);
  (void)prctl(PR_SET_TIMERSLACK, 1UL);
  make_speech();
  call_t *calls = calloc(count_of_calls, sizeof *calls);
  int epoll = epoll_create1(0), timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
  struct epoll_event event = {.events = EPOLLIN, .data.u64 = UINT64_MAX};
  if (calls == NULL || epoll < 0 || timer < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, timer, &event) != 0) {
    perror("load");
    return 1;
  }
  for (uint32_t i = 0; i < count_of_calls; i++) {
    calls[i].fd = dial(argv[1], atoi(argv[2]), i);
    event = (struct epoll_event){.events = EPOLLIN, .data.u64 = i};
    if (calls[i].fd < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, calls[i].fd, &event) != 0) {
      fprintf(stderr, "load: call %u: cannot reach %s:%s: %s\n", i, argv[1], argv[2], strerror(errno));
      return 1;
    }
    usleep(2000); /* callers do not come all at once */
  }
  int64_t start = now_ns() + TICK_NS, measure = start + (int64_t)(warmup_s * 1e9), end = measure + (int64_t)(seconds * 1e9);
  for (uint32_t i = 0; i < count_of_calls; i++) calls[i].due_ns = start + TICK_NS * i / count_of_calls;
  uint32_t next = 0; /* the phases are in order, so the calls come due in turn */
  bool measuring = false;
  struct epoll_event events[256];
  for (;;) {
    int64_t now = now_ns();
    if (!measuring && now >= measure) {
      measuring = true;
      puts("measuring");
      fflush(stdout);
    }
    if (now >= end) break;
    for (uint32_t n = 0; n < count_of_calls && calls[next].due_ns <= now; n++) {
      call_t *call = &calls[next];
      if (measuring) count(lateness, &lateness_count, now - call->due_ns);
      if (!call->ended)
        (void)!send(call->fd, speech[(call->sent + next * 7) % SPEECH_FRAMES], FRAME_BYTES, MSG_DONTWAIT | MSG_NOSIGNAL);
      call->sent++;
      call->due_ns += TICK_NS;
      next = (next + 1) % count_of_calls;
      now = now_ns();
    }
    int64_t due = calls[next].due_ns < end ? calls[next].due_ns : end;
    struct itimerspec at = {.it_value = {due / 1000000000, due % 1000000000}};
    (void)timerfd_settime(timer, TFD_TIMER_ABSTIME, &at, NULL);
    int ready = epoll_wait(epoll, events, 256, -1);
    for (int i = 0; i < ready; i++) {
      if (events[i].data.u64 == UINT64_MAX) {
        uint64_t expirations;
        (void)!read(timer, &expirations, sizeof expirations);
        continue;
      }
      call_t *call = &calls[events[i].data.u64];
      take(call, measuring);
      if (call->ended) (void)epoll_ctl(epoll, EPOLL_CTL_DEL, call->fd, NULL);
    }
  }
  report(calls, count_of_calls, (double)(now_ns() - measure) / 1e9);
  return 0;
}
