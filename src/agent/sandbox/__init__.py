"""Deepgram, Groq and Cartesia emulated on their own wire, and a simulated caller."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agent.sandbox.config import SandboxConfig
    from agent.sandbox.server import Sandbox

__all__ = ["Sandbox", "SandboxConfig"]


def __getattr__(name: str) -> Any:
    """Import on first use: the speech packages are not installed by default."""
    if name == "Sandbox":
        from agent.sandbox.server import Sandbox

        return Sandbox
    if name == "SandboxConfig":
        from agent.sandbox.config import SandboxConfig

        return SandboxConfig
    raise AttributeError(name)
