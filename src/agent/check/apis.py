"""The business's own APIs, where they are not the built-in back office. Nothing is booked."""

from __future__ import annotations

import asyncio
import time

import aiohttp

from agent.call.company import ContextClient
from agent.check.finding import Finding, Findings, at_once, error, ok, warning
from agent.check.subject import Subject

ANSWER_S = 5.0
SLOW_S = 1.0
"""No caller waits longer for a context: defaults then."""


async def apis(subject: Subject) -> Findings:
    """CONTEXT_API_URL is asked for a number that nobody has; the other two only whether they are there."""
    settings = subject.settings
    if not (settings.context_api_url or settings.booking_api_url or settings.availability_api_url):
        yield ok("apis", "context, booking and availability are the built-in back office's")
        return
    asked = []
    if settings.context_api_url:
        asked.append(_context(subject))
    if settings.booking_api_url:
        asked.append(_there(subject, "booking-api", "BOOKING_API_URL", settings.booking_api_url))
    if settings.availability_api_url:
        asked.append(_there(subject, "availability-api", "AVAILABILITY_API_URL", settings.availability_api_url))
    for finding in await at_once(*asked):
        yield finding
    if settings.booking_api_url and settings.booking_api_idempotent is None:
        yield warning(
            "booking-api-keys",
            "does BOOKING_API_URL honour Idempotency-Key? Until you say, one whose answer is lost is not sent again",
            "set BOOKING_API_IDEMPOTENT to true or false: docs/bookings.md says which",
        )


async def _context(subject: Subject) -> Finding:
    settings = subject.settings
    client = ContextClient(
        settings.context_api_url,
        settings.context_api_key.get_secret_value(),
        subject.http,
        region=settings.default_region,
        timezone=settings.default_timezone,
    )
    begun = time.monotonic()
    context = await client.fetch("voice-agent-check", "")
    took = time.monotonic() - begun
    name, mend = "context-api", "see CONTEXT_API_URL and CONTEXT_API_KEY; docs/office-api.md has what it must answer"
    match context.default_reason:
        case "":
            pass
        case "status_401" | "status_403":
            return error(
                name,
                f"CONTEXT_API_URL answers HTTP {context.default_reason[7:]}",
                "CONTEXT_API_KEY is not the one it wants",
            )
        case "status_404":
            # It may well say so of a number that it does not know.
            return warning(name, "CONTEXT_API_URL answers HTTP 404 to a number that it does not know", mend)
        case reason:
            return error(name, f"CONTEXT_API_URL: {reason}: calls are answered as Home Services", mend)
    if context.bad_fields:
        return warning(name, f"CONTEXT_API_URL answers with unusable fields: {', '.join(context.bad_fields)}", mend)
    told = f"CONTEXT_API_URL answers in {1000 * took:.0f} ms"
    if took > SLOW_S:
        return warning(name, f"{told}: no caller waits longer than 1 s", "make it quicker: defaults are used meanwhile")
    return ok(name, told, seconds=took)


async def _there(subject: Subject, name: str, setting: str, url: str) -> Finding:
    begun = time.monotonic()
    try:
        async with asyncio.timeout(ANSWER_S), subject.http.options(url, allow_redirects=False) as answer:
            status = answer.status
    except (aiohttp.ClientError, TimeoutError, OSError) as problem:
        return error(
            name,
            f"{setting} cannot be reached: {type(problem).__name__}",
            f"see {setting}, its name, its port and its certificate",
        )
    took = time.monotonic() - begun
    told = f"{setting} is there: HTTP {status} to OPTIONS in {1000 * took:.0f} ms (nothing was sent)"
    if status >= 500:
        return warning(name, told, "its server is in trouble")
    if 300 <= status < 400:
        return warning(name, told, f"it leads elsewhere, which is not followed: write the last address into {setting}")
    return ok(name, told)
