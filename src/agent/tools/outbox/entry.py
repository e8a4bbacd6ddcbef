"""What the parts of the outbox hand to each other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

Kind: TypeAlias = Literal["booking", "alert", "webhook", "mail"]
NOTICES: Final[tuple[Kind, ...]] = ("webhook", "mail")
"""What tells people and machines of what has happened: sent at least once, by one ID, and given up some day."""
State: TypeAlias = Literal["waiting", "sending", "accepted", "refused", "uncertain", "dropped"]
STATES: Final = ("waiting", "sending", "accepted", "refused", "uncertain", "dropped")

DAY_S: Final = 86_400.0


class OutboxError(RuntimeError):
    """The outbox cannot be read or written; the text says why, and what to mend."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where rows of a kind go."""

    name: str
    """Tells one place from another over restarts, as a port may not: "office", or the endpoint's URL."""
    url: str = field(repr=False)
    """May hold a secret, as the URL of a webhook does."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    honours_keys: bool = False
    """Whether a request sent twice with one `Idempotency-Key` counts once. For alerts: whether twice does no harm."""
    settings: str = "BOOKING_API_URL and BOOKING_API_KEY"
    """What is to be looked at when it turns everybody away."""
    send: Send | None = field(default=None, repr=False)
    """How a row is sent; None: posted to `url` as JSON, with its key."""
    fresh_at_once: int = 64
    """First attempts at once: a caller may be waiting."""
    again_at_once: int = 4
    """Attempts of what has failed before: they must not take an API's last breath, nor a caller's place."""
    each_at_once: int = 0
    """Rows at once to one `place`, so that a slow one holds up no other; 0: no limit."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One row, as it was read. Times are s since the epoch."""

    key: str
    kind: Kind
    body: Mapping[str, Any] = field(repr=False)
    did: str = field(repr=False)
    call_uuid: str
    state: State
    made_at: float
    due_at: float
    changed_at: float
    attempts: int
    target: str = field(repr=False)
    doubt: str = field(repr=False)
    """The target that may have it already; empty for none."""
    status: int
    """Of the last answer; 0 for none."""
    reason: str
    """Why it stands as it does, without anything that a caller said."""
    answer: str = field(repr=False)
    """`booking_id` where it was accepted, the API's own words where it was refused."""
    held: bool
    """Whether something on our side must be mended first, such as a key."""
    told: bool
    """Whether the call learnt of the refusal while it lasted."""
    place: str = field(repr=False)
    """Of a notice: who gets it, as far as rows to one are limited together."""
    caller: str = field(repr=False)
    """Of a notice whose body is there: the number of the caller that it tells of, in E.164; empty for a withheld one,
    and for what tells of nobody."""

    @property
    def short_key(self) -> str:
        """Enough of the key to name the row by."""
        return self.key[:12] if self.kind == "booking" else self.key


@dataclass(frozen=True, slots=True)
class NewNotice:
    """A notice that is to be sent. The same key again is the same notice."""

    key: str
    kind: Kind
    body: Mapping[str, Any] = field(repr=False)
    place: str = field(default="", repr=False)
    call_uuid: str = ""
    caller: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one attempt came to: `later` surely did nothing, `lost` may have done everything; `dropped` is of no use to
    anybody any more.
    """

    what: Literal["accepted", "refused", "dropped", "later", "lost"]
    reason: str = ""
    status: int = 0
    answer: str = field(default="", repr=False)
    after_s: float = 0.0
    """How long the API wants to be left alone."""
    held: bool = False


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast the outbox works, s. Tests are in a hurry; nobody else needs other figures."""

    first_pause_s: float = 1.0
    longest_pause_s: float = 300.0
    """Between two attempts: 1, 2, 4 s and so on, each less up to half of it by chance."""
    longest_wish_s: float = 3600.0
    """A `Retry-After` above it counts as this."""
    held_pause_s: float = 60.0
    """At least, where an operator must mend something first."""
    connect_s: float = 5.0
    attempt_s: float = 10.0
    """For a whole attempt where the key is honoured: giving up early costs nothing."""
    only_attempt_s: float = 30.0
    """Where it is not: what is given up is uncertain."""
    poll_s: float = 2.0
    """How soon rows of other processes and of `voice-agent outbox` are seen."""
    tell_after_s: float = 15.0
    """A refusal that no caller has heard of by then alerts; longer than any tool waits."""
    correct_s: float = 600.0
    """A refusal that a caller has heard of, and that no other booking of the call has followed by then, alerts."""
    overdue_s: float = 900.0
    """A booking that waits for longer alerts."""
    busy_s: float = 5.0
    """How long a writer waits for another process."""
    notice_first_pause_s: float = 5.0
    notice_longest_pause_s: float = 3600.0
    """The same for notices: 5, 10, 20 s and so on to an hour."""
    give_up_s: float = 3 * DAY_S
    """A notice that nobody has taken by then is given up."""
    retention_s: float = 30 * DAY_S
    """How long rows that are done with are kept."""


Send: TypeAlias = Callable[[Entry], Awaitable[Verdict]]
"""Sends one row and says what came of it. What it raises counts as `later`."""
