"""The console's application: what each request passes through, and the pages."""

from __future__ import annotations

from aiohttp import web

from agent.office.console import account, auth, bookings, calls, companies, figures, live, users
from agent.office.console import call as one_call
from agent.office.console.access import recognise, role_needed
from agent.office.console.errors import tell_errors
from agent.office.console.forms import check_forms
from agent.office.console.parts import PARTS, ConsoleParts
from agent.office.console.render import set_up_templates
from agent.office.console.security import add_headers, check_host
from agent.office.console.static_files import STATIC, read_static, static_file

LARGEST_FORM = 256 * 1024


def console_app(parts: ConsoleParts) -> web.Application:
    """Make the application. Raises `RuntimeError` for a handler that does not say who may use it."""
    app = web.Application(
        middlewares=[tell_errors, check_host, recognise, check_forms],
        client_max_size=LARGEST_FORM,
    )
    app[PARTS] = parts
    app[STATIC] = read_static()
    set_up_templates(app, parts.settings.default_region, parts.settings.zone)
    app.on_response_prepare.append(add_headers)
    app.router.add_get("/static/{name:.+}", static_file)
    for page in (auth, account, users, live, calls, one_call, bookings, companies, figures):
        page.add_pages(app)
    for route in app.router.routes():
        if role_needed(route.handler) is None:
            path = route.resource.canonical if route.resource is not None else "?"
            raise RuntimeError(f"{route.method} {path} does not say who may use it: @needs(role) is missing")
    return app
