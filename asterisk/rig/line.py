"""What a test of the dialplan needs together: Asterisk, the agent's telephony, and a stand-in for its audio."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from uuid import UUID

from agent.telephony import CallInfo, CallRegistry, FastAgiServer

from . import rtpcheck
from .server import AsteriskRig
from .sipcaller import SipCall, SipCaller
from .sounds import chirp
from .standin import StandIn


@dataclass
class Line:
    """The parts, `room` (what `start` is answered, after `slow_s`), the calls that `start` was asked for, and the
    transfers that nobody answered.
    """

    rig: AsteriskRig
    registry: CallRegistry
    agi: FastAgiServer
    agent: StandIn
    http_port: int
    room: bool = True
    slow_s: float = 0.0
    started: list[CallInfo] = field(default_factory=list)
    missed: list[tuple[UUID, str]] = field(default_factory=list)

    def caller(self, number: str = "07700900123", name: str = "Ann Example") -> SipCaller:
        """A telephone that shows this number and name."""
        return SipCaller(self.rig.address, number, name)


RINGING_HZ = 450
"""The higher of the two tones of a British telephone that rings elsewhere."""


async def rings(call: SipCall, timeout_s: float = 5.0) -> None:
    """Wait until the caller hears the ringing of the phone that is asked for. Raises `TimeoutError`."""
    async with asyncio.timeout(timeout_s):
        while True:
            recent = rtpcheck.samples(call.packets[-15:])
            if len(recent) >= 2000 and rtpcheck.tone_share(recent, RINGING_HZ) > 0.3:
                return
            await asyncio.sleep(0.02)


async def talks_with_the_human(call: SipCall) -> None:
    """Check that what the caller says now comes back from the phone `HUMAN`, and so was heard there."""
    words, began = chirp(1.0, 11), len(call.packets)
    await call.media.say(words)
    await asyncio.sleep(0.5)
    _, likeness = rtpcheck.find(words, rtpcheck.samples(call.packets[began:]))
    assert likeness > 0.9, f"the caller's words come back with a likeness of {likeness:.2f}"


async def hears_tone(call: SipCall, hertz: float, timeout_s: float = 10.0) -> None:
    """Wait until the last half second of what the caller hears is one tone. Raises `TimeoutError`."""
    async with asyncio.timeout(timeout_s):
        while True:
            recent = rtpcheck.samples(call.packets[-25:])
            if len(recent) >= 4000 and rtpcheck.tone_share(recent, hertz) > 0.9:
                return
            await asyncio.sleep(0.1)


async def hears_message(call: SipCall, timeout_s: float = 15.0) -> None:
    """Wait for the shipped fallback's message to its end: a second of sound at least, and Asterisk hangs up.

    Raises `TimeoutError` when that does not happen, `AssertionError` when there was no message.
    """
    await call.wait_ended(timeout_s)
    loud = sum(packet.level > 200 for packet in call.packets)
    assert loud > 50, f"the caller heard {loud * 20} ms of sound before the end"
