"""Every address of the console asks who is there: all that the application has are walked, whoever added them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from agent.office.console import figures
from agent.office.console.access import EVERYBODY, LoggedIn, needs, role_needed
from agent.office.console.app import console_app
from agent.office.models import ROLES
from agent.office.scope import Scope

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.console.conftest import Office

OPEN = {
    ("GET", "/login"),
    ("POST", "/login"),
    ("GET", "/setup"),
    ("POST", "/setup"),
    ("GET", "/static/{name}"),
}
"""All that may be asked for without a log-in; everything else belongs under `needs`."""


def routes(office: Office) -> Iterator[tuple[str, str, str]]:
    """Method, address with something in each place of its pattern, and the role that it needs."""
    for route in console_app(office.parts).router.routes():
        assert route.resource is not None
        needed = role_needed(route.handler)
        assert needed is not None
        if needed == EVERYBODY:
            assert (route.method.replace("HEAD", "GET"), route.resource.canonical) in OPEN
            continue
        yield route.method, an_address(route.resource), needed


def an_address(resource: web.AbstractResource) -> str:
    """An address that leads to a resource."""
    pattern = resource.get_info().get("pattern")
    for sample in ("1", "00000000-0000-4000-8000-000000000000", "BK-7F3K2Q9M"):
        address = re.sub(r"\{[^}]*\}", sample, resource.canonical)
        if pattern is None or pattern.fullmatch(address):
            return address
    raise AssertionError(f"no sample fits {resource.canonical}: add one")


async def test_nobody_gets_anything_without_a_log_in(office: Office) -> None:
    browser = await office.browser()
    walked = list(routes(office))
    assert len(walked) > 20
    for method, path, _ in walked:
        if method in ("GET", "HEAD"):
            async with await browser.client.request(
                method, path, headers={"Accept": "text/html"}, allow_redirects=False
            ) as answer:
                assert answer.status == 303, f"{method} {path}"
                assert answer.headers["Location"].startswith("/login")
            async with await browser.client.get(path, headers={"Accept": "application/json"}) as answer:
                assert (answer.status, await answer.json()) == (401, {"error": "Log in first."}), path
        else:
            async with await browser.post(path, {"role": "admin"}) as answer:
                assert answer.status == 401, f"{method} {path}"


@pytest.mark.parametrize("role", ROLES)
async def test_each_role_is_kept_out_of_what_is_above_it(office: Office, role: str) -> None:
    browser = await office.browser(role)
    token = await browser.csrf("/account")
    refused = 0
    for method, path, needed in routes(office):
        if ROLES.index(role) >= ROLES.index(needed):
            continue
        refused += 1
        async with await browser.client.request(
            method, path, headers={"Accept": "application/json", "X-CSRF-Token": token}, allow_redirects=False
        ) as answer:
            assert answer.status == 403, f"{method} {path} let a {role} in"
            if method != "HEAD":
                assert needed in (await answer.json())["error"]
    assert bool(refused) is (role != "admin")


async def test_a_page_that_does_not_say_who_may_use_it_stops_the_console(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def careless(_request: web.Request) -> web.Response:
        return web.Response()

    monkeypatch.setattr(figures, "add_pages", lambda app: app.router.add_get("/figures", careless))
    with pytest.raises(RuntimeError, match=r"(GET|HEAD) /figures does not say who may use it"):
        console_app(office.parts)


def test_there_is_no_role_that_is_none() -> None:
    with pytest.raises(ValueError, match="'root' is no role"):
        needs("root")  # type: ignore[arg-type]


def test_each_role_may_what_those_below_it_may() -> None:
    for rank, role in enumerate(ROLES):
        user = LoggedIn(1, "jo", role, Scope.all(), "")
        assert [user.may(other) for other in ROLES] == [other <= rank for other in range(len(ROLES))]


async def test_the_menu_shows_what_one_may(office: Office) -> None:
    assert 'href="/users"' not in await (await office.browser("operator")).page("/account")
    assert 'href="/users"' in await (await office.browser("admin")).page("/account")
