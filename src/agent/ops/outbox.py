"""The outbox as part of the service: made from the settings, shown on `/health` and `/metrics`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from agent.ops.settings import Settings
from agent.tools.outbox import Outbox, Pace, Target
from agent.tools.outbox.entry import DAY_S, NOTICES, Kind

COUNTED: Final = (
    "kept", "not_kept", "attempts", "accepted", "refused", "later", "lost", "recovered", "alerted_refused",
    "alerted_uncertain", "alerted_held_up", "disk_errors",
)  # fmt: skip
RESULTS: Final = ("kept", "accepted", "refused", "dropped", "later", "given_up")


def make_outbox(
    settings: Settings, office_url: str, booking_key: str, notices: Mapping[Kind, Target] = MappingProxyType({})
) -> Outbox:
    """Return the outbox of `DATA_DIR`, not entered yet. Bookings go to `BOOKING_API_URL`, else to the office at
    `office_url`, which honours keys; `notices` says where those go.
    """
    honours = settings.booking_api_idempotent
    targets: dict[Kind, Target] = {
        "booking": Target(
            settings.booking_api_url or "office",
            settings.booking_api_url or f"{office_url}/create_booking",
            {"X-API-Key": booking_key},
            honours_keys=honours if honours is not None else not settings.booking_api_url,
        )
    }
    if webhook := settings.alert_webhook_url.get_secret_value():
        # An alert may come twice, and must come.
        targets["alert"] = Target("webhook", webhook, honours_keys=True, settings="ALERT_WEBHOOK_URL")
    return Outbox(settings.data_dir, {**targets, **notices}, pace=outbox_pace(settings))


def outbox_pace(settings: Settings) -> Pace:
    """How fast the outbox works, and for how long it keeps what is done with."""
    return Pace(retention_s=settings.outbox_retention_days * DAY_S)


def outbox_health(outbox: Outbox) -> dict[str, Any]:
    """The part of `/health` about bookings: how many by state, and how long the oldest has waited; and about notices,
    by kind and state: what is `refused` was given up.
    """
    return {**outbox.counts(), "oldest_s": round(outbox.oldest_s(), 1), "notices": outbox.notices()}


class OutboxCollector(Collector):
    """The outbox's part of `/metrics`."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        """Say how it stands now."""
        bookings = GaugeMetricFamily(
            "voice_agent_outbox_bookings",
            "Bookings in the outbox; refused and uncertain wait for a person",
            labels=["state"],
        )
        for state, number in self._outbox.counts().items():
            bookings.add_metric([state], number)
        yield bookings
        yield GaugeMetricFamily(
            "voice_agent_outbox_oldest_seconds",
            "How long the oldest booking has waited that is not accepted yet; 0: none waits",
            self._outbox.oldest_s(),
        )
        events = CounterMetricFamily("voice_agent_outbox_events", "What became of bookings", labels=["what"])
        for what in COUNTED:
            events.add_metric([what], self._outbox.counters[what])
        yield events
        notices = GaugeMetricFamily(
            "voice_agent_notices",
            "Webhooks and mails in the outbox; refused are given up",
            labels=["kind", "state"],
        )
        for kind, states in self._outbox.notices().items():
            for state, number in states.items():
                notices.add_metric([kind, state], number)
        yield notices
        results = CounterMetricFamily(
            "voice_agent_notice_results", "What became of attempts at webhooks and mails", labels=["kind", "result"]
        )
        for kind in NOTICES:
            for result in RESULTS:
                results.add_metric([kind, result], self._outbox.told_of[kind, result])
        yield results
