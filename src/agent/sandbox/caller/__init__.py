"""A simulated caller over AudioSocket, in Asterisk's part: it listens, answers, interrupts, and hangs up."""

from agent.sandbox.caller.call import CallPlan, Heard, SimulatedCaller
from agent.sandbox.caller.listen import Utterance
from agent.sandbox.caller.result import CallResult, Interruption
from agent.sandbox.caller.script import Script, ScriptError, parse_script, read_script, script_of

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
