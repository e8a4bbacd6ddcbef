"""How a call's audio ends: the verdict is left for the dialplan; or AMI has Asterisk take the caller for a transfer."""

from __future__ import annotations

import asyncio
import contextlib

import fastaudio
from agent.call.services import Services
from agent.telephony import CallInfo, Verdict

TRAIL_MS = 240  # the far end's jitter buffer plays the last word before the line goes
TAKEN_S = 1.0
"""How long Asterisk may take to close the audio of a caller whom it has redirected, s."""


class Parting:
    """The end of one call. `redirected` tells, when it is over, whether Asterisk has taken the caller by AMI."""

    def __init__(self, call: fastaudio.Call, info: CallInfo, services: Services) -> None:
        self._call = call
        self._info = info
        self._services = services
        self._redirecting: asyncio.Task[None] | None = None
        self.redirected = False

    async def begin(self, verdict: Verdict) -> None:
        """The last word has been heard. Doing it again while Asterisk is asked to take the caller changes nothing.

        The verdict comes first: the dialplan asks within milliseconds of the hangup, and it asks too when AMI failed.
        """
        await self._services.door.decide(self._call.uuid, verdict)
        if self._redirecting is not None:
            return
        if verdict.action == "transfer" and self._services.manager is not None and self._info.channel:
            self._redirecting = asyncio.create_task(self._redirect(verdict.target), name="redirect")
        else:
            self._call.hangup(TRAIL_MS)

    async def over(self) -> None:
        """Wait until Asterisk has been asked, if it is being asked."""
        if self._redirecting is not None:
            await self._redirecting

    async def _redirect(self, target: str) -> None:
        manager = self._services.manager
        assert manager is not None
        await asyncio.sleep(TRAIL_MS / 1000)
        if self._call.ended:
            return
        self.redirected = await manager.redirect(self._info.channel, target)
        if self.redirected and not self._call.ended:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TAKEN_S):
                    await self._call.wait_ended()
        self._call.hangup(0)
