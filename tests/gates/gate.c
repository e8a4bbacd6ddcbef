/* Fixed work through one unit of the core, for callgrind to count: gate UNIT [DETECTOR LIBRARY].
 *
 * Only what runs inside `gate_work` counts (--toggle-collect=gate_work): FRAMES times the unit's work on the same input.
 * Prints the number of frames. DETECTOR is a number of fa_detector_t, LIBRARY the shared library with WebRTC's functions.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "call.h"
#include "command.h"
#include "histogram.h"
#include "level.h"

#define FRAMES 1000u
#define N 160u
#define MESSAGE (FA_HEADER_BYTES + 2 * N)
#define SCENES 50u /* frames of a second: what the detectors hear comes round */

static void must(bool holds, const char *what) {
  if (holds) return;
  fprintf(stderr, "gate: %s\n", what);
  exit(2);
}

/* ---- the input ---- */

static uint8_t messages[SCENES][MESSAGE];

/* A second of a line: 15 frames of quiet noise, 20 of a loud buzz at 150 Hz, 15 of loud noise. */
static int16_t sample_at(uint32_t frame, uint32_t i) {
  static uint64_t state = 88172645463325252u;
  state ^= state << 13, state ^= state >> 7, state ^= state << 17;
  int32_t noise = (int32_t)(state % 2001) - 1000;
  if (frame < 15) return (int16_t)(noise / 20);
  if (frame >= 35) return (int16_t)(noise * 3);
  int32_t phase = (int32_t)((frame * N + i) % 53);
  return (int16_t)((phase < 26 ? phase : 53 - phase) * 400 - 5200 + noise / 10);
}

static void make_messages(void) {
  for (uint32_t f = 0; f < SCENES; f++) {
    int16_t samples[N];
    for (uint32_t i = 0; i < N; i++) samples[i] = sample_at(f, i);
    fa_frame_header(messages[f], FA_KIND_AUDIO, 2 * N);
    memcpy(messages[f] + FA_HEADER_BYTES, samples, sizeof samples);
  }
}

static const uint8_t *pcm(uint32_t frame) { return messages[frame % SCENES] + FA_HEADER_BYTES; }

/* ---- the units ---- */

static fa_call_t *call;
static fa_events_t events;
static fa_commands_t commands;
static uint8_t stream[FRAMES * MESSAGE];
static uint8_t out[FA_OUT_BYTES];
static uint64_t seen; /* what came out: kept, so that nothing is optimised away */

static void set_up_call(fa_detector_t detector, const fa_webrtc_t *webrtc) {
  static const uint8_t uuid[FA_UUID_BYTES] = {1};
  fa_call_config_t config = {.rate = 8000, .playback_slots = 128, .capture_blocks = 128, .lead = 2, .listen_rms = 300,
                             .stop_ms = 200, .vad = {.detector = detector, .webrtc_mode = 2},
                             .bargein = fa_bargein_defaults(FA_DETECT_RMS, 800, 300, false)};
  must(fa_events_init(&events, 4096) == FA_OK, "no events");
  must(fa_call_create(&call, 1, &config, webrtc) == FA_OK, "no call");
  fa_call_start(call, &events, uuid, 0);
  memset(call->memory, 0, call->memory_bytes); /* no page faults in the count */
}

static void parse(void) {
  fa_frame_parser_t parser;
  fa_frame_parser_init(&parser);
  parser.seen_uuid = true;
  const uint8_t *cursor = stream;
  fa_piece_t piece;
  while (fa_frame_next(&parser, &cursor, stream + sizeof stream, &piece) == FA_OK) seen += piece.length;
}

static void header(void) {
  for (uint32_t i = 0; i < FRAMES; i++) {
    fa_frame_header(out, FA_KIND_AUDIO, (uint16_t)(i % 641));
    seen += out[2];
  }
}

static void rechunk(void) {
  uint8_t carry[2 * N], frame[2 * N];
  fa_rechunk_t unit;
  fa_rechunk_init(&unit, carry, 2 * N);
  for (size_t at = 0; at < FRAMES * 2 * N; at += 1237) { /* what a TTS sends has no size in particular */
    size_t left = FRAMES * 2 * N - at, length = left < 1237 ? left : 1237, used = 0;
    for (size_t done = 0; done < length; done += used)
      seen += fa_rechunk_push(&unit, stream + at + done, length - done, &used, frame);
  }
}

static void rms(void) {
  int16_t samples[N];
  for (uint32_t i = 0; i < FRAMES; i++) {
    memcpy(samples, pcm(i), sizeof samples);
    seen += fa_level_rms(samples, N);
  }
}

static void detector(void) {
  int16_t samples[N];
  for (uint32_t i = 0; i < FRAMES; i++) {
    memcpy(samples, pcm(i), sizeof samples);
    seen += fa_vad_frame(&call->vad, samples, 800, 300).rms;
  }
}

static void rules(void) {
  for (uint32_t i = 0; i < FRAMES; i++) {
    uint32_t back;
    bool voiced = i % SCENES >= 15;
    fa_bargein_frame(&call->bargein, voiced, true, true);
    seen += (uint64_t)fa_bargein_tick(&call->bargein, true) + fa_gate_frame(&call->gate, voiced, voiced, &back);
  }
}

static void playout(void) {
  int16_t frame[N];
  for (uint32_t i = 0; i < FRAMES; i++) {
    size_t used;
    fa_played_t played = {0};
    (void)fa_producer_write(&call->producer, 1, pcm(i), 2 * N, &used);
    seen += fa_playout_frame(&call->playout, frame, &played) + used;
  }
}

static void capture(void) {
  static fa_capture_reader_t reader;
  uint8_t caller[2 * N], sent[2 * N];
  uint32_t flags;
  uint64_t position;
  for (uint32_t i = 0; i < FRAMES; i++) {
    fa_capture_tick(&call->capture, 1);
    fa_capture_arriving(&call->capture, 1);
    (void)fa_capture_caller(&call->capture, pcm(i), 0, false);
    fa_capture_sent(&call->capture, pcm(i), 0);
    fa_capture_publish(&call->capture);
    seen += fa_capture_read(&call->capture, &reader, caller, sent, &flags, &position) == FA_OK;
  }
}

static void clock_(void) {
  static fa_histogram_t lateness;
  fa_clock_t unit;
  fa_clock_start(&unit, 0, 0);
  for (int64_t i = 1; i <= FRAMES; i++) {
    fa_due_t due = fa_clock_take(&unit, i * FA_TICK_NS + i * 37000 % 3000000);
    fa_histogram_add(&lateness, due.late_ns);
    seen += due.periods;
  }
}

static void event(void) {
  for (uint32_t i = 0; i < FRAMES; i++) {
    fa_event_t one = {.kind = FA_EVENT_CAPTURE, .value = i};
    (void)fa_events_push(&events, &one);
    if (i % 16 != 15) continue;
    fa_events_tell(&events);
    fa_event_t batch[16];
    fa_events_wake(&events);
    seen += fa_events_drain(&events, batch, 16);
  }
}

static void command(void) {
  for (uint32_t i = 0; i < FRAMES; i++) {
    fa_command_t one = {.kind = FA_COMMAND_FLUSH, .value = i};
    (void)fa_commands_push(&commands, &one);
    if (i % 16 != 15) continue;
    fa_commands_wake(&commands);
    for (const fa_command_t *next; (next = fa_commands_peek(&commands)) != NULL; fa_commands_pop(&commands))
      seen += next->value;
  }
}

/* A whole tick of a call as the engine drives it: `speak` what the agent says; the caller is heard in any case. */
static void ticks(bool speak) {
  fa_event_t batch[64];
  for (uint32_t i = 0; i < FRAMES; i++) {
    size_t used;
    if (speak) (void)fa_producer_write(&call->producer, 1 + i / SCENES, pcm(i), 2 * N, &used);
    fa_call_input(call, messages[i % SCENES], MESSAGE, 0);
    seen += fa_call_tick(call, (fa_due_t){.periods = 1}, true, out, 0);
    if (i % 16 == 15) seen += fa_events_drain(&events, batch, 64);
  }
}
static void tick_listening(void) { ticks(false); }
static void tick_speaking(void) { ticks(true); }

/* ---- the count ---- */

__attribute__((noinline)) void gate_work(void (*work)(void));
__attribute__((noinline)) void gate_work(void (*work)(void)) {
  work();
  __asm__ volatile("" ::: "memory"); /* no tail call: callgrind must see the return */
}

static const struct {
  const char *name;
  void (*work)(void);
} units[] = {
    {"parse", parse},       {"header", header},   {"rechunk", rechunk}, {"rms", rms},
    {"rules", rules},       {"playout", playout}, {"capture", capture}, {"clock", clock_},
    {"event", event},       {"command", command}, {"detector", detector},
    {"tick-listening", tick_listening}, {"tick-speaking", tick_speaking},
};

static fa_webrtc_t webrtc_of(const char *path) {
  void *library = dlopen(path, RTLD_LAZY);
  if (library == NULL) must(false, dlerror());
  fa_webrtc_t webrtc;
  const char *names[] = {"WebRtcVad_Create", "WebRtcVad_Free", "WebRtcVad_Init", "WebRtcVad_set_mode",
                         "WebRtcVad_Process"};
  void *found[5];
  for (int i = 0; i < 5; i++) must((found[i] = dlsym(library, names[i])) != NULL, names[i]);
  _Static_assert(sizeof found == sizeof webrtc, "as many functions as there are names");
  memcpy(&webrtc, found, sizeof webrtc); /* POSIX: a function's address fits a void pointer */
  return webrtc;
}

/* WebRTC's functions come in an extension module, which names these of Python and calls none of them here. */
#define FOR_THE_LIBRARY extern __attribute__((visibility("default")))
FOR_THE_LIBRARY void *PyExc_ValueError;
FOR_THE_LIBRARY long _Py_FalseStruct[4], _Py_NoneStruct[4], _Py_TrueStruct[4];
void *PyExc_ValueError;
long _Py_FalseStruct[4], _Py_NoneStruct[4], _Py_TrueStruct[4];

int main(int argc, char **argv) {
  must(argc == 2 || argc == 4, "usage: gate UNIT [DETECTOR LIBRARY]");
  fa_webrtc_t webrtc;
  if (argc == 4) webrtc = webrtc_of(argv[3]);
  make_messages();
  for (uint32_t i = 0; i < FRAMES; i++) memcpy(stream + i * MESSAGE, messages[i % SCENES], MESSAGE);
  must(fa_commands_init(&commands, 64) == FA_OK, "no commands");
  set_up_call(argc == 4 ? (fa_detector_t)atoi(argv[2]) : FA_DETECT_RMS, argc == 4 ? &webrtc : NULL);
  for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
    if (strcmp(units[i].name, argv[1]) != 0) continue;
    gate_work(units[i].work);
    must(seen != 0, "nothing came out");
    printf("%u\n", FRAMES);
    return 0;
  }
  must(false, "no such unit");
}
