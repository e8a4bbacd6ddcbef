"""Which settings a running agent can take, and which have to wait for a start."""

from __future__ import annotations

from agent.ops.settings import Settings

FOR_A_START = frozenset({
    "listen_host", "listen_port", "fastagi_port", "http_port", "allowed_peers", "max_calls", "workers", "sample_rate",
    "data_dir", "metadata_dir", "database_url", "context_api_key", "booking_api_url", "booking_api_key",
    "booking_api_idempotent", "outbox_retention_days", "alert_webhook_url", "local_stt_calls",
    "call_webhook_url", "call_webhook_secret", "webhook_link_local", "smtp_host", "smtp_port", "smtp_security",
    "smtp_user", "smtp_password", "mail_from", "operator_email",
    "console", "console_host", "console_port", "console_url", "api_requests_per_minute",
    "barge_in_detector", "barge_in_rms", "barge_in_ms", "playback_lead_frames", "media_priority", "log_format",
    "redis_url", "redis_prefix", "proxy_protocol",
})  # fmt: skip
"""Settings that a running agent cannot change: sockets, databases, and how the media core sets calls up."""


def changed_for_a_start(old: Settings, new: Settings) -> list[str]:
    """The settings that differ and that only a start can change."""
    return [name for name in Settings.model_fields if name in FOR_A_START and getattr(old, name) != getattr(new, name)]


def for_a_running_agent(old: Settings, new: Settings) -> tuple[Settings, list[str]]:
    """The new settings as far as they can be taken now, and the names of those that stay as they were until a start.

    Raises `SettingsError` where a key is missing.
    """
    fixed = changed_for_a_start(old, new)
    taken = new.model_copy(update={name: getattr(old, name) for name in fixed})
    taken.require_keys()
    return taken, fixed
