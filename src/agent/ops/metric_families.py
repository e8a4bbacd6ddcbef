"""Every metric of `/metrics`, once: its name, kind, labels, what it tells, and how those of several workers are joined.

`docs/monitoring.md` is made from here, `ops/metrics_merge.py` adds up by it, and a test compares it with the page of an
agent that has had calls. No label has values that callers or vendors choose, so the page has a bounded size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

PREFIX: Final = "voice_agent_"
Values: TypeAlias = Mapping[Any, float]
"""By the value of the one label, or by a tuple of the labels' values."""


@dataclass(frozen=True, slots=True)
class Family:
    """A metric. `name` is without the prefix, and of a counter without its `_total`."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    text: str
    labels: tuple[str, ...] = ()
    values: str = ""
    """What its labels may be, for readers."""
    added: bool = True
    """A gauge: those of several workers are added up; else each keeps its own, with a label `worker`."""

    @property
    def whole_name(self) -> str:
        """As it stands on the page."""
        return f"{PREFIX}{self.name}{'_total' if self.kind == 'counter' else ''}"

    def counted(self, values: Values | float) -> Metric:
        """The family of a counter or gauge as it stands now, for a collector."""
        kind = CounterMetricFamily if self.kind == "counter" else GaugeMetricFamily
        if isinstance(values, int | float):
            return kind(PREFIX + self.name, self.text, value=values)
        family = kind(PREFIX + self.name, self.text, labels=self.labels)
        for labels, value in values.items():
            family.add_metric([labels] if isinstance(labels, str) else labels, value)
        return family

    def distribution(self, buckets: Sequence[tuple[str, float]], total: float) -> Metric:
        """The family of a histogram that is counted elsewhere: upper bounds, and how many are at most so large."""
        return HistogramMetricFamily(PREFIX + self.name, self.text, buckets=buckets, sum_value=total)

    def counter(self, registry: CollectorRegistry) -> Counter:
        """One that is counted up here."""
        return Counter(PREFIX + self.name, self.text, self.labels, registry=registry)

    def gauge(self, registry: CollectorRegistry) -> Gauge:
        """One that is set here."""
        return Gauge(PREFIX + self.name, self.text, self.labels, registry=registry)

    def histogram(self, registry: CollectorRegistry, buckets: Sequence[float]) -> Histogram:
        """One that is observed here."""
        return Histogram(PREFIX + self.name, self.text, self.labels, registry=registry, buckets=buckets)


def _counter(name: str, text: str, *labels: str, values: str = "") -> Family:
    return Family(name, "counter", text, labels, values)


def _gauge(name: str, text: str, *labels: str, values: str = "", added: bool = True) -> Family:
    return Family(name, "gauge", text, labels, values, added)


def _histogram(name: str, text: str, *labels: str, values: str = "") -> Family:
    return Family(name, "histogram", text, labels, values)


SECTIONS: Final[dict[str, tuple[Family, ...]]] = {
    "Calls": (
        _gauge("calls_running", "Calls that are running"),
        _gauge(
            "workers",
            "Processes that have calls, by what they do",
            "state",
            values="`starting`, `serving`, `draining`",
        ),
        _counter(
            "worker_ends",
            "Such processes that have ended while the agent ran, by how",
            "how",
            values="`died`, `rolled`: replaced by `voice-agent roll`",
        ),
        _gauge("calls_announced", "Calls that were announced and have not come"),
        _counter(
            "calls",
            "Calls that are over, by outcome",
            "outcome",
            values="`booked`, `booking_kept` (sent later), `transferred`, `no_booking`, `silent`, `machine`, `refused` "
            "(a limit), `failed`, `other`",
        ),
        _counter(
            "calls_ended",
            "Calls that are over, by who or what ended them",
            "by",
            values="`agent`, `caller`, or the fault, by the names of `fastaudio.END_REASONS`",
        ),
        _histogram("call_duration_seconds", "How long calls took"),
        _counter(
            "calls_refused",
            "Calls that were not taken, by reason",
            "reason",
            values="[which calls are taken](operations.md#which-calls-are-taken)",
        ),
        _counter(
            "call_errors",
            "What went wrong in calls that are over, by whom",
            "source",
            values="`stt`, `llm`, `tts`, `context`, `booking`",
        ),
        _counter(
            "mishaps",
            "What happened in calls that should not happen",
            "what",
            values="`stalled`, `replies_failed`, `bear_with_me`, `inbox_dropped`, `context_late`, `recordings_cut`, "
            "`recordings_failed`",
        ),
        _counter("tools", "Tools that were run, by what came of them", "result", values="`ok`, `failed`"),
        _histogram("tool_duration_seconds", "How long tools took"),
    ),
    "Turns": (
        _counter("turns", "Turns of callers that were answered"),
        _histogram(
            "turn_stage_seconds",
            "How long the stages of a turn took; whole is the answer latency: from the end of the caller's speech to "
            "the first frame of the answer. A stage that was over before the caller's speech was counts as 0",
            "stage",
            values="`stt`, `endpoint`, `llm` (time to the first token), `clause`, `tts`, `gate`, `wire`, `whole`: "
            "[tracing](#traces) says what each is",
        ),
        _counter("turns_thought_early", "Answers that were thought of before the turn was certain"),
        _counter("drafts", "Answers begun before the turn was certain"),
        _counter("drafts_wasted", "Those of them that were thrown away"),
    ),
    "Barge-in": (
        _counter("interruptions", "Answers that the caller interrupted"),
        _counter(
            "moments",
            "What happened while the agent spoke, counted when the call is over",
            "what",
            values="`hold` (the agent falls silent: perhaps the caller interrupts), `resume` (it was nothing), "
            "`barge_in` (it is the caller's voice), `flush` (the rest is not said)",
        ),
        _histogram(
            "hold_seconds",
            "From the beginning of the caller's voice to a hold, for voices that began while the agent spoke",
        ),
        _histogram(
            "hold_decision_seconds",
            "From a hold to what was decided",
            "decision",
            values="`resume`, `barge_in`, `flush`: the first of them behind the hold",
        ),
    ),
    "Media core": (
        _histogram(
            "media_tick_lateness_seconds",
            "How late ticks of calls were, one each 20 ms; its sum is at most 12.5 % too high",
        ),
        _gauge("media_lateness_seconds", "Lateness of ticks, P99 of 5 s; it decides on new calls", added=False),
        _gauge("media_responsive", "1: the media thread answers within a second, 0: it hangs", added=False),
        _counter(
            "media",
            "The media core",
            "what",
            values="`accepted`, `started` connections; `frames_in`, `frames_out`; `stalls` (ticks 80 ms late or more), "
            "`caught_up` and `skipped` frames after late ticks; `events_lost`; `ticks`",
        ),
        _counter(
            "call_media",
            "What the media core counted in calls that are over",
            "what",
            values="`underruns` (an utterance ran dry), `filled` (20 ms of the caller that did not come), `left_out` "
            "and `overrun` (frames ahead of the clock), `blocked` (the peer took nothing), `lost_in`, `odd_in`, "
            "`other_format`",
        ),
        _counter(
            "connections_ended",
            "Connections to AudioSocket, by how they ended",
            "reason",
            values="the names of `fastaudio.END_REASONS`",
        ),
        _counter(
            "capture_lost_seconds",
            "Audio of calls that a reader came too late for; the call itself misses nothing",
            "reader",
            values="`recording`, `listening` (in the console)",
        ),
    ),
    "Vendors": (
        _gauge(
            "vendor_state",
            "0: in use, 1: tried again, 2: left alone after failures",
            "endpoint",
            values="the breakers' names, such as `stt nova-3`, `llm openai/gpt-oss-120b`, `tts cartesia`",
            added=False,
        ),
        _counter(
            "vendor_requests",
            "What became of requests to a vendor",
            "endpoint",
            "what",
            values="`succeeded`, `failed`, `opened` (it was given up for a while), `turned_away` (nobody was sent "
            "there meanwhile)",
        ),
        _counter(
            "vendor_errors",
            "Failures of a vendor, by kind",
            "endpoint",
            "kind",
            values="`limit` (429, or a time to wait), `refused` (400 to 404, 422: key, account, request), `server` "
            "(500 and above), `closed` (a WebSocket), `no_answer`",
        ),
        _counter(
            "llm",
            "Replies of language models, and how they came about",
            "what",
            values="`replies`, `requests`, `errors`, `fallbacks`, `hedges`, `hedges_won`, `silent`, `went_on`, "
            "`whole_calls`, `rested`, `sent_anew`, `refused_calls`",
        ),
        _counter(
            "stt",
            "Streams to the STT of calls that are over",
            "what",
            values="`connected`, `reconnected`, `switched` (to another vendor), `stalled`, `errors`, `garbage`, "
            "`finals`, `interims`, `events_dropped`",
        ),
        _counter("stt_replayed_seconds", "Audio that was sent again after a lost connection, of calls that are over"),
        _counter("stt_dropped_seconds", "Audio that no STT was given, of calls that are over"),
        _counter(
            "tts",
            "Connections and contexts of the TTS",
            "what",
            values="`connected` (sockets; what exceeds the first few are reconnects), `contexts`, `limited`, `silent`, "
            "`late`, `garbage`, `unknown`",
        ),
        _counter(
            "context_requests",
            "Questions to the context API",
            "what",
            values="`fetched`, `retried`, `defaulted` (the caller was answered without the company's details)",
        ),
        _counter(
            "vendor_use",
            "What calls have used of vendors",
            "vendor",
            "model",
            "unit",
            values="[what a call costs](operations.md#what-a-call-costs)",
        ),
        _counter(
            "vendor_cost",
            "What that costs by the table of prices, in its currency",
            "vendor",
            "model",
            values="the models that the settings name",
        ),
    ),
    "Limits": (
        _gauge("max_calls", "Calls that may run at once, MAX_CALLS", added=False),
        _gauge(
            "limit",
            "Other limits of the settings; 0: none",
            "limit",
            values="`stt_streams`, `tts_contexts`, `llm_requests` (a minute), `caller_calls` (an hour), "
            "`day_seconds`, `day_cost`",
            added=False,
        ),
        _gauge("stopping", "1 while the agent takes no calls because it is to end", added=False),
        _gauge("today_seconds", "Length of today's calls", added=False),
        _gauge("today_cost", "Estimated cost of today's calls, in the currency of the table of prices", added=False),
    ),
    "Bookings and notices": (
        _gauge(
            "outbox_bookings",
            "Bookings in the outbox; refused and uncertain wait for a person",
            "state",
            values="[bookings.md](bookings.md)",
            added=False,
        ),
        _gauge(
            "outbox_oldest_seconds",
            "How long the oldest booking has waited that is not accepted yet; 0: none waits",
            added=False,
        ),
        _counter("outbox_events", "What became of bookings", "what", values="[bookings.md](bookings.md)"),
        _gauge(
            "notices",
            "Webhooks and mails in the outbox; refused are given up",
            "kind",
            "state",
            values="`webhook`, `mail`; `waiting`, `accepted`, `refused`, `dropped`",
            added=False,
        ),
        _gauge(
            "notices_oldest_seconds",
            "How long the oldest notice has waited that is not delivered yet; 0: none waits",
            "kind",
            values="`webhook`, `mail`",
            added=False,
        ),
        _counter(
            "notice_results",
            "What became of attempts at webhooks and mails",
            "kind",
            "result",
            values="`kept`, `accepted`, `refused`, `dropped`, `later`, `given_up`",
        ),
    ),
    "Back office and records": (
        _histogram("database_query_seconds", "How long the back office's database took for a statement"),
        _counter("database_errors", "Statements that the back office's database refused or broke off"),
        _counter(
            "records",
            "Records of calls on their way into the database",
            "what",
            values="`kept`, `known`, `failed`, `left` (to the hourly import), `imported`, `expired`, `broken`",
        ),
        _counter(
            "recordings", "Recordings of calls, by what became of them", "result", values="`whole`, `cut`, `failed`"
        ),
        _counter("recording_bytes", "Size of the recordings that were written"),
        _counter(
            "recording_uploads",
            "Recordings that were to move to the bucket",
            "result",
            values="`uploaded`, `failed` (tried again); only where `RECORDINGS_S3_BUCKET` is set",
        ),
        _gauge("recordings_waiting", "Recordings that have not moved to the bucket yet"),
    ),
    "The dialplan and strangers": (
        _counter(
            "registry",
            "Announced calls and verdicts",
            "what",
            values="`announced`, `claimed`, `claimed_file`, `unannounced`, `expired`, `withdrawn`, `full`, "
            "`duplicate`, `verdicts_expired`, `verdicts_unknown`, `verdicts_late`; with [several hosts](scaling.md) "
            "`claimed_here_announced_elsewhere`, `claimed_elsewhere`, `verdicts_elsewhere` (found in Redis), "
            "`verdicts_kept_here` (Redis did not get them), `unreadable`",
        ),
        _gauge("redis_there", "1: the Redis that several hosts share answers; 0: it is away, or there is none"),
        _counter(
            "redis_requests",
            "Exchanges with the Redis that several hosts share",
            "what",
            values="`asked`, `failed`, `passed_over` (not asked, being away), `came_back`",
        ),
        _gauge("hosts_elsewhere", "Other hosts that take calls with this one"),
        _gauge("calls_elsewhere", "Their calls"),
        _gauge("places_elsewhere", "Calls that they would take on top"),
        _counter(
            "fastagi_requests", "The dialplan's requests over fastagi", "what", values="what it asked and was told"
        ),
        _counter("http_requests", "The dialplan's requests over http", "what", values="what it asked and was told"),
        _counter(
            "ami_transfers",
            "Transfers that Asterisk was asked for by AMI",
            "what",
            values="`redirected`, `failed_` and why; only where `AMI_HOST` is set",
        ),
        _counter(
            "turned_away",
            "Connections turned away, by port and reason",
            "port",
            "reason",
            values="[strangers](operations.md#strangers)",
        ),
    ),
    "The process": (
        _gauge("loop_lag_seconds", "Lag of the event loop, P95 of 5 s; it decides on new calls", added=False),
        _histogram("loop_delay_seconds", "How late the event loop came to a look, ten times a second"),
        _counter(
            "thread_cpu_seconds",
            "CPU of the process's threads, user and system",
            "thread",
            values="`media` (the C core), `main` (the event loop), `others` (disk, databases, names)",
        ),
        _gauge("threads", "Threads of the process", added=False),
        _gauge("build_info", "1; the version that runs", "version", added=False),
        _counter(
            "trace_spans",
            "Spans of traces; 0 while there is no OTEL_EXPORTER_OTLP_ENDPOINT",
            "what",
            values="`exported`, `failed` (the collector did not take them), `dropped` (the queue was full)",
        ),
    ),
}
"""The families by section, in the order of the page of documentation."""

FAMILIES: Final[Mapping[str, Family]] = {family.name: family for families in SECTIONS.values() for family in families}
