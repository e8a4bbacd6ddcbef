"""Events on their way from what makes them to the one who takes them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

from agent.providers.base import SttEvent

QUEUED = 512


class EventQueue:
    """At the limit the oldest event is dropped, counted in `events_dropped`."""

    def __init__(self, counters: Counter[str]) -> None:
        self._counters = counters
        self._queue: asyncio.Queue[SttEvent | None] = asyncio.Queue(QUEUED)

    def put(self, event: SttEvent | None) -> None:
        """Queue an event; None is the end of them."""
        if self._queue.full():
            self._queue.get_nowait()
            self._counters["events_dropped"] += 1
        self._queue.put_nowait(event)

    async def take(self) -> AsyncIterator[SttEvent]:
        """The events, until the end."""
        while (event := await self._queue.get()) is not None:
            yield event
