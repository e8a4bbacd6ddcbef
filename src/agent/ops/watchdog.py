"""systemd's watchdog: it is fed for as long as what must answer does, and ends the service when it is not.

With `WatchdogSec=` in the unit, systemd sets WATCHDOG_USEC and wants `WATCHDOG=1` that often (sd_watchdog_enabled(3)).
An event loop that hangs feeds nothing by itself; whether the media threads answer is asked each time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable

from agent.ops import notify
from agent.ops.journal import WATCHDOG_NOT_FED

log = logging.getLogger(__name__)

FED_TIMES = 3
"""In each period of the watchdog, so that one slow answer harms nobody."""


def period_s() -> float | None:
    """How often systemd wants to hear, s; None where it does not watch this process."""
    wanted = os.environ.get("WATCHDOG_USEC", "")
    watched = os.environ.get("WATCHDOG_PID", "")
    if not wanted.isdecimal() or int(wanted) == 0 or (watched and watched != str(os.getpid())):
        return None
    return int(wanted) / 1e6


@contextlib.asynccontextmanager
async def fed(healthy: Callable[[], Awaitable[bool]]) -> AsyncIterator[None]:
    """Feed the watchdog meanwhile, whenever `healthy` says true; without a watchdog, nothing is asked.

    `healthy` has a third of the watchdog's period; what it raises, or no answer, is a no.
    """
    period = period_s()
    if period is None:
        yield
        return
    feeder = asyncio.create_task(_feed(healthy, period), name="watchdog")
    try:
        yield
    finally:
        feeder.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await feeder


async def _feed(healthy: Callable[[], Awaitable[bool]], period: float) -> None:
    loop = asyncio.get_running_loop()
    step = period / FED_TIMES
    due = last = loop.time()
    hungry = False
    while True:
        if await _is_healthy(healthy, step):
            notify.notify("WATCHDOG=1")
            if hungry:
                log.warning("the media thread answers again, after %.1f s: the watchdog is fed", loop.time() - last)
            hungry, last = False, loop.time()
        elif not hungry:
            hungry = True
            log.error(
                "the media thread does not answer: the watchdog is not fed, and systemd ends this service in %.1f s",
                max(0.0, last + period - loop.time()),
                extra={"MESSAGE_ID": WATCHDOG_NOT_FED},
            )
        due = max(due + step, loop.time())  # after a standstill, at once and then as before
        await asyncio.sleep(due - loop.time())


async def _is_healthy(healthy: Callable[[], Awaitable[bool]], within_s: float) -> bool:
    try:
        async with asyncio.timeout(within_s):
            return await healthy()
    except Exception as error:
        if not isinstance(error, TimeoutError):
            log.exception("cannot ask whether the media thread answers")
        return False
