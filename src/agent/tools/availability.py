"""The tool `check_availability`: asks the availability API whether somebody can come, and how soon."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import aiohttp

from agent.tools.api import post_json
from agent.tools.booking import normalise_postcode
from agent.tools.registry import Tool, ToolContext, ToolResult

log = logging.getLogger(__name__)

ATTEMPTS = 2
ATTEMPT_SECONDS = 2.0
"""Shorter than a booking's: the caller waits, and the conversation can go on without the answer."""
MAX_TEXT_CHARS = 300
UNKNOWN = "availability is not known just now; say within thirty minutes to an hour, and go on"

PARAMETERS: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "postcode": {"type": "string", "pattern": r"\S", "maxLength": 16, "description": "UK postcode"},
        "urgency": {
            "type": "string",
            "enum": ["emergency", "standard"],
            "description": "emergency: water, heat or power is out, or damage is being done",
        },
    },
    "required": ["postcode", "urgency"],
    "additionalProperties": False,
}


async def check_availability(arguments: Mapping[str, Any], context: ToolContext) -> ToolResult:
    """Ask how soon somebody can be at a postcode. What the LLM reads is the API's own answer, its short fields only."""
    postcode = normalise_postcode(arguments["postcode"])
    if postcode is None:
        return ToolResult.error("postcode is no full UK postcode; ask for it letter by letter")
    question = {
        "postcode": postcode,
        "urgency": arguments["urgency"],
        "did_number": context.did_number,
        "company_name": context.company.company_name,
    }
    headers = {"X-API-Key": context.endpoints.booking_api_key}
    for attempt in range(1, ATTEMPTS + 1):
        try:
            async with asyncio.timeout(ATTEMPT_SECONDS):
                status, answer = await post_json(context.http, context.endpoints.availability_url, question, headers)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            log.warning("availability API, attempt %d of %d: %s", attempt, ATTEMPTS, type(error).__name__)
            continue
        if status == 200 and isinstance(answer.get("available"), bool):
            return ToolResult.success({key: value for key, value in answer.items() if _is_short(value)})
        log.warning("availability API, attempt %d of %d: status %d", attempt, ATTEMPTS, status)
        if status in (401, 403):
            log.error("availability API: status %d: check BOOKING_API_KEY", status)
        if status == 400 and isinstance(answer.get("error"), str):
            return ToolResult.error(answer["error"][:MAX_TEXT_CHARS])
        if status != 429 and status < 500:
            break
    return ToolResult.error(UNKNOWN, reason="unreachable")


def _is_short(value: object) -> bool:
    return isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) <= MAX_TEXT_CHARS)


CHECK_AVAILABILITY = Tool(
    name="check_availability",
    description="Ask how soon somebody can be at a postcode.",
    parameters=PARAMETERS,
    handler=check_availability,
    timeout_s=ATTEMPTS * ATTEMPT_SECONDS + 0.5,
)
