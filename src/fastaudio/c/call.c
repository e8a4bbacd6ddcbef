#include "call.h"

#include <string.h>

#include "level.h"

/* ---- events ---- */

bool fa_call_emit(fa_call_t *call, fa_event_kind_t kind, uint32_t generation, uint32_t value, uint64_t position,
                  int64_t now_ns) {
  if (!call->rate_known) { /* nobody knows of this call yet */
    fa_count(&call->counters.events_lost, 1);
    return false;
  }
  fa_event_t event = {.kind = kind,
                      .call = call->id,
                      .generation = generation,
                      .value = value,
                      .position = position,
                      .time_ns = now_ns};
  if (fa_events_push(call->events, &event) == FA_OK) return true;
  fa_count(&call->counters.events_lost, 1);
  return false;
}

static uint32_t frame_samples(const fa_call_t *call) { return call->frame_bytes / 2; }

/* Where the clock of the call stands, in samples. */
static uint64_t clock_position(const fa_call_t *call) { return call->capture.now * frame_samples(call); }

static void tell_played(fa_call_t *call, const fa_played_t *played, int64_t now_ns) {
  uint64_t at = clock_position(call);
  if (played->began) (void)fa_call_emit(call, FA_EVENT_BEGAN, played->generation, 0, at, now_ns);
  if (played->ended) (void)fa_call_emit(call, FA_EVENT_PLAYED, played->generation, played->heard, at, now_ns);
  if (played->flushed) {
    fa_count(&call->counters.flushes, 1);
    (void)fa_call_emit(call, FA_EVENT_FLUSHED, played->generation, played->heard, at, now_ns);
  }
}

static void publish_heard(fa_call_t *call) {
  uint64_t heard = (uint64_t)call->playout.generation << 32 | call->playout.heard;
  atomic_store_explicit(&call->heard, heard, memory_order_relaxed); /* one word: no order with anything else */
}

/* ---- the rate ---- */

void fa_call_tell_started(fa_call_t *call) {
  if (call->start_told || !call->rate_known) return;
  call->start_told = fa_call_emit(call, FA_EVENT_STARTED, 0, 0, 0, call->started_ns);
}

/* No one has read or written what is laid out anew: the event loop does not know of the call. */
static void settle_rate(fa_call_t *call, uint32_t rate) {
  if (rate != call->rate) {
    uint64_t passed = call->capture.now - call->early;
    fa_call_lay_out(call, rate);
    fa_capture_tick(&call->capture, (uint32_t)passed);
    fa_capture_publish(&call->capture);
    fa_capture_tick(&call->capture, call->early);
  }
  call->rate_known = true;
  fa_call_tell_started(call);
}

void fa_call_guess_rate(fa_call_t *call) {
  if (call->rate_known) return;
  fa_count(&call->counters.rate_guessed, 1);
  settle_rate(call, call->rate);
}

/* ---- the caller's side ---- */

/* `position`: the frame's place on the call's time line, in frames. */
static void tell_gate(fa_call_t *call, fa_vad_frame_t heard, uint64_t position, int64_t now_ns) {
  uint32_t back = 0;
  fa_gate_event_t gate = fa_gate_frame(&call->gate, heard.voiced, heard.goes_on, &back);
  if (gate == FA_GATE_NONE) return;
  uint64_t frames = gate == FA_GATE_START ? position : position + 1;
  frames = frames > back ? frames - back : 0;
  (void)fa_call_emit(call, gate == FA_GATE_START ? FA_EVENT_SPEECH : FA_EVENT_QUIET, 0, heard.rms,
                     frames * frame_samples(call), now_ns);
}

/* Silence in place of frames that did not come is silence to the detector too: speech that ran into a gap ends, and
 * what was said before a gap is not taken for an interruption after it. */
static void caller_gaps(fa_call_t *call, int64_t now_ns) {
  for (; call->gaps_seen < call->capture.filled; call->gaps_seen++) {
    uint64_t newer = call->capture.filled - call->gaps_seen;
    fa_vad_gap(&call->vad);
    fa_bargein_frame(&call->bargein, false, false, false);
    tell_gate(call, (fa_vad_frame_t){0}, call->capture.caller_at - newer, now_ns);
  }
}

/* `rest`: bytes of the same input behind this frame. */
static void caller_frame(fa_call_t *call, const uint8_t *frame, size_t rest, int64_t now_ns) {
  fa_capture_arriving(&call->capture, 1 + (uint32_t)(rest / call->frame_bytes));
  caller_gaps(call, now_ns);
  int16_t samples[FA_FRAME_SAMPLES_MAX];
  memcpy(samples, frame, call->frame_bytes); /* the wire's bytes need not be aligned */
  fa_vad_frame_t heard = fa_vad_frame(&call->vad, samples, call->config.bargein.rms, call->config.listen_rms);
  fa_count(&call->counters.frames_in, 1);
  fa_bargein_frame(&call->bargein, heard.voiced_loud, heard.steady, heard.convincing);
  tell_gate(call, heard, call->capture.caller_at, now_ns);
  bool speech = call->gate.speaking || heard.voiced;
  (void)fa_capture_caller(&call->capture, samples, speech ? FA_BLOCK_SPEECH : 0, !speech);
}

/* `rest`: bytes of the same input behind this piece. */
static void caller_audio(fa_call_t *call, const fa_piece_t *piece, size_t rest, int64_t now_ns) {
  if (piece->length == 0) {
    fa_count(&call->counters.lost_in, 1); /* an empty message stands for a lost frame: the clock fills it */
    return;
  }
  if (!call->rate_known) settle_rate(call, piece->rate);
  if (piece->rate != call->rate) {
    if (atomic_load_explicit(&call->counters.other_format, memory_order_relaxed) == 0)
      (void)fa_call_emit(call, FA_EVENT_FORMAT, 0, piece->rate, clock_position(call), now_ns);
    fa_count(&call->counters.other_format, 1);
    return;
  }
  const uint8_t *data = piece->data;
  size_t length = piece->length;
  while (length > 0) {
    if (call->staged == 0 && length >= call->frame_bytes) {
      caller_frame(call, data, length - call->frame_bytes + rest, now_ns);
      data += call->frame_bytes;
      length -= call->frame_bytes;
      continue;
    }
    size_t want = call->frame_bytes - call->staged;
    size_t take = length < want ? length : want;
    memcpy(call->stage + call->staged, data, take);
    call->staged += (uint32_t)take;
    data += take;
    length -= take;
    if (call->staged == call->frame_bytes) {
      call->staged = 0;
      caller_frame(call, call->stage, length + rest, now_ns);
    }
  }
}

static void end_with(fa_call_t *call, fa_end_t reason) {
  if (call->end == FA_END_NONE) call->end = reason;
}

void fa_call_start(fa_call_t *call, fa_events_t *events, const uint8_t uuid[FA_UUID_BYTES], int64_t now_ns) {
  call->started_ns = now_ns;
  call->events = events;
  memcpy(call->uuid, uuid, FA_UUID_BYTES);
  call->parser.seen_uuid = true;
  call->state = FA_CALL_LIVE;
}

void fa_call_input(fa_call_t *call, const uint8_t *data, size_t length, int64_t now_ns) {
  if (call->state == FA_CALL_DRAINING) return;
  const uint8_t *cursor = data;
  const uint8_t *end = data + length;
  fa_piece_t piece;
  fa_result_t result;
  while ((result = fa_frame_next(&call->parser, &cursor, end, &piece)) == FA_OK) {
    switch (piece.kind) {
      case FA_KIND_HANGUP: end_with(call, FA_END_PEER_HANGUP); return;
      case FA_KIND_ERROR: end_with(call, FA_END_PEER_ERROR); return;
      case FA_KIND_DTMF:
        fa_count(&call->counters.dtmf, 1);
        (void)fa_call_emit(call, FA_EVENT_DTMF, 0, piece.data[0], clock_position(call), now_ns);
        break;
      default: caller_audio(call, &piece, (size_t)(end - cursor), now_ns);
    }
  }
  if (result == FA_ERR_PROTO) end_with(call, call->parser.error);
}

/* ---- decisions ---- */

static void tell_hold(fa_call_t *call, fa_event_kind_t kind, int64_t now_ns) {
  uint32_t heard = 0;
  uint32_t generation = fa_playout_generation(&call->playout, &heard);
  (void)fa_call_emit(call, kind, generation, heard, clock_position(call), now_ns);
}

static void decide(fa_call_t *call, int64_t now_ns) {
  fa_played_t played = {0};
  uint32_t heard = 0;
  switch (fa_bargein_tick(&call->bargein, fa_playout_active(&call->playout))) {
    case FA_DO_NONE: break;
    case FA_DO_HOLD:
      fa_count(&call->counters.holds, 1);
      fa_playout_hold(&call->playout);
      tell_hold(call, FA_EVENT_HOLD, now_ns);
      break;
    case FA_DO_RESUME:
      fa_count(&call->counters.resumes, 1);
      fa_playout_resume(&call->playout, call->config.bargein.rewind_ms);
      tell_hold(call, FA_EVENT_RESUME, now_ns);
      break;
    case FA_DO_BARGE:
      fa_count(&call->counters.barge_ins, 1);
      fa_vad_interrupted(&call->vad);
      tell_hold(call, FA_EVENT_BARGE_IN, now_ns);
      break;
    case FA_DO_FLUSH: /* no word from the agent: the limit decides */
      fa_playout_flush(&call->playout, fa_playout_generation(&call->playout, &heard), &played);
      tell_played(call, &played, now_ns);
      played = (fa_played_t){0};
      break;
  }
  if (fa_playout_supersede(&call->playout, &played)) {
    fa_bargein_reset(&call->bargein);
    tell_played(call, &played, now_ns);
  }
}

void fa_call_flush(fa_call_t *call, uint32_t generation, int64_t now_ns) {
  fa_played_t played = {0};
  fa_playout_flush(&call->playout, generation, &played);
  if (!call->playout.paused) fa_bargein_reset(&call->bargein);
  if (played.flushed)
    tell_played(call, &played, now_ns);
  else /* the agent waits for an answer, also when there was nothing to throw away */
    (void)fa_call_emit(call, FA_EVENT_FLUSHED, generation, 0, clock_position(call), now_ns);
  publish_heard(call);
}

void fa_call_hold(fa_call_t *call, int64_t now_ns) {
  if (call->playout.paused || !fa_playout_active(&call->playout)) return;
  fa_playout_hold(&call->playout);
  fa_bargein_force(&call->bargein, FA_BARGE_BARGED); /* the agent's word is awaited, within the limit */
  tell_hold(call, FA_EVENT_HOLD, now_ns);
}

void fa_call_resume(fa_call_t *call, uint32_t rewind_ms, int64_t now_ns) {
  if (!call->playout.paused) return;
  fa_bargein_reset(&call->bargein);
  fa_count(&call->counters.resumes, 1);
  fa_playout_resume(&call->playout, rewind_ms > 200 ? 200 : rewind_ms);
  tell_hold(call, FA_EVENT_RESUME, now_ns);
}

void fa_call_close(fa_call_t *call, uint32_t trail_ticks, int64_t now_ns) {
  if (call->state != FA_CALL_LIVE) return;
  fa_played_t played = {0};
  fa_playout_flush(&call->playout, UINT32_MAX, &played);
  fa_bargein_reset(&call->bargein);
  tell_played(call, &played, now_ns);
  publish_heard(call);
  call->state = FA_CALL_CLOSING;
  call->trail = trail_ticks;
}

fa_result_t fa_call_set_bargein(fa_call_t *call, const fa_bargein_config_t *config) {
  fa_bargein_t checked;
  fa_result_t result = fa_bargein_init(&checked, config);
  if (result != FA_OK) return result;
  call->bargein.config = *config;
  call->config.bargein = *config;
  return FA_OK;
}

/* ---- the agent's side ---- */

static size_t put_frame(fa_call_t *call, uint8_t *out, const int16_t *samples, bool audio) {
  fa_frame_header(out, call->kind, (uint16_t)call->frame_bytes);
  memcpy(out + FA_HEADER_BYTES, samples, call->frame_bytes);
  fa_capture_sent(&call->capture, audio ? samples : NULL, call->playout.paused ? FA_BLOCK_HELD : 0);
  fa_count(&call->counters.frames_out, 1);
  if (audio) fa_count(&call->counters.audio_out, 1);
  if (audio && fa_vad_listens_to_playback(&call->vad)) {
    uint32_t rms = fa_level_rms(samples, call->frame_bytes / 2);
    if (rms > call->played_rms) call->played_rms = rms; /* a tick may send more than one frame */
  }
  return FA_HEADER_BYTES + call->frame_bytes;
}

/* The next frame with audio, if there is one. */
static size_t put_audio(fa_call_t *call, uint8_t *out, int64_t now_ns) {
  int16_t samples[FA_FRAME_SAMPLES_MAX];
  fa_played_t played = {0};
  bool audio = fa_playout_frame(&call->playout, samples, &played) == FA_PLAY_AUDIO;
  tell_played(call, &played, now_ns);
  return audio ? put_frame(call, out, samples, true) : 0;
}

static size_t put_tick(fa_call_t *call, fa_due_t due, uint8_t *out, int64_t now_ns) {
  static const int16_t silence[FA_FRAME_SAMPLES_MAX] = {0};
  size_t length = 0;
  uint32_t owed = due.stalled || due.periods > 1 + FA_CATCH_UP ? 1 : due.periods;
  for (uint32_t sent = 0; sent < owed; sent++) {
    size_t bytes = put_audio(call, out + length, now_ns);
    if (bytes == 0) {
      if (fa_playout_silence_due(&call->playout, owed - sent)) length += put_frame(call, out + length, silence, false);
      break;
    }
    length += bytes;
    if (sent > 0) fa_count(&call->counters.caught_up, 1);
  }
  while (fa_playout_wants_lead(&call->playout)) {
    size_t bytes = put_audio(call, out + length, now_ns);
    if (bytes == 0) break;
    length += bytes;
    call->playout.ahead++;
  }
  return length;
}

/* The event loop asks to be told once; what it asks for is taken before it is told, so that its next wish stands. */
static void notify(fa_call_t *call, int64_t now_ns) {
  uint64_t ready = atomic_load_explicit(&call->capture.ready, memory_order_relaxed); /* own index */
  uint64_t target = atomic_load_explicit(&call->capture_target, memory_order_relaxed);
  uint64_t none = UINT64_MAX;
  if (target <= ready && atomic_compare_exchange_strong(&call->capture_target, &target, none)) {
    if (!fa_call_emit(call, FA_EVENT_CAPTURE, 0, 0, ready, now_ns))
      (void)atomic_compare_exchange_strong(&call->capture_target, &none, target);
  }
  if (atomic_load_explicit(&call->space_wanted, memory_order_relaxed) == 0) return;
  if (fa_ring_filled(&call->ring, call->playout.released) > (call->ring.mask + 1) / 2) return;
  atomic_store_explicit(&call->space_wanted, 0, memory_order_relaxed); /* set again only after the event */
  if (!fa_call_emit(call, FA_EVENT_SPACE, 0, 0, 0, now_ns))
    atomic_store_explicit(&call->space_wanted, 1, memory_order_relaxed);
}

static void copy_counters(fa_call_t *call) {
  atomic_store_explicit(&call->counters.odd_in, call->parser.odd, memory_order_relaxed);
  atomic_store_explicit(&call->counters.underruns, call->playout.underruns, memory_order_relaxed);
  atomic_store_explicit(&call->counters.filled, call->capture.filled, memory_order_relaxed);
  atomic_store_explicit(&call->counters.left_out, call->capture.left_out, memory_order_relaxed);
  atomic_store_explicit(&call->counters.overrun, call->capture.overrun, memory_order_relaxed);
}

static void fetch(const void *memory, size_t bytes, bool to_write) {
  const char *line = memory;
  for (size_t at = 0; at < bytes; at += 64) {
    if (to_write)
      __builtin_prefetch(line + at, 1);
    else
      __builtin_prefetch(line + at, 0);
  }
}

void fa_call_fetch(const fa_call_t *call) { fetch(call, sizeof *call, true); }

void fa_call_fetch_audio(const fa_call_t *call) {
  const fa_capture_t *capture = &call->capture;
  fetch(capture->caller + (capture->caller_at & capture->mask) * capture->words, call->frame_bytes, true);
  fetch(capture->sent + (capture->sent_at & capture->mask) * capture->words, call->frame_bytes, true);
  fetch(call->ring.slots + (size_t)(call->playout.cursor & call->ring.mask) * call->ring.stride, call->ring.stride, false);
}

void fa_call_late(fa_call_t *call, fa_due_t due) {
  if (due.periods < 2) return;
  call->early = due.periods - 1;
  fa_capture_tick(&call->capture, call->early);
}

size_t fa_call_tick(fa_call_t *call, fa_due_t due, bool can_send, uint8_t *out, int64_t now_ns) {
  size_t length = 0;
  fa_capture_tick(&call->capture, due.periods - call->early);
  call->early = 0;
  if (call->capture.now >= FA_RATE_TICKS) fa_call_guess_rate(call);
  if ((uint64_t)due.late_ns > atomic_load_explicit(&call->counters.late_max_ns, memory_order_relaxed))
    atomic_store_explicit(&call->counters.late_max_ns, (uint64_t)due.late_ns, memory_order_relaxed);
  if (due.stalled) {
    fa_count(&call->counters.stalls, 1);
    fa_count(&call->counters.skipped, due.periods - 1);
    fa_playout_stalled(&call->playout);
    fa_capture_unsent(&call->capture, 1); /* the silence of the stall came before what is sent now */
  }
  if (call->state == FA_CALL_LIVE) decide(call, now_ns);
  if (!can_send) {
    fa_count(&call->counters.blocked, 1);
    (void)fa_playout_silence_due(&call->playout, due.periods); /* a lead that waits is none */
  } else if (call->state == FA_CALL_LIVE || call->trail > 0 || call->playout.tail_samples > 0) {
    length = put_tick(call, due, out, now_ns);
    if (call->state == FA_CALL_CLOSING && call->trail > 0) call->trail--;
  } else if (!call->hung_up) {
    fa_frame_header(out, FA_KIND_HANGUP, 0);
    length = FA_HEADER_BYTES;
    call->hung_up = true;
  }
  fa_vad_played(&call->vad, call->played_rms);
  call->played_rms = 0;
  fa_capture_publish(&call->capture);
  caller_gaps(call, now_ns);
  publish_heard(call);
  copy_counters(call);
  notify(call, now_ns);
  return length;
}
