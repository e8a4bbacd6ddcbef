"""What whoever looks on needs of running calls: those of this process (`live`), and those of others, which tell it.

What is read of a call is what the last `RunningCalls.look` found; in the process of the calls it is what is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Literal, Protocol, TypeAlias

Doing: TypeAlias = Literal["greeting", "listening", "thinking", "speaking", "held", "ending"]

LISTENERS_A_CALL = 4
LISTENERS = 16
"""Who listens in at once, to one call and to all of one agent."""
LEVEL_MS = 200
"""Of the newest audio whose level is told."""


class TooManyListeners(RuntimeError):
    """As many people listen in as may."""


class UnknownTarget(ValueError):
    """The company has no such transfer target."""


class CallGone(ConnectionError):
    """The call's process cannot be asked: it is over, or as good as over."""


class RunningCall(Protocol):
    """One call while it runs."""

    @property
    def uuid(self) -> str:
        """Of the call."""

    @property
    def did(self) -> str:
        """The number that was dialled."""

    @property
    def caller_id(self) -> str:
        """As Asterisk gave it; empty when it is withheld."""

    @property
    def caller_name(self) -> str:
        """As Asterisk gave it."""

    @property
    def started(self) -> datetime:
        """When the call began, UTC."""

    @property
    def rate(self) -> int:
        """Of its audio, in samples a second."""

    @property
    def company(self) -> str:
        """Its name; empty until it is known."""

    @property
    def company_id(self) -> int | None:
        """In the back office; None until the company is known, and where the context API does not say."""

    @property
    def targets(self) -> tuple[str, ...]:
        """By name, whom the caller may be put through to."""

    @property
    def doing(self) -> Doing:
        """What the agent is doing."""

    @property
    def steps(self) -> tuple[str, ...]:
        """The names of the conversation's steps, in order; empty where it declares none."""

    @property
    def step_number(self) -> int:
        """Of the present step, from 0."""

    @property
    def step(self) -> str:
        """The present step's name; empty for a conversation without steps."""

    @property
    def caller(self) -> str:
        """What the caller is saying, or said last."""

    @property
    def agent(self) -> str:
        """What the agent is saying, or said last."""

    @property
    def turns(self) -> int:
        """Exchanges so far."""

    @property
    def latency_ms(self) -> int | None:
        """Of the last answer; None before the first."""

    @property
    def listeners(self) -> int:
        """Who listens in to it."""

    @property
    def worker(self) -> int:
        """The number of the process that it runs in; 0 where there is one."""

    def levels(self) -> tuple[int, int]:
        """How loud the caller and the agent are: RMS of the newest `LEVEL_MS` at most, 0 to 32768."""

    def audio(self, batch_ms: int = 100) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Listen in while entered: stereo PCM, the caller left and the agent right, 16 bits, little-endian.

        It ends with the call. Who is slow loses audio, and delays nothing. Raises `TooManyListeners`, `CallGone`.
        """

    async def end(self, by: str) -> bool:
        """Have the agent say goodbye and hang up, because `by` wants it; False when the call is ending already.

        Raises `CallGone`.
        """

    async def transfer(self, target: str, by: str) -> bool:
        """Have the caller put through to one of `targets`, because `by` wants it; False when it is ending already.

        Raises `UnknownTarget`, `CallGone`.
        """


class RunningCalls(Protocol):
    """The running calls of an agent, in the order in which they came."""

    counters: Counter[str]
    """`listened_lost_ms`: audio that listeners were too slow for."""

    async def look(self, metered: frozenset[str] = frozenset()) -> None:
        """Find out what there is; it never waits for long. `metered`: UUIDs of calls whose levels are wanted too."""

    def all(self, sees: Callable[[int | None], bool] = ...) -> list[RunningCall]:
        """The calls of those companies whose ID `sees` allows; that of an unknown one is None."""

    def get(self, uuid: str, sees: Callable[[int | None], bool] = ...) -> RunningCall | None:
        """The running call of this UUID, where `sees` allows its company."""

    @property
    def listeners(self) -> int:
        """Who listens in just now."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[RunningCall]: ...
