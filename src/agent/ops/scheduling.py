"""Whether the media thread got the priority that MEDIA_PRIORITY asks for."""

from __future__ import annotations

import logging
import resource
from typing import Any, Protocol

log = logging.getLogger(__name__)


class Engine(Protocol):
    """What is asked of `fastaudio.Engine`."""

    async def responsive(self, timeout_s: float = 1.0) -> bool:
        """Whether the thread has answered."""
        ...

    def counters(self) -> dict[str, Any]:
        """Among them `fifo_priority`: what it got, 0 for none."""
        ...


async def tell_priority(engine: Engine, asked: int) -> None:
    """Say in the log what the thread of an engine that has just begun got; nothing where nothing was asked for."""
    if asked == 0:
        return
    await engine.responsive()  # it asks for its priority before it answers anything
    granted = int(engine.counters()["fifo_priority"])
    if granted == asked:
        log.info("the media thread runs with SCHED_FIFO priority %d", granted)
        return
    limit = resource.getrlimit(resource.RLIMIT_RTPRIO)[0]
    log.warning(
        "the media thread runs like any other: SCHED_FIFO priority %d is more than the %d that this process may have "
        "(LimitRTPRIO= in the unit, ulimit -r)",
        *(asked, limit),
    )
