"""Who asks, and whether they may: `@needs("operator")` on each handler, and `user_of(request)` inside it."""

from __future__ import annotations

import functools
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

from aiohttp import web
from aiohttp.typedefs import Handler

from agent.office.console.parts import parts_of
from agent.office.models import ROLES
from agent.office.scope import Scope
from agent.office.users import Login

Role = Literal["viewer", "operator", "admin"]
PageHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]

EVERYBODY = "everybody"
"""In place of a role, for pages that nobody needs to be logged in for."""
audit_log = logging.getLogger("agent.console.audit")


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """The user of a request."""

    id: int
    name: str
    role: str
    scope: Scope
    """The companies whose calls and bookings they see; give it to each query."""
    csrf: str
    """Goes into each form; templates have it as `csrf`."""

    def may(self, role: str) -> bool:
        """Whether they may what `role` may."""
        return ROLES.index(self.role) >= ROLES.index(role)


_LOGIN = web.RequestKey("login", LoggedIn)


def needs(role: Role) -> Callable[[PageHandler], PageHandler]:
    """Let only those in who have this role or a higher one; others log in first, or are refused."""
    if role not in ROLES:
        raise ValueError(f"{role!r} is no role: {', '.join(ROLES)}")

    def decorate(handler: PageHandler) -> PageHandler:
        @functools.wraps(handler)
        async def guarded(request: web.Request) -> web.StreamResponse:
            user = request.get(_LOGIN)
            if user is None:
                raise _log_in_first(request)
            if not user.may(role):
                raise web.HTTPForbidden(text=f"This is for the role {role}; yours is {user.role}.")
            return await handler(request)

        guarded.console_needs = role  # type: ignore[attr-defined]
        return guarded

    return decorate


def open_to_everybody(handler: PageHandler) -> PageHandler:
    """Mark a handler that needs no log-in: the log-in itself."""
    handler.console_needs = EVERYBODY  # type: ignore[attr-defined]
    return handler


def role_needed(handler: object) -> str | None:
    """What `needs` or `open_to_everybody` said of a handler; None when neither did."""
    return getattr(handler, "console_needs", None)


def user_of(request: web.Request) -> LoggedIn:
    """Who asks. Only for handlers under `needs`: raises `KeyError` where nobody is logged in."""
    return request[_LOGIN]


def visitor_of(request: web.Request) -> LoggedIn | None:
    """Who asks, or None where nobody is logged in."""
    return request.get(_LOGIN)


def audit(request: web.Request, what: str) -> None:
    """Note in the log who did what: "ended a call". Names of callers, their numbers and words have no place in it."""
    audit_log.info("%s: %s", user_of(request).name, what)


def wants_page(request: web.Request) -> bool:
    """Whether a person is to read the answer; else it is a script, which gets JSON."""
    mode = request.headers.get("Sec-Fetch-Mode")
    if mode is not None:
        return mode == "navigate"
    accepted = request.headers.get("Accept", "")
    return "application/json" not in accepted and "text/event-stream" not in accepted


@web.middleware
async def recognise(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Find the session of the request's cookie."""
    from agent.office.console.cookies import session_token

    token = session_token(request)
    if token and not request.path.startswith("/static/"):
        login = await parts_of(request).store.users.session(token)
        if login is not None:
            request[_LOGIN] = logged_in(login)
    return await handler(request)


async def still_allowed(request: web.Request, role: Role = "viewer") -> bool:
    """Whether the session of a request that lasts (events, sound) still holds, with this role and the companies that it
    began with: ask now and then.
    """
    from agent.office.console.cookies import session_token

    login = await parts_of(request).store.users.session(session_token(request))
    if login is None:
        return False
    now = logged_in(login)
    return now.may(role) and now.scope == user_of(request).scope


def logged_in(login: Login) -> LoggedIn:
    """The user of a session, with what they see."""
    account = login.account
    scope = Scope.all() if account.role == "admin" else Scope.of(account.company_ids)
    return LoggedIn(account.id, account.name, account.role, scope, login.csrf)


def _log_in_first(request: web.Request) -> web.HTTPException:
    if wants_page(request) and request.method in ("GET", "HEAD"):
        there = request.rel_url.raw_path_qs
        return web.HTTPSeeOther("/login" + (f"?next={quote(there, safe='/')}" if there != "/" else ""))
    return web.HTTPUnauthorized(text="Log in first.")
