"""Companies: the list, and the page on which one is edited, tried and taken away."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from aiohttp import web

from agent.call.opening_hours import DAYS, is_open, read_opening_hours
from agent.office.companies import CompanyRow, NoSuchCompanyError, StaleCompanyError, StoredCompany
from agent.office.company_form import LABELS, BadCompanyError, CompanyForm, Problem
from agent.office.console.access import audit, needs, user_of
from agent.office.console.company_entry import ADMINS, Entry, problems_by_field
from agent.office.console.forms import form_of, say_later
from agent.office.console.greetings import NO_AGENT, SHELF, Shelf, greeting_text, spoken_greeting
from agent.office.console.parts import PARTS, parts_of
from agent.office.console.render import render
from agent.office.models import utc_now

CALLS_OF = timedelta(days=30)
NO_SUCH = "There is no such company, or it is not among yours."
ID = "{id:[0-9]{1,9}}"


def add_pages(app: web.Application) -> None:
    """Add the list, a new company, and what can be done to one."""
    app[SHELF] = Shelf(app[PARTS].settings)
    app.router.add_get("/companies", page)
    app.router.add_get("/companies/new", new_page)
    app.router.add_post("/companies/new", add)
    app.router.add_post("/companies/new/greeting", greeting)
    app.router.add_get(f"/companies/{ID}", edit_page)
    app.router.add_post(f"/companies/{ID}", save)
    app.router.add_post(f"/companies/{ID}/greeting", greeting)
    app.router.add_post(f"/companies/{ID}/secret", new_secret)
    app.router.add_post(f"/companies/{ID}/delete", delete)


@needs("viewer")
async def page(request: web.Request) -> web.StreamResponse:
    """The companies by name, with their numbers and how many calls they had."""
    now = utc_now()
    rows = await parts_of(request).store.companies.list(user_of(request).scope, calls_since=now - CALLS_OF)
    return render(request, "companies.html", companies=rows, open_now={row.id: _open_now(row, now) for row in rows})


@needs("admin")
async def new_page(request: web.Request) -> web.StreamResponse:
    """The form of a new company."""
    settings = parts_of(request).settings
    return await _form(
        request, None, Entry.of(CompanyForm.model_construct(name="", timezone=settings.default_timezone))
    )


@needs("admin")
async def add(request: web.Request) -> web.StreamResponse:
    """Add a company."""
    companies = parts_of(request).store.companies
    entry = Entry.sent(form_of(request), Entry.of(CompanyForm.model_construct(name="")), frozenset())
    if changed := _reshaped(request, entry):
        return await _form(request, None, changed)
    try:
        company_id = await companies.add(entry.read(companies.region))
    except BadCompanyError as error:
        return await _form(request, None, entry, problems=error.problems)
    audit(request, f"added the company {company_id}")
    stored = await companies.get(company_id, user_of(request).scope)
    if stored is not None and stored.webhook_secret:
        return render(request, "company_secret.html", company=stored, secret=stored.webhook_secret)
    say_later(request, f"{entry.lines['name']} is there: calls to its numbers are answered in its name.")
    raise web.HTTPSeeOther(f"/companies/{company_id}")


@needs("viewer")
async def edit_page(request: web.Request) -> web.StreamResponse:
    """One company; who may not change it sees it all the same."""
    stored = await _stored(request)
    return await _form(request, stored, Entry.of(stored.form))


@needs("operator")
async def save(request: web.Request) -> web.StreamResponse:
    """Change a company; what is an admin's to change stays as it is when somebody else saves."""
    stored, user, companies = await _stored(request), user_of(request), parts_of(request).store.companies
    entry = Entry.sent(form_of(request), Entry.of(stored.form), _locked(request))
    if changed := _reshaped(request, entry):
        return await _form(request, stored, changed, seen=form_of(request).get("seen", ""))
    try:
        secret = await companies.save(
            stored.id, entry.read(companies.region), user.scope, seen=form_of(request).get("seen", "") or "?"
        )
    except BadCompanyError as error:
        seen = form_of(request).get("seen", "")
        return await _form(request, stored, entry, problems=error.problems, seen=seen)
    except StaleCompanyError:
        return await _form(request, stored, entry, stale=True)
    except NoSuchCompanyError:
        raise web.HTTPNotFound(text=NO_SUCH) from None
    audit(request, f"changed the company {stored.id}")
    if secret:
        return render(request, "company_secret.html", company=stored, secret=secret)
    say_later(request, "Saved: the next call is answered so.")
    raise web.HTTPSeeOther(f"/companies/{stored.id}")


@needs("operator")
async def greeting(request: web.Request) -> web.StreamResponse:
    """The greeting with the fields as they stand in the form: a WAV, or with `?as=text` its words as JSON."""
    if "id" in request.match_info:
        before = Entry.of((await _stored(request)).form)
        locked = _locked(request)
    elif user_of(request).may("admin"):
        before, locked = Entry.of(CompanyForm.model_construct(name="")), frozenset()
    else:
        raise web.HTTPForbidden(text="Only an admin adds companies.")
    values = Entry.sent(form_of(request), before, locked).values()
    if request.query.get("as") == "text":
        return web.json_response({"text": await greeting_text(request, values)})
    return web.Response(body=await spoken_greeting(request, values), content_type="audio/wav")


@needs("admin")
async def new_secret(request: web.Request) -> web.StreamResponse:
    """Give the webhook another secret, and show it once."""
    stored = await _stored(request)
    secret = await parts_of(request).store.companies.new_secret(stored.id, user_of(request).scope)
    audit(request, f"gave the webhook of company {stored.id} a new secret")
    return render(request, "company_secret.html", company=stored, secret=secret)


@needs("admin")
async def delete(request: web.Request) -> web.StreamResponse:
    """Take a company away, once its name was typed."""
    stored = await _stored(request)
    if " ".join(form_of(request).get("name", "").split()) != " ".join(stored.form.name.split()):
        say_later(request, f"It is not deleted: what you typed is not “{stored.form.name}”.", "bad")
        raise web.HTTPSeeOther(f"/companies/{stored.id}#delete")
    await parts_of(request).store.companies.delete(stored.id, user_of(request).scope)
    audit(request, f"deleted the company {stored.id}")
    say_later(request, f"{stored.form.name} is deleted. Its calls and bookings are still there.")
    raise web.HTTPSeeOther("/companies")


async def _stored(request: web.Request) -> StoredCompany:
    stored = await parts_of(request).store.companies.get(int(request.match_info["id"]), user_of(request).scope)
    if stored is None:
        raise web.HTTPNotFound(text=NO_SUCH)
    return stored


def _locked(request: web.Request) -> frozenset[str]:
    return frozenset() if user_of(request).may("admin") else ADMINS


def _reshaped(request: web.Request, entry: Entry) -> Entry | None:
    """The form with another row, where a button asks for that rather than for saving: it works without a script."""
    what, _, where = form_of(request).get("do", "").partition(":")
    if what == "add":
        return entry.with_row(where)
    return entry.with_weekdays_as(where) if what == "weekdays" else None


async def _form(
    request: web.Request,
    stored: StoredCompany | None,
    entry: Entry,
    *,
    problems: tuple[Problem, ...] = (),
    seen: str | None = None,
    stale: bool = False,
) -> web.Response:
    user = user_of(request)
    conversations = await request.app[SHELF].conversations()
    everything: frozenset[str] = frozenset(LABELS)
    locked = _locked(request) if user.may("operator") else everything
    values: dict[str, Any] = {
        "company": stored,
        "entry": entry,
        "seen": (stored.seen if stored else "") if seen is None else seen,
        "problems": problems,
        "wrong": problems_by_field(problems),
        "stale": stale,
        "locked": locked,
        "days": DAYS,
        "zones": sorted(
            zone for zone in available_timezones() if "/" in zone and not zone.startswith(("Etc/", "SystemV/"))
        ),
        "conversations": conversations.titles() if conversations else {},
        "spoken": await greeting_text(request, entry.values()),
        "no_agent": NO_AGENT if parts_of(request).say is None else "",
        "added": form_of(request).get("do", "").partition(":")[2] if request.method == "POST" else "",
    }
    status = 409 if stale else 400 if problems else 200
    return render(request, "company.html", status=status, **values)


def _open_now(row: CompanyRow, now: datetime) -> bool | None:
    """Whether somebody is there now; None where the hours are not known."""
    try:
        hours = read_opening_hours(dict(row.opening_hours))
        return is_open(hours, now.astimezone(ZoneInfo(row.timezone))) if hours else None
    except (TypeError, ValueError, LookupError, OSError):
        return None
