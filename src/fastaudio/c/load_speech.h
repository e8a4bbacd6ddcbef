/* load_speech.h - what the callers of the load generator say, as messages that are ready to send.
 *
 * Five seconds that go round: a voiced sound with a gliding pitch, two formants and syllables, over a faint noise, so
 * that level meters and detectors have the work that a caller gives them; then the noise alone. The same bytes each
 * time. It is made for cost, not for realism: no figure about detection should rest on it.
 *
 * Threads: read-only once made. Making it allocates and takes some 20 ms a rate of 8000.
 */
#ifndef FA_LOAD_SPEECH_H
#define FA_LOAD_SPEECH_H

#include "fa.h"

#define FA_LOAD_LOOP_MS 5000

typedef struct {
  uint8_t *messages; /* header and payload, back to back */
  uint32_t count;    /* messages */
  uint32_t talk;     /* of them, those with speech: the first ones */
  uint32_t bytes;    /* of one */
} fa_load_speech_t;

/* `rate`: one that AudioSocket has a kind for; `packet_ms`: 10..60; `talk_percent`: 0..100 of the time is speech;
 * `fluent`: the voice does not fall silent between syllables. FA_ERR_ARG when one is out of range, FA_ERR_NOMEM. */
fa_result_t fa_load_speech_make(fa_load_speech_t *speech, uint32_t rate, uint32_t packet_ms, uint32_t talk_percent,
                                bool fluent);
void fa_load_speech_free(fa_load_speech_t *speech);

/* The `n`th message of caller `caller`: each begins at a place of its own. */
const uint8_t *fa_load_speech_message(const fa_load_speech_t *speech, uint32_t caller, uint64_t n);

/* The `n`th message of a turn, which has `talk` of them; the `n`th of the noise between turns. `talk` is neither 0 nor
 * `count`. */
const uint8_t *fa_load_speech_word(const fa_load_speech_t *speech, uint64_t n);
const uint8_t *fa_load_speech_noise(const fa_load_speech_t *speech, uint64_t n);

#endif
