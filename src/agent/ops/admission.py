"""Which calls the agent takes: by how much it carries, by what its vendors allow, and by who calls how often.

A call for which there is no room is turned away before it is answered, so that the dialplan can send it elsewhere. A
call that is over a limit against abuse is answered, hears a goodbye, and costs no vendor anything.
"""

from __future__ import annotations

import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from agent.ops.settings import Settings
from agent.ops.usage import Usage
from agent.telephony import CallInfo
from agent.telephony.hosts import Hosts, HostState
from agent.telephony.numbers import normalise_number

Reason = Literal[
    "stopping", "no_worker", "calls", "lag", "stt_streams", "tts_contexts", "llm_requests", "abuse_caller", "minutes",
    "spending",
]  # fmt: skip
REASONS: Final[tuple[Reason, ...]] = (
    "stopping", "no_worker", "calls", "lag", "stt_streams", "tts_contexts", "llm_requests", "abuse_caller", "minutes",
    "spending",
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
        too_late: Callable[[], bool],
        usage: Usage,
        places: Callable[[], int] | None = None,
        hosts: Hosts | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`occupied`: calls that run or are announced, the one that asks among them, and only those that run where
        other hosts share what is announced; `places`: calls that can run on what is there just now, `MAX_CALLS` unless
        given; `too_late`: whether one more would make it worse for all; `hosts`: the others, where there may be some.
        """
        self.settings = settings
        self.stopping = False
        """Whether no call is taken any more."""
        self.counters: Counter[Reason] = Counter()
        """Calls that were not taken, by reason."""
        self.usage = usage
        self._occupied = occupied
        self._places = places or (lambda: self.settings.max_calls)
        self._too_late = too_late
        self._hosts = hosts
        self._llm_requests = 0  # in this second
        self._requests: deque[int] = deque(maxlen=60)  # in each of the last seconds
        self._callers = Callers(clock)

    def may_begin(self, info: CallInfo) -> Refusal | None:
        """Whether there is room for this call, and nobody abuses the agent with it. None: it may begin.

        The call is announced by now. Where other hosts share what is announced, it may come to any of them.
        """
        return self._no_room_anywhere() or self.over_a_limit(info)

    def no_room(self, more: int = 0) -> Refusal | None:
        """Whether this host, or a vendor, has no room. `more`: calls that would come on top."""
        calls = self._occupied() + more
        if self.stopping:
            return Refusal("stopping")
        places = self._places()
        if places <= 0:
            return Refusal("no_worker")
        if calls > min(self.settings.max_calls, places):
            return Refusal("calls")
        if self._too_late():
            return Refusal("lag")
        return self._vendor_is_full(calls)

    def _no_room_anywhere(self) -> Refusal | None:
        hosts = self._hosts
        if hosts is None or not hosts.there:
            return self.no_room()
        if not hosts.room:
            return self.no_room() or Refusal("calls")
        return self._vendor_is_full(self._occupied() + hosts.coming)

    def _vendor_is_full(self, calls: int) -> Refusal | None:
        """What the vendors' plans allow is for the calls of all hosts; `calls` are those of this one."""
        settings, elsewhere = self.settings, self._elsewhere
        calls += elsewhere.calls
        if 0 < settings.deepgram_max_streams < calls:
            return Refusal("stt_streams")
        if 0 < CALLS_A_CONTEXT * settings.cartesia_max_contexts < calls:
            return Refusal("tts_contexts")
        if 0 < REQUESTS_SHARE * settings.groq_max_rpm <= self.requests_a_minute + elsewhere.llm_requests:
            return Refusal("llm_requests")
        return None

    @property
    def _elsewhere(self) -> HostState:
        return HostState() if self._hosts is None else self._hosts.elsewhere

    @property
    def state(self) -> HostState:
        """What other hosts are told of this one."""
        calls = self._occupied()
        shut = self.stopping or self._too_late()
        return HostState(
            calls,
            0 if shut else max(0, min(self.settings.max_calls, self._places()) - calls),
            self.requests_a_minute,
            self.usage.minutes,
            self.usage.cost,
        )

    def over_a_limit(self, info: CallInfo) -> Refusal | None:
        """Whether this caller, or the day, has had enough."""
        settings = self.settings
        if 0 < settings.calls_per_caller_hour <= self._callers.calls(self._number(info)):
            return Refusal("abuse_caller", spoken=True)
        if 0 < settings.max_minutes_per_day <= self.usage.minutes + self._elsewhere.minutes:
            return Refusal("minutes", spoken=True)
        if 0 < settings.max_spending_per_day <= self.usage.cost + self._elsewhere.cost:
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

    def asked_llm(self, requests: int) -> None:
        """Calls have asked the LLM so often."""
        self._llm_requests += requests

    def second(self, calls: int) -> None:
        """A second has passed, with so many calls running: count what they took."""
        self._requests.append(self._llm_requests)
        self._llm_requests = 0
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
