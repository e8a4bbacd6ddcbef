"""Whose turn it is: a pure state machine. Events and the time go in, actions come out; no I/O, no clock of its own.

    LISTENING --the caller has finished--> THINKING --first audio--> SPEAKING --played to its end--> LISTENING
    THINKING  --the caller goes on--> LISTENING (the reply is withdrawn, the words are joined)
    SPEAKING  --words that are no backchannel--> LISTENING (flush), a backchannel or a cough --> SPEAKING (resume)
    any       --the last words begin--> ENDING: nothing interrupts a goodbye

Every state in which a call could stall has a deadline and a way on.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TypeAlias

from agent.call.words import Completeness, completeness, is_backchannel
from agent.providers.base import Transcript

SILENCE_MS = 7000
"""Nothing heard for so long after the agent has spoken: it asks whether the caller is still there."""
NOISE_MS = 20_000
"""The same while something is heard that has no words."""
PROMPTS = 2
FINALIZE_MS = 900
"""Local silence after words, and no final: the vendor is asked for it."""
FORCE_MS = 1800
"""Still none: the words at hand count."""
UNFINISHED_MS = 800
"""Silence, beyond the STT's own, that a turn which breaks off in mid-phrase gets before it is answered."""
NOTHING_MS = 600
"""Something was heard while thinking, and no words come of it: the reply is made again after this silence."""
SOUNDS = 2
"""So many replies are taken back for a sound without words; a noisy line must not keep the agent from answering."""
ASIDE_MS = 1000
"""A "yes" so shortly before the agent has finished answers what it asked, and is no backchannel."""
LATE_WORDS = 2
"""So many words that were spoken before the agent began, and reach us only while it speaks, are left out."""
PREROLL_MS = 500


class State(enum.Enum):
    """Where the conversation stands."""

    LISTENING = "listening"
    THINKING = "thinking"
    SPEAKING = "speaking"
    ENDING = "ending"


@dataclass(frozen=True, slots=True)
class Respond:
    """The caller has finished: answer this."""

    text: str


@dataclass(frozen=True, slots=True)
class Withdraw:
    """The caller goes on: drop the reply, nothing of which was heard."""


@dataclass(frozen=True, slots=True)
class Interrupt:
    """The caller interrupts: throw the speech away and keep what was heard."""


@dataclass(frozen=True, slots=True)
class Resume:
    """It was a backchannel: go on speaking."""


@dataclass(frozen=True, slots=True)
class Listen:
    """The STT hears the caller from now on, and the last `preroll_ms` before."""

    preroll_ms: int


@dataclass(frozen=True, slots=True)
class StopListening:
    """The STT hears nothing: the agent speaks."""


@dataclass(frozen=True, slots=True)
class Finalize:
    """Ask the STT for what it has."""


@dataclass(frozen=True, slots=True)
class AskIfThere:
    """Nothing was heard for long."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Nothing was heard for too long: say goodbye."""


Action: TypeAlias = Respond | Withdraw | Interrupt | Resume | Listen | StopListening | Finalize | AskIfThere | GiveUp


class Turn:
    """The machine. Times are ms on any one monotonic scale; `deadline_ms` is when `tick` wants to be called."""

    def __init__(self, now_ms: float) -> None:
        self.state = State.SPEAKING  # the greeting comes first
        self.held = False
        self.deadline_ms: float | None = None
        self._now = now_ms
        self._finals: list[str] = []
        self._interim = ""
        self._asked = ""  # the caller's words that the reply in hand answers
        self._prompts = 0
        self._speaking = False  # local voice activity of the caller
        self._listening_since = now_ms
        self._quiet_since = now_ms
        self._finalized = False
        self._ended = False  # the STT heard the end of an utterance that sounds unfinished
        self._again = False  # a reply was taken back for a sound that has brought no words yet
        self._sounds = 0  # replies taken back in this turn for a sound without words
        self._acted = False  # a tool has run for the reply in hand: the words that it answers are dealt with
        self._aside = ("", now_ms)  # the latest backchannel, and when it was
        self._spoke_ms = now_ms  # when the agent last began to speak

    @property
    def words(self) -> str:
        """What the caller has said in this turn so far."""
        return " ".join([*self._finals, self._interim]).strip()

    # -- the caller --------------------------------------------------------------------------------------------------

    def transcript(self, heard: Transcript, now_ms: float) -> list[Action]:
        """The STT heard something."""
        self._now = now_ms
        if self.state is State.ENDING:
            return []
        if heard.final:
            self._interim = ""
            if heard.text:
                self._finals.append(heard.text)
        else:
            self._interim = heard.text
        actions: list[Action] = []
        if heard.text:
            self._prompts = 0
            self._sounds = 0
            self._again = False
            # A voice too soft for the local detector is known to have spoken by its words alone.
            self._quiet_since = max(self._quiet_since, min(heard.end_ms, now_ms))
            if self.state is State.THINKING:
                actions += self._take_back()
            elif self.state is State.SPEAKING:
                actions += self._over_the_agent(heard)
        if self.state is State.LISTENING and self._finals:
            if heard.speech_final and completeness(self.words) is not Completeness.INCOMPLETE:
                actions += self._respond()
            else:
                self._ended = heard.speech_final
        self._set_deadline()
        return actions

    def utterance_end(self, now_ms: float) -> list[Action]:
        """The STT heard no word for long: the safety net of `speech_final`."""
        self._now = now_ms
        if self.state is not State.LISTENING or not self.words:
            return []
        return self._respond()

    def caller_speaks(self, now_ms: float) -> list[Action]:
        """Local voice activity began: an answer that is only thought of is not begun over it."""
        self._now = now_ms
        self._speaking = True
        actions: list[Action] = []
        if self.state is State.THINKING and self._sounds < SOUNDS and not self._acted:
            self._sounds += 1
            actions = self._take_back()
            self._again = True
        self._set_deadline()
        return actions

    def caller_quiet(self, now_ms: float) -> list[Action]:
        """Local voice activity ended."""
        self._now = self._quiet_since = now_ms
        self._speaking = False
        self._finalized = False
        actions: list[Action] = []
        if self.state is State.SPEAKING and not self._interim and is_backchannel(self.words):
            actions = self._let_pass()  # it did not go on
        self._set_deadline()
        return actions

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
        self._listen()
        return [Interrupt()]

    # -- the agent ---------------------------------------------------------------------------------------------------

    def agent_speaks(self, now_ms: float) -> list[Action]:
        """The first frame of a reply went out: the caller's words up to here are answered."""
        self._now = now_ms
        if self.state is State.ENDING:
            return [StopListening()]
        self.state = State.SPEAKING
        self._spoke_ms = now_ms
        self._aside = ("", now_ms)
        self._forget()
        self._set_deadline()
        # What the STT holds back would else come out when it hears again, as if it were new.
        return [Finalize(), StopListening()]

    def agent_finished(self, now_ms: float) -> list[Action]:
        """All of it was heard."""
        self._now = now_ms
        self.held = False
        if self.state is State.ENDING:
            return []
        self._listen()
        aside, aside_ms = self._aside
        if aside and now_ms - aside_ms <= ASIDE_MS:
            self._finals.append(aside)
            self._ended = True
            self._set_deadline()
        return [Listen(PREROLL_MS if self._speaking else 0)]

    def acted(self) -> None:
        """A tool has run for the reply in hand: it is not undone, and not done again, for what the caller says now."""
        self._acted = True

    def ending(self, now_ms: float) -> list[Action]:
        """The last words begin, or are under way: nothing interrupts them."""
        self._now = now_ms
        self.state = State.ENDING
        self.deadline_ms = None
        held, self.held = self.held, False
        return [Resume()] if held else []

    # -- time --------------------------------------------------------------------------------------------------------

    def tick(self, now_ms: float) -> list[Action]:
        """A deadline may have come."""
        self._now = now_ms
        if self.deadline_ms is None or now_ms < self.deadline_ms or self.state is not State.LISTENING:
            return []
        actions: list[Action] = []
        if self.words:
            if self._ended or self._again:
                actions += self._respond()
            elif not self._finalized and now_ms < self._quiet_since + FORCE_MS:
                self._finalized = True
                actions.append(Finalize())
            else:
                actions += self._respond()
        elif self._prompts < PROMPTS:
            self._prompts += 1
            self._listening_since = self._quiet_since = now_ms
            actions.append(AskIfThere())
        else:
            self.state = State.ENDING
            actions.append(GiveUp())
        self._set_deadline()
        return actions

    # -- inside ------------------------------------------------------------------------------------------------------

    def _set_deadline(self) -> None:
        if self.state is not State.LISTENING:
            self.deadline_ms = None
        elif self.words and not self._speaking and self._again:
            self.deadline_ms = self._quiet_since + NOTHING_MS
        elif self.words and not self._speaking and self._ended:
            self.deadline_ms = max(self._quiet_since, self._listening_since) + UNFINISHED_MS
        elif self.words and not self._speaking:
            self.deadline_ms = self._quiet_since + (FORCE_MS if self._finalized else FINALIZE_MS)
        elif self.words:
            self.deadline_ms = self._now + NOISE_MS  # the caller speaks on; noise must not hold the call for ever
        elif self._speaking:
            self.deadline_ms = self._listening_since + NOISE_MS
        else:
            self.deadline_ms = max(self._listening_since, self._quiet_since) + SILENCE_MS

    def _forget(self) -> None:
        self._finals.clear()
        self._interim = ""
        self._finalized = self._ended = self._again = False

    def _listen(self) -> None:
        self.state = State.LISTENING
        self._listening_since = self._quiet_since = self._now
        self._asked = ""
        self._set_deadline()

    def _respond(self) -> list[Action]:
        text = self.words
        self._forget()
        self._asked = text
        self._acted = False
        self.state = State.THINKING
        self.deadline_ms = None
        return [Respond(text)]

    def _take_back(self) -> list[Action]:
        self._finals[:0] = [self._asked] if self._asked and not self._acted else []
        self._listen()
        return [Withdraw()]

    def _over_the_agent(self, heard: Transcript) -> list[Action]:
        if heard.end_ms <= self._spoke_ms and len(heard.text.split()) <= LATE_WORDS:
            self._forget()
            return []
        if is_backchannel(heard.text):
            if not heard.final or self._speaking:
                return []  # "yes" may go on: "yes, but"
            return self._let_pass()
        if not heard.final and len(heard.text.split()) < 2:
            return []  # one word of an interim may still become "mm-hm"
        self.held = False
        self._listen()
        return [Interrupt()]

    def _let_pass(self) -> list[Action]:
        self._aside = (self.words, self._now)
        self._forget()
        return [Resume()] if self.held else []
