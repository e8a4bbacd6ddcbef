"""What `/metrics` shows beside calls and turns: admission, lag, vendors' breakers, connections, the media core.

All of it is counted elsewhere and read when Prometheus asks. Labels are of few values, and never a caller's to choose.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from agent.ops.admission import REASONS
from agent.providers.breaker import BreakerState

if TYPE_CHECKING:
    from agent.service import Agent

STATES = {BreakerState.CLOSED: 0, BreakerState.TRYING: 1, BreakerState.OPEN: 2}
MEDIA = ("accepted", "started", "frames_in", "frames_out", "stalls", "caught_up", "skipped")
"""Of the media core's counters."""
LLM = (
    "replies", "requests", "errors", "fallbacks", "hedges", "hedges_won", "silent", "went_on", "whole_calls", "rested",
    "sent_anew", "refused_calls",
)  # fmt: skip
"""Of the chain's counters (`providers/llm_chain.py`)."""


class Gauges(Collector):
    """Of one agent."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def describe(self) -> Iterable[Metric]:
        """Nothing: the agent need not have started to be registered."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Each family, as it stands."""
        agent = self._agent
        admission = agent.admission
        yield _counter(
            "calls_refused", "Calls that were not taken, by reason", "reason",
            {reason: admission.counters[reason] for reason in REASONS},
        )  # fmt: skip
        yield _gauge("calls_announced", "Calls that were announced and have not come", agent.registry.announced)
        yield _gauge("stopping", "1 while the agent takes no calls because it is to end", admission.stopping)
        yield _gauge("loop_lag_seconds", "Lag of the event loop, P95 of 5 s", agent.lag.loop_lag_ms / 1000)
        yield _gauge("media_lateness_seconds", "Lateness of frames, P99 of 5 s", agent.lag.media_lateness_ms / 1000)
        yield _gauge("minutes_today", "Minutes of today's calls", admission.usage.minutes)
        yield _gauge("spending_today", "Estimated cost of today's calls", admission.usage.cost)
        yield from self._spending()
        yield from self._vendors()
        yield from self._connections()
        if agent.services.manager is not None:
            counts = agent.services.manager.counters
            yield _counter("ami_transfers", "Transfers that Asterisk was asked for by AMI", "what", counts)
        yield _counter("mishaps", "What happened in calls that should not happen", "what", agent.counters)

    def _spending(self) -> Iterator[Metric]:
        """By model, of which there are as many as the settings name."""
        use = CounterMetricFamily(
            "voice_agent_vendor_use", "What calls have used of vendors", labels=["vendor", "model", "unit"]
        )
        for use_of, amount in self._agent.used.items():
            use.add_metric(use_of, amount)
        cost = CounterMetricFamily(
            "voice_agent_vendor_cost",
            "What that costs by the table of prices, in its currency",
            labels=["vendor", "model"],
        )
        for model, amount in self._agent.spent.items():
            cost.add_metric(model, amount)
        yield use
        yield cost

    def _vendors(self) -> Iterator[Metric]:
        breakers = self._agent.breakers.all()
        state = GaugeMetricFamily(
            "voice_agent_vendor_state", "0: in use, 1: tried again, 2: left alone after failures", labels=["endpoint"]
        )
        counts = CounterMetricFamily(
            "voice_agent_vendor_requests", "What became of requests to a vendor", labels=["endpoint", "what"]
        )
        for breaker in breakers:
            state.add_metric([breaker.name], STATES[breaker.state])
            for what in ("succeeded", "failed", "opened", "turned_away"):
                counts.add_metric([breaker.name, what], breaker.counters[what])
        yield state
        yield counts
        llm: Mapping[str, int] = getattr(self._agent.services.llm, "counters", {})
        counted = {name: llm.get(name, 0) for name in LLM}
        yield _counter("llm", "Replies of language models, and how they came about", "what", counted)

    def _connections(self) -> Iterator[Metric]:
        agent = self._agent
        turned_away = CounterMetricFamily(
            "voice_agent_turned_away",
            "Connections turned away, by port and reason",
            labels=["port", "reason"],
        )
        for (port, reason), count in agent.strangers.counters.items():
            turned_away.add_metric([port, reason], count)
        yield turned_away
        for port, counters in (("fastagi", agent.fastagi.counters), ("http", agent.dialplan_http.counters)):
            yield _counter(f"{port}_requests", f"The dialplan's requests over {port}", "what", counters)
        media = agent.engine.counters()
        yield _counter("media", "The media core", "what", {name: media[name] for name in MEDIA})
        yield _counter("connections_ended", "Connections to AudioSocket, by how they ended", "reason", media["ended"])


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"voice_agent_{name}", text, value=value)


def _counter(name: str, text: str, label: str, counts: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(f"voice_agent_{name}", text, labels=[label])
    for value, count in counts.items():
        family.add_metric([value], count)
    return family
