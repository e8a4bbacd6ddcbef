"""What an answer of the booking API means for a booking, and how long to leave it alone. Pure."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

import aiohttp

from agent.tools.outbox.entry import Pace, Verdict

OURS_TO_MEND: Final = {401, 403, 407}
"""Our key, not the booking: whoever runs the agent mends it, and the booking waits for that."""
NO_SUCH_PLACE: Final = {404, 405}
"""Our URL, unless the API itself says in JSON what is wrong."""
NOT_NOW: Final = {408, 425, 429, 503}
"""The server says that it has done nothing. (RFC 9110, 15.5.9 and 15.6.4; RFC 8470, 5.2; RFC 6585, 4)"""
MAX_ANSWER_CHARS = 300


def judge(status: int, raw: bytes, headers: Mapping[str, str], *, in_doubt: bool = False) -> Verdict:
    """Say what an answer means. `in_doubt`: whether an earlier attempt at this place may have been made.

    A redirect is not followed and has done nothing. 409 in doubt is an API that is still at work on the earlier
    attempt, as the IETF's draft on the `Idempotency-Key` header has it; any other 4xx is a refusal for good.
    """
    answer = _object(raw)
    if 200 <= status < 300 and _is_page(raw, headers):
        return Verdict("lost", "a web page for an answer", status)  # a proxy's, as likely as not: it may be made
    if 200 <= status < 300:
        # An API may accept without naming an ID: the booking stands all the same.
        return Verdict("accepted", "accepted", status, str(answer.get("booking_id", ""))[:64])
    reason = f"status {status}"
    after_s = retry_after_s(headers.get("Retry-After", ""))
    says = answer.get("error")
    moved = 300 <= status < 400
    if moved or status in OURS_TO_MEND or (status in NO_SUCH_PLACE and not says):
        return Verdict("later", reason, status, after_s=after_s, held=True)
    if status in NOT_NOW or (status == 409 and in_doubt):
        return Verdict("later", reason, status, after_s=after_s)
    if 400 <= status < 500:
        return Verdict("refused", reason, status, str(says or reason)[:MAX_ANSWER_CHARS])
    # A gateway's 502 and 504, or a fault behind the commit: it may be made.
    return Verdict("lost", reason, status, after_s=after_s)


def judge_failure(error: BaseException) -> Verdict:
    """Say what a failure means: only one to connect shows that nothing was sent."""
    reason = type(error).__name__
    if isinstance(error, aiohttp.InvalidURL):
        return Verdict("later", reason, held=True)
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
        return Verdict("later", reason)
    return Verdict("lost", "no answer in time" if isinstance(error, TimeoutError) else reason)


def pause_s(verdict: Verdict, attempts: int, pace: Pace, chance: random.Random) -> float:
    """How long to wait after so many attempts: doubled each time, less up to half so that rows do not come at once."""
    longest = min(pace.longest_pause_s, pace.first_pause_s * 2.0 ** min(attempts - 1, 30))
    pause = longest * chance.uniform(0.5, 1.0)
    if verdict.held:
        pause = max(pause, pace.held_pause_s)
    return max(pause, min(verdict.after_s, pace.longest_wish_s))


def retry_after_s(text: str) -> float:
    """Read a `Retry-After`: seconds or a date (RFC 9110, 10.2.3); 0 for none, or for what is neither."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def _is_page(raw: bytes, headers: Mapping[str, str]) -> bool:
    return raw.lstrip()[:1] == b"<" or headers.get("Content-Type", "").lower().startswith("text/html")


def _object(raw: bytes) -> Mapping[str, object]:
    try:
        answer = json.loads(raw)
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}
