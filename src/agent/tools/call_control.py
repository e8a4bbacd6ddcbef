"""The tools `transfer_to_human` and `end_call`: they say what is wanted, and the session does it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.tools.availability import CHECK_AVAILABILITY
from agent.tools.booking import CREATE_BOOKING
from agent.tools.registry import Tool, ToolContext, ToolRegistry, ToolResult


async def transfer_to_human(arguments: Mapping[str, Any], context: ToolContext) -> ToolResult:
    """Ask for a transfer. The extension comes from the company's own list, never from the LLM.

    `data` holds `target` (the name), `extension` and `reason`. Without a `target` it is the first one of the list.
    """
    targets = context.company.transfer_targets
    if not targets:
        return ToolResult.error("nobody can be reached just now; offer to book a visit instead")
    wanted = str(arguments.get("target", "")).strip().casefold()
    for name, extension in targets.items():
        if not wanted or name.casefold() == wanted:
            return ToolResult.success(
                {"status": "transferring", "target": name},
                effect="transfer",
                data={"target": name, "extension": extension, "reason": str(arguments.get("reason", ""))},
            )
    return ToolResult.error(f"there is no such target; there is {', '.join(targets)}")


async def end_call(arguments: Mapping[str, Any], context: ToolContext) -> ToolResult:
    """Ask for the end of the call, once the goodbye has been played. `data` holds `reason`."""
    reason = str(arguments.get("reason", "finished"))
    return ToolResult.success({"status": "ending"}, effect="end", data={"reason": reason})


TRANSFER_TO_HUMAN = Tool(
    name="transfer_to_human",
    description="Put the caller through to a person, when they ask for one.",
    parameters={
        "type": "object",
        "properties": {
            "target": {"type": "string", "maxLength": 200, "description": "Whom, if the caller said"},
            "reason": {"type": "string", "maxLength": 200},
        },
        "additionalProperties": False,
    },
    handler=transfer_to_human,
    acts=True,
)
END_CALL = Tool(
    name="end_call",
    description="End the call after the goodbye.",
    parameters={
        "type": "object",
        "properties": {"reason": {"type": "string", "maxLength": 200}},
        "additionalProperties": False,
    },
    handler=end_call,
    acts=True,
)


STANDARD_TOOLS: Mapping[str, Tool] = {
    tool.name: tool for tool in (CREATE_BOOKING, CHECK_AVAILABILITY, TRANSFER_TO_HUMAN, END_CALL)
}
"""The tools that come with the agent, by name."""


def standard_tools() -> ToolRegistry:
    """Return all of them together."""
    return ToolRegistry(STANDARD_TOOLS.values())
