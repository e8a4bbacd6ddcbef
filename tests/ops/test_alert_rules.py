"""The alerts, by `promtool test rules`: each fires for the host that is in trouble, and not for the one beside it."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.ops.metric_families import FAMILIES
from tests import docs_scripts
from tests.unit.test_docs import anchors

DEPLOY = Path(__file__).parents[2] / "deploy" / "prometheus"
RULES = DEPLOY / "voice-agent.rules.yml"
ALERTS: dict[str, dict[str, Any]] = {rule["alert"]: rule for rule in docs_scripts.load("make_monitoring").rules()}
SICK, WELL = "sick:9098", "well:9098"

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="Debian's prometheus: promtool")


@dataclass(frozen=True)
class Case:
    """Series of the host in trouble and of the one that is well, one value a minute, and when the alert fires."""

    alert: str
    sick: dict[str, str]
    well: dict[str, str]
    minutes: int
    labels: dict[str, str] = field(default_factory=dict)
    not_yet: int | None = None
    """A minute at which it does not fire yet; by default it has no `for`, or that is not looked at."""


def stages(share_slow: int) -> dict[str, str]:
    """A turn each 6 s, of which so many in ten take 2 s and the others half a second."""
    fast = f"0+{10 - share_slow}x30"
    name = 'turn_stage_seconds_bucket{stage="whole",le="%s"}'
    return {
        name % "0.5": fast,
        name % "1.5": fast,
        name % "2.0": "0+10x30",
        name % "+Inf": "0+10x30",
        'turn_stage_seconds_count{stage="whole"}': "0+10x30",
    }


def ticks(late_of_1000: int) -> dict[str, str]:
    name = 'media_tick_lateness_seconds_bucket{le="%s"}'
    return {
        name % "0.001024": f"0+{1000 - late_of_1000}x30",
        name % "0.04096": f"0+{1000 - late_of_1000}x30",
        name % "0.08192": "0+1000x30",
        name % "+Inf": "0+1000x30",
    }


CASES = (
    Case("VoiceAgentDown", {'up{job="voice-agent"}': "1 1 0x9"}, {'up{job="voice-agent"}': "1x12"}, 5, not_yet=2),
    Case(
        "VoiceAgentMediaHung",
        {'media_responsive{worker="1"}': "1x9", 'media_responsive{worker="2"}': "1 0x9"},
        {"media_responsive": "1x9"},
        3,
    ),
    Case(
        "VoiceAgentCallsFail",
        {'calls_total{outcome="failed"}': "0+1x20", 'calls_total{outcome="booked"}': "0+9x20"},
        {'calls_total{outcome="failed"}': "0x5 1x15", 'calls_total{outcome="booked"}': "0+9x20"},
        15,
    ),
    Case(
        "VoiceAgentNearlyFull",
        {'calls_running{worker="1"}': "50x20", 'calls_running{worker="2"}': "45x20", "max_calls": "100x20"},
        {"calls_running": "80x20", "max_calls": "100x20"},
        8,
        not_yet=3,
    ),
    Case(
        "VoiceAgentRefusesCalls",
        {'calls_refused_total{reason="lag"}': "0 0 0+1x9"},
        {'calls_refused_total{reason="stopping"}': "0+5x12", 'calls_refused_total{reason="abuse_caller"}': "0+5x12"},
        6,
        {"reason": "lag"},
    ),
    Case(
        "VoiceAgentNumberCallsTooOften",
        {'calls_refused_total{reason="abuse_caller"}': "0+1x30"},
        {'calls_refused_total{reason="abuse_caller"}': "0x10 5x20"},
        25,
    ),
    Case(
        "VoiceAgentDayIsNearlyUsedUp",
        {"today_cost": "9x5", 'limit{limit="day_cost"}': "10x5"},
        {
            "today_cost": "9x5",
            'limit{limit="day_cost"}': "0x5",
            "today_seconds": "600x5",
            'limit{limit="day_seconds"}': "6000x5",
        },
        2,
    ),
    Case("VoiceAgentAnswersSlowly", stages(2), stages(0), 20, not_yet=3),
    Case(
        "VoiceAgentVendorLeftAlone",
        {'vendor_state{endpoint="stt nova-3"}': "0 2x9"},
        {'vendor_state{endpoint="stt nova-3"}': "1x9"},
        4,
        {"endpoint": "stt nova-3"},
        not_yet=1,
    ),
    Case(
        "VoiceAgentSttSwitches",
        {'stt_total{what="reconnected"}': "0+1x20"},
        {'stt_total{what="reconnected"}': "0 3x20"},
        15,
    ),
    Case(
        "VoiceAgentSpeechHasGaps",
        {'call_media_total{what="underruns"}': "0+2x20", 'calls_total{outcome="booked"}': "0+1x20"},
        {'call_media_total{what="underruns"}': "0+1x20", 'calls_total{outcome="booked"}': "0+9x20"},
        15,
    ),
    Case("VoiceAgentMediaLate", ticks(20), ticks(2), 12, not_yet=2),
    Case("VoiceAgentStalls", {'media_total{what="stalls"}': "0+10x20"}, {'media_total{what="stalls"}': "0 20x20"}, 15),
    Case(
        "VoiceAgentLoopLags",
        {'loop_lag_seconds{worker="1"}': "0.01x9", 'loop_lag_seconds{worker="2"}': "0.2x9"},
        {"loop_lag_seconds": "0.01 0.2 0.01x7"},
        4,
        not_yet=1,
    ),
    Case(
        "VoiceAgentTooManyFalseHolds",
        {'moments_total{what="resume"}': "0+5x60", 'calls_total{outcome="booked"}': "0+1x60"},
        {'moments_total{what="resume"}': "0+1x60", 'calls_total{outcome="booked"}': "0+1x60"},
        50,
    ),
    Case(
        "VoiceAgentBookingsWait",
        {"outbox_oldest_seconds": "0+60x30"},
        {"outbox_oldest_seconds": "0x5 60 120 0x9"},
        15,
        not_yet=10,
    ),
    Case(
        "VoiceAgentBookingsNeedAPerson",
        {'outbox_bookings{state="uncertain"}': "0 1x5"},
        {'outbox_bookings{state="waiting"}': "3x6", 'outbox_bookings{state="refused_told"}': "3x6"},
        3,
    ),
    Case(
        "VoiceAgentNoticesWait",
        {'notices_oldest_seconds{kind="mail"}': "3540 3700x5"},
        {'notices_oldest_seconds{kind="mail"}': "300x6"},
        2,
        {"kind": "mail"},
    ),
    Case(
        "VoiceAgentDisk",
        {'recordings_total{result="failed"}': "0 0 1x9"},
        {'recordings_total{result="whole"}': "0+5x12"},
        5,
    ),
    Case(
        "VoiceAgentDatabase", {'records_total{what="failed"}': "0+1x30"}, {'records_total{what="kept"}': "0+9x30"}, 12
    ),
    Case(
        "VoiceAgentCompaniesUnknown",
        {'context_requests_total{what="defaulted"}': "0+2x20", 'context_requests_total{what="fetched"}': "0+2x20"},
        {'context_requests_total{what="defaulted"}': "0 1x20", 'context_requests_total{what="fetched"}': "0+9x20"},
        15,
    ),
    Case(
        "VoiceAgentDescriptors",
        {'process_open_fds{job="voice-agent"}': "900x12", 'process_max_fds{job="voice-agent"}': "1024x12"},
        {'process_open_fds{job="voice-agent"}': "90x12", 'process_max_fds{job="voice-agent"}': "1024x12"},
        8,
    ),
    Case(
        "VoiceAgentStrangers",
        {'turned_away_total{port="HTTP",reason="peer"}': "0+120x20"},
        {'turned_away_total{port="HTTP",reason="peer"}': "0+6x20"},
        12,
        {"port": "HTTP"},
    ),
    Case(
        "VoiceAgentNoVerdict",
        {'registry_total{what="verdicts_unknown"}': "0+1x20"},
        {'registry_total{what="announced"}': "0+9x20"},
        12,
    ),
    Case(
        "VoiceAgentWorkerDied",
        {'worker_ends_total{how="died"}': "0 0 0 1x9"},
        {'worker_ends_total{how="rolled"}': "0 0 0 1x9"},
        5,
    ),
    Case(
        "VoiceAgentRedisAway",
        {'redis_requests_total{what="passed_over"}': "0+5x20", "redis_there": "1 0x20"},
        {'redis_requests_total{what="failed"}': "0+1x20", "redis_there": "1x21"},
        8,
    ),
    Case(
        "VoiceAgentTracesLost",
        {'trace_spans_total{what="dropped"}': "0+10x40"},
        {'trace_spans_total{what="exported"}': "0+10x40"},
        25,
        not_yet=10,
    ),
)


def series(name: str, instance: str) -> str:
    """The whole name of a series, with the labels that Prometheus adds."""
    metric, brace, rest = name.partition("{")
    if not metric.startswith(("up", "process_")):
        metric = f"voice_agent_{metric}"
    labels = f'instance="{instance}"' if "job=" in rest else f'job="voice-agent",instance="{instance}"'
    return f"{metric}{{{labels},{rest}" if brace else f"{metric}{{{labels}}}"


def expected(case: Case) -> dict[str, Any]:
    rule = ALERTS[case.alert]
    labels = {"job": "voice-agent", "instance": SICK, **case.labels}

    def filled(text: str) -> str:
        for name, value in labels.items():
            text = text.replace(f"{{{{ $labels.{name} }}}}", value)
        return text

    return {
        "exp_labels": labels | rule["labels"],
        "exp_annotations": {name: filled(text) for name, text in rule["annotations"].items()},
    }


def as_promtool_has_it(case: Case) -> dict[str, Any]:
    asked = [{"eval_time": f"{case.minutes}m", "alertname": case.alert, "exp_alerts": [expected(case)]}]
    if case.not_yet is not None:
        asked.insert(0, {"eval_time": f"{case.not_yet}m", "alertname": case.alert, "exp_alerts": []})
    return {
        "interval": "1m",
        "input_series": [
            {"series": series(name, instance), "values": values}
            for instance, all_of_it in ((SICK, case.sick), (WELL, case.well))
            for name, values in all_of_it.items()
        ],
        "alert_rule_test": asked,
    }


def promtool(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["promtool", *arguments], input=stdin, capture_output=True, timeout=60, check=False)


@needs_promtool
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.alert)
def test_an_alert_fires_for_the_host_in_trouble_alone(case: Case, tmp_path: Path) -> None:
    tests = {"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [as_promtool_has_it(case)]}
    (tmp_path / "tests.yml").write_text(yaml.safe_dump(tests))
    told = promtool("test", "rules", str(tmp_path / "tests.yml"))
    assert told.returncode == 0, told.stdout.decode() + told.stderr.decode()


def test_each_alert_is_tried() -> None:
    assert [case.alert for case in CASES] == list(ALERTS)


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_asks_for_metrics_that_there_are(alert: str) -> None:
    """A misspelt name fires never, and nobody sees it."""
    known = {family.whole_name for family in FAMILIES.values()}
    known |= {f"{name}{part}" for name in known for part in ("_bucket", "_count", "_sum")}
    words = ALERTS[alert]["expr"].replace("(", " ").replace("{", " ").replace(")", " ").replace("[", " ").split()
    asked = {word for word in words if word.startswith("voice_agent_")}
    assert asked or alert in ("VoiceAgentDown", "VoiceAgentDescriptors")
    assert not asked - known


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_says_what_to_do(alert: str) -> None:
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["annotations"].keys() == {"summary", "action", "troubleshooting"}
    path, _, anchor = rule["annotations"]["troubleshooting"].partition("#")
    page = DEPLOY.parents[1] / path
    assert page.is_file()
    assert not anchor or anchor in anchors(page)


@needs_promtool
def test_prometheus_takes_the_configuration() -> None:
    told = promtool("check", "config", str(DEPLOY / "prometheus.yml"))
    assert told.returncode == 0, told.stderr.decode()
