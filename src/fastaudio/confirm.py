"""Holds that Silero does not confirm are resumed: beside the media thread, for all calls of an engine.

At HOLD a task reads the call's capture from half a second before it on, and hands it to the model on one thread of its
own. The media thread waits for nothing: silence goes out as always, and its barge-in stands unless Silero contradicts
it. Then the call goes on as after a cough.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from fastaudio.options import TICK_MS
from fastaudio.silero import PREROLL_MS, Confirmation, Silero

if TYPE_CHECKING:
    from fastaudio.call import Call, Event

log = logging.getLogger(__name__)

BATCH_MS: Final = 40
AT_ONCE: Final = 64
"""Holds that are confirmed at once; each takes about 3 ms of the thread. The core decides further ones alone."""


class Confirmer:
    """Confirms the holds of every call that it is told to watch.

    `counters`: `silero_confirmed` and `silero_contradicted` holds, and `silero_skipped` ones, which came while
    `AT_ONCE` others were being confirmed. Raises ValueError and `FastAudioError` as `Silero` does.
    """

    def __init__(self, rate: int, *, rewind_ms: int = 0, at_once: int = AT_ONCE) -> None:
        self.counters = {"silero_confirmed": 0, "silero_contradicted": 0, "silero_skipped": 0}
        self._model = Silero(rate)
        self._rewind_ms = rewind_ms
        self._at_once = at_once
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="silero")
        self._tasks: dict[Call, asyncio.Task[None]] = {}

    def watch(self, call: Call) -> None:
        """Confirm this call's holds until it ends."""
        call.listen(functools.partial(self._on_event, call, _Holds()))

    async def close(self) -> None:
        """Give up what is being confirmed, and end the thread."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._executor.shutdown(wait=False, cancel_futures=True)

    @property
    def confirming(self) -> int:
        """Holds that are being confirmed."""
        return len(self._tasks)

    def _on_event(self, call: Call, holds: _Holds, event: Event) -> None:
        from fastaudio.call import EventKind

        if event.kind is EventKind.HOLD:
            if holds.by_the_core(call):
                self._begin(call, event)
        elif event.kind in (EventKind.RESUME, EventKind.FLUSHED, EventKind.ENDED) and call in self._tasks:
            self._tasks[call].cancel()  # it has been decided

    def _begin(self, call: Call, event: Event) -> None:
        if len(self._tasks) >= self._at_once:
            self.counters["silero_skipped"] += 1
            return
        hold_block = event.position * 1000 // call.rate // TICK_MS
        task = asyncio.create_task(self._confirm(call, hold_block), name=f"confirm a hold of {call.uuid}")
        self._tasks[call] = task
        task.add_done_callback(functools.partial(self._done, call))

    def _done(self, call: Call, task: asyncio.Task[None]) -> None:
        if self._tasks.get(call) is task:
            del self._tasks[call]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("call %s: a hold was not confirmed", call.uuid, exc_info=error)

    async def _confirm(self, call: Call, hold_block: int) -> None:
        # The event may have waited for this loop, and the pre-roll is counted from now.
        since_ms = max(0, call.core.captured() - hold_block) * TICK_MS
        stream = call.capture(batch_ms=BATCH_MS, preroll_ms=PREROLL_MS + since_ms)
        confirmation = Confirmation(self._model, (hold_block - stream.position) * TICK_MS)
        loop = asyncio.get_running_loop()
        try:
            speech = None
            while speech is None:
                batch = await stream.read()
                if batch is None:
                    return  # the call is over
                speech = await loop.run_in_executor(self._executor, confirmation.feed, batch.caller)
        finally:
            stream.close()
        self.counters["silero_confirmed" if speech else "silero_contradicted"] += 1
        if not speech:
            call.resume(self._rewind_ms)


class _Holds:
    """Tells a hold of the core's detector from one that the agent asked for itself: only the former are counted."""

    def __init__(self) -> None:
        self._seen = 0

    def by_the_core(self, call: Call) -> bool:
        """Whether the core has held since this was last asked."""
        seen, self._seen = self._seen, call.counters()["holds"]
        return self._seen > seen
