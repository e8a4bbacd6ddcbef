"""A simulated caller over AudioSocket, in Asterisk's part: it listens, answers, interrupts, and hangs up.

`agi` and `wire` need nothing that is not always installed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agent.sandbox.caller.call import CallPlan, Heard, SimulatedCaller
    from agent.sandbox.caller.listen import Utterance
    from agent.sandbox.caller.result import CallResult, Interruption
    from agent.sandbox.caller.script import Script, ScriptError, parse_script, read_script, script_of

_FROM = {
    "call": ("CallPlan", "Heard", "SimulatedCaller"),
    "listen": ("Utterance",),
    "result": ("CallResult", "Interruption"),
    "script": ("Script", "ScriptError", "parse_script", "read_script", "script_of"),
}

__all__ = [
    "CallPlan",
    "CallResult",
    "Heard",
    "Interruption",
    "Script",
    "ScriptError",
    "SimulatedCaller",
    "Utterance",
    "parse_script",
    "read_script",
    "script_of",
]


def __getattr__(name: str) -> Any:
    """Import on first use: the speech packages are not installed by default."""
    for module, names in _FROM.items():
        if name in names:
            return getattr(importlib.import_module(f"agent.sandbox.caller.{module}"), name)
    raise AttributeError(name)
