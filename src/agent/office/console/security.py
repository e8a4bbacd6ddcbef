"""What every answer of the console says to browsers, and by which names it may be asked."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler

from agent.office.console.parts import parts_of
from agent.ops.peers import Peers
from agent.ops.settings import Settings

POLICY = "; ".join(
    (
        "default-src 'self'",
        "img-src 'self' data:",
        "media-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
"""Content-Security-Policy: all of a page comes from here, nothing is written into it, and nobody frames it."""
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "X-Robots-Tag": "noindex, nofollow",
}
_A_YEAR = "max-age=31536000"


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """As each answer goes out, streams included."""
    for name, value in HEADERS.items():
        response.headers[name] = value
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers.pop("Server", None)
    if parts_of(request).settings.console_url.startswith("https://"):
        response.headers["Strict-Transport-Security"] = _A_YEAR


def own_names(settings: Settings) -> frozenset[str]:
    """The names by which the console may be asked."""
    names = {"127.0.0.1", "localhost", "::1", settings.console_host, urlsplit(settings.console_url).hostname or ""}
    return frozenset(name.lower() for name in names if name)


@web.middleware
async def check_host(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse to answer by a name that is not ours: another site may let its name point to this host."""
    if _host_name(request.host) not in own_names(parts_of(request).settings):
        raise web.HTTPMisdirectedRequest(
            text="This is not a name of the console. To reach it by this one, set CONSOLE_URL."
        )
    return await handler(request)


def _host_name(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def address_of(request: web.Request) -> str:
    """Where a request comes from: the peer, or whom a peer among `CONSOLE_PROXIES` says it speaks for."""
    proxies = Peers(parts_of(request).settings.console_proxies)
    address = request.remote or ""
    spoken_for = [part.strip() for line in request.headers.getall("X-Forwarded-For", []) for part in line.split(",")]
    while spoken_for and _among(proxies, address):
        address = spoken_for.pop()
    return _network(address)


def _among(proxies: Peers, address: str) -> bool:
    try:
        return proxies.allow(address)
    except ValueError:
        return False


def _network(address: str) -> str:
    """An IPv6 address stands for its /64: whoever has one of them has them all."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return "?"
    if parsed.version == 6 and parsed.ipv4_mapped is None:
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)
