"""What the agent tells of itself over HTTP: `/health` for people, `/ready` for load balancers, `/metrics`, `/live`.

No page has what callers said or chose, nor their numbers.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from aiohttp import web

from agent import __version__
from agent.ops.live_page import LivePage
from agent.ops.metrics import CONTENT_TYPE
from agent.ops.outbox import outbox_health
from agent.telephony.hosts import Hosts

if TYPE_CHECKING:
    from agent.front import Floors, Front


def add_pages(app: web.Application, front: Front, floors: Floors) -> None:
    """Add the four pages of this host."""
    started = time.monotonic()

    async def health(_request: web.Request) -> web.Response:
        told = health_of(front, floors) | await floors.health()
        # A restart ends every call: it is asked for where nothing else helps, and not for what a vendor or load does.
        return web.json_response(
            told | {"uptime_s": round(time.monotonic() - started)}, status=503 if floors.hung else 200
        )

    async def ready(_request: web.Request) -> web.Response:
        no = front.admission.no_room(more=1)
        why = "media" if floors.hung else no.reason if no is not None else None
        return web.json_response({"ready": True} if why is None else {"ready": False, "why": why},
                                 status=200 if why is None else 503)  # fmt: skip

    async def page_of_metrics(_request: web.Request) -> web.Response:
        return web.Response(body=await floors.metrics(), headers={"Content-Type": CONTENT_TYPE})

    app.router.add_get("/health", health)
    app.router.add_get("/ready", ready)
    app.router.add_get("/metrics", page_of_metrics)
    app.router.add_get("/live", LivePage(front, floors.live, floors.processes).answer)


def health_of(front: Front, floors: Floors) -> dict[str, Any]:
    """The state of what there is one of on the host, as a JSON document."""
    admission = front.admission
    strangers: dict[str, dict[str, int]] = {}
    for (port, reason), count in front.strangers.counters.items():
        strangers.setdefault(port, {})[reason] = count
    return {
        "status": "hung" if floors.hung else "stopping" if admission.stopping else "ok",
        "version": __version__,
        "settings": admission.settings.fingerprint,
        "calls": front.calls,
        "max_calls": admission.settings.max_calls,
        "announced": front.registry.announced,
        "refused": dict(admission.counters),
        "today": {"minutes": round(admission.usage.minutes, 1), "spending": round(admission.usage.cost, 2)},
        "turned_away": strangers,
        "hosts": hosts_health(front.hosts),
        "outbox": outbox_health(front.outbox),
    }


def hosts_health(hosts: Hosts | None) -> dict[str, Any] | None:
    """The others that take calls with this one, and the Redis between them; None where a host is by itself."""
    if hosts is None:
        return None
    return {
        "name": hosts.name,
        "redis": {"there": hosts.there, **hosts.counters},
        "others": len(hosts.others) if hosts.there else None,
        "places_elsewhere": hosts.elsewhere.places,
        "coming": hosts.coming,
    }
