"""Whose turn it is: a pure state machine. Events and the time go in, actions come out; no I/O, no clock of its own.

    LISTENING --the caller has finished--> THINKING --first audio--> SPEAKING --played to its end--> LISTENING
    LISTENING --the caller seems to have finished: the answer is thought of early, and waits
    THINKING  --a sound--> LISTENING (the answer waits), words --> LISTENING (it is thrown away, the words are joined)
    SPEAKING  --words that are no backchannel--> LISTENING (flush), a backchannel or a cough --> SPEAKING (resume)
    any       --the last words begin--> ENDING: nothing interrupts a goodbye

The caller has finished when all of their words are final and they have been silent for as long as the words ask for:
a "yes" for less, a sentence that breaks off for more (`words.py`). An STT that ends turns itself is believed, but for
words that break off. Every state has a deadline and a way on, whatever a vendor or a caller does not do.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from agent.call.actions import (
    Action,
    AskIfThere,
    Finalize,
    GiveUp,
    HangUp,
    Interrupt,
    Listen,
    Respond,
    Resume,
    Retract,
    SayTheRest,
    Stalled,
    StopListening,
    Think,
    Withdraw,
)
from agent.call.turn_words import BRITISH, TurnWords
from agent.call.words import Completeness, completeness, interrupts_at_once, is_backchannel, same_words
from agent.providers.base import EndOfTurn, Transcript

NOISE_MS = 20_000
"""Something is heard for so long that has no words: the agent asks whether the caller is there."""
FINAL_MS = 900
"""The STT was asked for what it has, or should have had words, and nothing came: it is asked again."""
GOING_ON_MS = 2000
"""A caller who begins to speak again has words by then; a noise has none."""
COVERED_MS = 100
"""A final that lacks so much of the end of the speech lacks no word."""
SOFT_MS = 400
"""Words so long after the local detector heard the end: the caller is too soft for it."""
SOUNDS = 2
"""So many times an answer waits for a sound without words; a noisy line must not keep the agent from answering."""
REST_MS = 1200
"""The agent was cut off, and no words came in this silence: it goes on with what was not heard."""
THINKING_MS = 15_000
"""No audio of an answer for so long, and no tool that runs: every vendor has given up before, or hangs."""
TOOLS_MS = 45_000
"""The same while tools run; each has a time limit of its own."""
SPEAKING_MS = 150_000
"""Longer than the audio of any answer."""
ENDING_MS = 20_000
ASIDE_MS = 1000
"""A "yes" so shortly before the agent has finished answers what it asked, and is no backchannel."""
LATE_WORDS = 2
"""So many words that were spoken before the agent began, and reach us only while it speaks, are left out."""
PREROLL_MS = 500


@dataclass(frozen=True, slots=True)
class TurnTaking:
    """How long the caller's silence must be, ms, by how complete the words sound; and how much is thought early."""

    bare_ms: int = 240
    complete_ms: int = 320
    unsure_ms: int = 600
    incomplete_ms: int = 1300
    drafts: int = 2
    """Answers that are thought of early in one turn of the caller, at most; 0 waits until the turn is certain."""
    silence_ms: int = 7000
    """Nothing heard for so long after the agent has spoken: it asks whether the caller is still there."""
    prompts: int = 2
    """So many times it asks, and then says goodbye."""

    def needed_ms(self, how: Completeness) -> int:
        """The silence after which words of this kind are answered."""
        return {
            Completeness.BARE: self.bare_ms,
            Completeness.COMPLETE: self.complete_ms,
            Completeness.UNSURE: self.unsure_ms,
            Completeness.INCOMPLETE: self.incomplete_ms,
        }[how]


class State(enum.Enum):
    """Where the conversation stands."""

    LISTENING = "listening"
    THINKING = "thinking"
    SPEAKING = "speaking"
    ENDING = "ending"


class Turn:
    """The machine. Times are ms on any one monotonic scale; `deadline_ms` is when `tick` wants to be called."""

    def __init__(
        self,
        now_ms: float,
        taking: TurnTaking | None = None,
        words: TurnWords = BRITISH,
        *,
        vendor_ends_turns: bool = False,
    ) -> None:
        self.state = State.SPEAKING  # the greeting comes first
        self.held = False
        self.deadline_ms = now_ms + SPEAKING_MS
        self.vendor_ends_turns = vendor_ends_turns
        self._taking = taking or TurnTaking()
        self._language = words
        self._now = now_ms
        self._since = now_ms  # when the present state began
        self._finals: list[str] = []
        self._interim = ""
        self._draft: str | None = None  # the words that the answer in hand answers
        self._drafts = 0  # answers thought of early in this turn
        self._question = ""  # what the agent said last
        self._prompts = 0
        self._speaking = False  # local voice activity of the caller
        self._spoke_up = now_ms  # when it began
        self._fell_silent = now_ms  # when it ended
        self._audible = False  # whether it heard the words of this turn
        self._quiet_since = now_ms  # what the caller's silence counts from
        self._words_end = now_ms
        self._covered = now_ms  # finals hold all that was said up to here
        self._interim_covered = now_ms
        self._asked_at: float | None = None  # when the STT was asked for what it has
        self._ended = False  # the STT heard the end of the utterance, or of the turn
        self._sounds = 0  # how often an answer waited for a sound without words, in this turn
        self._cut_off = False  # the agent was cut off, and no words have come since
        self._acted = False  # a tool has run for the answer in hand: the words that it answers are dealt with
        self._tools = 0  # tools that are running
        self._aside = ("", now_ms)  # the latest backchannel, and when it was
        self._began = now_ms  # when the agent last began to speak

    @property
    def words(self) -> str:
        """What the caller has said in this turn so far."""
        return " ".join([*self._finals, self._interim]).strip()

    # -- what the STT hears ------------------------------------------------------------------------------------------

    def transcript(self, heard: Transcript, now_ms: float) -> list[Action]:
        """The STT heard something."""
        self._now = now_ms
        if self.state is State.ENDING:
            return []
        unchanged = bool(heard.text) and heard.text == self._interim
        if heard.final:
            self._interim = ""
            if heard.text:
                self._finals.append(heard.text)
            self._covered = max(self._covered, heard.covered_ms)
        else:
            self._interim = heard.text
            self._interim_covered = heard.covered_ms
        self._ended = heard.speech_final or (self._ended and not heard.text)
        actions = self._heard(heard.text, heard.end_ms, final=heard.final) if heard.text else []
        return [*actions, *self._next(think=unchanged or self._interim_covers)]

    def utterance_end(self, now_ms: float) -> list[Action]:
        """The STT heard no word for long: the safety net of `speech_final`."""
        self._now = now_ms
        if self.state is not State.LISTENING or not self.words:
            return []
        self._settle()
        return self._next()

    def eager_end(self, text: str, now_ms: float) -> list[Action]:
        """The STT thinks that the turn may be over."""
        self._now = now_ms
        if self.state is not State.LISTENING:
            return []
        self._interim = text
        return [*self._drop_unless_same(), *self._next(think=True)]

    def turn_resumed(self, now_ms: float) -> list[Action]:
        """The STT takes that back."""
        self._now = now_ms
        if self.state is State.LISTENING and self._draft is not None:
            self._draft = None
            return [Withdraw(), *self._next()]
        return []

    def end_of_turn(self, heard: EndOfTurn, now_ms: float) -> list[Action]:
        """The STT is certain that the turn is over."""
        final = Transcript(heard.text, True, True, heard.start_ms, heard.end_ms, heard.end_ms)
        return self.transcript(final, now_ms)

    def typed(self, keys: str, now_ms: float) -> list[Action]:
        """The caller has typed something, and no more keys come: it is an answer as it stands."""
        self._now = now_ms
        if self.state is State.ENDING:
            return []
        actions: list[Action] = []
        if self.state is State.SPEAKING:
            actions += self._interrupt()
        elif self.state is State.THINKING:
            actions += self._take_back()
        self._finals.append(keys)
        self._settle()
        return [*actions, *self._drop_unless_same(), *self._respond()]

    # -- local voice activity ----------------------------------------------------------------------------------------

    def caller_speaks(self, now_ms: float) -> list[Action]:
        """It began: an answer that is not heard yet is not begun over it."""
        self._now = self._spoke_up = now_ms
        self._speaking = self._audible = True
        self._asked_at = None
        actions: list[Action] = []
        if self.state is State.THINKING and self._sounds < SOUNDS and not self._dealt_with:
            self._sounds += 1
            self._finals.insert(0, self._draft or "")
            self._enter(State.LISTENING)
            self._words_end = now_ms
            self._ended = True  # they were over, and still are if this brings no words
            actions.append(Retract())
        return [*actions, *self._next()]

    def caller_quiet(self, now_ms: float, end_ms: float | None = None) -> list[Action]:
        """It ended, at `end_ms`: as soon as this is known the STT is asked for the words."""
        self._now = now_ms
        self._fell_silent = now_ms if end_ms is None else end_ms
        self._quiet_since = max(self._quiet_since, self._fell_silent)
        self._speaking = False
        self._asked_at = None
        if self.state is State.SPEAKING and not self._interim and is_backchannel(self.words, self._language):
            return [*self._let_pass(), *self._next()]  # it did not go on
        actions = self._ask() if self.state is State.LISTENING or self.held else []
        return [*actions, *self._next(think=self._interim_covers)]

    # -- the media core ----------------------------------------------------------------------------------------------

    def hold(self, now_ms: float) -> list[Action]:
        """The first sign of speech while the agent speaks: the words will decide."""
        self._now = now_ms
        if self.state is not State.SPEAKING:
            return []
        self.held = True
        return [Listen(PREROLL_MS)]

    def resumed(self, now_ms: float) -> list[Action]:
        """It was nothing, or we said so."""
        self._now = now_ms
        self.held = False
        if self.state is not State.SPEAKING:
            return []
        # It may have been words after all: what the STT makes of them still counts.
        return [Finalize(), StopListening()]

    def flushed(self, now_ms: float) -> list[Action]:
        """The speech was thrown away: by us, or by the core's own limit when words took too long."""
        self._now = now_ms
        self.held = False
        if self.state is not State.SPEAKING:
            return []
        self._cut_off = not self.words
        return [*self._interrupt(), *self._next()]

    # -- the agent ---------------------------------------------------------------------------------------------------

    def agent_speaks(self, now_ms: float) -> list[Action]:
        """The first frame of an answer went out: the caller's words up to here are answered."""
        self._now = now_ms
        if self.state is State.ENDING:
            return [StopListening()]
        self._enter(State.SPEAKING)
        self._began = now_ms
        self._aside = ("", now_ms)
        self._cut_off = False
        self._forget()
        # What the STT holds back would else come out when it hears again, as if it were new.
        return [Finalize(), StopListening(), *self._next()]

    def agent_finished(self, now_ms: float, said: str = "") -> list[Action]:
        """All of it was heard; `said` is what the caller now answers."""
        self._now = now_ms
        self.held = False
        if self.state is State.ENDING:
            return []
        self._question = said
        self._listen()
        aside, aside_ms = self._aside
        if aside and now_ms - aside_ms <= ASIDE_MS:
            self._finals.append(aside)
            self._settle()
        return [Listen(PREROLL_MS if self._speaking else 0), *self._next()]

    def thinks_again(self, now_ms: float) -> None:
        """The words were answered with an apology, and are answered now."""
        self._now = now_ms
        self._enter(State.THINKING)
        self._next()

    def tool_began(self, now_ms: float) -> None:
        """A tool runs for the answer in hand."""
        self._tools += 1
        self._tools_changed(now_ms)

    def tool_ended(self, now_ms: float, *, acted: bool) -> None:
        """It has run; what it `acted` is not undone, and not done again, for what the caller says now."""
        self._tools -= 1
        self._acted = self._acted or (acted and self.state is not State.LISTENING)
        self._tools_changed(now_ms)

    def _tools_changed(self, now_ms: float) -> None:
        if self.state is State.THINKING:
            self._now = now_ms
            self._next()

    def ending(self, now_ms: float) -> list[Action]:
        """The last words begin, or are under way: nothing interrupts them."""
        self._now = now_ms
        self._enter(State.ENDING)
        held, self.held = self.held, False
        return [*([Resume()] if held else []), *self._next()]

    # -- time --------------------------------------------------------------------------------------------------------

    def tick(self, now_ms: float) -> list[Action]:
        """A deadline may have come."""
        self._now = now_ms
        if now_ms < self.deadline_ms:
            return []
        match self.state:
            case State.LISTENING:
                return self._listened_long_enough()
            case State.THINKING:
                self._listen()
                return [Stalled(), *self._next()]
            case State.SPEAKING:
                return [*self._interrupt(), *self._next()]
            case State.ENDING:
                self._enter(State.ENDING)
                return [HangUp(), *self._next()]

    def _listened_long_enough(self) -> list[Action]:
        if self.words:
            if not self._settled and self._asked_at is None:
                self._asked_at = self._now
                return [Finalize(), *self._next()]
            self._settle()
            return [*self._drop_unless_same(), *self._respond()]
        if self._cut_off and not self._speaking:
            self._cut_off = False
            return [SayTheRest(), *self._next()]
        if self._prompts >= self._taking.prompts:
            self._enter(State.ENDING)
            return [GiveUp(), *self._next()]
        self._prompts += 1
        self._since = self._now
        self._quiet_since = max(self._quiet_since, self._now)
        return [AskIfThere(), *self._next()]

    # -- inside ------------------------------------------------------------------------------------------------------

    @property
    def _dealt_with(self) -> bool:
        """Whether the words that the answer in hand answers have had their effect."""
        return self._acted or self._tools > 0

    @property
    def _settled(self) -> bool:
        """Whether all that the caller said is in the finals, as far as one can tell."""
        covered = self._audible and self._covered >= self._quiet_since - COVERED_MS
        return not self._interim and (self._ended or (covered and not self.vendor_ends_turns))

    @property
    def _interim_covers(self) -> bool:
        """Whether the interim reaches to the end of the speech: the final will hardly differ."""
        return (
            bool(self._interim)
            and not self._speaking
            and self._audible
            and not self.vendor_ends_turns
            and self._interim_covered >= self._quiet_since
        )

    def _settle(self) -> None:
        """The words at hand are all there are."""
        if self._interim:
            self._finals.append(self._interim)
            self._interim = ""
        self._ended = True

    def _ask(self) -> list[Action]:
        """Ask the STT for what it has, unless it has told all or tells by itself."""
        if self.vendor_ends_turns or self._covered >= self._quiet_since:
            return []
        self._asked_at = self._now
        return [Finalize()]

    def _certain_at(self) -> float:
        """When the turn will be certain to be over if nothing is heard until then; its words are all there."""
        how = completeness(self.words, self._question, self._language)
        believed = self.vendor_ends_turns and how is not Completeness.INCOMPLETE
        needed_ms = 0 if believed else self._taking.needed_ms(how)
        # Somebody who goes on has words soon; whatever else goes on is a noise, and what began before the end is one.
        at_last = self._words_end + needed_ms + GOING_ON_MS
        if self._speaking and not (self._ended and self._spoke_up < self._words_end):
            return at_last
        return min(self._quiet_since + needed_ms, at_last)

    def _next(self, *, think: bool = False) -> list[Action]:
        """What follows from how things stand, and the time at which they are to be looked at again."""
        if self.state is not State.LISTENING:
            limits = {
                State.THINKING: TOOLS_MS if self._tools > 0 else THINKING_MS,
                State.SPEAKING: SPEAKING_MS,
                State.ENDING: ENDING_MS,
            }
            self.deadline_ms = self._since + limits[self.state]
            return []
        if not self.words:
            self.deadline_ms = self._silent_at()
            return []
        actions: list[Action] = []
        if self._settled:
            self.deadline_ms = self._certain_at()
            if self._now >= self.deadline_ms:
                return self._respond()
            think = True
        elif self._asked_at is not None:
            self.deadline_ms = self._asked_at + FINAL_MS
        elif self._speaking:
            self.deadline_ms = self._now + NOISE_MS  # the caller speaks on; noise must not hold the call for ever
        else:
            patience = self._taking.incomplete_ms if self.vendor_ends_turns else 0
            self.deadline_ms = max(self._quiet_since, self._since) + FINAL_MS + patience
        if think:
            actions += self._think()
        return actions

    def _silent_at(self) -> float:
        """When nothing has been heard for too long."""
        if self._speaking:
            return self._since + NOISE_MS
        silent_since = max(self._since, self._quiet_since)
        return silent_since + (REST_MS if self._cut_off else self._taking.silence_ms)

    def _think(self) -> list[Action]:
        """Think early, if the words are worth it and the turn has not wasted too much already."""
        words = self.words
        if self._draft is not None or self._drafts >= self._taking.drafts:
            return []
        if completeness(words, self._question, self._language) is Completeness.INCOMPLETE:
            return []
        self._drafts += 1
        self._draft = words
        return [Think(words)]

    def _drop_unless_same(self) -> list[Action]:
        """Throw an answer away that was thought of for other words."""
        if self._draft is None or same_words(self._draft, self.words):
            return []
        self._draft = None
        return [Withdraw()]

    def _heard(self, text: str, end_ms: float, *, final: bool) -> list[Action]:
        """Words came."""
        self._prompts = 0
        self._cut_off = False
        # A voice too soft for the local detector is known to have spoken by its words alone.
        self._words_end = min(end_ms, self._now)
        self._quiet_since = max(self._quiet_since, self._words_end)
        if not self._speaking and self._words_end > self._fell_silent + SOFT_MS:
            self._audible = False
        match self.state:
            case State.LISTENING:
                return self._drop_unless_same()
            case State.THINKING:
                return self._take_back()
            case State.SPEAKING:
                return self._over_the_agent(text, end_ms, final=final)
            case _:
                return []

    def _enter(self, state: State) -> None:
        self.state = state
        self._since = self._now

    def _forget(self) -> None:
        """The words up to here are dealt with."""
        self._finals.clear()
        self._interim = ""
        self._draft = self._asked_at = None
        self._ended = self._acted = False
        self._drafts = self._sounds = 0

    def _listen(self) -> None:
        self._enter(State.LISTENING)
        self._quiet_since = max(self._quiet_since, self._now)
        self._covered = max(self._covered, self._now)
        self._words_end = self._now
        self._audible = self._speaking
        self._draft = self._asked_at = None
        self._ended = False

    def _respond(self) -> list[Action]:
        text = self.words
        self._draft = text
        self._finals.clear()
        self._interim = ""
        self._ended = False
        self._asked_at = None
        self._enter(State.THINKING)
        return [Respond(text), *self._next()]

    def _take_back(self) -> list[Action]:
        """Words come while the answer is thought of: they belong to what it answers, unless that is done already."""
        if self._draft and not self._dealt_with:
            self._finals.insert(0, self._draft)
        self._draft = None
        self._acted = False
        self._enter(State.LISTENING)
        return [Withdraw()]

    def _interrupt(self) -> list[Action]:
        self.held = False
        self._enter(State.LISTENING)
        self._asked_at = None
        return [Interrupt(), *([] if self._speaking else self._ask())]

    def _over_the_agent(self, text: str, end_ms: float, *, final: bool) -> list[Action]:
        if end_ms <= self._began and len(text.split()) <= LATE_WORDS:
            self._finals.clear()
            self._interim = ""
            return []
        if is_backchannel(text, self._language):
            if not final or self._speaking:
                return []  # "yes" may go on: "yes, but"
            return self._let_pass()
        if not final and len(text.split()) < 2 and not interrupts_at_once(text, self._language):
            return []  # one word of an interim may still become "mm-hm"
        return self._interrupt()

    def _let_pass(self) -> list[Action]:
        self._aside = (self.words, self._now)
        self._finals.clear()
        self._interim = ""
        return [Resume()] if self.held else []
