"""Traces of calls, at a collector of the tests' own that takes OTLP over HTTP as protobuf."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from aiohttp import web

from agent.call.record import CallRecord, TurnRecord, TurnTimes
from agent.ops.settings import Settings, SettingsError, load_settings
from agent.ops.tracing import open_tracing

if TYPE_CHECKING:
    from tests.agent.conftest import RigMaker

pytest.importorskip("opentelemetry.sdk", reason="the extra otel")
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

EARLY = TurnTimes(
    speech_end=3000, final_transcript=2990, turn_end=3300, llm_request=3120, first_token=3155, first_tts_text=3160,
    first_audio=3220, first_frame=3310,
)  # fmt: skip


class Collector:
    """Keeps what it is sent; answers with `status`, and not before `open` is set."""

    def __init__(self) -> None:
        self.status = 200
        self.open = asyncio.Event()
        self.open.set()
        self.spans: list[Span] = []
        self.resources: list[dict[str, str]] = []
        self.headers: list[dict[str, str]] = []
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        assert request.headers["Content-Type"] == "application/x-protobuf"
        body = await request.read()
        await self.open.wait()
        if self.status == 200:
            self.headers.append({name.lower(): value for name, value in request.headers.items()})
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                self.resources.append({item.key: item.value.string_value for item in resource.resource.attributes})
                for scope in resource.scope_spans:
                    self.spans.extend(scope.spans)
        return web.Response(status=self.status)

    def named(self, name: str) -> Span:
        (span,) = (span for span in self.spans if span.name == name)
        return span

    def within(self, parent: Span) -> dict[str, Span]:
        return {span.name: span for span in self.spans if span.parent_span_id == parent.span_id}


@asynccontextmanager
async def a_collector() -> AsyncIterator[Collector]:
    collector = Collector()
    app = web.Application()
    app.router.add_post("/v1/traces", collector.take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    collector.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield collector
    finally:
        collector.open.set()
        await runner.cleanup()


@pytest.fixture
async def collector(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "2")
    async with a_collector() as running:
        yield running


def settings(collector: Collector, **changes: Any) -> Settings:
    return load_settings(otel_exporter_otlp_endpoint=collector.url, **changes)


def attributes(span: Span) -> dict[str, Any]:
    return {item.key: getattr(item.value, item.value.WhichOneof("value") or "") for item in span.attributes}


def a_record() -> CallRecord:
    record = CallRecord(str(uuid4()), outcome="booked", ended_by="caller", seconds=9.5, vendor_errors={"llm": 2})
    record.caller_id = "+447700900123"
    record.turns.append(TurnRecord("", 300, "Hello, Thames Plumbing.", end_ms=2000, times=TurnTimes(first_frame=310)))
    record.turns.append(
        TurnRecord(
            "My tap leaks",
            3120,
            "Where do you live?",
            end_ms=5000,
            times=EARLY,
            drafts=2,
            wasted=1,
            tools=[
                {"name": "check_availability", "ok": True, "at_ms": 3130, "ms": 400, "arguments": "SW1A 1AA"},
                {"name": "My tap leaks", "ok": False, "at_ms": 3600, "ms": 0, "arguments": ""},
            ],
        )
    )
    record.mark(1200, "hold")
    record.mark(4000, "dtmf", "7")
    return record


async def tell(collector: Collector, record: CallRecord, **changes: Any) -> None:
    tracing = open_tracing(settings(collector, **changes))
    assert tracing is not None
    for turn in record.turns:
        tracing.turn(record, turn)
    tracing.call(record)
    await tracing.close()


async def test_a_call_is_one_trace_with_the_times_of_its_record(collector: Collector) -> None:
    record = a_record()
    await tell(collector, record, otel_exporter_otlp_headers="X-Team=phones, authorization = Bearer abc")
    began_ns = round(datetime.fromisoformat(record.started).timestamp() * 1000) * 1_000_000
    assert {span.trace_id for span in collector.spans} == {UUID(record.uuid).bytes}
    call, turn = collector.named("call"), collector.named("turn")
    assert not call.parent_span_id
    assert (call.start_time_unix_nano, call.end_time_unix_nano) == (began_ns, began_ns + 9_500_000_000)
    assert set(collector.within(call)) == {"turn", "the agent speaks by itself"}
    stages = collector.within(turn)
    assert set(stages) == {
        "stt", "endpoint", "llm", "clause", "tts", "gate", "wire", "speaking", "tool check_availability", "tool",
    }  # fmt: skip
    for name, (begin_ms, end_ms) in EARLY.spans().items():
        if name != "whole":
            assert stages[name].start_time_unix_nano == began_ns + begin_ms * 1_000_000
            assert stages[name].end_time_unix_nano == began_ns + max(begin_ms, end_ms) * 1_000_000
            assert attributes(stages[name])["voice_agent.stage.ms"] == end_ms - begin_ms
    assert stages["speaking"].end_time_unix_nano == began_ns + 5_000_000_000
    assert attributes(turn)["voice_agent.turn.latency_ms"] == 310
    assert attributes(turn)["voice_agent.turn.thought_early"] is True
    assert attributes(call)["voice_agent.call.errors.llm"] == 2
    assert (call.events[0].name, call.events[0].time_unix_nano) == ("hold", began_ns + 1_200_000_000)
    assert collector.resources[0]["service.name"] == "voice-agent"
    assert collector.headers[0]["x-team"] == "phones"
    assert collector.headers[0]["authorization"] == "Bearer abc"


async def test_a_trace_has_no_words_and_no_numbers(collector: Collector) -> None:
    await tell(collector, a_record())
    everything = b"".join(span.SerializeToString() for span in collector.spans).decode("latin-1")
    for secret in ("tap", "leaks", "live", "Thames", "900123", "SW1A", "7\n"):
        assert secret not in everything
    assert "check_availability" in everything


async def test_a_real_call_is_traced(collector: Collector, a_rig: RigMaker) -> None:
    async with a_rig(otel_exporter_otlp_endpoint=collector.url) as rig:
        _, record = await rig.call("say: Hello, my kitchen tap is leaking.\nhangup")
        tracing = rig.agent.floor.tracing
        assert tracing is not None
        await rig.until(lambda: any(span.name == "call" for span in collector.spans))
        assert tracing.counters["exported"] == len(collector.spans)
        page = rig.agent.floor.metrics.page().decode()
    assert f'voice_agent_trace_spans_total{{what="exported"}} {len(collector.spans):.1f}' in page
    (turn,) = (turn for turn in record.turns if turn.caller)
    stages = collector.within(collector.named("turn"))
    for name, ms in turn.times.stages_ms().items():
        if name != "whole":
            span = stages[name]
            assert span.end_time_unix_nano - span.start_time_unix_nano == max(0, ms) * 1_000_000
    assert {span.trace_id for span in collector.spans} == {UUID(record.uuid).bytes}


async def test_a_collector_that_hangs_holds_up_nobody(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    """It shares the event loop with who tells of turns: if that waited for it, this test would never end."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "16")
    collector.open.clear()
    tracing = open_tracing(settings(collector))
    assert tracing is not None
    record = a_record()
    for _ in range(50):
        tracing.turn(record, record.turns[1])
    spans = 50 * 11
    assert tracing.counters["exported"] == 0
    dropped = tracing.counters["dropped"]
    # A batch or two may have been taken out of the queue meanwhile.
    assert spans - 3 * 16 <= dropped <= spans - 16
    collector.open.set()
    await tracing.close()
    assert tracing.counters["exported"] == spans - dropped == len(collector.spans)


async def test_spans_that_a_collector_does_not_take_are_counted(collector: Collector) -> None:
    collector.status = 400
    tracing = open_tracing(settings(collector))
    assert tracing is not None
    record = a_record()
    tracing.turn(record, record.turns[0])
    await tracing.close()
    assert tracing.counters == {"failed": 2}


async def test_a_share_of_the_calls_is_traced_whole(collector: Collector) -> None:
    share = {"otel_traces_sampler": "traceidratio", "otel_traces_sampler_arg": 0.25}
    tracing = open_tracing(settings(collector, **share))
    assert tracing is not None
    calls = [UUID(int=number << 64 | 0x8000_0000_0000_0000) for number in range(2000)]
    traced = [call for call in calls if tracing._is_traced(call)]
    assert 400 < len(traced) < 600
    assert all(tracing._is_traced(call) for call in traced)
    await tracing.close()
    assert open_tracing(settings(collector, otel_traces_sampler="always_off")) is None


def test_without_an_endpoint_nothing_is_loaded() -> None:
    program = (
        "import sys, agent.service\n"
        "from agent.ops.settings import Settings\n"
        "from agent.ops.tracing import open_tracing\n"
        "assert open_tracing(Settings()) is None\n"
        "print([name for name in sys.modules if name.startswith(('opentelemetry', 'google.protobuf', 'requests'))])"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert told.stdout.strip() == "[]"


def test_an_endpoint_without_the_extra_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "agent.ops.spans", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.context", None)
    with pytest.raises(SettingsError, match="otel"):
        open_tracing(load_settings(otel_exporter_otlp_endpoint="http://127.0.0.1:4318"))
