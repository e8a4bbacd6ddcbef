"""What Prometheus reads at `/metrics`: how long the stages of turns took, what became of turns and calls, and what the
other parts count (`gauges.py`).

Observing a turn takes some tens of microseconds, and a page some milliseconds: docs/monitoring.md has them measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, disable_created_metrics
from prometheus_client import Counter as Counted
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

import fastaudio
from agent.call.record import STAGES, CallRecord, Mark, TurnRecord
from agent.ops.metric_families import FAMILIES

# When a counter was made is of no use to anybody, and doubles the page.
disable_created_metrics()  # type: ignore[no-untyped-call]
CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4
BUCKETS_S: Final = (
    0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0,
)  # fmt: skip
"""Upper bounds of the stages' histograms, s: close where a caller notices the difference."""
CALL_BUCKETS_S: Final = (5, 15, 30, 60, 120, 180, 300, 600, 1200, 1800, 3600)
SILENT_BUCKETS_S: Final = (0.02, 0.04, 0.06, 0.08, 0.1, 0.12, 0.15, 0.2, 0.3, 0.5, 1.0)
HOLD_BUCKETS_S: Final = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.75, 1.0, 1.5, 2.0)
TOOL_BUCKETS_S: Final = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 0.8, 1.5, 3.0, 6.0, 10.0)
LOOP_BUCKETS_S: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)
DECISIONS: Final = ("resume", "barge_in", "flush")
MOMENTS: Final = ("hold", *DECISIONS)
OUTCOMES: Final = ("booked", "booking_kept", "transferred", "no_booking", "silent", "machine", "refused", "failed")
"""An outcome that is not among them counts as `other`."""
SOURCES: Final = ("stt", "llm", "tts", "context", "booking")
CALL_MEDIA: Final = (
    "underruns", "filled", "left_out", "overrun", "blocked", "lost_in", "odd_in", "other_format",
)  # fmt: skip
"""Of the media core's counters of one call; the engine has no sum of them."""
STT: Final = (
    "connected", "reconnected", "switched", "stalled", "errors", "garbage", "finals", "interims", "events_dropped",
)  # fmt: skip


class Page:
    """A page of metrics: the process's own, and what is included."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)

    def include(self, tell: Callable[[], Iterable[Metric]]) -> None:
        """Show what another part counts: asked each time that a page is made, on the event loop."""
        self._registry.register(_Told(tell))

    def page(self) -> bytes:
        """The page, in Prometheus's text format."""
        return generate_latest(self._registry)


class Metrics(Page):
    """What is counted of calls. `turn` and `call` count what is over."""

    def __init__(self, calls: Callable[[], int]) -> None:
        """`calls` tells how many calls are running."""
        super().__init__()
        registry = self._registry
        FAMILIES["calls_running"].gauge(registry).set_function(calls)
        stages = FAMILIES["turn_stage_seconds"].histogram(registry, BUCKETS_S)
        self._stages = {name: stages.labels(name) for name in STAGES}
        self._turns = FAMILIES["turns"].counter(registry)
        self._early = FAMILIES["turns_thought_early"].counter(registry)
        self._drafts = FAMILIES["drafts"].counter(registry)
        self._wasted = FAMILIES["drafts_wasted"].counter(registry)
        self._interruptions = FAMILIES["interruptions"].counter(registry)
        self._moments = self._each("moments", MOMENTS)
        self._silent = FAMILIES["hold_seconds"].histogram(registry, SILENT_BUCKETS_S)
        holds = FAMILIES["hold_decision_seconds"].histogram(registry, HOLD_BUCKETS_S)
        self._holds = {decision: holds.labels(decision) for decision in DECISIONS}
        self._outcomes = self._each("calls", (*OUTCOMES, "other"))
        self._ended = self._each("calls_ended", (*fastaudio.END_REASONS[1:], "other"))
        self._duration = FAMILIES["call_duration_seconds"].histogram(registry, CALL_BUCKETS_S)
        self._errors = self._each("call_errors", SOURCES)
        self._tools = self._each("tools", ("ok", "failed"))
        self._tool_duration = FAMILIES["tool_duration_seconds"].histogram(registry, TOOL_BUCKETS_S)
        self._media = self._each("call_media", CALL_MEDIA)
        self._stt = self._each("stt", STT)
        self._replayed = FAMILIES["stt_replayed_seconds"].counter(registry)
        self._dropped = FAMILIES["stt_dropped_seconds"].counter(registry)
        self._loop_delay = FAMILIES["loop_delay_seconds"].histogram(registry, LOOP_BUCKETS_S)

    def _each(self, name: str, values: Iterable[str]) -> dict[str, Counted]:
        """A counter for each value of its one label: all of them are there from the start, as nothing."""
        counter = FAMILIES[name].counter(self._registry)
        return {value: counter.labels(value) for value in values}

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
        self._outcomes.get(record.outcome, self._outcomes["other"]).inc()
        self._ended.get(record.ended_by, self._ended["other"]).inc()
        self._duration.observe(record.seconds)
        for mark in record.marks:
            if mark.what in self._moments:
                self._moments[mark.what].inc()
        for decision, ms in _holds(record.marks):
            self._holds[decision].observe(ms / 1000)
        for turn in record.turns:
            for tool in turn.tools:
                self._tools["ok" if tool["ok"] else "failed"].inc()
                self._tool_duration.observe(tool["ms"] / 1000)
        for counters, counted in (
            (self._errors, record.vendor_errors),
            (self._media, record.media),
            (self._stt, stt := record.vendors.get("stt", {})),
        ):
            for name, counter in counters.items():
                counter.inc(counted.get(name, 0))
        self._replayed.inc(stt.get("replayed_ms", 0) / 1000)
        self._dropped.inc(stt.get("dropped_ms", 0) / 1000)

    def held(self, seconds: float) -> None:
        """The agent fell silent so long after the caller's voice began."""
        self._silent.observe(seconds)

    def loop_was_late(self, seconds: float) -> None:
        """The event loop came so late to a look."""
        self._loop_delay.observe(seconds)


def _holds(marks: Iterable[Mark]) -> Iterator[tuple[str, int]]:
    """What each hold came to, and after how many ms."""
    held: int | None = None
    for mark in marks:
        if mark.what == "hold":
            held = mark.at_ms
        elif held is not None and mark.what in DECISIONS:
            yield mark.what, max(0, mark.at_ms - held)
            held = None


class _Told(Collector):
    """What a function tells when it is asked."""

    def __init__(self, tell: Callable[[], Iterable[Metric]]) -> None:
        self._tell = tell

    def describe(self) -> Iterable[Metric]:
        """Nothing: who tells need not have started yet."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """As it stands."""
        return self._tell()
