"""The host's clock: whether it is kept right, and how far it is from the vendors'."""

from __future__ import annotations

import asyncio
import ctypes
import struct
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import aiohttp

from agent.check.finding import Findings, at_once, error, ok, skipped, warning
from agent.check.subject import Subject

STA_UNSYNC = 0x40
"""Of `struct timex` (linux/timex.h): nobody keeps this clock."""
_STATUS_AT = 40
_TIMEX_BYTES = 256
OFF_S = 2.0
FAR_OFF_S = 60.0
ANSWER_S = 3.0


def kernel_status() -> int:
    """`status` of adjtimex(2), which anybody may read. Raises OSError."""
    timex = ctypes.create_string_buffer(_TIMEX_BYTES)  # modes 0: nothing is set
    if ctypes.CDLL(None, use_errno=True).adjtimex(timex) < 0:
        number = ctypes.get_errno()
        raise OSError(number, "adjtimex")
    return int(struct.unpack_from("i", timex, _STATUS_AT)[0])


async def synchronised(_subject: Subject, status: Callable[[], int] = kernel_status) -> Findings:
    """Whether something keeps the clock."""
    try:
        kept = not status() & STA_UNSYNC
    except (OSError, AttributeError):
        yield skipped("clock", "this host does not tell whether its clock is kept", "timedatectl")
        return
    if kept:
        yield ok("clock", "the clock is synchronised")
    else:
        yield warning(
            "clock",
            "nothing keeps this host's clock: records and greetings have the wrong time some day",
            "apt-get install systemd-timesyncd (or chrony); timedatectl then says: System clock synchronized: yes. "
            "In a container it is the host's to keep",
        )


async def offset(subject: Subject, now: Callable[[], float] = time.time) -> Findings:
    """How far it is from the clocks of the vendors, by the Date of an answer."""
    settings = subject.settings
    urls = dict.fromkeys((settings.deepgram_url, settings.groq_url, settings.cartesia_url))
    offsets = [each for each in await at_once(*(_offset(subject.http, url, now) for url in urls)) if each is not None]
    if not offsets:
        yield skipped("clock-offset", "no vendor told the time")
        return
    # The one that is nearest: a vendor's clock may be wrong, and all of them are not.
    least = min(offsets, key=abs)
    told = f"{abs(least):.0f} s {'ahead of' if least > 0 else 'behind'} the vendors' clocks"
    if abs(least) > FAR_OFF_S:
        yield error(
            "clock-offset", told, "set the clock: certificates are refused, and greetings say the wrong time of day"
        )
    elif abs(least) > OFF_S:
        yield warning("clock-offset", told, "see that the clock is synchronised")
    else:
        yield ok("clock-offset", f"within {OFF_S:g} s of the vendors' clocks")


async def _offset(http: aiohttp.ClientSession, url: str, now: Callable[[], float]) -> float | None:
    """Seconds that this host is ahead; None where that cannot be told. A Date has whole seconds, cut off."""
    parts = urlsplit(url)
    scheme = {"wss": "https", "ws": "http"}.get(parts.scheme, parts.scheme)
    try:
        begun = now()
        async with asyncio.timeout(ANSWER_S), http.head(f"{scheme}://{parts.netloc}/", allow_redirects=False) as answer:
            ended = now()
            theirs = parsedate_to_datetime(answer.headers["Date"]).timestamp()
    except (aiohttp.ClientError, TimeoutError, OSError, KeyError, ValueError):
        return None
    earliest, latest = begun - theirs - 1.0, ended - theirs
    return 0.0 if earliest <= 0 <= latest else earliest if earliest > 0 else latest
