"""The company's back office, the real one, behind an HTTP port that fails as it is told."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from aiohttp import web

from agent.office.api import office_app
from agent.office.store import OfficeStore, add_companies
from tests.chaos.conversation import WITH_TARGET, WITHOUT_TARGET

KEY = "chaos-office-key"
FOREVER = 1_000_000
_OPENING = asyncio.Lock()
"""Alembic brings one database up to date at a time in a process."""


@dataclass(frozen=True, slots=True)
class Mood:
    """What becomes of the requests to one endpoint, `times` of them or until the desk is mended.

    down: the connection is dropped; slow: answered `seconds` later; fails: 503; lost: done, and then the connection
    is dropped; garbage: 200 with what is no JSON; refuses: 400; silent: never answered; keyless: done without a look
    at the Idempotency-Key.
    """

    endpoint: Literal["did_context", "create_booking", "check_availability"]
    kind: Literal["down", "slow", "fails", "lost", "garbage", "refuses", "silent", "keyless"]
    times: int = FOREVER
    seconds: float = 0.0


class Desk:
    """`async with Desk(database, moods) as desk`: `url` of an endpoint, `store`, and `counters` of requests."""

    def __init__(self, database: Path, moods: Iterable[Mood] = ()) -> None:
        self._database = database
        self._moods = list(moods)
        self._runner: web.AppRunner | None = None
        self._base = ""
        self.store: OfficeStore
        self.counters: Counter[str] = Counter()

    async def __aenter__(self) -> Desk:
        async with _OPENING:
            self.store = await OfficeStore.open(f"sqlite+aiosqlite:///{self._database}")
        await add_companies(self.store, (WITH_TARGET, WITHOUT_TARGET))
        app = office_app(self.store, api_key=KEY)
        app.middlewares.insert(0, self._moodily)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        self._base = f"http://{host}:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        await self.store.close()

    def url(self, endpoint: str) -> str:
        """Where an endpoint is."""
        return f"{self._base}/{endpoint}"

    def mend(self) -> None:
        """From now on it answers as it should; what it refuses for good it refuses still."""
        self._moods = [mood for mood in self._moods if mood.kind == "refuses"]

    async def booked(self) -> list[str]:
        """Whose bookings there are, once for each row."""
        return [booking.customer_name for booking in await self.store.list_bookings(limit=1000)]

    @web.middleware
    async def _moodily(self, request: web.Request, handler: Any) -> web.StreamResponse:
        endpoint = request.path.strip("/")
        self.counters[endpoint] += 1
        mood = self._next(endpoint)
        if mood is None:
            return await self._done(request, handler)
        self.counters[f"{endpoint}.{mood.kind}"] += 1
        match mood.kind:
            case "slow":
                await asyncio.sleep(mood.seconds)
                return await self._done(request, handler)
            case "silent":
                await asyncio.Event().wait()
            case "fails":
                return web.json_response({"error": "out of order"}, status=503)
            case "refuses":
                return web.json_response({"error": "address is not accepted", "field": "address"}, status=400)
            case "garbage":
                return web.Response(text="<html>Service is being renewed", content_type="text/html")
            case "keyless":
                headers = {name: value for name, value in request.headers.items() if name.lower() != "idempotency-key"}
                return await self._done(request.clone(headers=headers), handler)
            case "lost":
                await self._done(request, handler)
        if request.transport is not None:
            request.transport.abort()
        return web.Response(status=500)

    async def _done(self, request: web.Request, handler: Any) -> web.StreamResponse:
        response: web.StreamResponse = await handler(request)
        return response

    def _next(self, endpoint: str) -> Mood | None:
        for index, mood in enumerate(self._moods):
            if mood.endpoint == endpoint:
                if mood.times <= 1:
                    del self._moods[index]
                else:
                    self._moods[index] = replace(mood, times=mood.times - 1)
                return mood
        return None
