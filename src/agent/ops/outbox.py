"""The outbox as part of the service: made from the settings, shown on `/health` and `/metrics`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

from prometheus_client.metrics_core import Metric

from agent.ops.metric_families import FAMILIES
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


def of_outbox(outbox: Outbox) -> Iterator[Metric]:
    """The outbox's part of `/metrics`."""
    yield FAMILIES["outbox_bookings"].counted(outbox.counts())
    yield FAMILIES["outbox_oldest_seconds"].counted(outbox.oldest_s())
    yield from of_outbox_events(outbox)
    notices = outbox.notices()
    yield FAMILIES["notices"].counted(
        {(kind, state): number for kind, states in notices.items() for state, number in states.items()}
    )
    yield FAMILIES["notices_oldest_seconds"].counted({kind: outbox.oldest_s(kind) for kind in NOTICES})
    yield FAMILIES["notice_results"].counted(
        {(kind, result): outbox.told_of[kind, result] for kind in NOTICES for result in RESULTS}
    )


def of_outbox_events(outbox: Outbox) -> Iterator[Metric]:
    """What this process has done there: the rest is the same for all who share the directory."""
    yield FAMILIES["outbox_events"].counted({what: outbox.counters[what] for what in COUNTED})
