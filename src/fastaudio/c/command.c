#include "command.h"

#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

fa_result_t fa_commands_init(fa_commands_t *commands, uint32_t capacity) {
  commands->slots = NULL;
  commands->fd = -1;
  if (capacity < 2 || capacity > 65536 || (capacity & (capacity - 1)) != 0) return FA_ERR_ARG;
  atomic_init(&commands->write, 0);
  atomic_init(&commands->read, 0);
  atomic_init(&commands->armed, 0);
  commands->mask = capacity - 1;
  commands->slots = calloc(capacity, sizeof *commands->slots);
  if (commands->slots == NULL) return FA_ERR_NOMEM;
  commands->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (commands->fd >= 0) return FA_OK;
  free(commands->slots);
  commands->slots = NULL;
  return FA_ERR_OS;
}

void fa_commands_close(fa_commands_t *commands) {
  if (commands->slots == NULL) return;
  close(commands->fd);
  free(commands->slots);
  commands->slots = NULL;
}

fa_result_t fa_commands_push(fa_commands_t *commands, const fa_command_t *command) {
  uint32_t write = atomic_load_explicit(&commands->write, memory_order_relaxed); /* own index */
  uint32_t read = atomic_load_explicit(&commands->read, memory_order_acquire);   /* pairs with fa_commands_pop */
  if (write - read > commands->mask) return FA_AGAIN;
  commands->slots[write & commands->mask] = *command;
  atomic_store_explicit(&commands->write, write + 1, memory_order_release); /* pairs with fa_commands_peek */
  if (atomic_exchange_explicit(&commands->armed, 1, memory_order_acq_rel) == 0) /* pairs with fa_commands_wake */
    (void)eventfd_write(commands->fd, 1); /* cannot fail: written once between two reads */
  return FA_OK;
}

bool fa_commands_done(fa_commands_t *commands) {
  return atomic_load_explicit(&commands->read, memory_order_acquire) == /* pairs with fa_commands_pop */
         atomic_load_explicit(&commands->write, memory_order_relaxed);  /* own index */
}

void fa_commands_wake(fa_commands_t *commands) {
  eventfd_t count;
  (void)eventfd_read(commands->fd, &count);                                 /* EAGAIN: a spurious wake-up */
  (void)atomic_exchange_explicit(&commands->armed, 0, memory_order_acq_rel); /* pairs with fa_commands_push */
}

const fa_command_t *fa_commands_peek(fa_commands_t *commands) {
  uint32_t read = atomic_load_explicit(&commands->read, memory_order_relaxed);   /* own index */
  uint32_t write = atomic_load_explicit(&commands->write, memory_order_acquire); /* pairs with fa_commands_push */
  return read == write ? NULL : &commands->slots[read & commands->mask];
}

void fa_commands_pop(fa_commands_t *commands) {
  uint32_t read = atomic_load_explicit(&commands->read, memory_order_relaxed);  /* own index */
  atomic_store_explicit(&commands->read, read + 1, memory_order_release); /* pairs with fa_commands_push and _done */
}
