"""What being seen from outside costs the event loop: turns counted and traced, calls counted, pages.

Against writing a call's record, which happens once a call. The page has as many lines as a host's; the spans go to an
exporter that takes them at once, on its own thread, so that the figure is that of making them.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import orjson
import pytest

from agent.call.record import CallRecord, TurnRecord, TurnTimes
from agent.ops.metric_families import FAMILIES
from agent.ops.metrics import Metrics
from agent.ops.metrics_merge import Merger
from agent.ops.process import of_process
from agent.ops.settings import load_settings

if TYPE_CHECKING:
    from benchmarks.micro.conftest import Compare

TIMES = TurnTimes(
    speech_end=3000, final_transcript=3120, turn_end=3300, llm_request=3120, first_token=3155, first_tts_text=3160,
    first_audio=3220, first_frame=3310,
)  # fmt: skip
TURN = TurnRecord("My tap leaks", 3120, "Where do you live?", end_ms=5000, times=TIMES, drafts=2, wasted=1)


def a_record() -> CallRecord:
    record = CallRecord(str(uuid.uuid4()), outcome="booked", ended_by="caller", seconds=62.0, turns=[TURN] * 10)
    for at_ms in range(0, 60_000, 6_000):
        record.mark(at_ms, "hold")
        record.mark(at_ms + 250, "resume")
    record.media = {"underruns": 1, "filled": 2}
    record.vendors = {"stt": {"connected": 1, "finals": 10}}
    return record


def metrics() -> Metrics:
    """With as many lines as a host's page has beside those of calls."""
    page = Metrics(lambda: 100)
    own = page.page().decode()
    others = [each for each in FAMILIES.values() if each.kind != "histogram" and f" {each.whole_name} " not in own]
    page.include(of_process)
    page.include(
        lambda: [
            each.counted({tuple(f"{label} {n}" for label in each.labels): n for n in range(8)} if each.labels else 1)
            for each in others
            if each.name not in ("threads", "thread_cpu_seconds", "build_info")
        ]
    )
    return page


RECORD = a_record()


def writing() -> bytes:
    return orjson.dumps(RECORD.as_dict())


def test_a_turn_is_counted(compare: Compare) -> None:
    seen = Metrics(lambda: 0)
    compare("a turn counted", lambda: seen.turn(RECORD, TURN), "a call's record as JSON", writing)


def test_a_call_is_counted(compare: Compare) -> None:
    seen = Metrics(lambda: 0)
    compare("a call counted", lambda: seen.call(RECORD), "a call's record as JSON", writing)


def test_a_turn_is_traced(compare: Compare, monkeypatch: pytest.MonkeyPatch) -> None:
    spans = pytest.importorskip("agent.ops.spans", reason="the extra otel")
    from opentelemetry.sdk.trace.export import SpanExportResult

    monkeypatch.setattr(spans.OTLPSpanExporter, "export", lambda self, batch: SpanExportResult.SUCCESS)
    tracing = spans.Tracing(load_settings(otel_exporter_otlp_endpoint="http://127.0.0.1:9"))
    compare("a turn traced", lambda: tracing.turn(RECORD, TURN), "a call's record as JSON", writing)
    tracing._provider.shutdown()


def test_a_page_is_made(compare: Compare) -> None:
    page = metrics()
    assert 500 < page.page().count(b"\n") < 1200
    compare("a page", page.page, "a call's record as JSON", writing)


def test_pages_of_workers_are_added_up(compare: Compare) -> None:
    page = metrics().page()
    pages = {str(number): page for number in range(8)}
    merger = Merger()
    compare("eight workers' pages as one", lambda: merger.page(pages), "a call's record as JSON", writing)
