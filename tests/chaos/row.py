"""What one trial is: what fails and when, and what has to come of it all the same."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from agent.sandbox.control import Step
from tests.chaos.desk import Mood

Vendor = Literal["deepgram", "groq", "cartesia", "foreign"]
Part = Literal["Deepgram", "Groq", "Cartesia", "context API", "booking API", "full", "stopping", "crashed", "abuse"]
"""The rows of the table "When things fail"."""
End = Literal["goodbye", "transfer", "fallback", "turned away"]
"""How a call may end: the agent's goodbye; a transfer; no verdict, so that the dialplan takes its fallback; FastAGI's
`start` said no, or the call was hung up at once."""
FOREVER = 1_000_000


@dataclass(frozen=True, slots=True)
class Fault:
    """An order to an emulated vendor, at a moment that is drawn within what is said here."""

    vendor: Vendor
    do: Mapping[str, Any]
    """What `POST /control` takes."""
    when: str = ""
    """The vendor's counter that marks the moment; none: as the callers begin."""
    count: tuple[int, int] = (1, 1)
    """How often it goes up until then, from and to."""
    after_ms: tuple[float, float] = (0.0, 0.0)
    each: bool = False
    """Once for each caller."""

    def steps(self, callers: int, dice: random.Random) -> list[Step]:
        """The fault as it comes this time."""
        return [
            Step(
                when=self.when,
                count=dice.randint(*self.count),
                after_ms=dice.uniform(*self.after_ms),
                do=dict(self.do),
            )
            for _ in range(callers if self.each else 1)
        ]


@dataclass(frozen=True, slots=True)
class Act:
    """Something done to the agent's process: at the nth of what a counter counts, and a time later.

    `when` is "VENDOR.COUNTER", or "desk.ENDPOINT" for requests to the back office. `start` starts it again where it
    was.
    """

    what: Literal["kill", "terminate", "start"]
    when: str = ""
    count: tuple[int, int] = (1, 1)
    after_ms: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Row:
    """One failure, and what has to come of it."""

    name: str
    part: Part
    fails: str
    """What fails, in words."""
    faults: tuple[Fault, ...] = ()
    moods: tuple[Mood, ...] = ()
    acts: tuple[Act, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    """Of the agent, by their names in the environment; {foreign} stands for the URL of another LLM's API."""
    callers: int = 0
    """How many call; 0: as many as the run says."""
    one_number: bool = False
    """Whether all calls come from the same number."""
    target: bool = True
    """Whether the company has somebody to transfer to."""
    ends: tuple[End, ...] = ("goodbye",)
    exact: bool = True
    """Whether each word of the replies is heard once; without it a reply may be missing, and the end come early."""
    booked: Literal["each", "each who asked", "maybe"] = "each"
    """Whose booking must be there: every caller's; those whose the agent began; or none's."""
    kept: tuple[str, ...] = ("accepted",)
    """What the outbox shows in the end of each booking that it was given."""
    says: tuple[str, ...] = ()
    """What each record must have among what was heard; one of several where they are parted by |."""
    shows: Mapping[str, int] = field(default_factory=dict)
    """What the record or the metrics must count at least, over all calls of the trial."""
    log: tuple[str, ...] = ()
    """Regular expressions that the agent's log must have."""
