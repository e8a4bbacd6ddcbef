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

from agent.call import turn_limits as limits
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
from agent.call.caller_turn import CallerTurn, TurnTaking
from agent.language.turn_words import BRITISH, TurnWords
from agent.language.words import Completeness, interrupts_at_once, is_backchannel, same_words
from agent.providers.base import EndOfTurn, Transcript


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
        self.deadline_ms = now_ms + limits.SPEAKING_MS
        self._taking = taking or TurnTaking()
        self._language = words
        self._caller = CallerTurn(now_ms, self._taking, words)
        self._caller.vendor_ends = vendor_ends_turns
        self._now = now_ms
        self._since = now_ms  # when the present state began
        self._ending_since = now_ms  # since when the caller waits for the last words
        self._draft: str | None = None  # the words that the answer in hand answers
        self._drafts = 0  # answers thought of early in this turn
        self._sounds = 0  # how often an answer waited for a sound without words, in this turn
        self._prompts = 0
        self._cut_off = False  # the agent was cut off, and no words have come since
        self._acted = False  # a tool has run for the answer in hand: the words that it answers are dealt with
        self._tools = 0  # tools that are running
        self._aside = ("", now_ms)  # the latest backchannel, and when it was
        self._began = now_ms  # when the agent last began to speak

    @property
    def words(self) -> str:
        """What the caller has said in this turn so far."""
        return self._caller.words

    @property
    def waits_since_ms(self) -> tuple[float, float] | None:
        """Since when the caller hears nothing though it is not their turn, and since when that is certain.

        None while they speak, or are to speak. Whether they hear the agent is not known here.
        """
        caller = self._caller
        if caller.speaking and self.state is not State.ENDING:
            return None
        if self.state is State.THINKING:
            return min(self._since, caller.quiet_since_ms), self._since
        if self.state is State.LISTENING and caller.owed:
            return caller.quiet_since_ms, caller.quiet_since_ms
        if self.state is State.ENDING:
            return self._ending_since, self._since
        return (self._since, self._since) if self.state is State.SPEAKING else None

    def vendor_ends_turns(self, whether: bool) -> None:
        """The STT that hears the caller does, or does not, say when a turn is over."""
        self._caller.vendor_ends = whether

    # -- what the STT hears ------------------------------------------------------------------------------------------

    def transcript(self, heard: Transcript, now_ms: float) -> list[Action]:
        """The STT heard something."""
        self._now = now_ms
        if self.state is State.ENDING:
            return []
        unchanged = self._caller.hear(heard, now_ms)
        if heard.text:
            actions = self._heard(heard.text, heard.end_ms, final=heard.final)
        else:  # an interim may have come to nothing
            actions = self._drop_unless_same() if self.state is State.LISTENING else []
        return [*actions, *self._next(think=unchanged or self._caller.interim_covers)]

    def stt_away(self, now_ms: float) -> list[Action]:
        """Nobody hears the caller just now; the words that are at hand may not be all."""
        self._now = now_ms
        self._caller.away_until_ms = now_ms + limits.AWAY_MS
        return self._next()

    def stt_back(self, now_ms: float, *, ends_turns: bool) -> list[Action]:
        """The caller is heard again, and what was kept is on its way."""
        self._now = now_ms
        if self._caller.settled:
            self._caller.settle()  # by the one who was lost; another one knows nothing of these words
        self._caller.away_until_ms = None
        self._caller.asked_ms = None  # whoever was asked is gone
        self._caller.vendor_ends = ends_turns
        if self.state is not State.LISTENING:
            return []
        self._since = now_ms
        actions = [] if self._caller.speaking else self._ask()
        if actions:
            self._caller.asked_ms = now_ms + limits.BACK_MS
        return [*actions, *self._next()]

    def utterance_end(self, now_ms: float) -> list[Action]:
        """The STT heard no word for long: the safety net of `speech_final`."""
        self._now = now_ms
        if self.state is not State.LISTENING or not self.words:
            return []
        self._caller.settle()
        return self._next()

    def eager_end(self, text: str, now_ms: float) -> list[Action]:
        """The STT thinks that the turn may be over."""
        self._now = now_ms
        if self.state is not State.LISTENING:
            return []
        self._caller.interim = text
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
        self._caller.settle()
        self._caller.finals.append(keys)
        self._caller.quiet_since_ms = now_ms
        return [*actions, *self._drop_unless_same(), *self._respond()]

    # -- local voice activity ----------------------------------------------------------------------------------------

    def caller_speaks(self, now_ms: float) -> list[Action]:
        """It began: an answer that is not heard yet is not begun over it."""
        self._now = now_ms
        self._caller.speaks(now_ms)
        actions: list[Action] = []
        if self.state is State.THINKING and self._sounds < limits.SOUNDS and not self._dealt_with:
            self._sounds += 1
            self._caller.again(self._draft or "", now_ms)
            self._enter(State.LISTENING)
            actions.append(Retract())
        return [*actions, *self._next()]

    def caller_quiet(self, now_ms: float, end_ms: float | None = None) -> list[Action]:
        """It ended, at `end_ms`: as soon as this is known the STT is asked for the words."""
        self._now = now_ms
        self._caller.falls_silent(now_ms if end_ms is None else end_ms)
        if self.state is State.SPEAKING and not self._caller.interim and is_backchannel(self.words, self._language):
            return [*self._let_pass(), *self._next()]  # it did not go on
        actions = self._ask() if self.state is State.LISTENING or self.held else []
        return [*actions, *self._next(think=self._caller.interim_covers)]

    # -- the media core ----------------------------------------------------------------------------------------------

    def hold(self, now_ms: float) -> list[Action]:
        """The first sign of speech while the agent speaks: the words will decide."""
        self._now = now_ms
        if self.state is not State.SPEAKING:
            return []
        self.held = True
        return [Listen(limits.PREROLL_MS)]

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
        self._caller.question = said
        self._listen()
        aside, aside_ms = self._aside
        if aside and now_ms - aside_ms <= limits.ASIDE_MS:
            self._caller.finals.append(aside)
            self._caller.settle()
        return [Listen(limits.PREROLL_MS if self._caller.speaking else 0), *self._next()]

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
        waits = self.waits_since_ms if self.state is State.THINKING else None
        self._ending_since = waits[0] if waits is not None else now_ms
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
        self._caller.away_until_ms = None
        if self.words and self._caller.settled and self._now < self._caller.certain_ms:
            return self._next()  # it is time to think, and not yet to speak
        if self.words:
            if not self._caller.settled and self._caller.asked_ms is None:
                self._caller.asked_ms = self._now
                return [Finalize(), *self._next()]
            self._caller.settle()
            return [*self._drop_unless_same(), *self._respond()]
        if self._cut_off and not self._caller.speaking:
            self._cut_off = False
            return [SayTheRest(), *self._next()]
        if self._prompts >= self._taking.prompts:
            self._enter(State.ENDING)
            return [GiveUp(), *self._next()]
        self._prompts += 1
        self._since = self._now
        return [AskIfThere(), *self._next()]

    # -- inside ------------------------------------------------------------------------------------------------------

    @property
    def _dealt_with(self) -> bool:
        """Whether the words that the answer in hand answers have had their effect."""
        return self._acted or self._tools > 0

    def _ask(self) -> list[Action]:
        """Ask the STT for what it has, unless it has told all or tells by itself."""
        if not self._caller.wants_asking:
            return []
        self._caller.asked_ms = self._now
        return [Finalize()]

    def _next(self, *, think: bool = False) -> list[Action]:
        """What follows from how things stand, and the time at which they are to be looked at again."""
        if self.state is not State.LISTENING:
            self.deadline_ms = self._since + self._longest_ms
            return []
        caller = self._caller
        if caller.away_until_ms is not None:
            self.deadline_ms = caller.away_until_ms
            return []
        if not caller.words:
            self.deadline_ms = self._silent_at()
            return []
        if caller.settled:
            self.deadline_ms = caller.certain_ms
            if self._now >= self.deadline_ms:
                return self._respond()
            think = True
        elif caller.asked_ms is not None:
            self.deadline_ms = caller.asked_ms + limits.FINAL_MS
        elif caller.speaking:
            self.deadline_ms = (
                self._now + limits.NOISE_MS
            )  # the caller speaks on; noise must not hold the call for ever
        else:
            patience = self._taking.incomplete_ms if caller.vendor_ends else 0
            self.deadline_ms = max(caller.quiet_since_ms, self._since) + limits.FINAL_MS + patience
        return self._think() if think else []

    @property
    def _longest_ms(self) -> int:
        """How long a state may last in which the caller is not listened to."""
        match self.state:
            case State.THINKING:
                return limits.TOOLS_MS if self._tools > 0 else limits.THINKING_MS
            case State.SPEAKING:
                return limits.SPEAKING_MS
            case _:
                return limits.ENDING_MS

    def _silent_at(self) -> float:
        """When nothing has been heard for too long."""
        if self._caller.speaking:
            return self._since + limits.NOISE_MS
        silent_since = max(self._since, self._caller.quiet_since_ms)
        return silent_since + (limits.REST_MS if self._cut_off else self._taking.silence_ms)

    def _think(self) -> list[Action]:
        """Think early, if the words are worth it and the turn has not wasted too much already."""
        if self._draft is not None or self._drafts >= self._taking.drafts:
            return []
        if self._caller.completeness is Completeness.INCOMPLETE:
            worth_it_ms = self._caller.certain_ms - limits.AHEAD_MS
            if not self._caller.settled:
                return []
            if self._now < worth_it_ms:  # most of those who break off go on
                self.deadline_ms = worth_it_ms
                return []
        self._drafts += 1
        self._draft = self.words
        return [Think(self._draft)]

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
        self._caller.forget()
        self._draft = None
        self._acted = False
        self._drafts = self._sounds = 0

    def _listen(self) -> None:
        self._enter(State.LISTENING)
        self._caller.begin(self._now)
        self._draft = None

    def _respond(self) -> list[Action]:
        text = self._draft = self.words
        self._caller.forget()
        self._enter(State.THINKING)
        return [Respond(text), *self._next()]

    def _take_back(self) -> list[Action]:
        """Words come while the answer is thought of: they belong to what it answers, unless that is done already."""
        if self._draft and not self._dealt_with:
            self._caller.finals.insert(0, self._draft)
        self._draft = None
        self._acted = False
        self._enter(State.LISTENING)
        return [Withdraw()]

    def _interrupt(self) -> list[Action]:
        self.held = False
        self._enter(State.LISTENING)
        self._caller.asked_ms = None
        return [Interrupt(), *([] if self._caller.speaking else self._ask())]

    def _over_the_agent(self, text: str, end_ms: float, *, final: bool) -> list[Action]:
        if end_ms <= self._began and len(text.split()) <= limits.LATE_WORDS:
            self._caller.forget()
            return []
        if is_backchannel(text, self._language):
            if not final or self._caller.speaking:
                return []  # "yes" may go on: "yes, but"
            return self._let_pass()
        if not final and len(text.split()) < 2 and not interrupts_at_once(text, self._language):
            return []  # one word of an interim may still become "mm-hm"
        return self._interrupt()

    def _let_pass(self) -> list[Action]:
        self._aside = (self.words, self._now)
        self._caller.forget()
        return [Resume()] if self.held else []
