"""Wakes a task that waits for one thing or another, or for a time."""

from __future__ import annotations

import asyncio


class Bell:
    """One task waits; anything may ring. A ring while nobody waits is kept, so that none is missed.

    It costs a future for each wait and no timer: the timer that runs is moved only when it must fire earlier, and one
    that fires too early wakes the task for nothing. The one who waits looks for itself what there is to do.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._rung = False
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def ring(self) -> None:
        """Wake the task that waits, or the next one to wait."""
        self._rung = True
        self._wake()

    async def wait(self, until: float) -> None:
        """Return when it was rung, or at this time of the event loop's clock (infinity: never), or a little before."""
        if not self._rung:
            if self._timer is None or self._timer.when() > until:
                self._set(until)
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        self._rung = False

    def stop(self) -> None:
        """Leave no timer behind."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set(self, until: float) -> None:
        self.stop()
        if until != float("inf"):
            self._timer = self._loop.call_at(until, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
