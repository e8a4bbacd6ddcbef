"""Messages that go out later than they were made, as a vendor's do: each after its own latency, all in their order.

Who makes them does not wait, so a latency holds up nothing that comes in.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

Send = Callable[[dict[str, Any]], Awaitable[None]]
_WAITING = 1024


@dataclass(frozen=True, slots=True)
class _Letter:
    due: float
    message: dict[str, Any]
    passing: bool


class Outbox:
    """Made and used on one event loop; `run` sends until it is cancelled."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._letters: deque[_Letter] = deque()
        self._posted = asyncio.Event()
        self._emptied = asyncio.Event()
        self._emptied.set()

    def post(self, message: dict[str, Any], due: float, *, passing: bool = False) -> None:
        """Send `message` at `due` (the loop's time), or as soon as what was posted before has been sent.

        A `passing` message, such as an interim result, is dropped when a later one that is not would wait for it.
        Raises `OverflowError` when 1024 messages wait: their reader is gone.
        """
        letters = self._letters
        if not passing:
            while letters and letters[-1].passing and letters[-1].due > due:
                letters.pop()
        if len(letters) >= _WAITING:
            raise OverflowError(f"{_WAITING} messages wait to be sent")
        letters.append(_Letter(due, message, passing))
        self._emptied.clear()
        self._posted.set()

    async def drained(self) -> None:
        """Wait until everything posted so far has been sent."""
        await self._emptied.wait()

    async def run(self) -> None:
        """Send what is due, one message after the other."""
        loop = asyncio.get_running_loop()
        while True:
            while not self._letters:
                self._emptied.set()
                self._posted.clear()
                await self._posted.wait()
            # What is posted meanwhile may take the place of this one.
            if (wait := self._letters[0].due - loop.time()) > 0:
                await asyncio.sleep(wait)
                continue
            await self._send(self._letters.popleft().message)
