"""The tool `create_booking`: checks what the caller gave and books it, once, over the booking API."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import re
from collections.abc import Mapping
from typing import Any

import aiohttp

from agent.telephony.numbers import is_phone_number, normalise_number
from agent.tools.api import post_json
from agent.tools.registry import Tool, ToolContext, ToolResult

log = logging.getLogger(__name__)

ATTEMPTS = 2
ATTEMPT_SECONDS = 4.0
PAUSE_SECONDS = 0.3

# Outward code, then one digit and two letters; C, I, K, M, O and V are never in the inward code. "GIR 0AA" is the
# one exception that is still valid. (Royal Mail, Programmers' Guide to PAF; BS 7666)
_POSTCODE = re.compile(r"(?:[A-Z]{1,2}[0-9][A-Z0-9]?[0-9][ABD-HJLNP-UW-Z]{2}|GIR0AA)")

_FILLED = {"type": "string", "pattern": r"\S"}

PARAMETERS: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "customer_name": {**_FILLED, "maxLength": 200, "description": "The caller's name"},
        "postcode": {**_FILLED, "maxLength": 16, "description": "UK postcode, for example M14 6BT"},
        "address": {**_FILLED, "maxLength": 500, "description": "House number and street"},
        "problem_description": {**_FILLED, "maxLength": 2000, "description": "What is wrong, in a sentence"},
        "phone": {
            "type": "string",
            "maxLength": 64,
            "description": "Only if the caller's number is withheld: the number they gave",
        },
    },
    "required": ["customer_name", "postcode", "address", "problem_description"],
    "additionalProperties": False,
}


def normalise_postcode(text: str) -> str | None:
    """Return a UK postcode in its written form ("m146bt" gives "M14 6BT"), or None when it has no such form."""
    packed = re.sub(r"[\s.,-]", "", text).upper()
    if not _POSTCODE.fullmatch(packed):
        return None
    return f"{packed[:-3]} {packed[-3:]}"


def idempotency_key(call_uuid: str, booking: Mapping[str, str]) -> str:
    """Return the key of a booking: the same for the same content within one call, however often it is sent."""
    content = json.dumps([call_uuid, sorted(booking.items())], ensure_ascii=False)
    return hashlib.sha256(content.encode()).hexdigest()


async def create_booking(arguments: Mapping[str, Any], context: ToolContext) -> ToolResult:
    """Book a visit. On success the effect is `booked` and `data` holds the booking with its `booking_id`.

    When the API cannot be reached, `data` holds the whole request as `unsent_booking`, so that it is not lost with
    the call, and its key as `idempotency_key`.
    """
    postcode = normalise_postcode(arguments["postcode"])
    if postcode is None:
        return ToolResult.error("nothing was booked: postcode is no full UK postcode; ask for it letter by letter")
    phone = str(arguments.get("phone", "")).strip()
    if phone and not is_phone_number(phone, context.region):
        return ToolResult.error("nothing was booked: phone is no full phone number; ask for it again")
    if context.company.withheld and not phone:
        return ToolResult.error("nothing was booked: the caller's number is withheld; ask for it and give it as phone")
    booking = {
        "customer_name": arguments["customer_name"].strip(),
        "postcode": postcode,
        "address": arguments["address"].strip(),
        "problem_description": arguments["problem_description"].strip(),
        "caller_id": context.company.caller_id,
        "phone": normalise_number(phone, context.region) if phone else "",
        "company_name": context.company.company_name,
        "did_number": context.did_number,
        "call_uuid": context.call_uuid,
    }
    key = idempotency_key(context.call_uuid, booking)
    if key in context.bookings:
        return context.bookings[key]
    result = await _post(booking, key, context)
    if result.ok:
        context.bookings[key] = result
    return result


async def _post(booking: Mapping[str, str], key: str, context: ToolContext) -> ToolResult:
    reason = ""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            async with asyncio.timeout(ATTEMPT_SECONDS):
                status, answer = await post_json(
                    context.http,
                    context.endpoints.booking_url,
                    booking,
                    {"X-API-Key": context.endpoints.booking_api_key, "Idempotency-Key": key},
                )
        except TimeoutError:
            reason = "no answer in time"
        except (aiohttp.ClientError, OSError) as error:
            reason = type(error).__name__
        else:
            if status in (200, 201):
                return _booked(booking, answer)
            if status != 429 and status < 500:
                return _refused(status, answer, booking, key)
            reason = f"status {status}"
        log.warning("booking API, attempt %d of %d: %s", attempt, ATTEMPTS, reason)
        if attempt < ATTEMPTS:
            await asyncio.sleep(PAUSE_SECONDS)
    return ToolResult.error(
        "the booking system cannot be reached, so nothing is confirmed; apologise and do not say that it is",
        data={"unsent_booking": dict(booking), "idempotency_key": key, "reason": reason},
    )


def _booked(booking: Mapping[str, str], answer: Mapping[str, Any]) -> ToolResult:
    # An API may accept without naming an ID: the booking stands all the same.
    booking_id = str(answer.get("booking_id", ""))[:64]
    return ToolResult.success(
        {"status": "booked", "booking_id": booking_id}, effect="booked", data={**booking, "booking_id": booking_id}
    )


def _refused(status: int, answer: Mapping[str, Any], booking: Mapping[str, str], key: str) -> ToolResult:
    unsent = {"unsent_booking": dict(booking), "idempotency_key": key, "reason": f"status {status}"}
    if status in (401, 403):
        log.error("booking API: status %d: check BOOKING_API_KEY", status)
        return ToolResult.error("the booking system refused; apologise and do not say that it is booked", data=unsent)
    reason = str(answer.get("error", f"status {status}"))[:300]
    return ToolResult.error(f"nothing was booked: {reason}", data=unsent)


CREATE_BOOKING = Tool(
    name="create_booking",
    description="Book the visit once name, postcode, address and problem are known.",
    parameters=PARAMETERS,
    handler=create_booking,
    acts=True,
    timeout_s=ATTEMPTS * ATTEMPT_SECONDS + PAUSE_SECONDS + 1.0,
)
