"""A booking API for scripted callers: the back office's own, or one that is down or refuses, by call."""

from __future__ import annotations

from types import TracebackType

import aiohttp
from aiohttp import web

from agent.sandbox.scenarios.reading import CallSetup

_CARRIED = ("X-API-Key", "Idempotency-Key", "Content-Type")


class BookingDesk:
    """Stands in front of the back office: `url` is for the agent, `office_url` is set before the first call."""

    def __init__(self) -> None:
        self.office_url = ""
        self.url = ""
        self._setups: dict[str, CallSetup] = {}
        self._app = web.Application()
        self._app.router.add_post("/create_booking", self._create)
        self._runner = web.AppRunner(self._app, access_log=None)
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> BookingDesk:
        self._http = aiohttp.ClientSession()
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}/create_booking"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()
        if self._http is not None:
            await self._http.close()

    def expect(self, call_uuid: str, setup: CallSetup) -> None:
        """Treat the bookings of a call as its setup says."""
        self._setups[call_uuid] = setup

    async def _create(self, request: web.Request) -> web.Response:
        body = await request.read()
        call = str((await request.json()).get("call_uuid", ""))
        setup = self._setups.get(call, CallSetup())
        if setup.booking_api == "down":
            return web.json_response({"error": "out of order"}, status=503)
        if setup.booking_api == "refuses":
            del self._setups[call]
            error = {"error": f"{setup.refused_field} is not accepted", "field": setup.refused_field}
            return web.json_response(error, status=400)
        assert self._http is not None
        headers = {name: request.headers[name] for name in _CARRIED if name in request.headers}
        async with self._http.post(self.office_url, data=body, headers=headers) as answer:
            return web.Response(body=await answer.read(), status=answer.status, content_type="application/json")
