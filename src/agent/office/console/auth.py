"""Logging in and out, and the first start, when there is nobody yet who could."""

from __future__ import annotations

import asyncio
import logging
import math
from typing import NoReturn
from urllib.parse import urlsplit

from aiohttp import web

from agent.office.console import cookies
from agent.office.console.access import audit, needs, open_to_everybody, user_of, visitor_of
from agent.office.console.first_start import SetUpToken
from agent.office.console.forms import form_of
from agent.office.console.parts import parts_of
from agent.office.console.render import render
from agent.office.console.security import address_of
from agent.office.passwords import LONGEST, PasswordError, check_password
from agent.office.users import UserError, check_name
from agent.ops.rate import RateLimit

log = logging.getLogger(__name__)

NAMES = web.AppKey("login_names", RateLimit)
ADDRESSES = web.AppKey("login_addresses", RateLimit)
_WRONG = "Name or password is not right."


def add_pages(app: web.Application) -> None:
    """Add log-in, log-out and set-up."""
    app[NAMES] = RateLimit(2, 5)
    app[ADDRESSES] = RateLimit(4, 20)
    app.router.add_get("/login", login_page)
    app.router.add_post("/login", log_in)
    app.router.add_post("/logout", log_out)
    app.router.add_get("/setup", setup_page)
    app.router.add_post("/setup", set_up)


@open_to_everybody
async def login_page(request: web.Request) -> web.StreamResponse:
    """The form; who is logged in already goes on."""
    there = _there(request.query.get("next", ""))
    if visitor_of(request) is not None:
        raise web.HTTPSeeOther(there)
    return await _login_form(request, there)


@open_to_everybody
async def log_in(request: web.Request) -> web.StreamResponse:
    """Check name and password, and begin a session under a token that nobody knew before."""
    form = form_of(request)
    name, there = form.get("name", "").lower()[:64], _there(form.get("next", ""))
    limits = ((request.app[NAMES], name), (request.app[ADDRESSES], address_of(request)))
    wait_s = max(limit.wait_s(key) for limit, key in limits)
    if wait_s:
        log.warning("console: too many failed log-ins from %s", address_of(request))
        text = f"Too many attempts. Try again in {math.ceil(wait_s)} s."
        page = await _login_form(request, there, name, text, status=429)
        page.headers["Retry-After"] = str(math.ceil(wait_s))
        return page
    for limit, key in limits:
        limit.take_s(key)
    # Longer than any password may be is wrong, without the work.
    password = form.get("password", "")
    begun = await parts_of(request).store.users.log_in(
        name, password[: LONGEST + 1], instead_of=cookies.session_token(request)
    )
    if begun is None:
        log.warning("console: a failed log-in from %s", address_of(request))
        return await _login_form(request, there, name, _WRONG, status=401)
    for limit, key in limits:
        limit.forget(key)
    token, account = begun
    log.info("console: %s logged in from %s", account.name, address_of(request))
    answer = web.HTTPSeeOther(there)
    cookies.keep_session(request, answer, token)
    raise answer


@needs("viewer")
async def log_out(request: web.Request) -> web.StreamResponse:
    """End this session, or with `everywhere` all of this user's."""
    users = parts_of(request).store.users
    if form_of(request).get("everywhere"):
        await users.log_out_everywhere(user_of(request).id)
        audit(request, "logged out everywhere")
    else:
        await users.log_out(cookies.session_token(request))
    answer = web.HTTPSeeOther("/login")
    cookies.end_session(request, answer)
    raise answer


@open_to_everybody
async def setup_page(request: web.Request) -> web.StreamResponse:
    """The first start's form, by the link that was printed."""
    token = request.query.get("token", "")
    if await _is_set_up(request, token):
        _link_is_no_good()
    return render(request, "setup.html", token=token, name="", problem="")


@open_to_everybody
async def set_up(request: web.Request) -> web.StreamResponse:
    """Make the first user, an admin, and log them in."""
    form, parts = form_of(request), parts_of(request)
    token, password = form.get("token", ""), form.get("password", "")
    if await _is_set_up(request, token):
        _link_is_no_good()
    try:
        name = check_name(form.get("name", ""))
        check_password(password, name)
        if password != form.get("password_again", ""):
            raise PasswordError("The two passwords are not the same.")
    except (UserError, PasswordError) as error:
        return render(
            request, "setup.html", status=400, token=token, name=form.get("name", "")[:64], problem=str(error)
        )
    token_file = SetUpToken(parts.settings.data_dir)
    if not await asyncio.to_thread(token_file.use_up):
        _link_is_no_good()
    try:
        await parts.store.users.add(name, password, "admin")
    except BaseException:
        await asyncio.to_thread(token_file.give_back, token)
        raise
    begun = await parts.store.users.log_in(name, password, instead_of=cookies.session_token(request))
    log.info("console: set up from %s; the first user is %s", address_of(request), name)
    answer = web.HTTPSeeOther("/")
    if begun is not None:
        cookies.keep_session(request, answer, begun[0])
    raise answer


async def _is_set_up(request: web.Request, token: str) -> bool:
    """Whether there is nothing to set up, or not by this token."""
    addresses, address = request.app[ADDRESSES], address_of(request)
    if addresses.wait_s(address):
        raise web.HTTPTooManyRequests(text="Too many attempts. Try again in a minute.")
    parts = parts_of(request)
    right = await asyncio.to_thread(SetUpToken(parts.settings.data_dir).is_right, token)
    if not right:
        addresses.take_s(address)
    return not right or await parts.store.users.exist()


def _link_is_no_good() -> NoReturn:
    raise web.HTTPForbidden(text="This set-up link is not valid, or it was used already.")


async def _login_form(
    request: web.Request, there: str, name: str = "", problem: str = "", status: int = 200
) -> web.Response:
    somebody = await parts_of(request).store.users.exist()
    return render(request, "login.html", status=status, there=there, name=name, problem=problem, somebody=somebody)


def _there(asked: str) -> str:
    """Where to go after the log-in: a page of the console, whatever the link says."""
    try:
        parsed = urlsplit(asked)
    except ValueError:
        return "/"
    plain = asked.startswith("/") and not asked.startswith("//") and asked.isprintable() and "\\" not in asked
    inside = not parsed.scheme and not parsed.netloc and not parsed.path.startswith(("/login", "/logout", "/setup"))
    return asked if plain and inside else "/"
