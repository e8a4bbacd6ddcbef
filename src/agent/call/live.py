"""Calls that are running, for people who look on: what goes on in them, how loud they are, their audio, and a word in.

Nothing is told to anybody. A call costs the same whether it is here or not; who looks on asks, as often as it likes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import fastaudio
from agent.call.chronicle import Chronicle
from agent.call.company import CompanyContext
from agent.call.running import (
    LEVEL_MS,
    LISTENERS,
    LISTENERS_A_CALL,
    Doing,
    RunningCall,
    TooManyListeners,
    UnknownTarget,
)
from agent.call.turn import State, Turn
from agent.conversations.steps import Progress
from agent.ops.recording import interleave
from agent.telephony import CallInfo, Verdict

if TYPE_CHECKING:
    from agent.call.agent_turn import AgentTurn


@dataclass(frozen=True, slots=True)
class Order:
    """What somebody at the console wants of a call."""

    verdict: Verdict
    by: str


class LiveCall:
    """One call while it runs, from its UUID on. Used on the event loop; nothing here waits for the call."""

    def __init__(self, call: fastaudio.Call, info: CallInfo, log: Chronicle, order: Callable[[Order], None]) -> None:
        """`order` puts what somebody wants of the call where the call finds it."""
        self.uuid = str(call.uuid)
        self.did = info.did
        self.caller_id = info.caller_id
        """As Asterisk gave it; empty when it is withheld."""
        self.caller_name = info.caller_name
        self.started = datetime.fromisoformat(log.record.started).astimezone(UTC)
        self.rate = call.rate
        """Of its audio, in samples a second."""
        self.company = ""
        self.company_id: int | None = None
        """In the back office; None until the company is known, and where the context API does not say."""
        self.targets: tuple[str, ...] = ()
        """By name, whom the caller may be put through to."""
        self.over = False
        self.listeners = 0
        self.worker = 0
        self._call = call
        self._record = log.record
        self._order = order
        self._company = CompanyContext()
        self._turn: Turn | None = None
        self._agent: AgentTurn | None = None
        self._progress = Progress()
        self._heard = ""
        self._calls: LiveCalls | None = None

    def opened(self, company: CompanyContext, turn: Turn, agent: AgentTurn, progress: Progress) -> None:
        """It is known whose call it is, and it is being answered."""
        self.company, self.company_id = company.company_name, company.company_id
        self.targets = tuple(company.transfer_targets)
        self._company, self._turn, self._agent, self._progress = company, turn, agent, progress

    def close(self) -> None:
        """The call is over. What was known last stays to be read."""
        self.over = True
        self._turn = self._agent = None
        self._order = _nobody
        if self._calls is not None:
            self._calls.remove(self)

    # -- what goes on ------------------------------------------------------------------------------------------------

    @property
    def doing(self) -> Doing:
        """What the agent is doing."""
        turn = self._turn
        if turn is None:
            return "ending" if self.over else "greeting"
        if turn.state is State.ENDING:
            return "ending"
        if turn.held:
            return "held"
        if turn.state is State.SPEAKING:
            return "speaking" if len(self._record.turns) > 1 else "greeting"
        return "thinking" if turn.state is State.THINKING else "listening"

    @property
    def steps(self) -> tuple[str, ...]:
        """The names of the conversation's steps, in order; empty where it declares none."""
        return tuple(step.name for step in self._progress.steps)

    @property
    def step_number(self) -> int:
        """Of the present step, from 0: by what is being said and done, before it is a mark in the record."""
        agent, turn = self._agent, self._turn
        if agent is None or turn is None:
            return self._progress.at
        return self._progress.ahead(agent.words, agent.tools, answers=bool(turn.words))

    @property
    def step(self) -> str:
        """The present step's name; empty for a conversation without steps."""
        steps = self._progress.steps
        return steps[self.step_number].name if steps else ""

    @property
    def caller(self) -> str:
        """What the caller is saying, or said last."""
        if self._turn is not None and self._turn.words:
            return self._turn.words
        return next((turn.caller for turn in reversed(self._record.turns) if turn.caller), "")

    @property
    def agent(self) -> str:
        """What the agent is saying, or said last."""
        if self._agent is not None and self._agent.words:
            return self._agent.words
        return next((turn.agent for turn in reversed(self._record.turns) if turn.agent), "")

    @property
    def turns(self) -> int:
        """Exchanges so far."""
        return len(self._record.turns)

    @property
    def latency_ms(self) -> int | None:
        """Of the last answer: from the end of the caller's speech to its first frame; None before the first."""
        turns = reversed(self._record.turns)
        return next((latency for turn in turns if (latency := turn.times.latency_ms) is not None), None)

    # -- sound -------------------------------------------------------------------------------------------------------

    def levels(self) -> tuple[int, int]:
        """How loud the caller and the agent are: RMS of the newest `LEVEL_MS` at most, 0 to 32768."""
        if self.over:
            return 0, 0
        newest = self._call.capture_reader(preroll_ms=LEVEL_MS, sent=True).read()
        return (0, 0) if newest is None else (fastaudio.rms(newest.caller), fastaudio.rms(newest.sent))

    @asynccontextmanager
    async def audio(self, batch_ms: int = 100) -> AsyncIterator[AsyncIterator[bytes]]:
        """Listen in while entered: stereo PCM, the caller left and the agent right, 16 bits, little-endian.

        It ends with the call. Who is slow loses audio, and delays nothing. Raises `TooManyListeners`.
        """
        calls = self._calls
        if self.listeners >= LISTENERS_A_CALL or (calls is not None and calls.listeners >= LISTENERS):
            raise TooManyListeners(f"{LISTENERS_A_CALL} may listen to a call at once, {LISTENERS} to all")
        self.listeners += 1
        stream = self._call.capture(batch_ms=batch_ms, sent=True)
        try:
            yield self._stereo(stream)
        finally:
            self.listeners -= 1
            stream.close()
            if calls is not None:
                calls.counters["listened_lost_ms"] += stream.lost * fastaudio.TICK_MS

    @staticmethod
    async def _stereo(stream: fastaudio.CaptureStream) -> AsyncIterator[bytes]:
        async for batch in stream:
            yield interleave(batch.caller, batch.sent)

    # -- a word in ---------------------------------------------------------------------------------------------------

    async def end(self, by: str) -> bool:
        """Have the agent say goodbye and hang up, because `by` wants it; False when the call is ending already."""
        if self.over or self.doing == "ending":
            return False
        self._order(Order(Verdict("hangup", reason="operator"), by))
        return True

    async def transfer(self, target: str, by: str) -> bool:
        """Have the caller put through to one of `targets`, because `by` wants it; False when it is ending already.

        Raises `UnknownTarget`.
        """
        extension = self._company.transfer_targets.get(target)
        if extension is None:
            raise UnknownTarget(f"{self.company or 'the company'} has no transfer target {target!r}")
        if self.over or self.doing == "ending":
            return False
        self._order(Order(Verdict("transfer", extension, "operator"), by))
        return True


def _nobody(order: Order) -> None:
    """Where orders go of a call that is over."""


class LiveCalls:
    """The running calls of one agent, in the order in which they came."""

    def __init__(self) -> None:
        self._calls: dict[str, LiveCall] = {}
        self.counters: Counter[str] = Counter()
        """`listened_lost_ms`: audio that listeners were too slow for."""

    def add(self, call: LiveCall) -> None:
        """A call has begun."""
        call._calls = self
        self._calls[call.uuid] = call

    def remove(self, call: LiveCall) -> None:
        """A call is over."""
        self._calls.pop(call.uuid, None)

    async def look(self, metered: frozenset[str] = frozenset()) -> None:
        """What is read of the calls is always what is."""

    def all(self, sees: Callable[[int | None], bool] = lambda company_id: True) -> list[RunningCall]:
        """The calls of those companies whose ID `sees` allows; that of an unknown one is None."""
        return [call for call in self._calls.values() if sees(call.company_id)]

    def get(self, uuid: str, sees: Callable[[int | None], bool] = lambda company_id: True) -> LiveCall | None:
        """The running call of this UUID, where `sees` allows its company."""
        call = self._calls.get(uuid)
        return call if call is not None and sees(call.company_id) else None

    @property
    def listeners(self) -> int:
        """Who listens in just now."""
        return sum(call.listeners for call in self._calls.values())

    def __len__(self) -> int:
        return len(self._calls)

    def __iter__(self) -> Iterator[LiveCall]:
        return iter(list(self._calls.values()))
