#include "load_turn.h"

static bool turn_is_over(const fa_load_turn_t *turn, int64_t due_ns) {
  if (turn->heard) return due_ns - turn->sound_ns > FA_LOAD_PAUSE_NS;
  return due_ns - turn->since_ns > FA_LOAD_PATIENCE_NS;
}

bool fa_load_turn_next(fa_load_turn_t *turn, fa_load_talk_t *talk, uint32_t length, int64_t due_ns) {
  if (!turn->talking) {
    if (turn->since_ns == 0) turn->since_ns = due_ns; /* the call begins */
    if (!turn_is_over(turn, due_ns)) return false;
    if (talk != NULL) {
      talk->turns++;
      if (turn->begun && !turn->heard) talk->unanswered++;
    }
    turn->talking = turn->begun = true;
    turn->heard = false;
    turn->said = 0;
  }
  if (turn->said == length) {
    turn->talking = false;
    turn->since_ns = due_ns;
    return false;
  }
  turn->said++;
  return true;
}

void fa_load_turn_hear(fa_load_turn_t *turn, fa_load_talk_t *talk, int64_t at_ns) {
  turn->sound_ns = at_ns;
  if (turn->heard) return;
  turn->heard = true;
  if (talk == NULL || !turn->begun) return;
  if (turn->talking) {
    talk->overlaps++;
    return;
  }
  talk->answers++;
  fa_load_histogram_add(&talk->answered, at_ns - turn->since_ns);
}
