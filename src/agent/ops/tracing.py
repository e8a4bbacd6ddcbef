"""Traces of calls, where the settings want them; without that OpenTelemetry is not even loaded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from prometheus_client.metrics_core import Metric

from agent.ops.metric_families import FAMILIES
from agent.ops.settings import Settings, SettingsError
from fastaudio.extras import how_to_install

if TYPE_CHECKING:
    from agent.ops.spans import Tracing

WHATS: Final = ("exported", "failed", "dropped")


def open_tracing(settings: Settings) -> Tracing | None:
    """What sends traces, to be closed; None where the settings want none.

    Raises `SettingsError` when the extra `otel` is not installed.
    """
    if not settings.otel_exporter_otlp_endpoint or not settings.traced_share:
        return None
    try:
        from agent.ops.spans import Tracing
    except ImportError as error:
        raise SettingsError(f"OTEL_EXPORTER_OTLP_ENDPOINT needs an extra; {how_to_install('otel')}") from error
    return Tracing(settings)


def of_traces(tracing: Tracing | None) -> Iterator[Metric]:
    """The part of `/metrics`."""
    counters = tracing.counters if tracing is not None else Counter[str]()
    yield FAMILIES["trace_spans"].counted({what: counters[what] for what in WHATS})
