"""What the agent can do for a caller: declared once, validated before it runs.

What a user's own `tools.py` needs is exported here.
"""

from agent.tools.functions import tool
from agent.tools.registry import ToolContext, ToolError, ToolResult

__all__ = ["ToolContext", "ToolError", "ToolResult", "tool"]
