"""How long the caller has heard nothing while it is the agent's turn: nobody waits in silence, whatever hangs."""

from __future__ import annotations

from collections.abc import Callable

from agent.call.prompts import Prompt

PATIENT_MS = 1500
"""A caller who has finished speaking wonders after that."""
FRESH_MS = 900
"""A turn that has only just become certain gets so long for its answer..."""
LONGEST_MS = 1850
"""...but nobody hears nothing for longer: what is said then begins within 2 s, the media core's tick included."""
TAIL_MS = 40
"""What does not fill a frame is not played before more comes."""
AGAIN_MS = 1500
"""Behind something of the kind, until the next."""
SAID = (Prompt.BEAR_WITH_ME, Prompt.TROUBLE)
"""In turn."""


class Waiting:
    """Says when the caller is to hear that somebody is there, and what. Pure: times are ms on the turn machine's scale.

    The caller waits from the end of their speech; or, in the middle of an answer, from the end of what there is of it.
    """

    def __init__(self) -> None:
        self.count = 0
        """How often it was said in this call."""
        self._heard_until_ms = 0.0  # the agent's own words; and whether those were of this kind
        self._in_a_row = False
        self._ran_out_ms: float | None = None

    def heard(self, now_ms: float) -> None:
        """The caller hears the agent, or has just heard it: what comes next is a wait of its own."""
        self._heard_until_ms = now_ms
        self._in_a_row = False
        self._ran_out_ms = None

    def due_ms(self, since_ms: float, certain_ms: float) -> float:
        """When something is to be heard, at the latest, by a caller who has heard nothing `since_ms`.

        It has been certain that it is the agent's turn since `certain_ms`.
        """
        if self._in_a_row and since_ms <= self._heard_until_ms:
            return self._heard_until_ms + AGAIN_MS
        since_ms = max(since_ms, self._heard_until_ms)
        return min(max(since_ms + PATIENT_MS, certain_ms + FRESH_MS), since_ms + LONGEST_MS)

    def due_in_answer_ms(self, now_ms: float, unheard_ms: float) -> float:
        """The same in the middle of an answer, of which there is so much audio that the caller has yet to hear.

        While there is some it is when to look again: more may have come by then, of which nobody tells.
        """
        if unheard_ms > TAIL_MS:
            self._ran_out_ms = None
            return now_ms + unheard_ms + TAIL_MS
        if self._ran_out_ms is None:
            self._ran_out_ms = now_ms
        return self.due_ms(self._ran_out_ms, self._ran_out_ms)

    def next_words(
        self, now_ms: float, first: Prompt | None, recorded: Callable[[Prompt], bytes], bytes_a_ms: int
    ) -> tuple[Prompt, bytes]:
        """What is said now, and its audio; `first` in place of the usual. `recorded` knows the audio of each."""
        prompt = first or SAID[self.count % len(SAID)]
        self.count += 1
        pcm = recorded(prompt)
        self._heard_until_ms = now_ms + len(pcm) / bytes_a_ms
        self._in_a_row = True
        return prompt, pcm
