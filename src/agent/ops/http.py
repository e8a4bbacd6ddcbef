"""The agent's HTTP port: who may ask on it, and at which address the agent itself does."""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from agent.ops.peers import Peers
from agent.ops.settings import Settings


@asynccontextmanager
async def http_port(app: web.Application, settings: Settings) -> AsyncIterator[tuple[str, int]]:
    """Serve `app` to the peers of the settings while entered; gives the agent's own base URL for it, and the port.

    Raises OSError when the port is taken.
    """
    app.middlewares.append(_only(Peers((*settings.allowed_peers, *_own_addresses(settings.listen_host)))))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.listen_host, settings.http_port).start()
        port = int(runner.addresses[0][1])
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.listen_host, settings.listen_host)
        yield f"http://{f'[{host}]' if ':' in host else host}:{port}", port
    finally:
        await runner.cleanup()


def _only(peers: Peers) -> Middleware:
    """Let only the peers of the settings in."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not peers.allow(request.remote):
            raise web.HTTPForbidden(text="this address is not among ALLOWED_PEERS")
        return await handler(request)

    return check


def _own_addresses(host: str) -> tuple[str, ...]:
    """Addresses from which the agent itself asks its back office."""
    loopback = ("127.0.0.0/8", "::1/128")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:  # a name: it is for the resolver, and the peers of the settings hold
        return loopback
    return loopback if address.is_unspecified else (*loopback, host)
