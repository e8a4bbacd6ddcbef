"""What the dialplan asks of the agent, whichever way it asks: is there room for this call, and what comes after it?"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Literal
from uuid import UUID

from agent.telephony.registry import CallInfo, DuplicateCallError, Registry, RegistryFullError, Verdict

log = logging.getLogger(__name__)

OnStart = Callable[[CallInfo], Awaitable[bool]]
"""Asked at `start`: is there room for this call? True makes it expected; what it needs may be made ready.

The call is among `Registry.announced` already, so that calls which ask at once cannot all get the last place.
"""

Answer = Literal["OK", "FULL", "ERROR"]

OnMissed = Callable[[UUID, str], None]
"""Told of a transfer that nobody answered, with what Asterisk calls it."""

_STATUS = re.compile(r"[A-Z]{1,20}")
_UUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")


def how_missed(dial: str, queue: str, abandoned: str) -> str:
    """How a transfer came to nothing, by DIALSTATUS, QUEUESTATUS and ABANDONED; empty where somebody took the call, and
    where nothing tells.

    A queue whose time is over may be followed by a phone that is answered, so DIALSTATUS has the last word. QUEUESTATUS
    is CONTINUE where an agent of the queue hung up, and the caller did not.
    """
    if dial == "ANSWER" or queue == "CONTINUE":
        return ""
    status = dial or queue or ("CANCEL" if abandoned == "TRUE" else "")
    return status if _STATUS.fullmatch(status) else ""


def uuid_of(text: str) -> UUID | None:
    """The UUID in the form that Asterisk's `AudioSocket()` accepts: libuuid's, any version bits. None for another."""
    return UUID(text) if _UUID.fullmatch(text) else None


class Desk:
    """Both questions, with a limit of time each, and what the dialplan tells; FastAGI and HTTP put them in their own
    words.
    """

    def __init__(
        self,
        registry: Registry,
        on_start: OnStart,
        *,
        on_missed: OnMissed | None = None,
        start_timeout_s: float = 3.0,
        verdict_wait_s: float = 1.0,
    ) -> None:
        self._on_missed = on_missed
        self._registry = registry
        self._on_start = on_start
        self._start_timeout_s = start_timeout_s
        self._verdict_wait_s = verdict_wait_s

    async def start(self, info: CallInfo) -> Answer:
        """Expect the call if there is room. Anything but OK leaves no trace of it."""
        try:
            await self._registry.announce(info)
        except RegistryFullError:
            return "FULL"
        except DuplicateCallError:
            return "ERROR"
        answer: Answer = "ERROR"
        try:
            async with asyncio.timeout(self._start_timeout_s):
                answer = "OK" if await self._on_start(info) else "FULL"
        except TimeoutError:
            log.warning("call %s: whether there is room was not known within its time", info.uuid)
        except Exception:
            log.exception("call %s: asking for room failed", info.uuid)
        finally:
            if answer != "OK":
                await self._registry.withdraw(info.uuid)
        return answer

    async def withdraw(self, uuid: UUID) -> None:
        """The answer did not arrive: the call will not come."""
        await self._registry.withdraw(uuid)

    async def next(self, call: str) -> Verdict | None:
        """What the dialplan is to do after the call with this UUID; None: unknown, which is its fallback."""
        uuid = uuid_of(call)
        return None if uuid is None else await self._registry.verdict(uuid, self._verdict_wait_s)

    def transferred(self, call: str, dial: str, queue: str, abandoned: str) -> Literal["missed", "answered", "unknown"]:
        """A transferred call is over; the last three are Asterisk's variables. `unknown`: that is no UUID."""
        uuid = uuid_of(call)
        if uuid is None:
            return "unknown"
        status = how_missed(dial, queue, abandoned)
        if not status:
            return "answered"
        if self._on_missed is not None:
            self._on_missed(uuid, status)
        return "missed"
