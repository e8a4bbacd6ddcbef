#include "load.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load_internal.h"

#define NAP_NS 50000000 /* at most, so that a stop is seen */

static int64_t at_grain(const fa_load_t *load, int64_t grain) { return load->start_ns + grain * FA_LOAD_GRAIN_NS; }

/* ---- set up ---- */

fa_result_t fa_load_address(fa_load_config_t *config, const char *address, uint16_t port) {
  struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
  struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
  if (inet_pton(AF_INET, address, &v4.sin_addr) == 1) {
    memcpy(&config->peer, &v4, sizeof v4);
    config->peer_length = sizeof v4;
  } else if (inet_pton(AF_INET6, address, &v6.sin6_addr) == 1) {
    memcpy(&config->peer, &v6, sizeof v6);
    config->peer_length = sizeof v6;
  } else {
    return FA_ERR_ARG;
  }
  return FA_OK;
}

fa_result_t fa_load_create(fa_load_t **out, const fa_load_config_t *config) {
  *out = NULL;
  if (config->calls < 1 || config->calls > FA_LOAD_CALLS_MAX || config->calls_a_second < 1 || config->warmup_ns < 0 ||
      config->measure_ns <= 0 || config->peer_length == 0 ||
      (config->turn_ms != 0 && (config->turn_ms < FA_LOAD_TURN_MIN_MS || config->turn_ms > FA_LOAD_TURN_MAX_MS)))
    return FA_ERR_ARG;
  fa_load_t *load = calloc(1, sizeof *load);
  if (load == NULL) return FA_ERR_NOMEM;
  load->config = *config;
  load->callers = calloc(config->calls, sizeof *load->callers);
  bool converses = config->turn_ms != 0;
  uint32_t talk_percent = converses ? config->turn_ms * 100 / FA_LOAD_LOOP_MS : config->talk_percent;
  fa_result_t result = load->callers == NULL ? FA_ERR_NOMEM
                                             : fa_load_speech_make(&load->speech, config->rate, config->packet_ms,
                                                                   talk_percent, converses);
  if (result != FA_OK) {
    fa_load_free(load);
    return result;
  }
  for (uint32_t i = 0; i < config->calls; i++) load->callers[i].fd = -1;
  for (uint32_t i = 0; i < FA_LOAD_LOOKS; i++) load->looks[i] = FA_LOAD_NOBODY;
  *out = load;
  return FA_OK;
}

static void hang_up_all(fa_load_t *load) {
  for (uint32_t i = 0; i < load->config.calls; i++) {
    if (load->callers[i].fd >= 0) (void)close(load->callers[i].fd);
    load->callers[i].fd = -1;
  }
}

void fa_load_free(fa_load_t *load) {
  if (load == NULL) return;
  if (load->callers != NULL) hang_up_all(load);
  fa_load_speech_free(&load->speech);
  free(load->callers);
  free(load);
}

void fa_load_stop(fa_load_t *load) { atomic_store_explicit(&load->stop, true, memory_order_relaxed); }

fa_load_progress_t fa_load_progress(const fa_load_t *load) {
  return (fa_load_progress_t){
      .phase = (fa_load_phase_t)atomic_load_explicit(&load->phase, memory_order_relaxed),
      .connected = atomic_load_explicit(&load->connected, memory_order_relaxed),
      .messages = atomic_load_explicit(&load->messages, memory_order_relaxed),
  };
}

fa_load_trouble_t fa_load_trouble(const fa_load_t *load) { return load->trouble; }

/* ---- the loop ---- */

/* The calls that send at a grain: numbers [first, last). */
static void senders(const fa_load_t *load, int64_t grain, uint32_t *first, uint32_t *last) {
  uint64_t slots = (uint64_t)load->config.packet_ms * 1000000 / FA_LOAD_GRAIN_NS, slot = (uint64_t)grain % slots;
  *first = (uint32_t)((slot * load->config.calls + slots - 1) / slots);
  *last = (uint32_t)(((slot + 1) * load->config.calls + slots - 1) / slots);
}

static void send_due(fa_load_t *load) {
  for (int64_t due; (due = at_grain(load, load->send_grain)) <= fa_load_now_ns(); load->send_grain++) {
    uint32_t first, last;
    senders(load, load->send_grain, &first, &last);
    for (uint32_t i = first; i < last; i++) {
      if (load->callers[i].state != FA_CALLER_ON) continue;
      if (fa_load_measures(load, due)) {
        fa_load_histogram_add(&load->lag, fa_load_now_ns() - due);
        load->sent++;
      }
      fa_caller_say(load, i, due);
    }
  }
}

static void look_due(fa_load_t *load) {
  int64_t now = fa_load_now_ns(), grain = (now - load->start_ns) / FA_LOAD_GRAIN_NS;
  if (grain >= load->look_grain + FA_LOAD_LOOKS) load->look_grain = grain - FA_LOAD_LOOKS + 1; /* once round the wheel is everyone */
  while (load->look_grain <= grain) {
    uint32_t slot = (uint32_t)(load->look_grain % FA_LOAD_LOOKS), number = load->looks[slot];
    load->looks[slot] = FA_LOAD_NOBODY;
    load->look_late_ns = now - at_grain(load, load->look_grain);
    load->look_grain++; /* before the looks, so that none is put into a slot that is past */
    while (number != FA_LOAD_NOBODY) {
      uint32_t next = load->callers[number].next_look;
      fa_caller_look(load, number, now);
      number = next;
    }
  }
}

static int64_t dial_due_ns(const fa_load_t *load) {
  if (load->dialled == load->config.calls) return INT64_MAX;
  return load->start_ns + load->dialled * 1000000000LL / load->config.calls_a_second;
}

static void nap(const fa_load_t *load) {
  int64_t until = fa_load_now_ns() + NAP_NS, dial_ns = dial_due_ns(load);
  int64_t furthest = (until - load->start_ns) / FA_LOAD_GRAIN_NS + 1;
  if (dial_ns < until) until = dial_ns;
  if (load->end_ns < until) until = load->end_ns;
  for (int64_t grain = load->send_grain; load->on > 0 && grain < furthest; grain++) {
    uint32_t first, last;
    senders(load, grain, &first, &last);
    if (first == last) continue;
    if (at_grain(load, grain) < until) until = at_grain(load, grain);
    break;
  }
  for (int64_t grain = load->look_grain; grain < furthest; grain++) {
    if (load->looks[grain % FA_LOAD_LOOKS] == FA_LOAD_NOBODY) continue;
    if (at_grain(load, grain) < until) until = at_grain(load, grain);
    break;
  }
  struct timespec at = {until / 1000000000, until % 1000000000};
  (void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL); /* woken early, the loop comes round again */
}

static void show(fa_load_t *load, fa_load_phase_t phase) {
  atomic_store_explicit(&load->phase, phase, memory_order_relaxed);
  atomic_store_explicit(&load->connected, load->on, memory_order_relaxed);
  atomic_store_explicit(&load->messages, load->totals.messages, memory_order_relaxed);
}

fa_result_t fa_load_run(fa_load_t *load) {
  fa_load_phase_t phase = FA_LOAD_PHASE_CONNECTING;
  (void)prctl(PR_SET_TIMERSLACK, 1UL);
  load->start_ns = fa_load_now_ns();
  load->measure_ns = load->end_ns = INT64_MAX;
  while (load->trouble.kind == FA_LOAD_TROUBLE_NONE) {
    int64_t now = fa_load_now_ns();
    load->realtime_ns = fa_load_clock_ns(CLOCK_REALTIME) - now;
    if (atomic_load_explicit(&load->stop, memory_order_relaxed)) {
      fa_load_give_up(load, (fa_load_trouble_t){FA_LOAD_TROUBLE_STOPPED, 0, 0, FA_LOAD_END_NONE});
      break;
    }
    while (dial_due_ns(load) <= now && load->trouble.kind == FA_LOAD_TROUBLE_NONE) {
      fa_caller_dial(load, load->dialled++, now);
      send_due(load); /* a ramp of many calls does not keep the others waiting */
    }
    send_due(load);
    look_due(load);
    if (phase == FA_LOAD_PHASE_CONNECTING && load->on == load->config.calls) {
      phase = FA_LOAD_PHASE_WARMING_UP;
      load->measure_ns = fa_load_now_ns() + load->config.warmup_ns;
      load->end_ns = load->measure_ns + load->config.measure_ns;
    }
    if (phase == FA_LOAD_PHASE_WARMING_UP && now >= load->measure_ns) {
      phase = FA_LOAD_PHASE_MEASURING;
      load->cpu_from_ns = fa_load_clock_ns(CLOCK_THREAD_CPUTIME_ID);
    }
    if (phase == FA_LOAD_PHASE_MEASURING && load->on == 0) load->end_ns = now; /* no one is left */
    if (now >= load->end_ns) break;
    show(load, phase);
    nap(load);
  }
  if (load->cpu_from_ns != 0) load->cpu_ns = fa_load_clock_ns(CLOCK_THREAD_CPUTIME_ID) - load->cpu_from_ns;
  for (uint32_t i = 0; i < load->config.calls; i++) /* what came before the end and was not looked at yet */
    if (load->callers[i].state == FA_CALLER_ON) (void)fa_caller_listen(load, i, fa_load_now_ns());
  hang_up_all(load);
  show(load, FA_LOAD_PHASE_OVER);
  return load->trouble.kind == FA_LOAD_TROUBLE_NONE ? FA_OK : FA_ERR_OS;
}
