"""What Prometheus reads at `/metrics`: how long the stages of turns took, and what became of turns and calls.

No label has values that callers or vendors choose, so the page has a fixed size. Observing a turn takes some
microseconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from agent.call.record import STAGES, CallRecord, TurnRecord

# When a counter was made is of no use to anybody, and doubles the page.
disable_created_metrics()  # type: ignore[no-untyped-call]
CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4
BUCKETS_S: Final = (
    0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0,
)  # fmt: skip
"""Upper bounds of the histograms, s: close where a caller notices the difference."""
MOMENTS: Final = ("hold", "resume", "barge_in", "flush")
OUTCOMES: Final = ("booked", "booking_kept", "transferred", "no_booking", "silent", "machine", "refused", "failed")
"""An outcome that is not among them counts as `other`."""


class Metrics:
    """One agent's metrics. `turn` and `call` count what is over; `page` is what Prometheus reads."""

    def __init__(self, calls: Callable[[], int]) -> None:
        """`calls` tells how many calls are running."""
        self._registry = CollectorRegistry()
        stages = Histogram(
            "voice_agent_turn_stage_seconds",
            "How long the stages of a turn took; `whole` is what the caller waited. A stage that was over before the "
            "caller's speech was counts as 0.",
            ["stage"],
            registry=self._registry,
            buckets=BUCKETS_S,
        )
        self._stages = {name: stages.labels(name) for name in STAGES}
        self._turns = self._counter("turns", "Turns of callers that were answered")
        self._early = self._counter("turns_thought_early", "Answers that were thought of before the turn was certain")
        self._drafts = self._counter("drafts", "Answers begun before the turn was certain")
        self._wasted = self._counter("drafts_wasted", "Those of them that were thrown away")
        self._interruptions = self._counter("interruptions", "Answers that the caller interrupted")
        moments = Counter(
            "voice_agent_moments", "What happened while the agent spoke", ["what"], registry=self._registry
        )
        self._moments = {what: moments.labels(what) for what in MOMENTS}
        ended = Counter("voice_agent_calls", "Calls that are over, by outcome", ["outcome"], registry=self._registry)
        self._ended = {outcome: ended.labels(outcome) for outcome in (*OUTCOMES, "other")}
        running = Gauge("voice_agent_calls_running", "Calls that are running", registry=self._registry)
        running.set_function(calls)

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(f"voice_agent_{name}", text, registry=self._registry)

    def turn(self, _record: CallRecord, turn: TurnRecord) -> None:
        """An exchange is over."""
        for name, ms in turn.times.stages_ms().items():
            self._stages[name].observe(max(0, ms) / 1000)
        if turn.caller:
            self._turns.inc()
        if turn.times.early:
            self._early.inc()
        if turn.interrupted:
            self._interruptions.inc()
        self._drafts.inc(turn.drafts)
        self._wasted.inc(turn.wasted)

    def call(self, record: CallRecord) -> None:
        """A call is over."""
        self._ended.get(record.outcome, self._ended["other"]).inc()
        for mark in record.marks:
            if mark.what in self._moments:
                self._moments[mark.what].inc()

    def include(self, collector: Collector) -> None:
        """Show what another part counts."""
        self._registry.register(collector)

    def page(self) -> bytes:
        """The page, in Prometheus's text format."""
        return generate_latest(self._registry)
