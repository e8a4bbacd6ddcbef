"""Calls between Asterisk's announcement and the dialplan's last question.

A call passes through three places here: *announced* (FastAGI's `start` told who calls, the audio has not come
yet), *running* (the AudioSocket connection is there) and *decided* (the dialplan may ask what comes next).
Everything is bounded, and what is dropped is counted. One event loop owns a registry: no locks.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol
from uuid import UUID

Action = Literal["hangup", "transfer", "menu"]
Source = Literal["fastagi", "http", "file", "none"]

TARGET = re.compile(r"[0-9A-Za-z+*#_-]{1,64}")
"""What a transfer target may be: it becomes an extension of the dialplan, so nothing that the dialplan reads."""

POLL_NS = 50_000_000
"""How often a metadata file is looked for, ns."""

ASKED_NS = 2_000_000_000
"""The dialplan asks within milliseconds of a call's end; one that has not asked by then does not."""


class RegistryFullError(Exception):
    """As many calls are announced as the registry holds: there is no room for another."""


class DuplicateCallError(Exception):
    """A call with this UUID is running already."""


@dataclass(frozen=True, slots=True, repr=False)
class CallInfo:
    """What Asterisk said of one call. Texts are empty when unknown; a withheld caller ID is empty too.

    `announced_ns` is CLOCK_MONOTONIC. The representation shows no number and no name, so that it may be logged.
    """

    uuid: UUID
    did: str = ""
    caller_id: str = ""
    caller_name: str = ""
    unique_id: str = ""
    linked_id: str = ""
    channel: str = ""
    source: Source = "none"
    announced_ns: int = field(default_factory=time.monotonic_ns)

    def __repr__(self) -> str:
        return f"CallInfo({self.uuid}, source={self.source!r}, unique_id={self.unique_id!r})"


@dataclass(frozen=True, slots=True, repr=False)
class Verdict:
    """What the dialplan is to do after `AudioSocket()`.

    Raises `ValueError` when a transfer has no target, or a target holds what no extension may.
    """

    action: Action
    target: str = ""
    reason: str = ""

    def __post_init__(self) -> None:
        if self.action not in ("hangup", "transfer", "menu"):
            raise ValueError(f"a verdict is hangup, transfer or menu, not {self.action!r}")
        if self.action == "transfer" and not self.target:
            raise ValueError("a transfer needs a target: an extension of the context voice-agent-transfer")
        if self.target and TARGET.fullmatch(self.target) is None:
            raise ValueError("a transfer target is 1 to 64 of 0-9 A-Z a-z + * # _ -")

    def __repr__(self) -> str:
        return f"Verdict({self.action!r}, reason={self.reason!r})"


class MetadataSource(Protocol):
    """Where the announcement of a call that FastAGI did not announce may lie (`MetadataDirectory`)."""

    def take(self, uuid: UUID) -> CallInfo | None:
        """The call's announcement, removed from where it lay; None while there is none."""


class Registry(Protocol):
    """Announcements, running calls and verdicts by UUID, wherever they are kept; for the event loop's thread only.

    A registry that asks somebody else does so in bounded time, and none of its methods raises but `announce`: what it
    cannot have it counts, and goes on as for a call that nobody announced or decided.
    """

    @property
    def counters(self) -> Counter[str]:
        """What happened, by name."""

    @property
    def announced(self) -> int:
        """Calls that were announced and have not come yet: each may need a place within a second."""

    @property
    def running(self) -> int:
        """Calls whose audio is connected to this host."""

    @property
    def unasked(self) -> int:
        """Verdicts of calls that ended less than `ASKED_NS` ago, and that would be lost with this process."""

    async def announce(self, info: CallInfo) -> None:
        """Expect this call. A second announcement of the same UUID replaces the first.

        Raises `RegistryFullError` at the limit and `DuplicateCallError` when the call is running already.
        """

    async def withdraw(self, uuid: UUID) -> None:
        """Forget an announced call that will not come; unknown ones are ignored."""

    async def claim(self, uuid: UUID, wait_s: float = 1.0) -> CallInfo | None:
        """The announcement of the call that has just connected, handed out once; None: nobody announced it.

        `wait_s` is for one whose announcement may still be on its way.
        """

    async def opened(self, uuid: UUID) -> bool:
        """Note that the call's audio is connected; False when a call with this UUID is running already."""

    async def decide(self, uuid: UUID, verdict: Verdict) -> None:
        """Say what the dialplan is to do next; kept for a minute, and the last word counts.

        To be awaited before the agent ends the audio: the dialplan asks within milliseconds of it, and then finds the
        verdict wherever it asks.
        """

    async def closed(self, uuid: UUID) -> None:
        """Note that the call's audio is over; its verdict, if there is one, is kept for a minute from now.

        Without a verdict the dialplan's question is answered as for an unknown call: it goes to its fallback.
        """

    async def verdict(self, uuid: UUID, wait_s: float = 1.0) -> Verdict | None:
        """What the dialplan is to do after the call; a running call gets `wait_s` to decide.

        None: the call is unknown, or did not decide. Asking again gives the same answer until it expires.
        """

    def sweep(self) -> None:
        """Drop what has expired; a server calls it now and then for a quiet hour."""


@dataclass(slots=True)
class _Waiting:
    info: CallInfo
    expires_ns: int


@dataclass(slots=True)
class _Decided:
    verdict: Verdict
    expires_ns: int
    asked: bool = False


class CallRegistry:
    """The registry of one process, in its memory: no method but `claim` and `verdict` waits for anything.

    `on_dropped` hears of each announced call that will never come (expired, or withdrawn), so that what was made
    ready for it can be released. `counters` holds `announced`, `claimed`, `claimed_file`, `unannounced`,
    `expired`, `withdrawn`, `full`, `duplicate`, `verdicts_expired`, `verdicts_unknown`, `verdicts_late`.
    """

    def __init__(
        self,
        *,
        metadata: MetadataSource | None = None,
        max_announced: int = 1000,
        max_verdicts: int = 10_000,
        expiry_s: float = 60.0,
        on_dropped: Callable[[CallInfo], None] | None = None,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.counters: Counter[str] = Counter()
        self._metadata = metadata
        self._max_announced = max_announced
        self._max_verdicts = max_verdicts
        self._expiry_ns = int(expiry_s * 1e9)
        self._on_dropped = on_dropped
        self._clock_ns = clock_ns
        self._announced: OrderedDict[UUID, _Waiting] = OrderedDict()
        self._running: dict[UUID, asyncio.Event] = {}
        self._decided: OrderedDict[UUID, _Decided] = OrderedDict()

    def __repr__(self) -> str:
        return (
            f"CallRegistry(announced={len(self._announced)}, running={len(self._running)}, "
            f"decided={len(self._decided)})"
        )

    @property
    def announced(self) -> int:
        """Calls that were announced and have not come yet: each may need a place within a second."""
        self.sweep()
        return len(self._announced)

    @property
    def running(self) -> int:
        """Calls whose audio is connected."""
        return len(self._running)

    async def announce(self, info: CallInfo) -> None:
        """Expect this call. A second announcement of the same UUID replaces the first.

        Raises `RegistryFullError` at the limit and `DuplicateCallError` when the call is running already.
        """
        self.sweep()
        if info.uuid in self._running:
            self.counters["duplicate"] += 1
            raise DuplicateCallError(f"call {info.uuid} is running already")
        if info.uuid not in self._announced and len(self._announced) >= self._max_announced:
            self.counters["full"] += 1
            raise RegistryFullError(f"{self._max_announced} calls are announced and have not come")
        self._announced.pop(info.uuid, None)
        self._announced[info.uuid] = _Waiting(info, self._clock_ns() + self._expiry_ns)
        self.counters["announced"] += 1

    async def withdraw(self, uuid: UUID) -> None:
        """Forget an announced call that will not come; unknown ones are ignored."""
        waiting = self._announced.pop(uuid, None)
        if waiting is not None:
            self.counters["withdrawn"] += 1
            self._dropped(waiting.info)

    def forget(self, uuid: UUID) -> bool:
        """An announced call has come elsewhere; False when it is not announced here."""
        waiting = self._announced.pop(uuid, None)
        if waiting is not None:
            self._dropped(waiting.info)
        return waiting is not None

    def expects(self, uuid: UUID) -> bool:
        """Whether the call is announced, and has not come yet."""
        self.sweep()
        return uuid in self._announced

    def expected(self) -> list[CallInfo]:
        """The calls that are announced, and have not come yet."""
        self.sweep()
        return [waiting.info for waiting in self._announced.values()]

    async def claim(self, uuid: UUID, wait_s: float = 1.0) -> CallInfo | None:
        """The announcement of the call that has just connected, handed out once.

        One of FastAGI is returned at once; else a metadata file is looked for every 50 ms, for up to `wait_s`.
        None: nobody announced this call.
        """
        deadline_ns = now_ns = self._clock_ns()
        deadline_ns += int(wait_s * 1e9)
        poll_ns = now_ns
        while True:
            self.sweep()
            waiting = self._announced.pop(uuid, None)
            if waiting is not None:
                self.counters["claimed"] += 1
                return waiting.info
            if self._metadata is None:
                break
            info = self._metadata.take(uuid)
            if info is not None:
                self.counters["claimed_file"] += 1
                return info
            poll_ns += POLL_NS
            if poll_ns > deadline_ns:
                break
            await asyncio.sleep(max(0, poll_ns - self._clock_ns()) / 1e9)
        self.counters["unannounced"] += 1
        return None

    async def opened(self, uuid: UUID) -> bool:
        """Note that the call's audio is connected; False when a call with this UUID is running already."""
        if uuid in self._running:
            self.counters["duplicate"] += 1
            return False
        self._decided.pop(uuid, None)
        self._running[uuid] = asyncio.Event()
        return True

    async def decide(self, uuid: UUID, verdict: Verdict) -> None:
        """Say what the dialplan is to do next; kept for the expiry time, and the last word counts.

        To be called before the agent ends the audio: the dialplan asks within milliseconds of it.
        """
        self.sweep()
        self._decided.pop(uuid, None)
        if len(self._decided) >= self._max_verdicts:
            self._decided.popitem(last=False)
            self.counters["verdicts_expired"] += 1
        self._decided[uuid] = _Decided(verdict, self._clock_ns() + self._expiry_ns)
        event = self._running.get(uuid)
        if event is not None:
            event.set()

    async def closed(self, uuid: UUID) -> None:
        """Note that the call's audio is over; its verdict, if there is one, is kept for the expiry time from now.

        Without a verdict the dialplan's question is answered as for an unknown call: it goes to its fallback.
        """
        event = self._running.pop(uuid, None)
        if event is not None:
            event.set()
        decided = self._decided.pop(uuid, None)
        if decided is not None:
            decided.expires_ns = self._clock_ns() + self._expiry_ns
            self._decided[uuid] = decided

    def knows(self, uuid: UUID) -> bool:
        """Whether the call runs here, or has a verdict here."""
        self.sweep()
        return uuid in self._running or uuid in self._decided

    def kept_elsewhere(self, uuid: UUID) -> None:
        """Somebody else keeps the verdict too: nobody has to wait here until it is asked for."""
        if uuid in self._decided:
            self._decided[uuid].asked = True

    @property
    def unasked(self) -> int:
        """Verdicts of calls that ended less than `ASKED_NS` ago, and that the dialplan has not asked for yet."""
        recent_ns = self._clock_ns() + self._expiry_ns - ASKED_NS
        return sum(
            not decided.asked and decided.verdict.reason != "caller" and decided.expires_ns > recent_ns
            for decided in self._decided.values()
        )

    async def verdict(self, uuid: UUID, wait_s: float = 1.0) -> Verdict | None:
        """What the dialplan is to do after the call; a running call gets `wait_s` to decide.

        None: the call is unknown, or did not decide. Asking again gives the same answer until it expires.
        """
        self.sweep()
        event = self._running.get(uuid)
        if uuid not in self._decided and event is not None:
            try:
                async with asyncio.timeout(wait_s):
                    await event.wait()
            except TimeoutError:
                self.counters["verdicts_late"] += 1
                return None
        decided = self._decided.get(uuid)
        if decided is None:
            self.counters["verdicts_unknown"] += 1
            return None
        decided.asked = True
        return decided.verdict

    def sweep(self) -> None:
        """Drop what has expired: each method does so first."""
        now_ns = self._clock_ns()
        while self._announced:
            uuid, waiting = next(iter(self._announced.items()))
            if waiting.expires_ns > now_ns:
                break
            del self._announced[uuid]
            self.counters["expired"] += 1
            self._dropped(waiting.info)
        while self._decided:
            uuid, decided = next(iter(self._decided.items()))
            if decided.expires_ns > now_ns:
                break
            del self._decided[uuid]
            self.counters["verdicts_expired"] += 1

    def _dropped(self, info: CallInfo) -> None:
        if self._on_dropped is not None:
            self._on_dropped(info)
