"""What the turn machine wants done: the session does it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Think:
    """The caller seems to have finished: think of an answer to this, and let nothing of it out."""

    text: str


@dataclass(frozen=True, slots=True)
class Respond:
    """The caller has finished: answer this, with what was thought of already if anything was."""

    text: str


@dataclass(frozen=True, slots=True)
class Retract:
    """A sound before the answer was heard: keep it, and let nothing of it out."""


@dataclass(frozen=True, slots=True)
class Withdraw:
    """The caller goes on: throw the answer away, nothing of which was heard."""


@dataclass(frozen=True, slots=True)
class Interrupt:
    """The caller interrupts: throw the speech away and keep what was heard."""


@dataclass(frozen=True, slots=True)
class Resume:
    """It was a backchannel: go on speaking."""


@dataclass(frozen=True, slots=True)
class SayTheRest:
    """The agent was cut off by a sound that brought no words: say what was not heard."""


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


@dataclass(frozen=True, slots=True)
class Stalled:
    """No answer comes, nor a word why: do without it."""


@dataclass(frozen=True, slots=True)
class HangUp:
    """The last words do not come to their end: hang up without them."""


Action: TypeAlias = (
    Think
    | Respond
    | Retract
    | Withdraw
    | Interrupt
    | Resume
    | SayTheRest
    | Listen
    | StopListening
    | Finalize
    | AskIfThere
    | GiveUp
    | Stalled
    | HangUp
)
