"""A console on an empty database, with a user of each role, and browsers that are logged in."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import copyfile
from typing import Any

import pytest
from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient, TestServer

from agent.office.console.app import console_app
from agent.office.console.parts import ConsoleParts
from agent.office.models import ROLES
from agent.office.passwords import Passwords
from agent.office.store import NewCompany, OfficeStore
from agent.office.users import Users
from agent.ops.settings import Settings, load_settings

PASSWORD = "correct horse battery"
CHEAP = {"time_cost": 1, "memory_cost": 8, "parallelism": 1}
ACME = NewCompany(
    name="Acme Plumbing", trade_type="plumbing", trade_label="plumber", callout_fee="£65", numbers=("020 7946 0123",)
)
BRIGHT = NewCompany(
    name="Bright Sparks", trade_type="electrics", trade_label="electrician", callout_fee="£70",
    numbers=("0161 496 0456",),
)  # fmt: skip


class Browser:
    """Someone's browser: keeps cookies, and sends forms with the token that the console's pages hold."""

    def __init__(self, client: TestClient[Any, Any]) -> None:
        self.client = client
        self.headers = {"Accept": "text/html"}

    async def get(self, path: str, **options: Any) -> ClientResponse:
        """Ask for a page; redirects are not followed."""
        headers = self.headers | options.pop("headers", {})
        return await self.client.get(path, headers=headers, allow_redirects=False, **options)

    async def page(self, path: str) -> str:
        """The text of a page that must be there."""
        async with await self.get(path) as answer:
            assert answer.status == 200, f"{path}: {answer.status}"
            return await answer.text()

    async def page_with_cookie(self, path: str, name: str, value: str) -> str:
        """The text of a page, asked for with one more cookie."""
        async with await self.client.get(path, headers=self.headers, cookies={name: value}) as answer:
            assert answer.status == 200
            return await answer.text()

    async def csrf(self, path: str = "/login") -> str:
        """The token that a page of this browser has."""
        async with await self.get(path) as answer:
            found = re.search(r'<meta name="csrf" content="([^"]+)">', await answer.text())
        if found is None:
            async with await self.get("/account") as answer:
                found = re.search(r'<meta name="csrf" content="([^"]+)">', await answer.text())
        assert found is not None
        return found[1]

    async def post(self, path: str, data: dict[str, Any] | list[tuple[str, str]] | None = None, **options: Any) -> Any:
        """Send a form, with its token; redirects are not followed."""
        fields = list(data.items()) if isinstance(data, dict) else list(data or ())
        fields.append(("_csrf", await self.csrf()))
        headers = self.headers | options.pop("headers", {})
        return await self.client.post(path, data=fields, headers=headers, allow_redirects=False, **options)

    async def log_in(self, name: str, password: str = PASSWORD) -> ClientResponse:
        """Log in by the form."""
        answer: ClientResponse = await self.post("/login", {"name": name, "password": password})
        return answer


class Office:
    """The console under test: `store`, `parts`, the two companies' IDs, and `browser(role)`."""

    def __init__(self, parts: ConsoleParts, companies: tuple[int, int]) -> None:
        self.parts = parts
        self.store = parts.store
        self.acme, self.bright = companies
        self.clients: list[TestClient[Any, Any]] = []
        self.server: TestServer | None = None

    async def start(self, **parts: Any) -> None:
        """Serve it; `parts` of the console that are to be others."""
        self.parts = replace(self.parts, **parts)
        self.server = TestServer(console_app(self.parts), host="127.0.0.1")
        await self.server.start_server()

    async def browser(self, user: str = "") -> Browser:
        """A new browser; `user`, a role or a name, has logged in with it."""
        if self.server is None:
            await self.start()
        assert self.server is not None
        client: TestClient[Any, Any] = TestClient(self.server)
        self.clients.append(client)
        browser = Browser(client)
        if user:
            async with await browser.log_in(user) as answer:
                assert answer.status == 303, await answer.text()
        return browser

    async def close(self) -> None:
        for client in self.clients:
            await client.session.close()
        if self.server is not None:
            await self.server.close()


OfficeMaker = Callable[..., Awaitable[Office]]


@pytest.fixture
def console_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Settings]:
    """Settings of a console whose data are in a temporary directory."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    return lambda **more: load_settings(None, data_dir=tmp_path / "data", console_port=0, **more)


@dataclass(frozen=True)
class Prepared:
    """Databases that are up to date and have both companies; one has users as well."""

    with_users: Path
    without: Path
    companies: tuple[int, int]


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Made once: a test begins with a copy."""
    directory = tmp_path_factory.mktemp("console")

    async def make(path: Path, roles: tuple[str, ...]) -> tuple[int, int]:
        async with await OfficeStore.open(f"sqlite:///{path}") as store:
            users = Users(store._engine, Passwords(CHEAP))
            acme, bright = await store.add_company(ACME), await store.add_company(BRIGHT)
            for role in roles:
                await users.add(role, PASSWORD, role, [acme] if role != "admin" else [])
        return acme, bright

    with_users, without = directory / "users.sqlite3", directory / "nobody.sqlite3"
    asyncio.run(make(without, ()))
    return Prepared(with_users, without, asyncio.run(make(with_users, ROLES)))


@pytest.fixture
async def an_office(console_settings: Callable[..., Settings], prepared: Prepared) -> AsyncIterator[OfficeMaker]:
    """Makes a console: users `viewer`, `operator` (both see Acme alone) and `admin`; `users=False`: nobody yet."""
    opened: list[Office] = []

    async def make(*, users: bool = True, **settings: Any) -> Office:
        chosen = console_settings(**settings)
        chosen.data_dir.mkdir(exist_ok=True, parents=True)
        copyfile(prepared.with_users if users else prepared.without, chosen.data_dir / "office.sqlite3")
        store = await OfficeStore.open(chosen.database)
        store.users = Users(store._engine, Passwords(CHEAP))
        opened.append(Office(ConsoleParts(store, chosen), prepared.companies))
        return opened[-1]

    yield make
    for office in opened:
        await office.close()
        await office.store.close()


@pytest.fixture
async def office(an_office: OfficeMaker) -> Office:
    """Such a console with its users."""
    return await an_office()
