"""Traces of calls by OpenTelemetry: one trace a call, a span for each turn, and in it one for each stage.

The trace's ID is the call's UUID, so that a line of the log, a record and a trace lead to each other. A call is one
trace, and not each turn, because what makes a turn slow often lies before it: a vendor that was lost, a hold, an answer
that was thrown away. Spans are made of the call's record when a turn or a call is over: the conversation itself is not
slowed down, and they have the record's own times. No attribute has what was said, a number or a name.

A thread of OpenTelemetry's sends them. It takes them from a queue with a limit; a span that finds no room there is
dropped, and counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import blake2b
from typing import Final
from uuid import UUID

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from agent import __version__
from agent.call.record import CallRecord, TurnRecord
from agent.ops.settings import Settings

CLOSE_S: Final = 3.0
"""For the spans that wait when the agent ends."""
QUEUE: Final = 2048
"""Spans that wait, unless `OTEL_BSP_MAX_QUEUE_SIZE` says otherwise: OpenTelemetry's own default."""
NS_A_MS: Final = 1_000_000


class Tracing:
    """Makes and sends the spans of calls. For the event loop's thread, which never waits for it."""

    def __init__(self, settings: Settings) -> None:
        self.counters: Counter[str] = Counter()
        """`exported`, `failed` (the collector did not take them), `dropped` (the queue was full)."""
        self._share = settings.traced_share
        self._ids = _CallIds()
        exporter = _CountingExporter(
            OTLPSpanExporter(
                endpoint=f"{settings.otel_exporter_otlp_endpoint.rstrip('/')}/v1/traces",
                headers=_headers(settings.otel_exporter_otlp_headers.get_secret_value()),
            ),
            self.counters,
        )
        self._provider = TracerProvider(
            sampler=ALWAYS_ON,
            resource=Resource.create(
                {
                    "service.name": settings.otel_service_name,
                    "service.version": __version__,
                    "service.instance.id": f"{socket.gethostname()}:{os.getpid()}",
                }
            ),
            id_generator=self._ids,
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(_BoundedProcessor(exporter))
        self._tracer = self._provider.get_tracer("agent", __version__)

    def turn(self, record: CallRecord, turn: TurnRecord) -> None:
        """An exchange is over."""
        call = UUID(record.uuid)
        if not self._is_traced(call):
            return
        began_ns = _began_ns(record)
        times = turn.times
        spans = times.spans()
        attributes: dict[str, bool | int] = {
            "voice_agent.turn.thought_early": times.early,
            "voice_agent.turn.interrupted": turn.interrupted,
            "voice_agent.turn.drafts": turn.drafts,
            "voice_agent.turn.drafts_wasted": turn.wasted,
        }
        if times.latency_ms is not None:
            attributes["voice_agent.turn.latency_ms"] = times.latency_ms
        within = self._span(
            "turn" if turn.caller else "the agent speaks by itself",
            began_ns,
            min([turn.start_ms, *(start for start, _ in spans.values())]),
            max([turn.start_ms, *(stop for _, stop in spans.values()), turn.end_ms or 0]),
            _root(call),
            attributes,
        )
        for name, (start, stop) in spans.items():
            if name != "whole":  # that is the turn's latency
                # What was over before the caller's speech was is shown as nothing, and told by the attribute.
                self._span(name, began_ns, start, max(start, stop), within, {"voice_agent.stage.ms": stop - start})
        if times.first_frame is not None and turn.end_ms is not None:
            self._span("speaking", began_ns, times.first_frame, max(times.first_frame, turn.end_ms), within, {})
        for tool in turn.tools:
            ok, at_ms = bool(tool["ok"]), int(tool["at_ms"])
            # A model may ask for a tool that there is not, by any name: only one that ran has a name of ours.
            name = f"tool {tool['name']}" if ok else "tool"
            self._span(name, began_ns, at_ms, at_ms + int(tool["ms"]), within, {"voice_agent.tool.ok": ok})

    def call(self, record: CallRecord) -> None:
        """A call is over: the span that holds its turns."""
        call = UUID(record.uuid)
        if not self._is_traced(call):
            return
        began_ns = _began_ns(record)
        self._ids.root = call
        span = self._tracer.start_span(
            "call",
            context=Context(),
            start_time=began_ns,
            attributes={
                "voice_agent.call.uuid": record.uuid,
                "voice_agent.call.outcome": record.outcome,
                "voice_agent.call.ended_by": record.ended_by,
                "voice_agent.call.turns": len(record.turns),
                "voice_agent.call.barge_ins": sum(mark.what == "barge_in" for mark in record.marks),
                **{f"voice_agent.call.errors.{source}": count for source, count in record.vendor_errors.items()},
            },
        )
        for mark in record.marks:
            span.add_event(mark.what, timestamp=began_ns + mark.at_ms * NS_A_MS)  # what was pressed is a detail
        span.end(began_ns + round(record.seconds * 1e9))

    async def close(self) -> None:
        """Send what waits, for a moment: a collector that is away does not hold up the end."""
        loop = asyncio.get_running_loop()
        done = asyncio.Event()

        def shut_down() -> None:
            self._provider.shutdown()
            with contextlib.suppress(RuntimeError):  # the event loop has ended: nobody waits
                loop.call_soon_threadsafe(done.set)

        threading.Thread(target=shut_down, name="last traces", daemon=True).start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await done.wait()

    def _is_traced(self, call: UUID) -> bool:
        """Of one call all turns or none."""
        # A UUID itself is not random in every bit.
        return self._share >= 1 or int.from_bytes(blake2b(call.bytes, digest_size=8).digest()) < self._share * 2**64

    def _span(
        self,
        name: str,
        began_ns: int,
        start_ms: int,
        end_ms: int,
        within: SpanContext,
        attributes: Mapping[str, bool | int],
    ) -> SpanContext:
        span = self._tracer.start_span(
            name,
            context=set_span_in_context(NonRecordingSpan(within), Context()),
            start_time=began_ns + start_ms * NS_A_MS,
            attributes=attributes,
        )
        span.end(began_ns + end_ms * NS_A_MS)
        return span.get_span_context()


class _CallIds(RandomIdGenerator):
    """The next trace is that of `root`, and so is its first span; all other spans have random IDs."""

    def __init__(self) -> None:
        self.root: UUID | None = None

    def generate_trace_id(self) -> int:
        """The call's UUID."""
        assert self.root is not None, "only calls begin a trace"
        return self.root.int

    def generate_span_id(self) -> int:
        """That of a call is known before the call is over: its turns name it."""
        root, self.root = self.root, None
        return super().generate_span_id() if root is None else _root(root).span_id


class _CountingExporter(SpanExporter):
    """Counts what becomes of spans; for the thread that sends them."""

    def __init__(self, inner: SpanExporter, counters: Counter[str]) -> None:
        self._inner = inner
        self._counters = counters
        self.taken = 0
        """Spans that no longer wait."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send them; it lasts for as long as the collector takes."""
        self.taken += len(spans)
        result = self._inner.export(spans)
        self._counters["exported" if result is SpanExportResult.SUCCESS else "failed"] += len(spans)
        return result

    def count_dropped(self) -> None:
        """A span found no room."""
        self._counters["dropped"] += 1

    def shutdown(self) -> None:
        """Send no more."""
        self._inner.shutdown()


class _BoundedProcessor(BatchSpanProcessor):
    """Drops a span that finds no room, and counts it; OpenTelemetry's own drops the oldest one, and logs each."""

    def __init__(self, exporter: _CountingExporter) -> None:
        self._limit = int(os.environ.get("OTEL_BSP_MAX_QUEUE_SIZE") or QUEUE)
        super().__init__(exporter, max_queue_size=self._limit, max_export_batch_size=min(512, self._limit))
        self._exporter = exporter
        self._offered = 0

    def on_end(self, span: ReadableSpan) -> None:
        """Queue it. Each number has one thread that writes it, so no lock is needed."""
        if self._offered - self._exporter.taken >= self._limit:
            self._exporter.count_dropped()
            return
        self._offered += 1
        super().on_end(span)


def _root(call: UUID) -> SpanContext:
    """The span of a call, which its turns name before it is made: its ID is the UUID's second half."""
    return SpanContext(call.int, call.int & (2**64 - 1) or 1, False, TraceFlags(TraceFlags.SAMPLED))


def _began_ns(record: CallRecord) -> int:
    """When the line was there, ns since 1970."""
    return round(datetime.fromisoformat(record.started).timestamp() * 1000) * NS_A_MS


def _headers(text: str) -> dict[str, str]:
    """As OTEL_EXPORTER_OTLP_HEADERS has them."""
    pairs = (pair.partition("=") for pair in text.split(",") if pair.strip())
    return {name.strip().lower(): value.strip() for name, _, value in pairs}
