"""The tool `create_booking`: checks what the caller gave, keeps it on the disk, and has it booked, once."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import re
from collections.abc import Mapping
from typing import Any

from agent.providers.metering import METER
from agent.telephony.numbers import is_phone_number, normalise_number
from agent.tools.outbox import OutboxError
from agent.tools.registry import Tool, ToolContext, ToolResult

log = logging.getLogger(__name__)

KEEP_SECONDS = 3.0
"""For the disk. It takes some milliseconds."""
WAIT_SECONDS = 6.0
"""For the API; then the caller is told that the booking is taken and will be confirmed."""
KEPT = (
    "tell the caller that it is all taken down and will be confirmed shortly; it is not confirmed yet, so do not say "
    "that it is booked, and give no booking number"
)
CANNOT_BE_KEPT = (
    "nothing was booked, and the booking cannot be kept: a technical fault; apologise, do not say that it is booked, "
    "and offer to put the caller through or to ring again later"
)

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

    The booking is on the disk before the API is asked. Where the API has not answered in time the effect is `kept`: it
    is sent until it is accepted, and nothing is confirmed yet. `data` then holds its key as `idempotency_key`.
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
    return await _book(booking, idempotency_key(context.call_uuid, booking), context)


async def _book(booking: Mapping[str, str], key: str, context: ToolContext) -> ToolResult:
    result = await _keep_and_send(booking, key, context)
    if result.effect != "booked":
        METER.get().failed("booking")
    return result


async def _keep_and_send(booking: Mapping[str, str], key: str, context: ToolContext) -> ToolResult:
    outbox = context.outbox
    if outbox is None:
        log.error("booking %s cannot be kept: this call has no outbox", key[:12])
        return ToolResult.error(CANNOT_BE_KEPT)
    try:
        async with asyncio.timeout(KEEP_SECONDS):
            entry = await outbox.keep(key, booking, did=context.did_number, call_uuid=context.call_uuid)
    except TimeoutError:
        # The disk hangs. What was begun may still be written, and is sent then.
        log.error("booking %s is not on the disk after %g s", key[:12], KEEP_SECONDS)
        return ToolResult.error(CANNOT_BE_KEPT)
    except OutboxError as error:
        log.error("booking %s cannot be kept: %s", key[:12], error)
        return ToolResult.error(CANNOT_BE_KEPT)
    try:
        entry = await outbox.wait(key, WAIT_SECONDS, after=entry.attempts)
    except OutboxError as error:
        log.error("what came of booking %s cannot be read: %s", key[:12], error)
    data = {**booking, "idempotency_key": key}
    if entry.state == "accepted":
        told = {"status": "booked", "booking_id": entry.answer}
        return ToolResult.success(told, effect="booked", data={**data, "booking_id": entry.answer})
    if entry.state == "refused":
        await outbox.told(key)
        return ToolResult.error(f"nothing was booked: {entry.answer}", data={**data, "reason": entry.reason})
    return ToolResult.success({"status": "kept", "say": KEPT}, effect="kept", data={**data, "reason": entry.reason})


CREATE_BOOKING = Tool(
    name="create_booking",
    description="Book the visit once name, postcode, address and problem are known.",
    parameters=PARAMETERS,
    handler=create_booking,
    acts=True,
    timeout_s=KEEP_SECONDS + WAIT_SECONDS + 1.0,
)
