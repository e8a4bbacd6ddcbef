/* A call driven by any bytes: input of the peer, what the agent says and asks for, late ticks and blocked peers. What must
 * hold: output within its bound and made of whole messages, an account that never exceeds what was said, a capture
 * that never goes back. */
#include "call.h"
#include "fuzz.h"

static void check_output(const uint8_t *out, size_t length, uint32_t frame_bytes) {
  NEED(length <= FA_OUT_BYTES);
  while (length > 0) {
    NEED(length >= FA_HEADER_BYTES);
    size_t payload = (size_t)out[1] << 8 | out[2];
    NEED(out[0] == FA_KIND_HANGUP ? payload == 0 : payload == frame_bytes);
    NEED(length >= FA_HEADER_BYTES + payload);
    out += FA_HEADER_BYTES + payload;
    length -= FA_HEADER_BYTES + payload;
  }
}

typedef struct {
  fa_call_t *call;
  fa_capture_reader_t reader;
  uint64_t said[256]; /* samples by generation */
  uint64_t position, read;
  uint32_t generation;
} fuzz_t;

static void say(fuzz_t *f, uint8_t amount) {
  static int16_t samples[FA_FRAME_SAMPLES_MAX * 4];
  size_t used = 0, length = (size_t)amount * 7 + 1;
  for (size_t i = 0; i < sizeof samples / 2; i++) samples[i] = (int16_t)(i * 131 + 1);
  if (length > sizeof samples) length = sizeof samples;
  (void)fa_producer_write(&f->call->producer, f->generation, (const uint8_t *)samples, length, &used);
  NEED(used <= length);
  f->said[f->generation] += used;
}

static void tick(fuzz_t *f, uint32_t periods, bool can_send) {
  static uint8_t out[FA_OUT_BYTES];
  fa_due_t due = {.periods = periods, .stalled = periods > 4, .late_ns = (int64_t)(periods - 1) * FA_TICK_NS};
  if (periods & 1) fa_call_late(f->call, due);
  check_output(out, fa_call_tick(f->call, due, can_send, out, 0), f->call->frame_bytes);
  uint64_t heard = atomic_load(&f->call->heard);
  NEED((heard & UINT32_MAX) * 2 <= f->said[heard >> 32 & 255]);
  NEED(f->call->playout.ahead <= FA_LEAD_MAX);
  uint8_t caller[FA_FRAME_BYTES_MAX], sent[FA_FRAME_BYTES_MAX];
  uint32_t flags;
  uint64_t position;
  while (fa_capture_read(&f->call->capture, &f->reader, caller, sent, &flags, &position) == FA_OK) {
    NEED(position >= f->position && position < f->call->capture.now);
    NEED(position == f->read++ + f->reader.lost); /* read or counted as lost, nothing else */
    f->position = position + 1;
  }
}

static void command(fuzz_t *f, uint8_t kind, uint8_t value) {
  switch (kind) {
    case 0:
      if (f->generation < 250) f->generation++;
      break;
    case 1: (void)fa_producer_end(&f->call->producer, f->generation); break;
    case 2: fa_call_hold(f->call, 0); break;
    case 3: fa_call_resume(f->call, value, 0); break;
    case 4:
      fa_producer_flush(&f->call->producer, value);
      fa_call_flush(f->call, value, 0);
      break;
    case 5: fa_call_flush(f->call, value, 0); break;
    case 6: fa_call_close(f->call, value % 16, 0); break;
    default: atomic_store(&f->call->capture_target, f->position + value);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static fa_events_t events;
  static const uint8_t uuid[FA_UUID_BYTES];
  if (size < 1) return 0;
  if (events.slots == NULL) NEED(fa_events_init(&events, 16) == FA_OK);
  static const uint32_t rates[] = {8000, FA_RATE_OF_CALLER, 44100, 48000};
  uint32_t rate = data[0] & 1 ? 16000 : rates[data[0] >> 6];
  fa_call_config_t config = {.rate = rate, .playback_slots = 32, .capture_blocks = 128,
                             .lead = data[0] >> 1 & 3, .listen_rms = 100, .stop_ms = 100,
                             .bargein = fa_bargein_defaults(FA_DETECT_RMS, 200, 100 + (data[0] >> 3 & 7) * 60u, false)};
  fuzz_t f = {.generation = 1};
  NEED(fa_call_create(&f.call, 1, &config, NULL) == FA_OK);
  fa_call_start(f.call, &events, uuid, 0);
  fa_capture_open(&f.call->capture, &f.reader, 0);
  for (size_t at = 1; at + 1 < size && f.call->end == FA_END_NONE;) {
    uint8_t op = data[at], value = data[at + 1];
    at += 2;
    if (op < 64) {
      size_t length = size - at < value ? size - at : value;
      fa_call_input(f.call, data + at, length, 0);
      at += length;
    } else if (op < 128) {
      say(&f, value);
    } else if (op < 224) {
      tick(&f, 1 + (op % 8 == 0 ? value : 0), op % 16 != 1);
    } else {
      command(&f, op % 8, value);
    }
    fa_event_t out[4];
    if (op & 1) (void)fa_events_drain(&events, out, 4);
  }
  fa_call_free(f.call);
  fa_event_t out[16];
  (void)fa_events_drain(&events, out, 16);
  return 0;
}
