"""What the agent tells of itself over HTTP: `/health` for people, `/ready` for load balancers, `/metrics`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from aiohttp import web

from agent.ops.metrics import CONTENT_TYPE, Metrics
from agent.ops.outbox import outbox_health

if TYPE_CHECKING:
    from agent.service import Agent


def add_pages(app: web.Application, agent: Agent, metrics: Metrics) -> None:
    """Add the three pages of this agent."""
    started = time.monotonic()

    async def health(_request: web.Request) -> web.Response:
        return web.json_response(
            {
                "status": "stopping" if agent.stopping else "ok",
                "calls": agent.calls,
                "max_calls": agent.settings.max_calls,
                "uptime_s": round(time.monotonic() - started),
                "outbox": outbox_health(agent.services.outbox),
                "media": {key: value for key, value in agent.engine.counters().items() if key != "lateness_us"},
            }
        )

    async def ready(_request: web.Request) -> web.Response:
        no = agent.calls >= agent.settings.max_calls or agent.stopping
        return web.json_response({"ready": not no}, status=503 if no else 200)

    async def page_of_metrics(_request: web.Request) -> web.Response:
        return web.Response(body=metrics.page(), headers={"Content-Type": CONTENT_TYPE})

    app.router.add_get("/health", health)
    app.router.add_get("/ready", ready)
    app.router.add_get("/metrics", page_of_metrics)
