"""The page for Prometheus: parsed by its own parser, of a fixed size, and for allowed peers alone."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from agent.call.record import STAGES, CallRecord, TurnRecord, TurnTimes
from agent.ops import http as agent_http
from agent.ops.gauges import LATENESS_US, _lateness
from agent.ops.metric_families import FAMILIES
from agent.ops.metrics import BUCKETS_S, CONTENT_TYPE, Metrics
from agent.ops.metrics_merge import merged
from fastaudio._core import Histogram

if TYPE_CHECKING:
    from tests.agent.conftest import Rig, RigMaker


ONLY_SOMETIMES = {"recording_uploads", "recordings_waiting"}
"""Metrics that are shown where the settings ask for what they tell of: a bucket."""
EARLY = TurnTimes(
    speech_end=3000, final_transcript=2990, turn_end=3300, llm_request=3120, first_token=3155, first_tts_text=3160,
    first_audio=3220, first_frame=3310,
)  # fmt: skip


def samples(page: str) -> dict[tuple[str, str], float]:
    """Values by name and the value of the label, if there is one; buckets apart."""
    return {
        (sample.name, next(iter(sample.labels.values()), "")): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if not sample.name.endswith("_bucket")
    }


def buckets(page: str, stage: str) -> list[float]:
    """How many observations of a stage are at most as long as each bound."""
    return [
        sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name.endswith("_bucket") and sample.labels.get("stage") == stage
    ]


def test_what_is_over_is_counted() -> None:
    metrics = Metrics(lambda: 3)
    record = CallRecord("u", outcome="booked")
    metrics.turn(record, TurnRecord("Hello", 0, interrupted=True, times=EARLY, drafts=3, wasted=2))
    metrics.turn(record, TurnRecord("", 0, times=TurnTimes(first_frame=300)))
    for at_ms, what in ((0, "hold"), (180, "resume"), (900, "hold"), (950, "dtmf")):
        record.mark(at_ms, what)
    record.seconds, record.ended_by = 61.0, "caller"
    record.turns.append(TurnRecord("", 0, tools=[{"name": "create_booking", "ok": False, "ms": 1200}]))
    record.media = {"underruns": 2, "frames_in": 3000}
    record.vendors = {"stt": {"reconnected": 1, "replayed_ms": 1500, "took nova-3": 1}}
    record.vendor_errors = {"llm": 2, "somebody else": 9}
    metrics.call(record)
    metrics.call(CallRecord("v", outcome="something new"))
    page = metrics.page().decode()
    found = samples(page)
    stage = "voice_agent_turn_stage_seconds"
    assert found[f"{stage}_sum", "whole"] == pytest.approx(0.310)
    assert found[f"{stage}_sum", "gate"] == pytest.approx(0.080)
    assert found[f"{stage}_sum", "stt"] == 0.0, "a transcript that came before the end of the speech"
    assert {key[1] for key in found if key[0] == f"{stage}_count"} == set(STAGES)
    assert all(found[f"{stage}_count", name] == 1 for name in STAGES)
    assert buckets(page, "whole") == [float(bound >= 0.310) for bound in (*BUCKETS_S, float("inf"))]
    assert found["voice_agent_turns_total", ""] == 1
    assert found["voice_agent_turns_thought_early_total", ""] == 1
    assert found["voice_agent_interruptions_total", ""] == 1
    assert found["voice_agent_drafts_total", ""] == 3
    assert found["voice_agent_drafts_wasted_total", ""] == 2
    assert found["voice_agent_moments_total", "hold"] == 2
    assert found["voice_agent_moments_total", "resume"] == 1
    assert found["voice_agent_moments_total", "flush"] == 0
    assert found["voice_agent_calls_total", "booked"] == 1
    assert found["voice_agent_calls_total", "other"] == 1
    assert found["voice_agent_calls_running", ""] == 3
    assert found["voice_agent_calls_ended_total", "caller"] == 1
    assert found["voice_agent_calls_ended_total", "other"] == 1, "nobody knows who ended it"
    assert found["voice_agent_call_duration_seconds_sum", ""] == 61
    assert found["voice_agent_hold_decision_seconds_sum", "resume"] == pytest.approx(0.18)
    assert found["voice_agent_hold_decision_seconds_count", "flush"] == 0, "the second hold came to nothing"
    assert found["voice_agent_tools_total", "failed"] == 1
    assert found["voice_agent_tool_duration_seconds_sum", ""] == pytest.approx(1.2)
    assert found["voice_agent_call_media_total", "underruns"] == 2
    assert found["voice_agent_stt_total", "reconnected"] == 1
    assert found["voice_agent_stt_replayed_seconds_total", ""] == 1.5
    assert found["voice_agent_call_errors_total", "llm"] == 2


@given(st.lists(st.integers(0, 8_000_000), max_size=60))
def test_lateness_is_a_histogram_as_prometheus_has_them(late_us: list[int]) -> None:
    """Each shown bucket has what was earlier than its bound, exactly; the sum is at most an eighth too high."""
    histogram = Histogram()
    for us in late_us:
        histogram.add(us * 1000)
    shown = list(_lateness(histogram.read()[0])[0])
    assert [float(bound) for bound, _ in shown[:-1]] == [us / 1e6 for us in LATENESS_US]
    assert shown[-1] == ("+Inf", len(late_us))
    for bound, count in shown[:-1]:
        assert count == sum(us < round(float(bound) * 1e6) for us in late_us)
    total = _lateness(histogram.read()[0])[1]
    # A value is below its bucket's bound by an eighth at most, or by 1 us.
    assert sum(late_us) / 1e6 <= total <= sum(late_us) / 1e6 * 1.125 + len(late_us) / 1e6 + 1e-9


def test_the_page_does_not_grow_with_what_is_said() -> None:
    metrics = Metrics(lambda: 0)
    names = set(samples(metrics.page().decode()))
    for index in range(50):
        record = CallRecord(f"uuid-{index}", company=f"Company {index}", outcome=f"outcome {index}")
        record.mark(0, f"mark {index}", f"detail {index}")
        turn = TurnRecord(f"words {index}", 0, tools=[{"name": f"tool {index}", "ok": True, "ms": 1}], times=EARLY)
        metrics.turn(record, turn)
        metrics.call(record)
    assert set(samples(metrics.page().decode())) == names


async def test_a_call_is_on_the_agents_page(a_rig: RigMaker, http: aiohttp.ClientSession) -> None:
    async with a_rig() as rig:
        _, record = await rig.call("say: Hello, my kitchen tap is leaking.\nhangup")
        async with http.get(f"http://127.0.0.1:{rig.agent.http_port}/metrics") as answer:
            assert answer.status == 200
            assert answer.headers["Content-Type"] == CONTENT_TYPE
            found = samples(await answer.text())
    waits = record.latencies_ms
    assert len(waits) == 1
    assert found["voice_agent_turn_stage_seconds_count", "whole"] == 1
    assert found["voice_agent_turn_stage_seconds_sum", "whole"] == pytest.approx(waits[0] / 1000)
    assert found["voice_agent_turn_stage_seconds_count", "tts"] >= 1
    assert found["voice_agent_calls_total", "no_booking"] == 1
    assert found["voice_agent_calls_running", ""] == 0


async def test_the_page_is_what_is_written_of_it_and_as_prometheus_wants_it(
    rig: Rig, http: aiohttp.ClientSession
) -> None:
    await rig.dial("hangup")
    async with http.get(f"http://127.0.0.1:{rig.agent.http_port}/metrics") as answer:
        page = await answer.read()
    own = {family.name: family for family in text_string_to_metric_families(page.decode())}
    shown = {name.removeprefix("voice_agent_") for name in own if name.startswith("voice_agent_")}
    assert shown == FAMILIES.keys() - ONLY_SOMETIMES
    for name in shown:
        family = own[f"voice_agent_{name}"]
        assert (family.type, family.documentation) == (FAMILIES[name].kind, FAMILIES[name].text)
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(FAMILIES[name].labels)
    for of_workers in (page, merged({"supervisor": page, "1": page, "2": page})):
        check_by_promtool(of_workers)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="Debian's prometheus: promtool")
def test_promtool_finds_what_is_wrong() -> None:
    """So that its silence says something."""
    with pytest.raises(AssertionError, match="minutes"):
        check_by_promtool(b"# HELP calls_minutes How long\n# TYPE calls_minutes gauge\ncalls_minutes 1\n")


def check_by_promtool(page: bytes) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("Debian's prometheus: promtool")
    told = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, timeout=30, check=False)
    assert (told.returncode, told.stdout + told.stderr) == (0, b""), told.stderr.decode()


async def test_the_page_is_for_allowed_peers(
    a_rig: RigMaker, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_http, "_own_addresses", lambda _host: ())
    async with (
        a_rig(allowed_peers=("10.0.0.0/8",)) as rig,
        http.get(f"http://127.0.0.1:{rig.agent.http_port}/metrics") as answer,
    ):
        assert answer.status == 403
        assert "voice_agent" not in await answer.text()
