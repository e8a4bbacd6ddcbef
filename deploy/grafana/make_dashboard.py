"""Writes voice-agent.json, a dashboard for Grafana: `python deploy/grafana/make_dashboard.py`; `--check` only compares.

A row of the dashboard is a section here, a panel a line or two. tests/ops/test_dashboard.py asks a running Prometheus
each of its queries.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

OUT = Path(__file__).parent / "voice-agent.json"
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
COLUMNS = 24
HERE = 'job=~"$job",instance=~"$instance"'
RATE = "$__rate_interval"


def of(metric: str, *labels: str) -> str:
    """A metric of the hosts that are chosen."""
    prefix = "" if metric.startswith(("process_", "up")) else "voice_agent_"
    return f"{prefix}{metric}{{{','.join((HERE, *labels))}}}"


def rate(metric: str, *labels: str, by: str = "") -> str:
    """How often a second."""
    return f"sum{f' by ({by})' if by else ''} (rate({of(metric, *labels)}[{RATE}]))"


def quantile(share: float, metric: str, *labels: str, by: str = "") -> str:
    """Of a histogram."""
    group = f"{by}, le" if by else "le"
    return f"histogram_quantile({share}, sum by ({group}) (rate({of(metric + '_bucket', *labels)}[{RATE}])))"


def percentiles(metric: str, *labels: str) -> dict[str, str]:
    """The three that people ask for, by their names."""
    return {name: quantile(share, metric, *labels) for name, share in (("P50", 0.5), ("P90", 0.9), ("P99", 0.99))}


def a_call(metric: str, *labels: str, by: str = "") -> str:
    """So many a call that ended."""
    return f"{rate(metric, *labels, by=by)} / on () group_left () sum (rate({of('calls_total')}[{RATE}]))"


@dataclass
class Panel:
    """`queries` by legend; a legend may have labels in double braces. `unit` is one of Grafana's."""

    title: str
    queries: dict[str, str]
    unit: str
    text: str
    kind: str = "timeseries"
    width: int = 8
    height: int = 8
    stacked: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    steps: tuple[tuple[float, str], ...] = ()
    """Colours from a value on, for `stat`."""
    mappings: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Texts and colours of values."""

    def as_json(self, number: int, x: int, y: int) -> dict[str, Any]:
        """As Grafana has it."""
        defaults: dict[str, Any] = {"unit": self.unit, "custom": self._custom()}
        if self.steps:
            colours = [{"color": "green", "value": None}, *({"color": c, "value": v} for v, c in self.steps)]
            defaults["thresholds"] = {"mode": "absolute", "steps": colours}
            defaults["color"] = {"mode": "thresholds"}
        if self.mappings:
            texts = {value: {"text": text, "color": colour} for value, (text, colour) in self.mappings.items()}
            defaults["mappings"] = [{"type": "value", "options": texts}]
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.text,
            "datasource": DATASOURCE,
            "gridPos": {"x": x, "y": y, "w": self.width, "h": self.height},
            "fieldConfig": {"defaults": defaults, "overrides": []},
            "options": self._options(),
            "targets": [self._target(at, legend, query) for at, (legend, query) in enumerate(self.queries.items())],
        }

    def _target(self, at: int, legend: str, query: str) -> dict[str, Any]:
        instant = self.kind in ("stat", "table")
        shape = {"heatmap": "heatmap", "table": "table"}.get(self.kind, "time_series")
        return {
            "refId": chr(ord("A") + at), "datasource": DATASOURCE, "editorMode": "code", "expr": query,
            "legendFormat": legend, "format": shape, "instant": instant, "range": not instant,
        }  # fmt: skip

    def _custom(self) -> dict[str, Any]:
        if self.kind != "timeseries":
            return {}
        stacking = {"group": "A", "mode": "normal" if self.stacked else "none"}
        return {"lineWidth": 1, "fillOpacity": 30 if self.stacked else 8, "showPoints": "never", "stacking": stacking}

    def _options(self) -> dict[str, Any]:
        match self.kind:
            case "stat":
                options: dict[str, Any] = {
                    "colorMode": "value", "graphMode": "none", "textMode": "auto",
                    "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
                }  # fmt: skip
            case "heatmap":
                options = {
                    "calculate": False, "cellGap": 1, "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64},
                    "yAxis": {"unit": self.unit}, "legend": {"show": True}, "tooltip": {"show": True},
                }  # fmt: skip
            case "state-timeline":
                options = {"mergeValues": True, "rowHeight": 0.8, "showValue": "never"}
            case "table":
                options = {"showHeader": True}
            case _:
                options = {
                    "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
                    "tooltip": {"mode": "multi", "sort": "desc"},
                }
        return options | self.options


def stat(title: str, query: str, unit: str, text: str, *steps: tuple[float, str], width: int = 3) -> Panel:
    """One number."""
    return Panel(title, {"": query}, unit, text, kind="stat", width=width, height=4, steps=steps)


WHOLE = 'stage="whole"'
FAILED = 'outcome="failed"'
WAITING = 'state=~"waiting|sending"'
FOR_A_PERSON = 'state=~"refused|uncertain"'
MAX_CALLS = f"max by (job, instance) ({of('max_calls')})"
CALLS = f"sum ({of('calls_running')})"
AWAY = {"0": ("in use", "green"), "1": ("tried again", "yellow"), "2": ("left alone", "red")}


def by_process(query: str) -> dict[str, str]:
    """A line for each process; without workers the label is empty."""
    return {"{{instance}} {{worker}}": f"sum by (instance, worker) ({query})"}


def each(metric: str, *labels: str, by: str) -> str:
    """A gauge of which every worker has its own, or all the same one."""
    return f"max by ({by}) ({of(metric, *labels)})"


ROWS: dict[str, list[Panel]] = {
    "Now": [
        stat("Calls", CALLS, "none", "Calls that run."),
        stat("Places in use", f"{CALLS} / sum ({MAX_CALLS})", "percentunit",
             "Of MAX_CALLS of all hosts that are chosen.", (0.75, "orange"), (0.9, "red")),
        stat("Answer latency, P50", quantile(0.5, "turn_stage_seconds", WHOLE), "s",
             "End of the caller's speech to the first frame of the answer.", (0.8, "orange"), (1.5, "red")),
        stat("Answer latency, P90", quantile(0.9, "turn_stage_seconds", WHOLE), "s",
             "One caller in ten waits longer.", (1.5, "orange"), (2, "red")),
        stat("Calls that failed, 1 h", f"sum (increase({of('calls_total', FAILED)}[1h]))", "none",
             "A vendor was gone: a person took the call, or there was a recorded goodbye.", (1, "red")),
        stat("Vendors left alone", f"count ({each('vendor_state', by='endpoint')} == 2) or vector(0)", "none",
             "After failures; others of their chain serve.", (1, "red")),
        stat("Bookings for a person", f"sum ({each('outbox_bookings', FOR_A_PERSON, by='job, instance, state')})",
             "none",
             "Refused or uncertain: see voice-agent outbox.", (1, "red")),
        stat("Hosts", f"count ({of('up')} == 1) or vector(0)", "none", "That answer Prometheus."),
    ],
    "Calls": [
        Panel("Calls", {"{{instance}}": f"sum by (instance) ({of('calls_running')})", "places": f"sum ({MAX_CALLS})"},
              "none", "Calls that run, by host, and the places of all."),
        Panel("Ended, by outcome", {"{{outcome}}": f"60 * {rate('calls_total', by='outcome')}"}, "cpm",
              "Calls a minute.", stacked=True),
        Panel("Ended, by whom", {"{{by}}": f"60 * {rate('calls_ended_total', by='by')} > 0"}, "cpm",
              "Calls a minute, by who or what ended them.", stacked=True),
        Panel("How long calls take", percentiles("call_duration_seconds"), "s", "From the first frame to the last."),
        Panel("Not taken", {"{{reason}}": f"60 * {rate('calls_refused_total', by='reason')}"}, "cpm",
              "Calls a minute that were turned away before the answer, or heard a goodbye.", stacked=True),
        Panel("What went wrong in calls", {
            "{{source}}": f"60 * {rate('call_errors_total', by='source')}",
            "{{what}}": f"60 * {rate('mishaps_total', by='what')} > 0",
        }, "cpm",
              "A minute: vendors' errors by source, and what should not happen. Most of it no caller notices."),
    ],
    "Answers": [
        Panel("Answer latency", percentiles("turn_stage_seconds", WHOLE), "s",
              "End of the caller's speech to the first frame of the answer."),
        Panel("Stages, P50", {"{{stage}}": quantile(0.5, "turn_stage_seconds", by="stage")}, "s",
              "They overlap where the agent thinks early: docs/monitoring.md says what each is."),
        Panel("Stages, P90", {"{{stage}}": quantile(0.9, "turn_stage_seconds", by="stage")}, "s",
              "The same, of one turn in ten."),
        Panel("Answer latency, all turns",
              {"{{le}}": f"sum by (le) (increase({of('turn_stage_seconds_bucket', WHOLE)}[{RATE}]))"}, "s",
              "How many turns took how long.", kind="heatmap", width=12),
        Panel("Answers thought of early", {
            "turns": rate("turns_total"), "thought early": rate("turns_thought_early_total"),
            "drafts": rate("drafts_total"), "drafts thrown away": rate("drafts_wasted_total"),
        }, "ops", "A second. What is thrown away costs tokens.", width=6),
        Panel("Tools", {**percentiles("tool_duration_seconds"), "failed a second": rate("tools_total",
              'result="failed"')},
              "s", "How long tools take, and how many fail.", width=6),
    ],
    "Barge-in": [
        Panel("While the agent speaks", {"{{what}}": a_call("moments_total", by="what")}, "none",
              "A call: holds, and what came of them. Many a resume to few barge-ins is noise on the line.", width=6),
        Panel("From voice to hold", percentiles("hold_seconds"), "s",
              "How long the agent talks on when a caller begins to speak.", width=6),
        Panel("From hold to decision, P50", {"{{decision}}": quantile(0.5, "hold_decision_seconds", by="decision")},
              "s", "How long the agent is silent until it is known whether the caller interrupts.", width=6),
        Panel("Answers cut short", {"of the turns": f"{rate('interruptions_total')} / {rate('turns_total')}"},
              "percentunit", "The share of answers that the caller interrupted.", width=6),
    ],
    "Media core": [
        Panel("Lateness of frames",
              {"{{le}}": f"sum by (le) (increase({of('media_tick_lateness_seconds_bucket')}[{RATE}]))"}, "s",
              "One tick each 20 ms and call. Above 40 ms callers hear it.", kind="heatmap", width=12),
        Panel("Lateness of frames", {
            "P50": quantile(0.5, "media_tick_lateness_seconds"), "P99": quantile(0.99, "media_tick_lateness_seconds"),
            "P99 of 5 s, {{instance}}": each("media_lateness_seconds", by="instance"),
        }, "s", "What admission heeds is the P99 of 5 s.", width=6),
        Panel("Stalls and late frames", {
            "{{what}}": rate("media_total", 'what=~"stalls|caught_up|skipped|events_lost"', by="what"),
        }, "ops", "A second. A stall is 80 ms in which the host did not let the media thread run.", width=6),
        Panel("In calls", {"{{what}}": a_call("call_media_total", by="what")}, "none",
              "A call: underruns are gaps in the agent's speech, filled is what did not come of the caller's."),
        Panel("Audio that readers missed", {"{{reader}}": rate("capture_lost_seconds_total", by="reader")},
              "percentunit",
              "Seconds a second; the call itself misses nothing."),
        Panel("Connections to AudioSocket", {
            "{{reason}}": f"60 * {rate('connections_ended_total', by='reason')} > 0",
        }, "cpm", "A minute, by how they ended.", stacked=True),
    ],
    "Vendors": [
        Panel("State", {"{{instance}} {{endpoint}}": each("vendor_state", by="instance, endpoint")}, "none",
              "As the breakers have it.", kind="state-timeline", width=12, mappings=AWAY),
        Panel("Requests", {"{{endpoint}} {{what}}": f"{rate('vendor_requests_total', by='endpoint, what')} > 0"},
              "reqps",
              "A second; turned_away: nobody was sent there meanwhile.", width=6),
        Panel("Errors by kind",
              {"{{endpoint}} {{kind}}": f"60 * {rate('vendor_errors_total', by='endpoint, kind')} > 0"},
              "cpm", "A minute. limit: your plan. refused: a key, an account, a model. Others: the vendor's.", width=6,
              stacked=True),
        Panel("Time to first token", percentiles("turn_stage_seconds", 'stage="llm"'), "s",
              "Of the LLM that was heard.",
              width=6),
        Panel("LLM", {"{{what}}": rate("llm_total", by="what")}, "ops",
              "Requests a second, and how replies came about: hedges are second requests beside a silent one.",
              width=6),
        Panel("STT streams", {
            "{{what}}": rate("stt_total", 'what=~"connected|reconnected|switched|stalled|errors"', by="what"),
            "sent again, s a second": rate("stt_replayed_seconds_total"),
        }, "ops", "A second, of calls that are over.", width=6),
        Panel("TTS contexts", {"{{what}}": rate("tts_total", by="what")}, "ops",
              "Sockets that were connected, and contexts on them; limited: your plan has no more.", width=6),
        Panel("Context API", {"{{what}}": rate("context_requests_total", by="what")}, "ops",
              "A second; defaulted: greeted without the company's details.", width=6),
    ],
    "Bookings and notices": [
        Panel("Outbox", {"{{state}}": f"sum by (state) ({each('outbox_bookings', by='job, instance, state')})"}, "none",
              "Bookings by state; refused and uncertain wait for a person.", width=6),
        Panel("Oldest that waits", {
            "booking": f"max ({of('outbox_oldest_seconds')})", "{{kind}}": each("notices_oldest_seconds", by="kind"),
        }, "s", "0: none waits.", width=6),
        Panel("What became of bookings", {"{{what}}": f"60 * {rate('outbox_events_total', by='what')}"}, "cpm",
              "A minute.",
              width=6),
        Panel("Webhooks and mails", {
            "{{kind}} {{state}}": f"sum by (kind, state) ({each('notices', by='job, instance, kind, state')})",
            "{{kind}} {{result}} a minute": f"60 * {rate('notice_results_total', by='kind, result')} > 0",
        }, "none", "How many there are by state, and what becomes of attempts.", width=6),
    ],
    "Admission, the dialplan, strangers": [
        Panel("Today against the limits", {
            "cost {{instance}}": each("today_cost", by="instance"),
            "limit of cost {{instance}}": each("limit", 'limit="day_cost"', by="instance") + " > 0",
        }, "none", "In the currency of the table of prices; no line of a limit: there is none.", width=6),
        Panel("The dialplan asks", {
            "FastAGI {{what}}": rate("fastagi_requests_total", by="what"),
            "HTTP {{what}}": rate("http_requests_total", by="what"),
        }, "reqps", "What it asked and was told.", width=6),
        Panel("Announced calls and verdicts", {"{{what}}": rate("registry_total", by="what")}, "ops",
              "verdicts_unknown and _late: the dialplan's fallback took the caller.", width=6),
        Panel("Turned away", {"{{port}} {{reason}}": f"60 * {rate('turned_away_total', by='port, reason')}"}, "cpm",
              "Connections a minute that were no calls.", width=6, stacked=True),
    ],
    "Back office": [
        Panel("Database", percentiles("database_query_seconds"), "s", "A statement, waiting for its lock included."),
        Panel("Records and statements", {
            "records {{what}}": f"60 * {rate('records_total', by='what')}",
            "failed statements": f"60 * {rate('database_errors_total')}",
        }, "cpm", "A minute."),
        Panel("Recordings", {
            "{{result}} a minute": f"60 * {rate('recordings_total', by='result')}",
            "MB a minute": f"60e-6 * {rate('recording_bytes_total')}",
            "{{result}} to the bucket, a minute": f"60 * {rate('recording_uploads_total', by='result')}",
            "not in the bucket yet": f"sum ({of('recordings_waiting')})",
        }, "none", "cut: a disk was slow. failed: it took nothing more."),
    ],
    "Several hosts": [
        Panel("Calls elsewhere, as each host sees it", {
            "{{instance}}": each("calls_elsewhere", by="instance"),
            "places, {{instance}}": each("places_elsewhere", by="instance"),
        }, "none", "What the other hosts have, and would take on top.", width=8),
        Panel("Other hosts", {"{{instance}}": each("hosts_elsewhere", by="instance")}, "none",
              "That take calls with each; all lines alike is well."),
        Panel("Redis", {
            "{{what}}": rate("redis_requests_total", by="what"),
            "answers {{instance}}": each("redis_there", by="instance"),
        }, "ops", "Exchanges a second. passed_over: not asked, being away; 0 where there is none."),
    ],
    "Cost": [
        Panel("Cost an hour", {"{{vendor}} {{model}}": f"3600 * {rate('vendor_cost_total', by='vendor, model')}"},
              "none",
              "By the table of prices, in its currency.", stacked=True),
        Panel("Cost a call", {"all vendors": f"{rate('vendor_cost_total')} / {rate('calls_total')}"}, "none",
              "Of all that was used meanwhile, by the calls that ended."),
        Panel("Use", {"{{vendor}} {{unit}}": rate("vendor_use_total", by="vendor, unit")}, "none",
              "A second: seconds of audio, requests, tokens, characters."),
    ],
    "Hosts and workers": [
        Panel("CPU",
              by_process(f"rate({of('process_cpu_seconds_total')}[{RATE}])"),
              "percentunit", "Of a core, by process.", width=6),
        Panel("CPU by thread", {"{{thread}}": rate("thread_cpu_seconds_total", by="thread")}, "percentunit",
              "Of a core. main is the event loop of each process: near 1 a process has no more to give.", width=6,
              stacked=True),
        Panel("CPU a call", {
            "of a core": f"sum (rate({of('process_cpu_seconds_total')}[{RATE}])) / ({CALLS} > 0)",
        }, "percentunit", "While calls run.", width=6),
        Panel("Memory",
              by_process(of("process_resident_memory_bytes")),
              "bytes", "Resident, by process.", width=6),
        Panel("Memory a call", {"all": f"sum ({of('process_resident_memory_bytes')}) / ({CALLS} > 0)"}, "bytes",
              "All of the memory by the calls that run: what the processes take by themselves is in it.", width=6),
        Panel("Event loop", {
            "P50": quantile(0.5, "loop_delay_seconds"), "P99": quantile(0.99, "loop_delay_seconds"),
            "P95 of 5 s, {{instance}}": each("loop_lag_seconds", by="instance"),
        }, "s", "How late it is; what admission heeds is the P95 of 5 s.", width=6),
        Panel("Descriptors and threads", {
            "descriptors {{instance}} {{worker}}": f"sum by (instance, worker) ({of('process_open_fds')})",
            "threads {{instance}} {{worker}}": f"sum by (instance, worker) ({of('threads')})",
        }, "none", "Of each process.", width=6),
        Panel("Media threads", {"{{instance}} {{worker}}": each("media_responsive", by="instance, worker")}, "none",
              "Whether they answer.", kind="state-timeline", width=6, mappings={"0": ("hangs", "red"),
              "1": ("answers", "green")}),
        Panel("Workers", {
            "{{state}} {{instance}}": f"sum by (instance, state) ({of('workers')})",
            "{{how}}, an hour": f"sum by (how) (increase({of('worker_ends_total')}[1h]))",
        }, "none", "By what they do, and those that ended; one process without workers has no line.", width=6),
        Panel("Starts", by_process(f"changes({of('process_start_time_seconds')}[{RATE}])"), "none",
              "A process that was started anew since the last look.", width=6),
        Panel("Versions", {"": f"count by (instance, version) ({of('build_info')})"}, "none",
              "What runs, and in how many processes.", kind="table", width=6),
        Panel("Traces", {"{{what}}": rate("trace_spans_total", by="what")}, "ops",
              "Spans a second; none without OTEL_EXPORTER_OTLP_ENDPOINT.", width=6),
    ],
}  # fmt: skip


def dashboard() -> dict[str, Any]:
    """The whole of it."""
    panels: list[dict[str, Any]] = []
    y = 0
    for title, row in ROWS.items():
        grid = {"x": 0, "y": y, "w": COLUMNS, "h": 1}
        panels.append(
            {"id": len(panels) + 1, "type": "row", "title": title, "collapsed": False, "gridPos": grid, "panels": []}
        )
        y += 1
        x = tallest = 0
        for panel in row:
            if x + panel.width > COLUMNS:
                x, y, tallest = 0, y + tallest, 0
            panels.append(panel.as_json(len(panels) + 1, x, y))
            x, tallest = x + panel.width, max(tallest, panel.height)
        y += tallest
    return {
        "title": "Voice agent",
        "uid": "voice-agent",
        "description": "Calls, answers, barge-in, media, vendors, bookings, cost and hosts of the voice agent.",
        "tags": ["voice-agent"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "annotations": {"list": []},
        "links": [],
        "templating": {"list": [DATASOURCE_VARIABLE, *(variable(name, source) for name, source in VARIABLES.items())]},
        "panels": panels,
    }


VARIABLES = {
    "job": "label_values(voice_agent_calls_running, job)",
    "instance": 'label_values(voice_agent_calls_running{job=~"$job"}, instance)',
}
DATASOURCE_VARIABLE = {
    "name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "current": {}, "hide": 0,
    "options": [], "refresh": 1, "multi": False, "includeAll": False,
}  # fmt: skip


def variable(name: str, source: str) -> dict[str, Any]:
    """One that is chosen of what there is; all of it at first."""
    return {
        "name": name, "label": name.capitalize(), "type": "query", "datasource": DATASOURCE, "definition": source,
        "query": {"query": source, "refId": name}, "refresh": 2, "sort": 1, "multi": True, "includeAll": True,
        "allValue": ".*", "current": {"selected": True, "text": ["All"], "value": ["$__all"]}, "options": [], "hide": 0,
    }  # fmt: skip


def text() -> str:
    """The file."""
    return json.dumps(dashboard(), indent=1) + "\n"


def main() -> int:
    """Write the file, or with `--check` tell whether it is up to date."""
    if "--check" not in sys.argv[1:]:
        OUT.write_text(text(), encoding="utf-8")
        return 0
    if OUT.read_text(encoding="utf-8") == text():
        return 0
    print(f"{OUT.name} is out of date: run python deploy/grafana/make_dashboard.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
