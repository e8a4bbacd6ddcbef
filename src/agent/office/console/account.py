"""The page on which users change their own password and end their sessions."""

from __future__ import annotations

from aiohttp import web

from agent.office.console import cookies
from agent.office.console.access import audit, needs, user_of
from agent.office.console.auth import NAMES
from agent.office.console.forms import form_of, say_later
from agent.office.console.parts import parts_of
from agent.office.console.render import render
from agent.office.passwords import PasswordError
from agent.office.users import UserError


def add_pages(app: web.Application) -> None:
    """Add the page."""
    app.router.add_get("/account", page)
    app.router.add_post("/account", change_password)


@needs("viewer")
async def page(request: web.Request) -> web.StreamResponse:
    """Who you are, and the form for another password."""
    return await _page(request)


@needs("viewer")
async def change_password(request: web.Request) -> web.StreamResponse:
    """Take the new password for the old one; every other browser is logged out."""
    form, user, users = form_of(request), user_of(request), parts_of(request).store.users
    limit = request.app[NAMES]
    if limit.wait_s(user.name):
        return await _page(request, "Too many attempts. Try again in a minute.", 429)
    limit.take_s(user.name)
    if not await users.has_password(user.id, form.get("password", "")):
        return await _page(request, "This is not your present password.", 400)
    limit.forget(user.name)
    new = form.get("new_password", "")
    if new != form.get("new_password_again", ""):
        return await _page(request, "The two new passwords are not the same.", 400)
    try:
        await users.set_password(user.id, new, but=cookies.session_token(request))
    except (PasswordError, UserError) as error:
        return await _page(request, str(error), 400)
    audit(request, "changed their password")
    say_later(request, "Your password is changed. Other browsers are logged out.")
    raise web.HTTPSeeOther("/account")


async def _page(request: web.Request, problem: str = "", status: int = 200) -> web.Response:
    parts, user = parts_of(request), user_of(request)
    companies = [company.name for company, _ in await parts.store.list_companies() if user.scope.allows(company.id)]
    return render(
        request,
        "account.html",
        status=status,
        problem=problem,
        companies=companies,
        sessions=await parts.store.users.session_count(user.id),
    )
