/* load_turn.h - whose turn it is: a caller of the load generator that converses with an agent.
 *
 * It listens until the agent has spoken and paused, speaks for a while, and listens again. The agent is heard by
 * messages that are not all zeros: zeros are what it sends while it has nothing to say. An agent that says nothing is
 * asked again after the caller's patience, and counted.
 *
 * Threads: belongs to one thread. Nothing blocks, allocates or fails. All zero is a caller who listens since time 0.
 */
#ifndef FA_LOAD_TURN_H
#define FA_LOAD_TURN_H

#include "load_histogram.h"

#define FA_LOAD_PAUSE_NS 700000000LL     /* silence after which the agent has finished */
#define FA_LOAD_PATIENCE_NS 8000000000LL /* without a sound of the agent */

/* Over all the callers of a run. */
typedef struct {
  uint64_t turns;               /* of the callers, begun */
  uint64_t answers;             /* of the agent, begun after a turn of the caller's */
  uint64_t unanswered;          /* turns that the agent let pass until the caller lost patience */
  uint64_t overlaps;            /* turns in which the agent began to speak before the caller had finished */
  fa_load_histogram_t answered; /* from the caller's last message of speech to the first sound of the agent */
} fa_load_talk_t;

typedef struct {
  bool talking;
  bool begun;       /* the caller has spoken at all: what came before was a greeting */
  bool heard;       /* the agent, since the caller fell silent */
  uint32_t said;    /* messages of speech in this turn */
  int64_t since_ns; /* when the caller fell silent */
  int64_t sound_ns; /* when the agent was last heard */
} fa_load_turn_t;

/* What the caller's next message, due at `due_ns`, is: true for speech, of which it is number `said` - 1 of the turn;
 * false for silence. `length`: messages of speech in a turn, from 1; `talk`: books it, or NULL. */
bool fa_load_turn_next(fa_load_turn_t *turn, fa_load_talk_t *talk, uint32_t length, int64_t due_ns);

/* A message that is not silence came from the agent at `at_ns`. */
void fa_load_turn_hear(fa_load_turn_t *turn, fa_load_talk_t *talk, int64_t at_ns);

#endif
