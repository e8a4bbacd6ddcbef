"""Which calls the agent takes: by how much it carries, by what its vendors allow, and by who calls how often.

A call for which there is no room is turned away before it is answered, so that the dialplan can send it elsewhere. A
call that is over a limit against abuse is answered, hears a goodbye, and costs no vendor anything.
"""

from __future__ import annotations

import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from agent.ops.lag import LagMonitor
from agent.ops.settings import Settings
from agent.ops.usage import Usage
from agent.telephony import CallInfo
from agent.telephony.numbers import normalise_number

Reason = Literal[
    "stopping", "calls", "lag", "stt_streams", "tts_contexts", "llm_requests", "abuse_caller", "minutes", "spending"
]
REASONS: Final[tuple[Reason, ...]] = (
    "stopping", "calls", "lag", "stt_streams", "tts_contexts", "llm_requests", "abuse_caller", "minutes", "spending",
)  # fmt: skip
CALLS_A_CONTEXT = 4
"""Conversations that one context of Cartesia's serves: it is in use only while something is being said."""
REQUESTS_SHARE = 0.9
"""Of the LLM's requests a minute: the rest is for the calls that run already."""
HOUR_S = 3600.0
CALLERS_KEPT = 10_000
"""Whose calls of the last hour are counted; beyond them the one who has not called for longest is forgotten."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a call is not taken; `spoken`: it is answered with a goodbye, else turned away before the answer."""

    reason: Reason
    spoken: bool = False


class Admission:
    """Says of each call whether it may begin. It asks nobody and waits for nothing."""

    def __init__(
        self,
        settings: Settings,
        *,
        occupied: Callable[[], int],
        lag: LagMonitor,
        usage: Usage,
        llm_counters: Callable[[], Mapping[str, int]] = dict,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`occupied`: calls that run or are announced, the one that asks among them.

        `llm_counters`: of the LLM, of which `requests` is heeded.
        """
        self.settings = settings
        self.stopping = False
        """Whether no call is taken any more."""
        self.counters: Counter[Reason] = Counter()
        """Calls that were not taken, by reason."""
        self.lag = lag
        self.usage = usage
        self._occupied = occupied
        self._llm_counters = llm_counters
        self._llm_requests = 0
        self._requests: deque[int] = deque(maxlen=60)  # in each of the last seconds
        self._callers = Callers(clock)

    def may_begin(self, info: CallInfo) -> Refusal | None:
        """Whether there is room for this call, and nobody abuses the agent with it. None: it may begin."""
        return self.no_room() or self.over_a_limit(info)

    def no_room(self, more: int = 0) -> Refusal | None:
        """Whether the agent, or a vendor, has no room. `more`: calls that would come on top."""
        settings = self.settings
        calls = self._occupied() + more
        if self.stopping:
            return Refusal("stopping")
        if calls > settings.max_calls:
            return Refusal("calls")
        if self.lag.too_late:
            return Refusal("lag")
        if 0 < settings.deepgram_max_streams < calls:
            return Refusal("stt_streams")
        if 0 < CALLS_A_CONTEXT * settings.cartesia_max_contexts < calls:
            return Refusal("tts_contexts")
        if 0 < REQUESTS_SHARE * settings.groq_max_rpm <= self.requests_a_minute:
            return Refusal("llm_requests")
        return None

    def over_a_limit(self, info: CallInfo) -> Refusal | None:
        """Whether this caller, or the day, has had enough."""
        settings = self.settings
        if 0 < settings.calls_per_caller_hour <= self._callers.calls(self._number(info)):
            return Refusal("abuse_caller", spoken=True)
        if 0 < settings.max_minutes_per_day <= self.usage.minutes:
            return Refusal("minutes", spoken=True)
        if 0 < settings.max_spending_per_day <= self.usage.cost:
            return Refusal("spending", spoken=True)
        return None

    def begun(self, info: CallInfo) -> None:
        """Count a call that was taken as one of its caller's."""
        self._callers.note(self._number(info), self.settings.calls_per_caller_hour)

    @property
    def requests_a_minute(self) -> int:
        """Requests to the LLM within the last minute."""
        return sum(self._requests)

    def heed(self, settings: Settings) -> None:
        """Go by these settings from now on."""
        self.settings = settings
        self.lag.loop_gate.limit = settings.max_loop_lag_ms
        self.lag.media_gate.limit = settings.max_media_lateness_ms

    def second(self, calls: int) -> None:
        """A second has passed, with so many calls running: count what they took."""
        requests = self._llm_counters().get("requests", 0)
        self._requests.append(max(0, requests - self._llm_requests))  # they begin anew when the LLM is another one
        self._llm_requests = requests
        self.usage.add(minutes=calls / 60)

    def _number(self, info: CallInfo) -> str:
        """Empty for what is not one caller's: withheld, or the dialled number, which a forwarding carrier shows."""
        number = normalise_number(info.caller_id, self.settings.default_region)
        return "" if number == normalise_number(info.did, self.settings.default_region) else number


class Callers:
    """Who called when within the last hour."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._times: OrderedDict[str, deque[float]] = OrderedDict()

    def calls(self, number: str) -> int:
        """Calls of this number within the last hour, as far as they are kept."""
        times = self._times.get(number, ())
        since = self._clock() - HOUR_S
        return sum(at > since for at in times)

    def note(self, number: str, limit: int) -> None:
        """One more; no more than `limit` are kept of a number."""
        if not number or limit <= 0:
            return
        self._times[number] = deque((*self._times.pop(number, ()), self._clock()), maxlen=limit)
        if len(self._times) > CALLERS_KEPT:
            self._times.popitem(last=False)
