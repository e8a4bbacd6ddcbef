"""What the dialplan and the agent tell each other: FastAGI, call metadata, what comes next."""

from agent.telephony.fastagi import FastAgiLimits, FastAgiServer
from agent.telephony.metadata import MetadataDirectory
from agent.telephony.registry import CallInfo, CallRegistry, DuplicateCallError, RegistryFullError, Verdict

__all__ = [
    "CallInfo",
    "CallRegistry",
    "DuplicateCallError",
    "FastAgiLimits",
    "FastAgiServer",
    "MetadataDirectory",
    "RegistryFullError",
    "Verdict",
]
