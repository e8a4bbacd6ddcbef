/* The rings of events and of commands, with their eventfds: first in, first out, nothing lost but what was refused and
 * counted, and no item without a wake-up. */
#include <poll.h>

#include "command.h"
#include "event.h"
#include "fuzz.h"

#define CAPACITY 8
#define MANY 16

static bool readable(int fd) {
  struct pollfd wait = {.fd = fd, .events = POLLIN};
  return poll(&wait, 1, 0) == 1;
}

typedef struct {
  uint32_t pushed, taken, refused;
  bool drained; /* the consumer saw the ring empty since it woke last: it sleeps until it is woken */
} queue_t;

static void check_awake(const queue_t *queue, int fd) {
  NEED(queue->taken == queue->pushed || !queue->drained || readable(fd));
}

static void push_event(fa_events_t *events, queue_t *queue) {
  fa_event_t event = {.kind = FA_EVENT_DTMF, .value = queue->pushed, .position = ~(uint64_t)queue->pushed};
  bool full = queue->pushed - queue->taken == CAPACITY;
  NEED((fa_events_push(events, &event) == FA_AGAIN) == full);
  if (full)
    queue->refused++;
  else
    queue->pushed++;
  NEED(atomic_load(&events->lost) == queue->refused);
  fa_events_tell(events);
}

static void drain_events(fa_events_t *events, queue_t *queue, uint32_t most) {
  fa_event_t out[MANY];
  uint32_t got = fa_events_drain(events, out, most), there = queue->pushed - queue->taken;
  NEED(got == (there < most ? there : most));
  for (uint32_t i = 0; i < got; i++) NEED(out[i].value == queue->taken + i && out[i].position == ~(uint64_t)out[i].value);
  queue->taken += got;
  queue->drained = queue->taken == queue->pushed;
  NEED(fa_events_pending(events) == !queue->drained);
}

static void push_command(fa_commands_t *commands, queue_t *queue) {
  fa_command_t command = {.kind = FA_COMMAND_FLUSH, .value = queue->pushed, .bargein = {.rms = ~queue->pushed}};
  bool full = queue->pushed - queue->taken == CAPACITY;
  NEED((fa_commands_push(commands, &command) == FA_AGAIN) == full);
  if (!full) queue->pushed++;
}

static void take_commands(fa_commands_t *commands, queue_t *queue, uint32_t most) {
  queue->drained = false;
  for (uint32_t i = 0; i < most; i++) {
    const fa_command_t *command = fa_commands_peek(commands);
    NEED((command == NULL) == (queue->taken == queue->pushed));
    queue->drained = command == NULL;
    if (command == NULL) break;
    NEED(command->value == queue->taken && command->bargein.rms == ~queue->taken);
    NEED(!fa_commands_done(commands)); /* it is carried out only once it is popped */
    fa_commands_pop(commands);
    queue->taken++;
  }
  NEED(fa_commands_done(commands) == (queue->taken == queue->pushed));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static fa_events_t events;
  static fa_commands_t commands;
  queue_t told = {.drained = true}, asked = {.drained = true};
  NEED(fa_events_init(&events, CAPACITY) == FA_OK && fa_commands_init(&commands, CAPACITY) == FA_OK);
  for (size_t at = 0; at < size; at++) {
    uint32_t most = data[at] >> 3 & 15;
    switch (data[at] & 7) {
      case 0:
      case 1: push_event(&events, &told); break;
      case 2: drain_events(&events, &told, most); break; /* again, without a wake-up: what was left */
      case 3:
        fa_events_wake(&events);
        drain_events(&events, &told, most);
        break;
      case 4:
      case 5: push_command(&commands, &asked); break;
      default:
        fa_commands_wake(&commands);
        take_commands(&commands, &asked, most);
    }
    check_awake(&told, events.fd);
    check_awake(&asked, commands.fd);
  }
  fa_events_close(&events);
  fa_commands_close(&commands);
  return 0;
}
