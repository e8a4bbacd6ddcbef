"""Reading a call's capture in batches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastaudio.options import TICK_MS

if TYPE_CHECKING:
    from fastaudio.call import Call

FILLED, HELD, SPEECH, SENT = 1, 2, 4, 8
"""Bits of a block's flags, as in capture.h: silence in place of frames that did not come; playback was held; the
detector calls the caller's side speech; the sent side is audio."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Blocks of 20 ms that follow each other.

    `position` is the first one's number since the UUID; `caller` is 16-bit PCM, `sent` the same for what went to the
    caller (empty unless asked for); `flags` has one byte a block.
    """

    position: int
    caller: bytes
    sent: bytes
    flags: bytes


class CaptureStream:
    """A reader with its own place; one that falls behind loses its own oldest blocks, counted in `lost`."""

    def __init__(self, call: Call, *, batch_ms: int, preroll_ms: int, sent: bool) -> None:
        if batch_ms < TICK_MS:
            raise ValueError(f"batch_ms is {batch_ms}; a batch has at least {TICK_MS} ms")
        self._call = call
        self._batch = batch_ms // TICK_MS
        self._sent = sent
        self._reader = call.core.reader(preroll_ms // TICK_MS)
        self._wake = asyncio.Event()
        self._closed = False

    @property
    def wanted_block(self) -> int:
        """The number of captured blocks at which the next batch is whole."""
        return self._reader.position + self._batch

    @property
    def lost(self) -> int:
        """Blocks that were overwritten before they were read."""
        return self._reader.lost

    @property
    def position(self) -> int:
        """The next block's number."""
        return self._reader.position

    def wake(self) -> None:
        """Look again: a batch may be there, or the call may be over."""
        self._wake.set()

    def close(self) -> None:
        """Stop reading."""
        self._closed = True
        self._call._close_stream(self)
        self._wake.set()

    async def read(self) -> Batch | None:
        """The next batch: `batch_ms` of it, more when behind, less at the end; None when the call is over."""
        while not self._closed:
            ended = self._call.ended
            if self._call.core.captured() >= self.wanted_block or ended:
                got = self._reader.read(max(self._batch, 64), self._sent)
                if got is not None:
                    position, caller, sent, flags = got
                    self._call._ask_capture()
                    return Batch(position, caller, sent or b"", flags)
            if ended:
                self.close()
                return None
            self._wake.clear()
            self._call._ask_capture()
            if self._call.core.captured() < self.wanted_block and not self._call.ended:
                await self._wake.wait()
        return None

    async def __aiter__(self) -> AsyncIterator[Batch]:
        try:
            while (batch := await self.read()) is not None:
                yield batch
        finally:
            self.close()
