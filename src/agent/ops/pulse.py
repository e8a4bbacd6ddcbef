"""Whether the media thread lives: asked every two seconds, and known at once to `/health`, `/ready` and `/metrics`.

An event loop that hangs answers none of them, which says the same. What asks does not wait for the thread itself: a
probe with a short time-out is answered in time also when the thread hangs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

from prometheus_client.metrics_core import Metric

from agent.ops.metric_families import FAMILIES

EVERY_S: Final = 2.0
HUNG_S: Final = 5.0
"""Without an answer for so long it hangs: no host that only stands still for a moment is taken for it."""


class Pulse:
    """`run` is a task of its owner."""

    def __init__(
        self,
        responsive: Callable[[], Awaitable[bool]],
        *,
        every_s: float = EVERY_S,
        hung_s: float = HUNG_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`responsive` asks the thread, and tells within about a second."""
        self._responsive = responsive
        self._every_s = every_s
        self._hung_s = hung_s
        self._clock = clock
        self._missed_since: float | None = None

    @property
    def hung(self) -> bool:
        """Whether it has been asked for so long in vain that only a restart helps."""
        return self._missed_since is not None and self._clock() - self._missed_since >= self._hung_s

    async def look(self) -> None:
        """Ask once."""
        asked = self._clock()
        if await self._responsive():
            self._missed_since = None
        elif self._missed_since is None:
            self._missed_since = asked

    async def run(self) -> None:
        """Ask until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(self._every_s)

    def tell(self) -> Iterator[Metric]:
        """For `/metrics`: 0 from the first question in vain on."""
        yield FAMILIES["media_responsive"].counted(int(self._missed_since is None))
