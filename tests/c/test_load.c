/* The load generator's parts on known input; and a run against a server that keeps its own account of what it sent. */
#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>

#include "check.h"
#include "frame.h"
#include "level.h"
#include "load.h"

#define MS 1000000LL
#define MESSAGE 323

/* ---- the histogram ---- */

static void test_quantiles_are_upper_bounds_within_a_thousandth(void) {
  static fa_load_histogram_t histogram;
  for (int64_t us = 1; us <= 100000; us++) fa_load_histogram_add(&histogram, us * 1000);
  static const double shares[] = {0.5, 0.99, 0.999};
  for (size_t i = 0; i < 3; i++) {
    double exact = shares[i] * 1e8, got = (double)fa_load_histogram_quantile(&histogram, shares[i]);
    CHECK(got >= exact && got <= exact * (1 + 1.0 / 1024));
  }
  CHECK_EQ(fa_load_histogram_quantile(&histogram, 1), 100000000);
  CHECK_EQ(histogram.max_ns, 100000000);
  CHECK_EQ(histogram.count, 100000);
}

static void test_odd_times_have_their_bins(void) {
  static fa_load_histogram_t histogram;
  CHECK_EQ(fa_load_histogram_quantile(&histogram, 0.5), 0);
  fa_load_histogram_add(&histogram, -5);
  CHECK_EQ(fa_load_histogram_quantile(&histogram, 1), 0);
  for (int bit = 0; bit < 63; bit++) {
    int64_t ns = INT64_C(1) << bit;
    fa_load_histogram_add(&histogram, ns - 1);
    fa_load_histogram_add(&histogram, ns);
    CHECK_EQ(fa_load_histogram_quantile(&histogram, 1), ns);
  }
}

/* ---- what callers say ---- */

static void test_speech_has_the_asked_form(void) {
  static const uint32_t rates[] = {8000, 12000, 16000, 24000, 32000, 44100, 48000, 96000, 192000};
  for (size_t r = 0; r < sizeof rates / sizeof rates[0]; r++)
    for (uint32_t packet_ms = 10; packet_ms <= 60; packet_ms += 10) {
      fa_load_speech_t speech;
      CHECK_EQ(fa_load_speech_make(&speech, rates[r], packet_ms, 0, false), FA_OK);
      const uint8_t *message = fa_load_speech_message(&speech, 3, 123456789);
      CHECK_EQ(message[0], 0x10 + r);
      CHECK_EQ((message[1] << 8 | message[2]), 2 * rates[r] * packet_ms / 1000);
      CHECK_EQ(speech.bytes, 3 + 2 * rates[r] * packet_ms / 1000);
      fa_load_speech_free(&speech);
    }
  fa_load_speech_t speech;
  CHECK_EQ(fa_load_speech_make(&speech, 11025, 20, 50, false), FA_ERR_ARG);
  CHECK_EQ(fa_load_speech_make(&speech, 8000, 9, 50, false), FA_ERR_ARG);
  CHECK_EQ(fa_load_speech_make(&speech, 8000, 61, 50, false), FA_ERR_ARG);
  CHECK_EQ(fa_load_speech_make(&speech, 8000, 20, 101, false), FA_ERR_ARG);
}

static uint32_t loud_messages(uint32_t talk_percent) {
  fa_load_speech_t speech;
  CHECK_EQ(fa_load_speech_make(&speech, 8000, 20, talk_percent, false), FA_OK);
  uint32_t loud = 0;
  for (uint32_t n = 0; n < speech.count; n++) {
    int16_t samples[160];
    memcpy(samples, fa_load_speech_message(&speech, 0, n) + 3, sizeof samples);
    loud += fa_level_rms(samples, 160) > 800;
  }
  CHECK_EQ(speech.count, 250);
  fa_load_speech_free(&speech);
  return loud;
}

static void test_callers_talk_as_much_as_asked(void) {
  CHECK_EQ(loud_messages(0), 0);
  uint32_t half = loud_messages(50), all = loud_messages(100);
  CHECK(half > 40 && half < 125); /* syllables have pauses */
  CHECK(all > 3 * half / 2);
}

/* ---- the account of a stream ---- */

static fa_load_totals_t totals;

static void hear(fa_load_stream_t *stream, int messages, int64_t at_ns) {
  uint8_t data[16 * MESSAGE] = {0};
  for (int i = 0; i < messages; i++) fa_frame_header(data + i * MESSAGE, FA_KIND_AUDIO, MESSAGE - 3);
  CHECK_EQ(fa_load_stream_read(stream, &totals, data, (size_t)messages * MESSAGE, at_ns, true), FA_LOAD_READ_GOOD);
}

static void test_any_split_is_the_same_stream(void) {
  uint8_t data[2 * MESSAGE + 643] = {0};
  fa_frame_header(data, FA_KIND_AUDIO, 320);
  fa_frame_header(data + MESSAGE, FA_KIND_AUDIO, 320);
  fa_frame_header(data + 2 * MESSAGE, FA_KIND_AUDIO_SLIN16, 640);
  for (size_t cut = 0; cut <= sizeof data; cut++) {
    fa_load_stream_t stream = {0};
    totals = (fa_load_totals_t){0};
    CHECK_EQ(fa_load_stream_read(&stream, &totals, data, cut, 1000 * MS, true), FA_LOAD_READ_GOOD);
    CHECK_EQ(fa_load_stream_read(&stream, &totals, data + cut, sizeof data - cut, 1020 * MS, true), FA_LOAD_READ_GOOD);
    CHECK_EQ(totals.messages, 3);
    CHECK_EQ(stream.audio_ns, 60 * MS);
    CHECK_EQ(stream.first_ns, cut >= MESSAGE ? 1000 * MS : 1020 * MS);
    int whole = (cut >= MESSAGE) + (cut >= 2 * MESSAGE) + (cut >= sizeof data);
    CHECK_EQ(totals.merged, whole == 0 || whole == 3 ? 2 : 1);
  }
}

static void test_gaps_and_what_came_together(void) {
  fa_load_stream_t stream = {0};
  totals = (fa_load_totals_t){0};
  hear(&stream, 1, 100 * MS);
  hear(&stream, 1, 120 * MS);
  hear(&stream, 1, 160 * MS); /* 40 ms: not longer than 40 */
  hear(&stream, 3, 205 * MS); /* one gap that is known to be no longer than 45 ms, and two that are not known */
  CHECK_EQ(totals.messages, 6);
  CHECK_EQ(totals.gaps.count, 3);
  CHECK_EQ(totals.gaps.max_ns, 45 * MS);
  CHECK_EQ(totals.long_gaps, 1);
  CHECK_EQ(totals.merged, 2);
}

static void test_rate_is_the_slope(void) {
  static const double periods_ms[] = {20, 21.439, 19.99, 20.002};
  for (size_t p = 0; p < 4; p++) {
    fa_load_stream_t stream = {0};
    for (int i = 0; i < 9; i++) hear(&stream, 1, 5000 * MS + i * 20 * MS);
    CHECK(isnan(fa_load_stream_ppm(&stream))); /* too few */
    stream = (fa_load_stream_t){0};
    uint64_t random = 1;
    for (int i = 0; i < 3000; i++) { /* with up to 4 ms of jitter */
      int64_t jitter = (int64_t)(check_random(&random) % 4000000);
      hear(&stream, 1, 5000 * MS + (int64_t)(i * periods_ms[p] * 1e6) + jitter);
    }
    double want = (20 / periods_ms[p] - 1) * 1e6;
    CHECK(fabs(fa_load_stream_ppm(&stream) - want) < 10);
  }
}

static void test_slip_is_what_is_missing_at_the_end(void) {
  fa_load_stream_t stream = {0};
  CHECK_EQ(fa_load_stream_slip_ns(&stream, 1000 * MS, 3000 * MS), 2000 * MS); /* never came */
  for (int i = 0; i < 50; i++) hear(&stream, 1, 1010 * MS + i * 20 * MS);
  CHECK_EQ(fa_load_stream_slip_ns(&stream, 1000 * MS, 2000 * MS), 0);
  CHECK_EQ(fa_load_stream_slip_ns(&stream, 1000 * MS, 2510 * MS), 500 * MS);
  hear(&stream, 16, 2500 * MS); /* caught up, but for 180 ms */
  CHECK_EQ(fa_load_stream_slip_ns(&stream, 1000 * MS, 2510 * MS), 180 * MS);
}

static void test_what_asterisk_would_not_take(void) {
  static const struct { uint8_t header[3]; fa_load_read_t want; } cases[] = {
      {{0x00, 0, 0}, FA_LOAD_READ_HANGUP},   {{0x01, 0, 16}, FA_LOAD_READ_PROTOCOL}, {{0x03, 0, 1}, FA_LOAD_READ_PROTOCOL},
      {{0x10, 0, 0}, FA_LOAD_READ_PROTOCOL}, {{0x19, 1, 0}, FA_LOAD_READ_PROTOCOL},  {{0xff, 0, 1}, FA_LOAD_READ_PROTOCOL},
      {{0x18, 30, 0}, FA_LOAD_READ_GOOD},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    fa_load_stream_t stream = {0};
    CHECK_EQ(fa_load_stream_read(&stream, &totals, cases[i].header, 3, MS, true), cases[i].want);
  }
}

static void test_sound_is_what_is_not_all_zeros(void) {
  uint8_t data[2 * MESSAGE] = {0};
  fa_frame_header(data, FA_KIND_AUDIO, 320);
  fa_frame_header(data + MESSAGE, FA_KIND_AUDIO, 320);
  for (size_t loud = 0; loud < 2 * MESSAGE; loud++) {
    if (loud % MESSAGE < 3) continue;
    data[loud] = 1;
    for (size_t cut = 1; cut < sizeof data; cut += 7) {
      fa_load_stream_t stream = {0};
      CHECK_EQ(fa_load_stream_read(&stream, NULL, data, cut, 1000 * MS, true), FA_LOAD_READ_GOOD);
      CHECK_EQ(stream.sound_ns, loud < MESSAGE && cut >= MESSAGE ? 1000 * MS : 0);
      CHECK_EQ(fa_load_stream_read(&stream, NULL, data + cut, sizeof data - cut, 1020 * MS, true), FA_LOAD_READ_GOOD);
      CHECK_EQ(stream.sound_ns, loud < MESSAGE && cut >= MESSAGE ? 1000 * MS : 1020 * MS);
    }
    data[loud] = 0;
  }
  fa_load_stream_t stream = {0};
  hear(&stream, 5, 1000 * MS);
  CHECK_EQ(stream.sound_ns, 0);
}

/* ---- a conversation ---- */

static fa_load_talk_t talk;

/* Messages of speech, and of silence, from `from_ms` on until `to_ms`, one every 20 ms. */
static uint32_t say(fa_load_turn_t *turn, int64_t from_ms, int64_t to_ms) {
  uint32_t spoken = 0;
  for (int64_t at = from_ms; at < to_ms; at += 20) spoken += fa_load_turn_next(turn, &talk, 50, at * MS);
  return spoken;
}

static void test_a_caller_speaks_when_the_agent_has_paused(void) {
  fa_load_turn_t turn = {0};
  talk = (fa_load_talk_t){0};
  CHECK_EQ(say(&turn, 1000, 2000), 0); /* the greeting is waited for */
  for (int64_t at = 2000; at < 5000; at += 20) {
    fa_load_turn_hear(&turn, &talk, at * MS);
    CHECK_EQ(say(&turn, at, at + 20), 0);
  }
  CHECK_EQ(talk.answers, 0); /* a greeting answers nothing */
  CHECK_EQ(say(&turn, 5000, 5680), 0);
  CHECK_EQ(say(&turn, 5680, 5700), 0);
  CHECK_EQ(say(&turn, 5700, 6700), 50); /* 0.7 s after its last message, for as long as a turn is */
  CHECK_EQ(talk.turns, 1);
  CHECK_EQ(say(&turn, 6700, 7000), 0);
  fa_load_turn_hear(&turn, &talk, 7000 * MS);
  fa_load_turn_hear(&turn, &talk, 7020 * MS);
  CHECK_EQ(talk.answers, 1);
  CHECK_EQ(talk.answered.max_ns, 300 * MS);
  CHECK_EQ(say(&turn, 7040, 7740), 0);
  CHECK_EQ(say(&turn, 7740, 8740), 50);
  CHECK_EQ(talk.turns, 2);
  CHECK_EQ(talk.unanswered + talk.overlaps, 0);
}

static void test_a_caller_loses_patience(void) {
  fa_load_turn_t turn = {0};
  talk = (fa_load_talk_t){0};
  CHECK_EQ(say(&turn, 1000, 9020), 0);
  CHECK_EQ(say(&turn, 9020, 10020), 50);
  CHECK_EQ(talk.turns, 1);
  CHECK_EQ(talk.unanswered, 0); /* it had asked nothing yet */
  CHECK_EQ(say(&turn, 10020, 18040), 0);
  CHECK_EQ(say(&turn, 18040, 19040), 50);
  CHECK_EQ(talk.unanswered, 1);
}

static void test_an_answer_into_the_turn_is_an_overlap(void) {
  fa_load_turn_t turn = {0};
  talk = (fa_load_talk_t){0};
  CHECK_EQ(say(&turn, 1000, 9020), 0);
  CHECK_EQ(say(&turn, 9020, 9520), 25);
  fa_load_turn_hear(&turn, &talk, 9500 * MS);
  fa_load_turn_hear(&turn, &talk, 9520 * MS);
  CHECK_EQ(say(&turn, 9520, 10020), 25); /* it says all of it */
  CHECK_EQ(talk.overlaps, 1);
  CHECK_EQ(talk.answers, 0);
  CHECK_EQ(say(&turn, 10020, 10240), 0);
  CHECK_EQ(say(&turn, 10240, 10260), 1); /* the agent has paused long enough */
}

static void test_turns_and_the_noise_between_them(void) {
  fa_load_speech_t speech;
  CHECK_EQ(fa_load_speech_make(&speech, 8000, 20, 30, true), FA_OK);
  CHECK_EQ(speech.talk, 75);
  int16_t samples[160];
  for (uint32_t n = 0; n < 200; n++) {
    memcpy(samples, fa_load_speech_word(&speech, n) + 3, sizeof samples);
    CHECK(fa_level_rms(samples, 160) > 500); /* no silence between syllables */
    memcpy(samples, fa_load_speech_noise(&speech, n) + 3, sizeof samples);
    CHECK(fa_level_rms(samples, 160) < 50);
  }
  fa_load_speech_free(&speech);
}

/* ---- a run ---- */

#define CALLS 4
static const int64_t period_ms[] = {14, 14, 14, 28, 30, 14, 14, 14, 28, 90}; /* uneven on purpose, with a hole */

static int listener;
static uint16_t port;
static _Atomic uint32_t holes;  /* within the measurement, by the server's own clock: gaps that are certainly longer */
static _Atomic uint32_t doubts; /* and those that may be */
static _Atomic int64_t measuring_from, measuring_to;

static void listen_anywhere(void) {
  listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  CHECK_EQ(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
  CHECK_EQ(listen(listener, 64), 0);
  CHECK_EQ(getsockname(listener, (struct sockaddr *)&address, &length), 0);
  port = ntohs(address.sin_port);
}

static fa_load_t *generator(uint32_t calls, int64_t warmup_ns, int64_t measure_ns) {
  fa_load_config_t config = {.uuid_prefix = "uuid", .calls = calls, .calls_a_second = 1000, .rate = 8000, .packet_ms = 20, .talk_percent = 60,
                             .warmup_ns = warmup_ns, .measure_ns = measure_ns};
  CHECK_EQ(fa_load_address(&config, "127.0.0.1", port), FA_OK);
  fa_load_t *load;
  CHECK_EQ(fa_load_create(&load, &config), FA_OK);
  return load;
}

/* One call: its UUID, then frames with holes until the caller goes; every message of the caller is looked at. */
static void *serve_one(void *argument) {
  int fd = (int)(intptr_t)argument, on = 1;
  uint8_t in[MESSAGE], out[MESSAGE] = {0};
  CHECK_EQ(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), 0);
  CHECK_EQ(recv(fd, in, 19, MSG_WAITALL), 19);
  CHECK(in[0] == FA_KIND_UUID && in[1] == 0 && in[2] == 16);
  CHECK(in[3] == 'u' && in[14] == 0 && in[15] == 0 && in[18] < CALLS);
  fa_frame_header(out, FA_KIND_AUDIO, 320);
  int64_t due = check_now_ns(), before = 0, after = 0;
  for (uint32_t n = 1; n < 1000; n++) {
    due += period_ms[n % 10] * MS;
    while (check_now_ns() < due) {
      struct pollfd heard = {.fd = fd, .events = POLLIN};
      struct timespec rest = {0, due - check_now_ns() > 0 ? due - check_now_ns() : 0};
      if (ppoll(&heard, 1, &rest, NULL) != 1) continue;
      ssize_t got = recv(fd, in, MESSAGE, MSG_WAITALL);
      if (got <= 0) goto over;
      CHECK_EQ(got, MESSAGE);
      CHECK(in[0] == FA_KIND_AUDIO && in[1] == 1 && in[2] == 64);
    }
    int64_t sending = check_now_ns();
    if (send(fd, out, MESSAGE, MSG_NOSIGNAL) != MESSAGE) break;
    int64_t sent = check_now_ns();
    int64_t from = atomic_load(&measuring_from), to = atomic_load(&measuring_to);
    if (before >= from && sent < to && sending - after > 40 * MS) atomic_fetch_add(&holes, 1);
    if (sent >= from - 100 * MS && before < to + 100 * MS && sent - before > 40 * MS) atomic_fetch_add(&doubts, 1);
    before = sending;
    after = sent;
  }
over:
  close(fd);
  return NULL;
}

static pthread_t talkers[CALLS];

static void *serve(void *argument) {
  (void)argument;
  for (int i = 0; i < CALLS; i++) {
    int fd = accept(listener, NULL, NULL);
    CHECK(fd >= 0);
    CHECK_EQ(pthread_create(&talkers[i], NULL, serve_one, (void *)(intptr_t)fd), 0);
  }
  return NULL;
}

static void *run(void *load) { return (void *)(intptr_t)fa_load_run(load); }

/* The generator's arrivals are the server's own account, whatever either of them was late by. */
static void test_arrivals_are_when_the_server_sent(void) {
  listen_anywhere();
  atomic_store(&measuring_from, INT64_MAX / 2);
  atomic_store(&measuring_to, INT64_MAX / 2);
  fa_load_t *load = generator(CALLS, 300 * MS, 1500 * MS);
  pthread_t server, thread;
  CHECK_EQ(pthread_create(&server, NULL, serve, NULL), 0);
  CHECK_EQ(pthread_create(&thread, NULL, run, load), 0);
  while (fa_load_progress(load).phase == FA_LOAD_PHASE_CONNECTING) check_sleep_ms(1);
  int64_t warm = check_now_ns();
  atomic_store(&measuring_from, warm + 300 * MS);
  atomic_store(&measuring_to, warm + 1800 * MS - 100 * MS); /* `warm` is seen late; certain within these */
  void *result;
  CHECK_EQ(pthread_join(thread, &result), 0);
  CHECK_EQ((intptr_t)result, FA_OK);
  CHECK_EQ(fa_load_progress(load).phase, FA_LOAD_PHASE_OVER);
  pthread_join(server, NULL);
  for (int i = 0; i < CALLS; i++) pthread_join(talkers[i], NULL);
  fa_load_report_t report;
  CHECK_EQ(fa_load_report(load, &report), FA_OK);
  printf("# holes %u..%u, %" PRIu64 " found; merged %" PRIu64 " of %" PRIu64 "; own lag p99 %" PRId64 " us\n", holes, doubts,
         report.long_gaps, report.merged, report.messages, report.lag_p99_ns / 1000);
  CHECK_EQ(report.untimed, 0);
  CHECK_EQ(report.silent, 0);
  CHECK(report.long_gaps + report.merged >= holes && report.long_gaps <= doubts + report.merged);
  CHECK(holes >= CALLS); /* there was something to find */
  CHECK(report.gap_p50_ns > 13 * MS && report.gap_p50_ns < 15 * MS); /* finer than the looks, which are 20 ms apart */
  CHECK(report.merged * 4 < report.messages);
  CHECK(report.gap_max_ns >= 85 * MS);
  CHECK(report.messages >= CALLS * 30);
  CHECK(report.sent >= CALLS * 70);
  CHECK_EQ(report.rated, CALLS);
  CHECK(report.ppm_median < -150000); /* 10 frames in 260 ms: 23 % slow */
  CHECK(report.slip_median_ns > 150 * MS);
  for (int end = 0; end < FA_LOAD_ENDS; end++) CHECK_EQ(report.ended[end], 0);
  fa_load_free(load);
  close(listener);
}

static void test_a_call_that_ends_in_the_warm_up_is_no_measurement(void) {
  listen_anywhere();
  fa_load_t *load = generator(1, 60000 * MS, 60000 * MS);
  pthread_t thread;
  CHECK_EQ(pthread_create(&thread, NULL, run, load), 0);
  int fd = accept(listener, NULL, NULL);
  uint8_t in[19];
  CHECK_EQ(recv(fd, in, sizeof in, MSG_WAITALL), sizeof in);
  static const uint8_t hangup[3] = {0};
  CHECK_EQ(send(fd, hangup, 3, MSG_NOSIGNAL), 3);
  void *result;
  CHECK_EQ(pthread_join(thread, &result), 0);
  CHECK_EQ((intptr_t)result, FA_ERR_OS);
  CHECK_EQ(fa_load_trouble(load).kind, FA_LOAD_TROUBLE_ENDED);
  CHECK_EQ(fa_load_trouble(load).end, FA_LOAD_END_HANGUP);
  fa_load_free(load);
  close(fd);
  close(listener);
}

static void test_nobody_listens(void) {
  listen_anywhere();
  close(listener);
  fa_load_t *load = generator(3, 0, MS);
  CHECK_EQ(fa_load_run(load), FA_ERR_OS);
  CHECK_EQ(fa_load_trouble(load).kind, FA_LOAD_TROUBLE_CONNECT);
  CHECK_EQ(fa_load_trouble(load).error, ECONNREFUSED);
  fa_load_free(load);
}

static void test_a_stop_ends_it(void) {
  listen_anywhere();
  fa_load_t *load = generator(2, 3600000 * MS, MS);
  pthread_t thread;
  CHECK_EQ(pthread_create(&thread, NULL, run, load), 0);
  while (fa_load_progress(load).phase != FA_LOAD_PHASE_WARMING_UP) check_sleep_ms(1);
  fa_load_stop(load);
  void *result;
  CHECK_EQ(pthread_join(thread, &result), 0);
  CHECK_EQ(fa_load_trouble(load).kind, FA_LOAD_TROUBLE_STOPPED);
  fa_load_free(load);
  close(listener);
}

static void test_options_out_of_range(void) {
  fa_load_config_t good = {.calls = 1, .calls_a_second = 1, .rate = 8000, .packet_ms = 20, .measure_ns = 1}, bad;
  CHECK_EQ(fa_load_address(&good, "localhost", 1), FA_ERR_ARG);
  CHECK_EQ(fa_load_address(&good, "::1", 1), FA_OK);
  fa_load_t *load;
  for (int field = 0; field < 8; field++) {
    bad = good;
    if (field == 0) bad.calls = 0;
    if (field == 1) bad.calls = FA_LOAD_CALLS_MAX + 1;
    if (field == 2) bad.calls_a_second = 0;
    if (field == 3) bad.rate = 8001;
    if (field == 4) bad.measure_ns = 0;
    if (field == 5) bad.peer_length = 0;
    if (field == 6) bad.turn_ms = FA_LOAD_TURN_MIN_MS - 1;
    if (field == 7) bad.turn_ms = FA_LOAD_TURN_MAX_MS + 1;
    CHECK_EQ(fa_load_create(&load, &bad), FA_ERR_ARG);
    CHECK(load == NULL);
  }
  CHECK_EQ(fa_load_create(&load, &good), FA_OK);
  fa_load_free(load);
}

int main(void) {
  check_time_limit(50);
  RUN(test_quantiles_are_upper_bounds_within_a_thousandth);
  RUN(test_odd_times_have_their_bins);
  RUN(test_speech_has_the_asked_form);
  RUN(test_callers_talk_as_much_as_asked);
  RUN(test_any_split_is_the_same_stream);
  RUN(test_gaps_and_what_came_together);
  RUN(test_rate_is_the_slope);
  RUN(test_slip_is_what_is_missing_at_the_end);
  RUN(test_what_asterisk_would_not_take);
  RUN(test_sound_is_what_is_not_all_zeros);
  RUN(test_a_caller_speaks_when_the_agent_has_paused);
  RUN(test_a_caller_loses_patience);
  RUN(test_an_answer_into_the_turn_is_an_overlap);
  RUN(test_turns_and_the_noise_between_them);
  RUN(test_arrivals_are_when_the_server_sent);
  RUN(test_a_call_that_ends_in_the_warm_up_is_no_measurement);
  RUN(test_nobody_listens);
  RUN(test_a_stop_ends_it);
  RUN(test_options_out_of_range);
  return 0;
}
