/* A call's memory: one mapping, cut up by the rate. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "call.h"

#define RATE_MAX (FA_FRAME_SAMPLES_MAX * 1000 / FA_TICK_MS)

static bool power_of_two(uint32_t n) { return n != 0 && (n & (n - 1)) == 0; }

/* Every detector hears 8 and 16 kHz. Elsewhere there is the level alone, which means the same at any rate. */
static bool rate_allowed(uint32_t rate, fa_detector_t detector) {
  if (rate == 8000 || rate == 16000) return true;
  return detector == FA_DETECT_RMS && (rate == FA_RATE_OF_CALLER || fa_frame_kind(rate) != 0);
}

/* Where the parts lie, in bytes from the start. What a quiet call touches comes first and close together; what it
 * never touches (playback, bytes that the socket did not take) costs address space alone. */
typedef struct {
  size_t stage, tail, capture, carry, ring, out, end;
} layout_t;

static size_t align(size_t bytes) { return (bytes + FA_CACHE_LINE - 1) / FA_CACHE_LINE * FA_CACHE_LINE; }

static layout_t layout_at(const fa_call_config_t *config, uint32_t rate) {
  uint32_t frame_bytes = rate / 50 * 2;
  layout_t at = {.stage = 0};
  at.tail = at.stage + align(frame_bytes);
  at.capture = at.tail + align(2 * (size_t)fa_playout_ramp(rate));
  at.carry = align(at.capture + fa_capture_bytes(config->capture_blocks, frame_bytes));
  at.ring = at.carry + align(frame_bytes);
  at.out = at.ring + (size_t)config->playback_slots * fa_ring_stride(frame_bytes);
  at.end = at.out + FA_OUT_FRAMES * (FA_HEADER_BYTES + (size_t)frame_bytes) + FA_HEADER_BYTES;
  return at;
}

void fa_call_lay_out(fa_call_t *call, uint32_t rate) {
  const fa_call_config_t *config = &call->config;
  layout_t at = layout_at(config, rate);
  uint8_t *memory = call->memory;
  call->rate = rate;
  call->kind = fa_frame_kind(rate);
  call->frame_bytes = rate / 50 * 2;
  call->stage = memory + at.stage;
  call->out = memory + at.out;
  (void)fa_capture_init(&call->capture, memory + at.capture, config->capture_blocks, call->frame_bytes);
  (void)fa_ring_init(&call->ring, memory + at.ring, config->playback_slots, call->frame_bytes, 0);
  fa_producer_init(&call->producer, &call->ring, memory + at.carry, call->frame_bytes);
  fa_playout_init(&call->playout, &call->ring, (int16_t *)(void *)(memory + at.tail), rate, config->lead);
  call->vad.config.rate = rate;
}

fa_result_t fa_call_create(fa_call_t **out, uint32_t id, const fa_call_config_t *config,
                           const fa_webrtc_t *webrtc) {
  *out = NULL;
  if (id == 0 || !rate_allowed(config->rate, config->vad.detector) || config->lead > FA_LEAD_MAX) return FA_ERR_ARG;
  if (!power_of_two(config->playback_slots) || config->playback_slots < 32 || config->playback_slots > 65536)
    return FA_ERR_ARG;
  if (!power_of_two(config->capture_blocks) || config->capture_blocks < 128 || config->capture_blocks > 65536)
    return FA_ERR_ARG;
  if (config->stop_ms < FA_TICK_MS || config->stop_ms > 2000) return FA_ERR_ARG;
  fa_call_t *call = aligned_alloc(FA_CACHE_LINE, align(sizeof *call));
  if (call == NULL) return FA_ERR_NOMEM;
  memset(call, 0, sizeof *call);
  call->id = id;
  call->config = *config;
  call->fd = -1;
  call->rate_known = config->rate != FA_RATE_OF_CALLER;
  uint32_t rate = call->rate_known ? config->rate : FA_RATE_UNTIL_KNOWN;
  call->config.vad.rate = rate;
  fa_result_t result = fa_vad_init(&call->vad, &call->config.vad, webrtc);
  if (result == FA_OK) result = fa_bargein_init(&call->bargein, &config->bargein);
  if (result == FA_OK) {
    /* Pages that cost nothing until they are touched, so that a call that follows its caller can have them for any
     * rate. */
    call->memory_bytes = layout_at(config, call->rate_known ? rate : RATE_MAX).end;
    call->memory = mmap(NULL, call->memory_bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (call->memory == MAP_FAILED) {
      call->memory = NULL;
      result = FA_ERR_NOMEM;
    } else { /* one huge page would hold more than forty quiet calls touch; a kernel that has none refuses, and may */
      (void)madvise(call->memory, call->memory_bytes, MADV_NOHUGEPAGE);
    }
  }
  if (result != FA_OK) {
    fa_call_free(call);
    return result;
  }
  fa_call_lay_out(call, rate);
  fa_frame_parser_init(&call->parser);
  fa_gate_init(&call->gate, config->stop_ms / FA_TICK_MS);
  atomic_init(&call->capture_target, UINT64_MAX);
  *out = call;
  return FA_OK;
}

void fa_call_free(fa_call_t *call) {
  if (call == NULL) return;
  fa_vad_close(&call->vad);
  if (call->memory != NULL) munmap(call->memory, call->memory_bytes);
  free(call);
}
