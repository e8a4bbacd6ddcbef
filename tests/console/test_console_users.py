"""The page of users: what an admin can do to whom, and what is left of it."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest

from agent.office.console.access import logged_in
from agent.office.scope import Scope
from tests.console.conftest import PASSWORD

if TYPE_CHECKING:
    from tests.console.conftest import Browser, Office


async def id_of(office: Office, name: str) -> int:
    account = await office.store.users.named(name)
    assert account is not None
    return account.id


async def send(browser: Browser, path: str, fields: list[tuple[str, str]]) -> tuple[int, str]:
    async with await browser.post(path, fields) as answer:
        return answer.status, await answer.text()


async def test_users_are_listed_with_what_they_see(office: Office) -> None:
    page = await (await office.browser("admin")).page("/users")
    for word in ("viewer", "operator", "admin", "Acme Plumbing", "(you)"):
        assert word in page
    assert "Bright Sparks" not in page


async def test_a_new_user_sees_the_companies_that_are_theirs(office: Office) -> None:
    admin = await office.browser("admin")
    form = [("name", "Dora"), ("password", PASSWORD), ("role", "operator")]
    form += [
        ("companies", str(office.acme)),
        ("companies", str(office.bright)),
        ("companies", "x"),
        ("companies", "99"),
    ]
    status, _ = await send(admin, "/users/new", form)
    assert status == 303
    assert "dora can log in now." in await admin.page("/users")
    dora = await office.store.users.named("dora")
    assert dora is not None
    assert (dora.role, dora.company_ids) == ("operator", frozenset({office.acme, office.bright}))
    page = await (await office.browser("dora")).page("/account")
    assert "Acme Plumbing" in page
    assert "Bright Sparks" in page


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"name": "viewer"}, "There is a user viewer already."),
        ({"name": "VIEWER"}, "There is a user viewer already."),
        ({"name": ""}, "A name has 1 to 64"),
        ({"name": "a b"}, "A name has 1 to 64"),
        ({"name": "x" * 65}, "A name has 1 to 64"),
        ({"password": "short"}, "at least 10 characters"),
        ({"role": "root"}, "A role is one of viewer, operator, admin."),
        ({"role": ""}, "A role is one of"),
    ],
)
async def test_what_is_wrong_with_a_new_user_is_said(office: Office, changed: dict[str, str], said: str) -> None:
    admin = await office.browser("admin")
    form = {"name": "dora", "password": PASSWORD, "role": "viewer"} | changed
    status, page = await send(admin, "/users/new", list(form.items()))
    assert status == 400
    assert said in page
    assert PASSWORD not in page
    assert len(await office.store.users.list()) == 3


async def test_another_role_holds_at_once(office: Office) -> None:
    admin, viewer = await office.browser("admin"), await office.browser("viewer")
    number = await id_of(office, "viewer")
    async with await viewer.get("/users") as answer:
        assert answer.status == 403
    assert (await send(admin, f"/users/{number}", [("role", "admin")]))[0] == 303
    async with await viewer.get("/users") as answer:
        assert answer.status == 200
    form = [("role", "viewer"), ("companies", str(office.bright))]
    assert (await send(admin, f"/users/{number}", form))[0] == 303
    async with await viewer.get("/users") as answer:
        assert answer.status == 403
    page = await viewer.page("/account")
    assert "Bright Sparks" in page
    assert "Acme" not in page


async def test_a_new_password_logs_them_out(office: Office) -> None:
    admin, viewer = await office.browser("admin"), await office.browser("viewer")
    path = f"/users/{await id_of(office, 'viewer')}/password"
    assert (await send(admin, path, [("password", "short")]))[0] == 400
    assert (await send(admin, path, [("password", "a brand new one")]))[0] == 303
    async with await viewer.get("/account") as answer:
        assert answer.status == 303
    assert await office.store.users.log_in("viewer", PASSWORD) is None
    assert await office.store.users.log_in("viewer", "a brand new one") is not None


async def test_an_admin_who_changes_their_own_password_stays(office: Office) -> None:
    admin, elsewhere = await office.browser("admin"), await office.browser("admin")
    path = f"/users/{await id_of(office, 'admin')}/password"
    assert (await send(admin, path, [("password", "a brand new one")]))[0] == 303
    await admin.page("/users")
    async with await elsewhere.get("/users") as answer:
        assert answer.status == 303


async def test_who_is_removed_is_out(office: Office) -> None:
    admin, viewer = await office.browser("admin"), await office.browser("viewer")
    path = f"/users/{await id_of(office, 'viewer')}"
    assert (await send(admin, f"{path}/remove", []))[0] == 303
    assert "viewer is removed." in await admin.page("/users")
    async with await viewer.get("/account") as answer:
        assert answer.status == 303
    assert await office.store.users.log_in("viewer", PASSWORD) is None
    for address in (path, f"{path}/remove", f"{path}/password"):
        assert (await send(admin, address, [("role", "viewer"), ("password", PASSWORD)]))[0] == 404


async def test_somebody_remains_an_admin(office: Office) -> None:
    admin = await office.browser("admin")
    path = f"/users/{await id_of(office, 'admin')}"
    for address, form in ((path, [("role", "viewer")]), (f"{path}/remove", [])):
        status, page = await send(admin, address, form)
        assert status == 400
        assert "Somebody must remain an admin" in page
    await admin.page("/users")
    assert (await send(admin, f"/users/{await id_of(office, 'operator')}", [("role", "admin")]))[0] == 303
    assert (await send(admin, path, [("role", "viewer")]))[0] == 303
    async with await admin.get("/users") as answer:
        assert answer.status == 403


async def test_two_admins_cannot_remove_each_other_at_once(office: Office) -> None:
    users = office.store.users
    first, second = await id_of(office, "admin"), await id_of(office, "operator")
    await users.change(second, "admin", [])
    done = await asyncio.gather(users.remove(first), users.remove(second), return_exceptions=True)
    assert [type(one).__name__ for one in done].count("UserError") == 1
    assert [account.role for account in await users.list()].count("admin") == 1


async def test_a_viewer_from_before_any_admin_can_be_removed(office: Office) -> None:
    users = office.store.users
    await users.add("second", PASSWORD, "admin")
    for name in ("viewer", "operator", "admin"):
        await users.remove(await id_of(office, name))
    assert [account.name for account in await users.list()] == ["second"]


async def test_changes_are_noted_with_who_made_them(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    admin = await office.browser("admin")
    with caplog.at_level(logging.INFO, logger="agent.console.audit"):
        await send(admin, f"/users/{await id_of(office, 'viewer')}", [("role", "operator")])
        await send(admin, f"/users/{await id_of(office, 'viewer')}/remove", [])
    told = [record.getMessage() for record in caplog.records if record.name == "agent.console.audit"]
    assert told == ["admin: changed the user viewer, now operator", "admin: removed the user viewer"]


async def test_what_a_user_sees(office: Office) -> None:
    for name, scope in (("admin", Scope.all()), ("operator", Scope.of([office.acme]))):
        begun = await office.store.users.log_in(name, PASSWORD)
        assert begun is not None
        login = await office.store.users.session(begun[0])
        assert login is not None
        assert logged_in(login).scope == scope


async def test_without_a_company_one_sees_none(office: Office) -> None:
    account = await office.store.users.add("dora", PASSWORD, "viewer")
    assert Scope.of(account.company_ids).company_ids == frozenset()
    assert "No company yet" in await (await office.browser("dora")).page("/account")
