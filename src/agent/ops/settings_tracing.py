"""The settings of traces, by OpenTelemetry's own names."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings

from agent.ops.setting_types import Endpoint

Sampler = Literal[
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
]


class TracingSettings(BaseSettings):
    """Where traces go. What is not here, such as `OTEL_BSP_MAX_QUEUE_SIZE`, holds when it is in the environment."""

    otel_exporter_otlp_endpoint: Endpoint = Field(
        "",
        description="base URL of a collector that takes OTLP over HTTP, such as http://127.0.0.1:4318; empty: no "
        "[traces](monitoring.md#traces)",
    )
    otel_exporter_otlp_headers: SecretStr = Field(
        SecretStr(""), description="headers for the collector, `name=value`, separated by commas"
    )
    otel_service_name: str = Field("voice-agent", description="the name that traces go by")
    otel_traces_sampler: Sampler = Field(
        "parentbased_always_on", description="which calls are traced: all, none or a share of them"
    )
    otel_traces_sampler_arg: float = Field(1.0, ge=0.0, le=1.0, description="the share, for `traceidratio`")

    @property
    def traced_share(self) -> float:
        """Of the calls, 0.0 to 1.0."""
        if self.otel_traces_sampler.endswith("always_off"):
            return 0.0
        return self.otel_traces_sampler_arg if self.otel_traces_sampler.endswith("traceidratio") else 1.0
