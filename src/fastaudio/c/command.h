/* command.h - commands from the event loop to the media thread: a bounded ring and an eventfd.
 *
 * Threads: one producer (event loop), one consumer (media thread). Neither blocks; only init allocates.
 * Hand-off: the protocol of event.h with the sides changed.
 * At the limit: FA_AGAIN, nothing is written.
 */
#ifndef FA_COMMAND_H
#define FA_COMMAND_H

#include "call.h"

typedef enum {
  FA_COMMAND_SPARE,
  FA_COMMAND_FLUSH,
  FA_COMMAND_HOLD,
  FA_COMMAND_RESUME,
  FA_COMMAND_CLOSE,
  FA_COMMAND_BARGEIN,
  FA_COMMAND_ACCEPTING,
  FA_COMMAND_PING,
  FA_COMMAND_STOP
} fa_command_kind_t;

typedef struct {
  fa_command_kind_t kind;
  uint32_t value;
  fa_call_t *call;
  fa_bargein_config_t bargein;
} fa_command_t;

typedef struct {
  _Alignas(FA_CACHE_LINE) _Atomic uint32_t write;
  _Alignas(FA_CACHE_LINE) _Atomic uint32_t read;
  _Alignas(FA_CACHE_LINE) _Atomic uint32_t armed;
  fa_command_t *slots;
  uint32_t mask;
  int fd; /* eventfd */
} fa_commands_t;

/* `capacity`: a power of two, 2..65536. FA_ERR_ARG, FA_ERR_NOMEM, FA_ERR_OS. */
fa_result_t fa_commands_init(fa_commands_t *commands, uint32_t capacity);
void fa_commands_close(fa_commands_t *commands);

/* Producer. FA_AGAIN when the ring is full. */
fa_result_t fa_commands_push(fa_commands_t *commands, const fa_command_t *command);
/* Producer: true when the consumer is done with every command given so far. */
bool fa_commands_done(fa_commands_t *commands);

/* Consumer: empties the eventfd and re-arms; call before taking. */
void fa_commands_wake(fa_commands_t *commands);
/* Consumer: the oldest command, or NULL. It stays in the ring until `fa_commands_pop`, once it is carried out. */
const fa_command_t *fa_commands_peek(fa_commands_t *commands);
void fa_commands_pop(fa_commands_t *commands);

#endif
