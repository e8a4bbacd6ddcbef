"""What the caller has said in this turn, and how sure one may be that it is all of it. Pure: no I/O, no clock."""

from __future__ import annotations

from dataclasses import dataclass, replace

from agent.language.turn_words import BRITISH, TurnWords
from agent.language.words import Completeness, completeness
from agent.providers.base import Transcript

GOING_ON_MS = 2000
"""A caller who begins to speak again has words by then; a noise has none."""
COVERED_MS = 100
"""A final that lacks so much of the end of the speech lacks no word."""
LAST_WORD_MS = 150
"""An interim whose last word ends so shortly before the speech does holds that word whole."""
SOFT_MS = 400
"""Words so long after the local detector heard the end: the caller is too soft for it."""


@dataclass(frozen=True, slots=True)
class TurnTaking:
    """How long the caller's silence must be, ms, by how complete the words sound; and how much is thought early."""

    bare_ms: int = 240
    complete_ms: int = 320
    statement_ms: int = 680
    unsure_ms: int = 780
    incomplete_ms: int = 1500
    drafts: int = 2
    """Answers that are thought of early in one turn of the caller, at most; 0 waits until the turn is certain."""
    silence_ms: int = 7000
    """Nothing heard for so long after the agent has spoken: it asks whether the caller is still there."""
    prompts: int = 2
    """So many times it asks, and then says goodbye."""

    def times(self, patience: float) -> TurnTaking:
        """The same with silences so many times as long."""
        names = ("bare_ms", "complete_ms", "statement_ms", "unsure_ms", "incomplete_ms")
        return replace(self, **{name: round(patience * getattr(self, name)) for name in names})

    def needed_ms(self, how: Completeness) -> int:
        """The silence after which words of this kind are answered."""
        return {
            Completeness.BARE: self.bare_ms,
            Completeness.COMPLETE: self.complete_ms,
            Completeness.STATEMENT: self.statement_ms,
            Completeness.UNSURE: self.unsure_ms,
            Completeness.INCOMPLETE: self.incomplete_ms,
        }[how]


class CallerTurn:
    """The words of a turn, final and not, beside what the local detector hears of the voice. Times are ms."""

    def __init__(self, now_ms: float, taking: TurnTaking, language: TurnWords = BRITISH) -> None:
        self.vendor_ends = False
        """Whether the STT itself ends turns."""
        self.finals: list[str] = []
        self.interim = ""
        self.question = ""
        """What the agent said last: what the words answer."""
        self.speaking = False
        """Local voice activity."""
        self.ended = False
        """Whether the STT has heard the end of the utterance, or of the turn."""
        self.asked_ms: float | None = None
        """When the STT was asked for what it has."""
        self.quiet_since_ms = now_ms
        """What the caller's silence counts from."""
        self.away_until_ms: float | None = None
        """Nobody hears the caller just now: their words will come, and are waited for no longer than this."""
        self._taking = taking
        self._language = language
        self._spoke_up_ms = now_ms
        self._fell_silent_ms = now_ms
        self._audible = False  # whether the local detector heard the voice that these words are of
        self._words_end_ms = now_ms
        self._covered_ms = now_ms  # the finals hold all that was said up to here
        self._interim_covered_ms = now_ms

    @property
    def words(self) -> str:
        """What the caller has said so far."""
        return " ".join([*self.finals, self.interim]).strip()

    # -- what is heard -----------------------------------------------------------------------------------------------

    def hear(self, heard: Transcript, now_ms: float) -> bool:
        """Take what the STT heard in; True for an interim that says what the last one said."""
        unchanged = bool(heard.text) and not heard.final and heard.text == self.interim
        if heard.final:
            self.interim = ""
            if heard.text:
                self.finals.append(heard.text)
            self._covered_ms = max(self._covered_ms, heard.covered_ms)
        else:
            self.interim = heard.text
            self._interim_covered_ms = max(heard.covered_ms, heard.end_ms + LAST_WORD_MS)
        self.ended = heard.speech_final or (self.ended and not heard.text)
        if heard.text:
            # A voice too soft for the local detector is known to have spoken by its words alone.
            self._words_end_ms = min(heard.end_ms, now_ms)
            self.quiet_since_ms = max(self.quiet_since_ms, self._words_end_ms)
            if not self.speaking and self._words_end_ms > self._fell_silent_ms + SOFT_MS:
                self._audible = False
        return unchanged

    def speaks(self, now_ms: float) -> None:
        """Local voice activity began."""
        self._spoke_up_ms = now_ms
        self.speaking = self._audible = True
        self.asked_ms = None

    def falls_silent(self, end_ms: float) -> None:
        """Local voice activity ended."""
        self._fell_silent_ms = end_ms
        self.quiet_since_ms = max(self.quiet_since_ms, end_ms)
        self.speaking = False
        self.asked_ms = None

    # -- what follows from it ----------------------------------------------------------------------------------------

    @property
    def wants_asking(self) -> bool:
        """Whether the STT may hold words back, and gives them when it is asked."""
        return not self.vendor_ends and self._covered_ms < self.quiet_since_ms

    @property
    def settled(self) -> bool:
        """Whether all that the caller said is in the finals, as far as one can tell."""
        covered = self._audible and self._covered_ms >= self.quiet_since_ms - COVERED_MS
        return not self.interim and (self.ended or (covered and not self.vendor_ends))

    @property
    def owed(self) -> bool:
        """Whether the caller has said something, and the STT, which should have told what, has not."""
        told = self.away_until_ms is None and (self.asked_ms is None or self.settled)
        return self._audible and not self.speaking and not told

    @property
    def interim_covers(self) -> bool:
        """Whether the interim reaches to the end of the speech: the final will hardly differ."""
        silent = self._audible and not self.speaking
        covers = silent and self._interim_covered_ms >= self.quiet_since_ms
        return bool(self.interim) and covers and not self.vendor_ends

    @property
    def completeness(self) -> Completeness:
        """How complete the words sound."""
        return completeness(self.words, self.question, self._language)

    @property
    def certain_ms(self) -> float:
        """When the turn will be certain to be over if nothing is heard until then; its words are all there."""
        how = self.completeness
        believed = self.vendor_ends and how in (Completeness.BARE, Completeness.COMPLETE)
        needed_ms = 0 if believed else self._taking.needed_ms(how)
        # Somebody who goes on has words soon; whatever else goes on is a noise, and what began before the end is one.
        at_last = self._words_end_ms + needed_ms + GOING_ON_MS
        if self.speaking and not (self.ended and self._spoke_up_ms < self._words_end_ms):
            return at_last
        return min(self.quiet_since_ms + needed_ms, at_last)

    # -- what becomes of it ------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """The words at hand are all there are."""
        if self.interim:
            self.finals.append(self.interim)
            self.interim = ""
        self.ended = True

    def begin(self, now_ms: float) -> None:
        """The caller is to be heard from now on; words that are at hand stay."""
        self.quiet_since_ms = max(self.quiet_since_ms, now_ms)
        self._covered_ms = max(self._covered_ms, now_ms)
        self._words_end_ms = now_ms
        self._audible = self.speaking
        self.asked_ms = None
        self.ended = False

    def forget(self) -> None:
        """The words are dealt with."""
        self.finals.clear()
        self.interim = ""
        self.asked_ms = None
        self.ended = False

    def again(self, words: str, now_ms: float) -> None:
        """Words that were taken for all there are stand first again, and are that still if nothing follows."""
        self.finals.insert(0, words)
        self._words_end_ms = now_ms
        self.ended = True
