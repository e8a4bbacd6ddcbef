"""Holds that Silero does not confirm are resumed: beside the media thread, for all calls of an engine.

At HOLD a task reads the call's capture from half a second before it on, and hands it to the model on one thread of its
own. The media thread waits for nothing: silence goes out as always, and its barge-in stands unless Silero contradicts
it. Then the call goes on as after a cough, and holds no more while that sound lasts.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from fastaudio.call import EventKind
from fastaudio.options import TICK_MS
from fastaudio.silero import PREROLL_MS, Confirmation, Finding, Silero

if TYPE_CHECKING:
    from fastaudio.call import Call, Event

log = logging.getLogger(__name__)

BATCH_MS: Final = 40
AT_ONCE: Final = 64
"""Holds that are confirmed at once; each takes about 3 ms of the thread. The core decides further ones alone."""


class Confirmer:
    """Confirms the holds of every call that it is told to watch.

    `counters`: `silero_confirmed` and `silero_contradicted` holds, and `silero_skipped` ones, which came while
    `at_once` others were being confirmed. Raises ValueError and `FastAudioError` as `Silero` does.
    """

    def __init__(self, rate: int, *, rewind_ms: int = 0, at_once: int = AT_ONCE) -> None:
        self.counters = {"silero_confirmed": 0, "silero_contradicted": 0, "silero_skipped": 0}
        self.model = Silero(rate)
        self.rewind_ms = rewind_ms
        self._at_once = at_once
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="silero")
        self._tasks: set[asyncio.Task[None]] = set()

    def watch(self, call: Call) -> None:
        """Confirm this call's holds until it ends."""
        call._attach(_Watch(self, call).on_event)

    async def close(self) -> None:
        """Give up what is being confirmed, and end the thread."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._executor.shutdown(wait=False, cancel_futures=True)

    @property
    def confirming(self) -> int:
        """Holds that are being confirmed, and sounds that were contradicted and may go on."""
        return len(self._tasks)

    def begin(self, work: Coroutine[None, None, None], name: str) -> asyncio.Task[None] | None:
        """Run `work` as a task, unless there are too many."""
        if len(self._tasks) >= self._at_once:
            self.counters["silero_skipped"] += 1
            work.close()
            return None
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    async def feed(self, confirmation: Confirmation, caller: bytes) -> Finding | None:
        """Have the model hear it, on its thread."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, confirmation.feed, caller)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("%s: failed", task.get_name(), exc_info=error)


class _Watch:
    """The holds of one call."""

    def __init__(self, confirmer: Confirmer, call: Call) -> None:
        self._confirmer = confirmer
        self._call = call
        self._task: asyncio.Task[None] | None = None
        self._confirmation: Confirmation | None = None
        self._holds = 0

    def on_event(self, event: Event) -> None:
        """What the call's listener is told."""
        if event.kind is EventKind.HOLD and self._held_by_the_core():
            self._give_up()
            self._confirmation = None
            hold_block = event.position * 1000 // self._call.rate // TICK_MS
            name = f"call {self._call.uuid}: confirming a hold"
            self._task = self._confirmer.begin(self._confirm(hold_block), name)
        elif event.kind in (EventKind.FLUSHED, EventKind.ENDED):
            self._give_up()
        elif event.kind is EventKind.RESUME and not (self._confirmation and self._confirmation.contradicted):
            self._give_up()  # it was decided without us

    def _held_by_the_core(self) -> bool:
        """Whether its detector has held since this was last asked: a hold that the agent asked for is not counted."""
        before, self._holds = self._holds, self._call.counters()["holds"]
        return self._holds > before

    def _give_up(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()

    async def _confirm(self, hold_block: int) -> None:
        call, confirmer = self._call, self._confirmer
        # The event may have waited for this loop, and the pre-roll is counted from now.
        since_ms = max(0, call.core.captured() - hold_block) * TICK_MS
        stream = call.capture(batch_ms=BATCH_MS, preroll_ms=PREROLL_MS + since_ms)
        confirmation = Confirmation(confirmer.model, (hold_block - stream.position) * TICK_MS)
        self._confirmation = confirmation
        try:
            while (batch := await stream.read()) is not None:
                finding = await confirmer.feed(confirmation, batch.caller)
                if finding in ("confirmed", "contradicted"):
                    confirmer.counters[f"silero_{finding}"] += 1
                if finding == "contradicted":
                    call.resume(confirmer.rewind_ms)
                    call._deafen(True)
                elif finding is not None:
                    return
        finally:
            stream.close()
            if confirmation.contradicted:
                call._deafen(False)
