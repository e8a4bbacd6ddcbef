"""The page of users, for admins."""

from __future__ import annotations

from aiohttp import web

from agent.office.console import cookies
from agent.office.console.access import audit, needs, user_of
from agent.office.console.forms import form_of, say_later
from agent.office.console.parts import parts_of
from agent.office.console.render import render
from agent.office.models import ROLES
from agent.office.passwords import PasswordError
from agent.office.users import Account, UserError

WHAT_ROLES_MAY = {
    "viewer": "Sees calls, bookings and numbers of their companies.",
    "operator": "Also listens in, ends and transfers calls, works on bookings and edits their companies.",
    "admin": "Everything, for every company, users included.",
}


def add_pages(app: web.Application) -> None:
    """Add the list, a new user, and what can be done to one."""
    app.router.add_get("/users", page)
    app.router.add_get("/users/new", new_page)
    app.router.add_post("/users/new", add)
    app.router.add_get("/users/{id:[0-9]{1,9}}", edit_page)
    app.router.add_post("/users/{id:[0-9]{1,9}}", change)
    app.router.add_post("/users/{id:[0-9]{1,9}}/password", set_password)
    app.router.add_post("/users/{id:[0-9]{1,9}}/remove", remove)


@needs("admin")
async def page(request: web.Request) -> web.StreamResponse:
    """Everybody, by name."""
    parts = parts_of(request)
    names = {company.id: company.name for company, _ in await parts.store.list_companies()}

    def names_of(account: Account) -> list[str]:
        return sorted(names[company_id] for company_id in account.company_ids if company_id in names)

    return render(request, "users.html", users=await parts.store.users.list(), names_of=names_of)


@needs("admin")
async def new_page(request: web.Request) -> web.StreamResponse:
    """The form of a new user."""
    return await _form(request, None)


@needs("admin")
async def add(request: web.Request) -> web.StreamResponse:
    """Add a user."""
    form = form_of(request)
    try:
        account = await parts_of(request).store.users.add(
            form.get("name", ""), form.get("password", ""), form.get("role", ""), _companies(request)
        )
    except (UserError, PasswordError) as error:
        return await _form(request, None, str(error))
    audit(request, f"added the user {account.name} as {account.role}")
    say_later(request, f"{account.name} can log in now.")
    raise web.HTTPSeeOther("/users")


@needs("admin")
async def edit_page(request: web.Request) -> web.StreamResponse:
    """The form of a user who is there."""
    return await _form(request, await _account(request))


@needs("admin")
async def change(request: web.Request) -> web.StreamResponse:
    """Another role, other companies."""
    account = await _account(request)
    try:
        changed = await parts_of(request).store.users.change(
            account.id, form_of(request).get("role", ""), _companies(request)
        )
    except UserError as error:
        return await _form(request, account, str(error))
    audit(request, f"changed the user {changed.name}, now {changed.role}")
    say_later(request, f"{changed.name} is saved.")
    raise web.HTTPSeeOther("/users")


@needs("admin")
async def set_password(request: web.Request) -> web.StreamResponse:
    """A new password for somebody who forgot theirs; they are logged out everywhere."""
    account = await _account(request)
    own = account.id == user_of(request).id
    try:
        await parts_of(request).store.users.set_password(
            account.id,
            form_of(request).get("password", ""),
            but=cookies.session_token(request) if own else "",
        )
    except (UserError, PasswordError) as error:
        return await _form(request, account, str(error))
    audit(request, f"gave the user {account.name} a new password")
    say_later(request, f"{account.name} has a new password.")
    raise web.HTTPSeeOther("/users")


@needs("admin")
async def remove(request: web.Request) -> web.StreamResponse:
    """Take a user away."""
    account = await _account(request)
    try:
        await parts_of(request).store.users.remove(account.id)
    except UserError as error:
        return await _form(request, account, str(error))
    audit(request, f"removed the user {account.name}")
    say_later(request, f"{account.name} is removed.")
    raise web.HTTPSeeOther("/users")


async def _account(request: web.Request) -> Account:
    account = await parts_of(request).store.users.get(int(request.match_info["id"]))
    if account is None:
        raise web.HTTPNotFound(text="There is no such user.")
    return account


def _companies(request: web.Request) -> list[int]:
    return [int(text) for text in form_of(request).getall("companies", []) if text.isdecimal() and len(text) < 10]


async def _form(request: web.Request, account: Account | None, problem: str = "") -> web.Response:
    sent = form_of(request) if problem and "role" in form_of(request) else None
    return render(
        request,
        "user.html",
        status=400 if problem else 200,
        account=account,
        name=sent.get("name", "")[:64] if sent else "",
        role=sent.get("role") if sent else account.role if account else ROLES[0],
        chosen=set(_companies(request)) if sent else account.company_ids if account else frozenset(),
        companies=[company for company, _ in await parts_of(request).store.list_companies()],
        roles=WHAT_ROLES_MAY,
        problem=problem,
    )
