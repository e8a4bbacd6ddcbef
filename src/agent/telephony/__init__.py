"""What the dialplan and the agent tell each other: FastAGI, call metadata, what comes next."""

from .fastagi import FastAgiLimits, FastAgiServer
from .metadata import MetadataDirectory
from .registry import CallInfo, CallRegistry, DuplicateCallError, RegistryFullError, Verdict

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
