"""Which call the running task works for: set once a call, and inherited by every task that is made for it."""

from __future__ import annotations

from contextvars import ContextVar

CALL_UUID: ContextVar[str] = ContextVar("CALL_UUID", default="")
"""The UUID of the call; empty outside one."""
