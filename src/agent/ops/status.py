"""What the agent tells of itself over HTTP: `/health` for people, `/ready` for load balancers, `/metrics`, `/live`.

No page has what callers said or chose, nor their numbers.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from aiohttp import web

from agent import __version__
from agent.ops.live_page import LivePage, process_of, vendors_of
from agent.ops.metrics import CONTENT_TYPE, Metrics
from agent.ops.outbox import outbox_health

if TYPE_CHECKING:
    from agent.service import Agent


def add_pages(app: web.Application, agent: Agent, metrics: Metrics) -> None:
    """Add the four pages of this agent."""
    started = time.monotonic()

    async def health(_request: web.Request) -> web.Response:
        told = health_of(agent) | {"uptime_s": round(time.monotonic() - started)}
        # A restart ends every call: it is asked for where nothing else helps, and not for what a vendor or load does.
        return web.json_response(told, status=503 if agent.pulse.hung else 200)

    async def ready(_request: web.Request) -> web.Response:
        no = agent.admission.no_room(more=1)
        why = "media" if agent.pulse.hung else no.reason if no is not None else None
        return web.json_response({"ready": True} if why is None else {"ready": False, "why": why},
                                 status=200 if why is None else 503)  # fmt: skip

    async def page_of_metrics(_request: web.Request) -> web.Response:
        return web.Response(body=metrics.page(), headers={"Content-Type": CONTENT_TYPE})

    app.router.add_get("/health", health)
    app.router.add_get("/ready", ready)
    app.router.add_get("/metrics", page_of_metrics)
    app.router.add_get("/live", LivePage(agent, agent.live, lambda: [process_of(agent)]).answer)


def health_of(agent: Agent) -> dict[str, Any]:
    """The agent's state as a JSON document."""
    admission = agent.admission
    strangers: dict[str, dict[str, int]] = {}
    for (port, reason), count in agent.strangers.counters.items():
        strangers.setdefault(port, {})[reason] = count
    return {
        "status": "hung" if agent.pulse.hung else "stopping" if admission.stopping else "ok",
        "version": __version__,
        "settings": admission.settings.fingerprint,
        "calls": agent.calls,
        "max_calls": admission.settings.max_calls,
        "announced": agent.registry.announced,
        "refused": dict(admission.counters),
        "loop_lag_ms": round(agent.lag.loop_lag_ms, 1),
        "media_lateness_ms": round(agent.lag.media_lateness_ms, 1),
        "today": {"minutes": round(admission.usage.minutes, 1), "spending": round(admission.usage.cost, 2)},
        "vendors": vendors_of(agent.breakers.all()),
        "turned_away": strangers,
        "outbox": outbox_health(agent.outbox),
        "media": {key: value for key, value in agent.engine.counters().items() if key != "lateness_us"},
    }
