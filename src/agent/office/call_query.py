"""What can be asked of the calls that are over, and what comes back: one page of a list, newest first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

MOST_ROWS = 200


@dataclass(frozen=True, slots=True)
class CallQuery:
    """Which calls are wanted; every field that is set narrows them."""

    text: str = ""
    """Words that must all be in the call: of what was said, the caller's name or number, the booking's ID or postcode.
    The last one may be the beginning of a word."""
    since: datetime | None = None
    """Aware; begun at or after this moment."""
    until: datetime | None = None
    """Aware; begun before this moment."""
    outcome: str = ""
    """As in `CallRecord.outcome`."""
    company_id: int | None = None
    number: str = ""
    """The caller's or the dialled one, in any form; "withheld" for callers who showed none."""
    interrupted: bool | None = None
    """Whether the caller interrupted the agent; None: either."""
    slower_than_ms: int | None = None
    """The median latency of the call's turns was above this."""
    with_recording: bool | None = None
    before: str = ""
    """`CallPage.next` of the page before; empty for the newest calls."""
    limit: int = 50
    """From 1 to `MOST_ROWS`."""


@dataclass(frozen=True, slots=True)
class Snippet:
    """A place in the transcript where words of the query are: plain text, to be escaped like any other."""

    who: str
    """"caller" or "agent"."""
    text: str
    marks: tuple[tuple[int, int], ...]
    """Where the words are in `text`: from, to (exclusive), in characters; in order, without overlap."""


@dataclass(frozen=True, slots=True)
class CallRow:
    """One call in a list."""

    uuid: str
    company_id: int | None
    company_name: str
    did: str
    caller_id: str
    caller_name: str
    started: datetime
    seconds: float
    outcome: str
    ended_by: str
    booking_id: str
    turn_count: int
    barge_ins: int
    latency_ms: int | None
    """Median of the turns."""
    cost: float
    currency: str
    recording: str
    """File name in the recordings' directory; empty for none."""
    erased: bool
    """Whether words, numbers and recording were taken away."""
    snippet: Snippet | None
    """None unless `CallQuery.text` was found in what was said."""


@dataclass(frozen=True, slots=True)
class CallPage:
    """Calls, newest first."""

    rows: tuple[CallRow, ...]
    next: str
    """`CallQuery.before` of the next page; empty when this is the last."""
