"""What calls need of what there is one of on a host: who calls, whether there is room, what comes after.

In one process it is the `Front` itself that answers; a worker asks its supervisor, which has the front.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol
from uuid import UUID

from agent.call.company import CompanyContext
from agent.call.record import CallRecord
from agent.telephony import CallInfo, Verdict

CLAIM_S: Final = 1.0
"""For the announcement of a call that has come, when there is room."""
GOODBYE_S: Final = 15.0
"""For the goodbye of calls that are still running when the grace time is over."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What becomes of a call whose audio has connected."""

    info: CallInfo | None = None
    """What is known of it; None: it is hung up at once, and there is no need to `leave`."""
    refused: str = ""
    """Why it is hung up, or, where `info` is there, why it hears a goodbye and nothing else; empty: it is taken."""


@dataclass(frozen=True, slots=True)
class Beat:
    """What a process with calls tells once a second."""

    loop_lag_ms: float = 0.0
    media_lateness_ms: float = 0.0
    too_late: bool = False
    """Whether one more call there would make it worse for all."""
    hung: bool = False
    """Whether its media thread answers no more, so that only a restart helps."""
    llm_requests: int = 0
    """To language models, since the beat before."""


class Door(Protocol):
    """Between the calls of one process and the front of the host. Nothing here raises for what the other side does."""

    async def enter(self, uuid: UUID) -> Entry:
        """A call's audio has connected: may it stay? It is told within about a second."""

    async def context(self, info: CallInfo) -> CompanyContext:
        """In whose name the call is answered: asked for since it was announced, or now. The defaults in the end."""

    async def decide(self, uuid: UUID, verdict: Verdict) -> None:
        """Say what the dialplan is to do next; when this returns it will find it. Before the audio ends."""

    async def leave(self, uuid: UUID) -> None:
        """The call's audio is over, and so is its part here."""

    def over(self, record: CallRecord) -> None:
        """The call's record is written: it may come into the database."""

    def spent(self, cost: float) -> None:
        """Calls have used so much of their vendors."""

    def beat(self, beat: Beat) -> None:
        """A second has passed."""
