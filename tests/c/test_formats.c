/* Every rate, every size of message, digits, kinds that do not exist, and a call that takes the rate of its caller. */
#include <sys/mman.h>
#include <unistd.h>

#include "by_hand.h"

#define RATES 9
static const uint32_t rates[RATES] = {8000, 12000, 16000, 24000, 32000, 44100, 48000, 96000, 192000};

static void set_up_at(uint32_t rate, uint32_t lead) {
  fa_call_config_t with = config();
  with.rate = rate;
  with.lead = lead;
  set_up_with(&with);
}

/* The caller's sample i: never 0, so that silence shows, and never the same for long. */
static uint16_t sample_of(uint64_t i) { return (uint16_t)(1 + i % 65521); }

/* One message of `samples` samples, the first of which is number `from`, in pieces of `cut` bytes. */
static void hear_numbered(uint32_t rate, uint64_t from, uint32_t samples, size_t cut) {
  static uint8_t message[65538];
  CHECK(samples <= 32767);
  fa_frame_header(message, fa_frame_kind(rate), (uint16_t)(2 * samples));
  for (uint32_t i = 0; i < samples; i++) {
    uint16_t value = sample_of(from + i);
    memcpy(message + FA_HEADER_BYTES + 2 * (size_t)i, &value, 2);
  }
  size_t length = FA_HEADER_BYTES + 2 * (size_t)samples;
  for (size_t at = 0; at < length; at += cut) {
    size_t take = length - at < cut ? length - at : cut;
    uint8_t *piece = malloc(take); /* of its own size: the sanitizer sees a byte too many */
    CHECK(piece != NULL);
    memcpy(piece, message + at, take);
    fa_call_input(call, piece, take, 0);
    free(piece);
  }
}

static void test_which_rates_there_are(void) {
  fa_call_t *none;
  fa_call_config_t with = config();
  for (uint32_t rate = 0; rate <= 200000; rate += 50) {
    bool exists = rate == FA_RATE_OF_CALLER;
    for (int r = 0; r < RATES; r++) exists = exists || rates[r] == rate;
    with.rate = rate;
    CHECK_EQ(fa_call_create(&none, 1, &with, NULL), exists ? FA_OK : FA_ERR_ARG);
    fa_call_free(none);
  }
  with.vad.detector = FA_DETECT_WEBRTC; /* hears 8 and 16 kHz: elsewhere it is refused before it is looked for */
  with.rate = 44100;
  CHECK_EQ(fa_call_create(&none, 1, &with, NULL), FA_ERR_ARG);
  with.rate = FA_RATE_OF_CALLER;
  CHECK_EQ(fa_call_create(&none, 1, &with, NULL), FA_ERR_ARG);
  with.rate = 16000;
  CHECK_EQ(fa_call_create(&none, 1, &with, NULL), FA_ERR_NO_VAD);
}

/* The tick's output is `frames` messages of the rate; returns the first sample of the first. */
static int16_t expect_output(size_t length, size_t frames, uint32_t rate) {
  size_t bytes = rate / 50 * 2;
  CHECK_EQ(length, frames * (FA_HEADER_BYTES + bytes));
  for (size_t f = 0; f < frames; f++) {
    const uint8_t *message = out + f * (FA_HEADER_BYTES + bytes);
    CHECK_EQ(message[0], fa_frame_kind(rate));
    CHECK_EQ(message[1] << 8 | message[2], bytes);
  }
  int16_t first;
  memcpy(&first, out + FA_HEADER_BYTES, 2);
  return first;
}

static void test_playback_at_every_rate(void) {
  for (int r = 0; r < RATES; r++) {
    uint32_t rate = rates[r], n = rate / 50;
    set_up_at(rate, 3);
    (void)expect_output(tick(), 1, rate);
    static int16_t pcm[10 * FA_FRAME_SAMPLES_MAX];
    for (uint32_t i = 0; i < 10 * n; i++) pcm[i] = (int16_t)(1 + i % 32749);
    size_t used, odd = 2 * 10 * (size_t)n - 1;
    CHECK_EQ(fa_producer_write(&call->producer, 1, (const uint8_t *)pcm, odd, &used), FA_OK);
    CHECK_EQ(used, odd);
    CHECK_EQ(fa_producer_write(&call->producer, 1, (const uint8_t *)pcm + odd, 1, &used), FA_OK);
    CHECK_EQ(fa_producer_end(&call->producer, 1), FA_OK);
    uint32_t at = 0;
    /* A late tick sends the most there can be: what is owed and the lead. */
    size_t length = fa_call_tick(call, (fa_due_t){.periods = 1 + FA_CATCH_UP, .late_ns = 1}, true, out, 0);
    (void)expect_output(length, 1 + FA_CATCH_UP + 3, rate);
    for (int f = 0; f < 7; f++, at += n)
      CHECK_EQ(memcmp(out + (size_t)f * (FA_HEADER_BYTES + 2 * n) + FA_HEADER_BYTES, pcm + at, 2 * n), 0);
    for (int f = 0; f < 3; f++, at += n) {
      (void)expect_output(tick(), 1, rate);
      CHECK_EQ(memcmp(out + FA_HEADER_BYTES, pcm + at, 2 * n), 0);
    }
    (void)expect_event(FA_EVENT_BEGAN);
    CHECK_EQ(count_of(&call->heard), (uint64_t)1 << 32 | 10 * n);
    /* A hold in the middle of an utterance: the ramp is 5 ms, what follows it silence. */
    CHECK_EQ(fa_producer_write(&call->producer, 2, (const uint8_t *)pcm, 2 * 10 * (size_t)n, &used), FA_OK);
    for (int f = 0; f < 5; f++) (void)tick();
    fa_call_hold(call, 0);
    (void)tick();
    int16_t samples[FA_FRAME_SAMPLES_MAX];
    memcpy(samples, out + FA_HEADER_BYTES, 2 * (size_t)n);
    CHECK(samples[0] != 0 && samples[rate / 200 - 2] != 0);
    for (uint32_t i = rate / 200; i < n; i++) CHECK_EQ(samples[i], 0);
  }
}

static void test_messages_of_every_length_at_every_rate(void) {
  static const uint32_t tenths_of_ms[] = {100, 200, 300, 400, 600, 1, 33, 207, 625};
  static const size_t cuts[] = {1, 2, 3, 7, 320, 1021, 65538};
  for (int r = 0; r < RATES; r++) {
    uint32_t rate = rates[r], n = rate / 50;
    for (size_t l = 0; l < sizeof tenths_of_ms / sizeof *tenths_of_ms; l++) {
      set_up_at(rate, 0);
      uint32_t samples = rate * tenths_of_ms[l] / 10000;
      if (samples == 0) samples = 1;
      fa_capture_reader_t reader;
      fa_capture_open(&call->capture, &reader, 0);
      uint64_t said = 0, heard = 0;
      for (uint32_t ticks = 1; ticks <= 60; ticks++) {
        for (; said + samples <= (uint64_t)ticks * n; said += samples)
          hear_numbered(rate, said, samples, cuts[(said + l) % (sizeof cuts / sizeof *cuts)]);
        (void)tick();
        uint16_t block[FA_FRAME_SAMPLES_MAX];
        uint32_t flags;
        uint64_t position;
        while (fa_capture_read(&call->capture, &reader, block, NULL, &flags, &position) == FA_OK) {
          CHECK_EQ(flags & FA_BLOCK_FILLED, 0);
          CHECK_EQ(position * n, heard);
          for (uint32_t i = 0; i < n; i++) CHECK_EQ(block[i], sample_of(heard++));
        }
      }
      CHECK_EQ(heard, said / n * n);
      CHECK(heard > (uint64_t)50 * n);
      CHECK_EQ(count_of(&call->counters.frames_in), said / n);
    }
  }
}

static void test_digits(void) {
  set_up(0);
  static const char digits[] = "0123456789*#ABCD";
  for (int i = 0; i < 16; i++) {
    uint8_t message[] = {FA_KIND_DTMF, 0, 1, (uint8_t)digits[i]};
    fa_call_input(call, message, sizeof message, 0);
    CHECK_EQ(expect_event(FA_EVENT_DTMF).value, (uint8_t)digits[i]);
  }
  CHECK_EQ(count_of(&call->counters.dtmf), 16);
  for (uint32_t length = 0; length <= 65535; length = length < 8 ? length + 1 : length * 2 + 1) {
    if (length == 1) continue;
    set_up(0);
    uint8_t message[] = {FA_KIND_DTMF, (uint8_t)(length >> 8), (uint8_t)length};
    fa_call_input(call, message, sizeof message, 0);
    CHECK_EQ(call->end, FA_END_BAD_LENGTH);
    expect_no_event();
  }
}

static void test_kinds_that_do_not_exist(void) {
  for (uint32_t kind = 0; kind <= 0xff; kind++) {
    set_up(0);
    uint8_t message[] = {(uint8_t)kind, 0, kind == FA_KIND_DTMF, '1'};
    fa_call_input(call, message, FA_HEADER_BYTES + message[2], 0);
    fa_end_t expected = kind == FA_KIND_HANGUP  ? FA_END_PEER_HANGUP
                        : kind == FA_KIND_ERROR ? FA_END_PEER_ERROR
                        : kind == FA_KIND_UUID  ? FA_END_SECOND_UUID
                        : kind == FA_KIND_DTMF || (kind >= FA_KIND_AUDIO && kind <= FA_KIND_AUDIO_SLIN192)
                            ? FA_END_NONE
                            : FA_END_BAD_KIND;
    CHECK_EQ(call->end, expected);
  }
}

/* Samples never straddle two messages: an odd last byte is left out, and the next message begins with a sample. */
static void test_odd_messages_are_counted(void) {
  set_up(0);
  uint8_t message[FA_HEADER_BYTES + 2 * N + 1];
  fa_frame_header(message, FA_KIND_AUDIO, 2 * N + 1);
  for (size_t i = 0; i < N; i++) memcpy(message + FA_HEADER_BYTES + 2 * i, &(uint16_t){0x1234}, 2);
  message[sizeof message - 1] = 0xee;
  fa_capture_reader_t reader;
  fa_capture_open(&call->capture, &reader, 0);
  for (size_t cut = 1; cut <= 5; cut++) {
    for (size_t at = 0; at < sizeof message; at += cut)
      fa_call_input(call, message + at, sizeof message - at < cut ? sizeof message - at : cut, 0);
    (void)tick();
    uint16_t block[N];
    uint32_t flags;
    uint64_t position;
    CHECK_EQ(fa_capture_read(&call->capture, &reader, block, NULL, &flags, &position), FA_OK);
    for (size_t i = 0; i < N; i++) CHECK_EQ(block[i], 0x1234);
    CHECK_EQ(count_of(&call->counters.odd_in), cut);
  }
  hear(1);
  (void)tick();
  CHECK_EQ(count_of(&call->counters.odd_in), 5);
}

/* ---- the caller's rate ---- */

/* What a call of this configured rate captured of a caller that begins `wait` ticks after the UUID. */
typedef struct {
  uint32_t flags[64];
  uint16_t first[64];
  uint32_t blocks;
} heard_t;

static heard_t heard_after(uint32_t configured, uint32_t rate, uint32_t wait, uint32_t late) {
  heard_t heard = {0};
  set_up_at(configured, 2);
  for (uint32_t n = 0; n < wait; n++) {
    size_t length = tick();
    (void)expect_output(length, 1, configured == FA_RATE_OF_CALLER ? FA_RATE_UNTIL_KNOWN : rate);
    expect_no_event();
  }
  fa_due_t due = {.periods = late, .late_ns = 1};
  for (uint32_t n = 0; n < 30; n++) {
    fa_call_late(call, n == 0 ? due : in_time);
    hear_numbered(rate, n * (rate / 50), rate / 50, 65538);
    size_t length = fa_call_tick(call, n == 0 ? due : in_time, true, out, 0);
    (void)expect_output(length, 1, rate);
  }
  fa_capture_reader_t reader;
  fa_capture_open(&call->capture, &reader, 128);
  uint16_t block[FA_FRAME_SAMPLES_MAX];
  uint64_t position;
  while (fa_capture_read(&call->capture, &reader, block, NULL, &heard.flags[heard.blocks], &position) == FA_OK) {
    CHECK_EQ(position, heard.blocks);
    heard.first[heard.blocks++] = block[0];
    CHECK(heard.blocks < 64);
  }
  CHECK(heard.blocks > 25);
  return heard;
}

static void test_a_call_takes_the_rate_of_its_caller(void) {
  for (int r = 0; r < RATES; r++)
    for (uint32_t wait = 0; wait < FA_RATE_TICKS; wait++)
      for (uint32_t late = 1; late <= 4; late++) {
        heard_t known = heard_after(rates[r], rates[r], wait, late);
        uint64_t filled = count_of(&call->counters.filled);
        heard_t followed = heard_after(FA_RATE_OF_CALLER, rates[r], wait, late);
        CHECK_EQ(expect_event(FA_EVENT_STARTED).position, 0);
        CHECK_EQ(memcmp(&known, &followed, sizeof known), 0); /* as if the rate had been known from the start */
        CHECK_EQ(count_of(&call->counters.filled), filled);
        CHECK_EQ(count_of(&call->counters.rate_guessed), 0);
        CHECK_EQ(call->rate, rates[r]);
      }
  hear(1); /* of 8 kHz, in a call that is of 192 kHz by now */
  CHECK_EQ(count_of(&call->counters.other_format), 1);
}

static void test_a_rate_that_is_not_told_is_8_khz(void) {
  fa_call_config_t with = config();
  with.rate = FA_RATE_OF_CALLER;
  set_up_with(&with);
  static const uint8_t digit[] = {FA_KIND_DTMF, 0, 1, '1'}, lost[] = {FA_KIND_AUDIO_SLIN16, 0, 0};
  fa_call_input(call, digit, sizeof digit, 0); /* nobody knows of the call: counted */
  fa_call_input(call, lost, sizeof lost, 0);   /* holds no audio */
  CHECK_EQ(count_of(&call->counters.events_lost), 1);
  for (int n = 1; n < FA_RATE_TICKS; n++) {
    (void)tick();
    expect_no_event();
  }
  fa_call_tick(call, in_time, true, out, 77);
  fa_event_t event = expect_event(FA_EVENT_STARTED);
  CHECK(event.time_ns == 0 && event.position == 0); /* when the UUID came */
  CHECK_EQ(count_of(&call->counters.rate_guessed), 1);
  hear(1);
  (void)tick();
  CHECK_EQ(count_of(&call->counters.frames_in), 1);
  hear_numbered(16000, 0, 320, 643);
  CHECK_EQ(expect_event(FA_EVENT_FORMAT).value, 16000);
}

/* STARTED waits for room in the event ring, with the time of the UUID. */
static void test_started_is_told_again(void) {
  set_up(0);
  while (fa_call_emit(call, FA_EVENT_DTMF, 0, 0, 0, 0)) continue;
  fa_call_tell_started(call);
  CHECK(!call->start_told);
  fa_event_t events_out[256];
  CHECK_EQ(fa_events_drain(events, events_out, 256), 256);
  fa_call_tell_started(call);
  fa_call_tell_started(call);
  (void)expect_event(FA_EVENT_STARTED);
  expect_no_event();
}

/* Pages of the call's own memory that are in RAM. */
static size_t resident_bytes(void) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE), pages = (call->memory_bytes + page - 1) / page, resident = 0;
  unsigned char *in_core = malloc(pages);
  CHECK(in_core != NULL);
  CHECK_EQ(mincore(call->memory, call->memory_bytes, in_core), 0);
  for (size_t i = 0; i < pages; i++) resident += in_core[i] & 1 ? page : 0;
  free(in_core);
  return resident;
}

/* Whether the kernel was told to use no huge pages for the call's memory: "nh" among its flags. */
static bool without_huge_pages(void) {
  FILE *maps = fopen("/proc/self/smaps", "r");
  CHECK(maps != NULL);
  char line[512];
  bool inside = false, found = false;
  while (!found && fgets(line, sizeof line, maps) != NULL) {
    unsigned long first, last;
    if (sscanf(line, "%lx-%lx ", &first, &last) == 2)
      inside = first <= (uintptr_t)call->memory && (uintptr_t)call->memory < last;
    else
      found = inside && strncmp(line, "VmFlags:", 8) == 0 && strstr(line, " nh") != NULL;
  }
  (void)fclose(maps);
  return found;
}

static void test_a_quiet_call_stays_small(void) {
  static const uint32_t configured[] = {8000, FA_RATE_OF_CALLER};
  for (int c = 0; c < 2; c++) {
    set_up_at(configured[c], 2);
    for (int n = 0; n < 500; n++) { /* the capture has gone round */
      hear((int16_t)(n % 7));
      (void)tick();
    }
    CHECK_EQ(count_of(&call->counters.frames_in), 500);
    CHECK(resident_bytes() > 128 * 2 * N); /* the capture is in it: the count works */
    CHECK(sizeof *call + resident_bytes() < 64 * 1024);
    CHECK(without_huge_pages() || access("/sys/kernel/mm/transparent_hugepage", F_OK) != 0);
  }
}

int main(void) {
  RUN(test_which_rates_there_are);
  RUN(test_playback_at_every_rate);
  RUN(test_messages_of_every_length_at_every_rate);
  RUN(test_digits);
  RUN(test_kinds_that_do_not_exist);
  RUN(test_odd_messages_are_counted);
  RUN(test_a_call_takes_the_rate_of_its_caller);
  RUN(test_a_rate_that_is_not_told_is_8_khz);
  RUN(test_started_is_told_again);
  RUN(test_a_quiet_call_stays_small);
  tear_down();
  return 0;
}
