"""What every link of a chain of STTs has: the audio of one call, kept until it is final, and the way of its events."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence

from agent.providers.base import SttEvent, bytes_a_ms
from agent.providers.bell import Bell
from agent.providers.event_queue import EventQueue
from agent.providers.kept_audio import KeptAudio, Piece
from agent.providers.timeline import Timeline


class SttStream:
    """The call's side of one call's STT; who derives from it makes `_task`, which takes what is `_kept`.

    Events go to `sink` where there is one, else to `events()`. See `SttLink`.
    """

    def __init__(self, sample_rate: int, counters: Counter[str] | None) -> None:
        self.counters: Counter[str] = Counter() if counters is None else counters
        """`connected`, `finals`, `interims`, `dropped_ms`, `replayed_ms`, `events_dropped`."""
        self.sink: Callable[[SttEvent], None] | None = None
        self.patient = True
        """Whether it tries a vendor again that did nothing on the last stream; else it is lost at once."""
        self._bytes_a_ms = bytes_a_ms(sample_rate)
        self._kept = KeptAudio(self._bytes_a_ms, self.counters)
        self._timeline = Timeline()
        self._bell = Bell()
        self._events = EventQueue(self.counters)
        self._task: asyncio.Task[None] | None = None

    def hear(self, position_ms: int, pcm: bytes) -> None:
        """Queue audio; at the limit the oldest is dropped, counted in ms."""
        if pcm:  # nothing would be a request, and on Deepgram's wire the end of the stream
            self._kept.add(position_ms, pcm)
            self._bell.ring()

    def finalize(self) -> None:
        """Ask for the final text of what was heard so far; nothing comes of it when that is final."""
        self._kept.ask()
        self._bell.ring()

    def events(self) -> AsyncIterator[SttEvent]:
        """The events, until `close`."""
        return self._events.take()

    def hand_over(self) -> list[Piece]:
        """Stop, for another one hears the caller from here on: what it is to hear. `close` is still to follow."""
        if self._task is not None:
            self._task.cancel()
        return self._kept.hand_over()

    def take_over(self, pieces: Sequence[Piece]) -> None:
        """Hear this before everything else."""
        self._kept.take_over(pieces)
        self._bell.ring()

    def _emit(self, event: SttEvent) -> None:
        if self.sink is not None:
            self.sink(event)
        else:
            self._events.put(event)
