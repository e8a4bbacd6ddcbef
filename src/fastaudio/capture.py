"""Reading a call's capture: in batches as they come, or whatever is there at a time of one's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, NamedTuple

from fastaudio.options import TICK_MS

if TYPE_CHECKING:
    from fastaudio.call import Call

FILLED, HELD, SPEECH, SENT = 1, 2, 4, 8
"""Bits of a block's flags, as in capture.h: silence in place of frames that did not come; playback was held; the
detector calls the caller's side speech; the sent side is audio."""
_MOST_BLOCKS = 64
"""Read at once."""


class Batch(NamedTuple):
    """Blocks of 20 ms that follow each other.

    `position` is the first one's number since the UUID; `caller` is 16-bit PCM, `sent` the same for what went to the
    caller (empty unless asked for); `flags` has one byte a block.
    """

    position: int
    caller: bytes
    sent: bytes
    flags: bytes


def _blocks(batch_ms: int) -> int:
    if batch_ms < TICK_MS:
        raise ValueError(f"batch_ms is {batch_ms}; a batch has at least {TICK_MS} ms")
    return batch_ms // TICK_MS


class CaptureReader:
    """A reader that nobody wakes: who has it looks now and then, in any one thread, and costs the event loop nothing.

    The capture holds 2.56 s, of which 1.9 s are safe: look more often. What was overwritten is lost, counted in `lost`.
    It can be read to its end when the call is over.
    """

    def __init__(self, call: Call, *, preroll_ms: int, sent: bool) -> None:
        self._sent = sent
        self._reader = call.core.reader(preroll_ms // TICK_MS)

    @property
    def lost(self) -> int:
        """Blocks that were overwritten before they were read."""
        return self._reader.lost

    def read(self) -> Batch | None:
        """What has come since the last time, at most 1.28 s of it; None when nothing has."""
        got = self._reader.read(_MOST_BLOCKS, self._sent)
        if got is None:
            return None
        position, caller, sent, flags = got
        return Batch(position, caller, sent or b"", flags)


class CaptureStream:
    """A reader with its own place; one that falls behind loses its own oldest blocks, counted in `lost`.

    One task reads at a time.
    """

    def __init__(self, call: Call, *, batch_ms: int, preroll_ms: int, sent: bool) -> None:
        self._call = call
        self._batch = _blocks(batch_ms)
        self._most = max(self._batch, _MOST_BLOCKS)
        self._sent = sent
        self._reader = call.core.reader(preroll_ms // TICK_MS)
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False
        self.wanted_block = self._reader.position + self._batch
        """The number of captured blocks at which the next batch is whole."""

    @property
    def lost(self) -> int:
        """Blocks that were overwritten before they were read."""
        return self._reader.lost

    @property
    def position(self) -> int:
        """The next block's number."""
        return self._reader.position

    def resize(self, batch_ms: int) -> None:
        """Batches of another length from now on; one that is whole by that comes at once. At least 20 ms."""
        self._batch = _blocks(batch_ms)
        self._most = max(self._batch, _MOST_BLOCKS)
        self.wanted_block = self._reader.position + self._batch
        self.wake()

    def wake(self) -> None:
        """Look again: a batch may be there, or the call may be over."""
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def close(self) -> None:
        """Stop reading."""
        self._closed = True
        self._call._close_stream(self)
        self.wake()

    async def read(self) -> Batch | None:
        """The next batch: `batch_ms` of it, more when behind, less at the end; None when the call is over."""
        call, captured = self._call, self._call.core.captured
        while not self._closed:
            ended = call.ended
            if captured() >= self.wanted_block or ended:
                got = self._reader.read(self._most, self._sent)
                if got is not None:
                    position, caller, sent, flags = got
                    self.wanted_block = self._reader.position + self._batch
                    return Batch(position, caller, sent or b"", flags)
            if ended:
                self.close()
                return None
            call._ask_capture()
            if captured() < self.wanted_block and not call.ended:
                self._waiter = self._loop.create_future()
                await self._waiter
        return None

    async def __aiter__(self) -> AsyncIterator[Batch]:
        try:
            while (batch := await self.read()) is not None:
                yield batch
        finally:
            self.close()
