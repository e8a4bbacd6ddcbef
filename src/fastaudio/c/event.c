#include "event.h"

#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

fa_result_t fa_events_init(fa_events_t *events, uint32_t capacity) {
  if (capacity < 2 || capacity > 65536 || (capacity & (capacity - 1)) != 0) return FA_ERR_ARG;
  atomic_init(&events->write, 0);
  atomic_init(&events->read, 0);
  atomic_init(&events->armed, 0);
  atomic_init(&events->lost, 0);
  events->untold = false;
  events->mask = capacity - 1;
  events->slots = calloc(capacity, sizeof *events->slots);
  if (events->slots == NULL) return FA_ERR_NOMEM;
  events->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (events->fd >= 0) return FA_OK;
  free(events->slots);
  events->slots = NULL;
  return FA_ERR_OS;
}

void fa_events_close(fa_events_t *events) {
  if (events->slots == NULL) return;
  close(events->fd);
  free(events->slots);
  events->slots = NULL;
}

fa_result_t fa_events_push(fa_events_t *events, const fa_event_t *event) {
  uint32_t write = atomic_load_explicit(&events->write, memory_order_relaxed); /* own index */
  uint32_t read = atomic_load_explicit(&events->read, memory_order_acquire);   /* pairs with fa_events_drain */
  if (write - read > events->mask) {
    atomic_fetch_add_explicit(&events->lost, 1, memory_order_relaxed); /* a counter */
    return FA_AGAIN;
  }
  events->slots[write & events->mask] = *event;
  atomic_store_explicit(&events->write, write + 1, memory_order_release); /* pairs with fa_events_drain */
  events->untold = true;
  return FA_OK;
}

void fa_events_tell(fa_events_t *events) {
  if (!events->untold) return;
  events->untold = false;
  if (atomic_exchange_explicit(&events->armed, 1, memory_order_acq_rel) == 0) { /* pairs with fa_events_wake */
    /* Cannot fail: the counter is written once between two reads, far below its limit. */
    (void)eventfd_write(events->fd, 1);
  }
}

void fa_events_wake(fa_events_t *events) {
  eventfd_t count;
  (void)eventfd_read(events->fd, &count); /* EAGAIN: a spurious wake-up */
  (void)atomic_exchange_explicit(&events->armed, 0, memory_order_acq_rel); /* pairs with fa_events_tell */
}

uint32_t fa_events_drain(fa_events_t *events, fa_event_t *out, uint32_t max) {
  uint32_t read = atomic_load_explicit(&events->read, memory_order_relaxed);   /* own index */
  uint32_t write = atomic_load_explicit(&events->write, memory_order_acquire); /* pairs with fa_events_push */
  uint32_t count = write - read < max ? write - read : max;
  for (uint32_t i = 0; i < count; i++) out[i] = events->slots[(read + i) & events->mask];
  atomic_store_explicit(&events->read, read + count, memory_order_release); /* pairs with fa_events_push */
  return count;
}

bool fa_events_pending(fa_events_t *events) {
  return atomic_load_explicit(&events->write, memory_order_acquire) != /* pairs with fa_events_push */
         atomic_load_explicit(&events->read, memory_order_relaxed);
}
