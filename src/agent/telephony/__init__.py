"""What the dialplan and the agent tell each other: FastAGI, call metadata, what comes next."""

from agent.telephony.ami import Manager
from agent.telephony.desk import Desk
from agent.telephony.fastagi import FastAgiLimits, FastAgiServer
from agent.telephony.http import DialplanHttp
from agent.telephony.metadata import MetadataDirectory
from agent.telephony.registry import CallInfo, CallRegistry, DuplicateCallError, Registry, RegistryFullError, Verdict

__all__ = [
    "CallInfo",
    "CallRegistry",
    "Desk",
    "DialplanHttp",
    "DuplicateCallError",
    "FastAgiLimits",
    "FastAgiServer",
    "Manager",
    "MetadataDirectory",
    "Registry",
    "RegistryFullError",
    "Verdict",
]
