"""What a test of the dialplan needs together: Asterisk, the agent's telephony, and a stand-in for its audio."""

from __future__ import annotations

from dataclasses import dataclass, field

from agent.telephony import CallInfo, CallRegistry, FastAgiServer

from .server import AsteriskRig
from .sipcaller import SipCaller
from .standin import StandIn


@dataclass
class Line:
    """The parts, `room` (what `start` is answered), and the calls that `start` was asked for."""

    rig: AsteriskRig
    registry: CallRegistry
    agi: FastAgiServer
    agent: StandIn
    room: bool = True
    started: list[CallInfo] = field(default_factory=list)

    def caller(self, number: str = "07700900123", name: str = "Ann Example") -> SipCaller:
        """A telephone that shows this number and name."""
        return SipCaller(self.rig.address, number, name)
