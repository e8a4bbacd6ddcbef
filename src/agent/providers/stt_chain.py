"""Several STTs as one: the first that hears the caller, and the next one when it does not.

A vendor that was lost for a moment finds its own way back; meanwhile, and when it is lost for good or does nothing,
the next link is connected. It is given the audio that was not final yet, so that nothing is lost and nothing comes
twice. What one call finds out about a link no other finds out anew: each link has a breaker that all calls share.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from agent.providers.base import ProviderError, SpeechToText, SttAway, SttBack, SttEvent, SttLost
from agent.providers.breaker import Breaker
from agent.providers.event_queue import EventQueue
from agent.providers.kept_audio import Piece

log = logging.getLogger(__name__)

NEXT_S = 0.8
"""A link that is not there by then does not keep the caller waiting: the next one is asked as well."""
AWAY_S = 10.0
"""For so long a call may be without an STT; the audio of it is kept."""
CONNECT_S = 4.0
"""For so long all links are tried again as the call begins: the greeting is being heard, and then a word or two."""
AGAIN_S = 0.5
"""Between two rounds of all links, while none is there."""
TRIES = 2
"""So often a link may be lost by doing nothing, without a word from any link between."""


class SttLink(SpeechToText, Protocol):
    """An STT that can take a call over from another one, and hand it over."""

    sink: Callable[[SttEvent], None] | None
    """What is given its events instead of `events()`."""
    patient: bool
    """Whether it goes on with a vendor that did nothing; else it is lost at once, for there is another link."""

    @property
    def hopeless(self) -> bool:
        """When it is lost: another stream would fare no better."""

    def hand_over(self) -> list[Piece]:
        """Stop; the audio that is not final yet. `close` is still to follow."""

    def take_over(self, pieces: Sequence[Piece]) -> None:
        """Hear this before everything else."""


@dataclass(frozen=True, slots=True)
class Link:
    """One link of a chain."""

    name: str
    """For logs and the call's record: "nova-3"."""
    make: Callable[[Counter[str]], SttLink]
    """A stream for one call, not connected yet, which counts here; it asks and tells the breaker."""
    breaker: Breaker


@dataclass(slots=True)
class _Attempt:
    """A link that is being connected; what it says before it serves is kept."""

    link: Link
    stt: SttLink
    early: list[SttEvent] = field(default_factory=list)


class SttChain:
    """One call's STT. More counters: `switched`, and `took <link>` for each link that served."""

    def __init__(self, links: Sequence[Link]) -> None:
        """In the order in which they are wanted; one at least."""
        self._links = tuple(links)
        self._link = self._links[0]
        self._stt: SttLink | None = None
        self._spent: Counter[str] = Counter()  # how often each link was lost since anything was heard
        self._lost, self._never = asyncio.Event(), asyncio.Event()
        self._lost_reason = ""
        self._rescue: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self.counters: Counter[str] = Counter()
        self._events = EventQueue(self.counters)

    @property
    def ends_turns(self) -> bool:
        """As the link that serves has it."""
        return self._stt is not None and self._stt.ends_turns

    async def connect(self) -> None:
        """Connect the first link that will do; those that may do yet are tried again for a while.

        Raises `ProviderError`: what the first link said.
        """
        loop = asyncio.get_running_loop()
        limit = loop.time() + CONNECT_S
        while True:
            try:
                found = await self._first_of(self._left())
            except ProviderError:
                if not self._left() or loop.time() + AGAIN_S > limit:
                    raise
                await asyncio.sleep(AGAIN_S)
            else:
                self._serve(found)
                return

    def hear(self, position_ms: int, pcm: bytes) -> None:
        """Queue audio; never blocks."""
        if self._stt is not None:
            self._stt.hear(position_ms, pcm)

    def finalize(self) -> None:
        """Ask for the final text of what was heard so far."""
        if self._stt is not None:
            self._stt.finalize()

    def events(self) -> AsyncIterator[SttEvent]:
        """The events, until `close`."""
        return self._events.take()

    async def close(self) -> None:
        """End the stream."""
        if self._rescue is not None:
            self._rescue.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._rescue
            self._rescue = None
        if self._stt is not None:
            self._stt.sink = None
            await self._stt.close()
        while self._closing:
            await asyncio.wait(self._closing)
        self._events.put(None)

    # -- what the link that serves says ------------------------------------------------------------------------------

    def _serve(self, attempt: _Attempt) -> None:
        self._link, self._stt = attempt.link, attempt.stt
        self.counters[f"took {attempt.link.name}"] += 1
        self._lost.clear()
        attempt.stt.sink = self._take
        for event in attempt.early:
            self._take(event)

    def _take(self, event: SttEvent) -> None:
        if isinstance(event, SttAway):
            self._events.put(event)
            if self._rescue is None:
                self._rescue = asyncio.create_task(self._rescue_call(), name="stt rescue")
        elif isinstance(event, SttBack):
            if self._rescue is not None:
                self._rescue.cancel()
                self._closing.add(self._rescue)
                self._rescue.add_done_callback(self._closing.discard)
                self._rescue = None
            self._events.put(event)
        elif isinstance(event, SttLost):
            self._lost_reason = event.reason
            self._lost.set()
        else:
            self._spent.clear()
            self._events.put(event)

    async def _rescue_call(self) -> None:
        """Nobody hears the caller: the next link does, unless this one is back before; it then ends this task."""
        loop = asyncio.get_running_loop()
        limit = loop.time() + AWAY_S
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(NEXT_S):
                await self._lost.wait()
        lost = False
        while True:
            if self._lost.is_set() and not lost:
                lost = True
                assert self._stt is not None
                self._spent[self._link.name] += TRIES if self._stt.hopeless else 1
            others = self._left(but=None if lost else self._link)
            try:
                async with asyncio.timeout_at(limit):
                    attempt = await self._first_of(others)
            except ProviderError as error:
                error.forget_where()
                reason = f"{self._lost_reason}; {error}"
            except TimeoutError:
                reason = self._lost_reason
            else:
                self._rescue = None
                self._switch(attempt)
                return
            if self._lost.is_set() and (not self._left() or loop.time() + AGAIN_S > limit):
                log.error("%s; this call goes on without an STT", reason)
                self._events.put(SttLost(reason))
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(AGAIN_S):
                    await (self._never if lost else self._lost).wait()

    def _left(self, but: Link | None = None) -> list[Link]:
        """The links that may still do, first those that did not fail this call."""
        links = [link for link in self._links if link is not but and self._spent[link.name] < TRIES]
        return sorted(links, key=lambda link: self._spent[link.name])

    def _switch(self, attempt: _Attempt) -> None:
        """From one link to the other, without a wait between: no audio comes meanwhile."""
        old, link = self._stt, attempt.link
        assert old is not None
        log.warning("the STT is %s now, %s being away", link.name, self._link.name)
        self.counters["switched"] += link is not self._link
        if not self._lost.is_set():
            self._link.breaker.failed(ProviderError(self._link.name, "was slower to come back than another"))
        old.sink = _deaf
        attempt.stt.take_over(old.hand_over())
        self._dismiss(old)
        self._events.put(SttBack(attempt.stt.ends_turns))
        self._serve(attempt)

    # -- connecting --------------------------------------------------------------------------------------------------

    async def _first_of(self, links: Sequence[Link]) -> _Attempt:
        """Connect the first link that will do; each has 0.8 s before the next one is tried beside it.

        Those that were slower are told so by their breakers. Raises `ProviderError`: what the first of them said.
        """
        attempts: dict[asyncio.Task[None], _Attempt] = {}
        waiting = list(links)
        began: list[Link] = []
        errors: list[ProviderError] = []
        try:
            while waiting or attempts:
                if waiting:
                    began.append(waiting.pop(0))
                    attempt = self._attempt(began[-1])
                    name = f"connect stt {attempt.link.name}"
                    attempts[asyncio.create_task(attempt.stt.connect(), name=name)] = attempt
                done, _ = await asyncio.wait(
                    attempts, timeout=NEXT_S if waiting else None, return_when=asyncio.FIRST_COMPLETED
                )
                for task in [task for task in attempts if task in done]:
                    attempt = attempts.pop(task)
                    error = task.exception()
                    if error is None:
                        for earlier in began[: began.index(attempt.link)]:
                            if any(earlier is slow.link for slow in attempts.values()):
                                earlier.breaker.failed(ProviderError(earlier.name, "was slower to accept than another"))
                        return attempt
                    self._dismiss(attempt.stt)
                    if not isinstance(error, ProviderError):
                        log.error("the STT %s cannot be connected", attempt.link.name, exc_info=error)
                        error = ProviderError(attempt.link.name, type(error).__name__)
                    if error.hopeless:
                        self._spent[attempt.link.name] = TRIES
                    error.forget_where()
                    errors.append(error)
            raise errors[0] if errors else ProviderError("STT", "no link of the chain is left")
        finally:
            for task, loser in attempts.items():
                task.cancel()
                self._dismiss(loser.stt, task)

    def _attempt(self, link: Link) -> _Attempt:
        attempt = _Attempt(link, link.make(self.counters))
        attempt.stt.patient = len(self._links) == 1
        attempt.stt.sink = attempt.early.append
        return attempt

    def _dismiss(self, stt: SttLink, connecting: asyncio.Task[None] | None = None) -> None:
        """Close a link that is not needed, behind its attempt to connect."""

        async def close() -> None:
            if connecting is not None:
                with contextlib.suppress(asyncio.CancelledError, ProviderError):
                    await connecting
            await stt.close()

        task = asyncio.create_task(close(), name="close stt")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def _deaf(event: SttEvent) -> None:
    """For a link that serves no more."""
