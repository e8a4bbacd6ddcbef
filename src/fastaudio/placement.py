"""Where on a call's time line the samples of an utterance went out: holds, resumes and gaps move what comes behind."""

from __future__ import annotations

SLIP_MS = 80
"""Samples that went out so much later than reckoned have a gap before them: nothing was there to play, or the host
stood still. Less is the lead, or the age of what is known."""


class Placement:
    """Of one utterance; all numbers are samples.

    It knows the beginning, each hold and each resume to the frame. A gap without either (the voice was slower than
    speech) is noticed when more audio is queued, which is when such a gap ends.
    """

    def __init__(self, rate: int) -> None:
        self._slip = SLIP_MS * rate // 1000
        self._from: list[int] = []  # of the utterance: what begins here ...
        self._at: list[int] = []  # ... went out from here on, by the call's time line
        self._held = False

    def began(self, position: int) -> None:
        """Its first sample goes out."""
        self._run(0, position)

    def held(self) -> None:
        """Silence goes out from now on."""
        self._held = True

    def resumed(self, heard: int, back: int, position: int) -> None:
        """It goes on, from `back` samples before the furthest that was heard."""
        self._held = False
        if self._from:
            self._run(max(0, heard - back), position)

    def seen(self, heard: int, position: int) -> None:
        """So much of it has gone out by now."""
        if self._from and not self._held and position - self._reckoned(heard) > self._slip:
            self._run(heard, position)

    def position_of(self, sample: int) -> int | None:
        """Where on the call's time line a sample of the utterance goes out; None before any of it has."""
        return self._reckoned(sample) if self._from else None

    def _run(self, sample: int, position: int) -> None:
        """What a resume goes back by is heard again, and counts there."""
        while self._from and self._from[-1] >= sample:
            del self._from[-1], self._at[-1]
        self._from.append(sample)
        self._at.append(position)

    def _reckoned(self, sample: int) -> int:
        index = len(self._from) - 1
        while index and self._from[index] > sample:
            index -= 1
        return self._at[index] + sample - self._from[index]
