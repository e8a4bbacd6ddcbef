"""Announces calls to FastAGI while they are dialled, as a dialplan does: each a moment before it connects."""

from __future__ import annotations

import asyncio
import threading
from types import TracebackType

from agent.sandbox.caller.agi import AgiFailed, Dialplan
from fastaudio import load

AHEAD_S = 1.0
"""So long before the first call connects: the agent makes vendors ready meanwhile."""


class Announcer:
    """`with Announcer(...)`: a thread that asks `start` for one call after the other. `refused` counts the others."""

    def __init__(self, host: str, port: int, prefix: bytes, calls: int, calls_a_second: int, did: str) -> None:
        self.refused = 0
        self.trouble = ""
        self._where = host, port, did
        self._prefix, self._calls, self._rate = prefix, calls, calls_a_second
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._announce()), name="announcer", daemon=True)

    def __enter__(self) -> Announcer:
        self._thread.start()
        self._stop.wait(AHEAD_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    async def _announce(self) -> None:
        began = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as group:
            for number in range(self._calls):
                await asyncio.sleep(began + number / self._rate - asyncio.get_running_loop().time())
                if self._stop.is_set():
                    return
                group.create_task(self._start(number))

    async def _start(self, number: int) -> None:
        host, port, did = self._where
        caller = f"+4420794{number:05}"  # a range that is kept for such things
        try:
            answer = await Dialplan(host, port, did=did, caller_id=caller).start(load.call_uuid(self._prefix, number))
        except AgiFailed as error:
            self.trouble = str(error)
            return
        if answer.get("VOICE_AGENT_STATUS") != "OK":
            self.refused += 1
