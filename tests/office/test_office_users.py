"""Users on either database, changed from several processes at once."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from agent.office import users
from agent.office.models import User, utc_now
from agent.office.passwords import PasswordError, Passwords
from agent.office.scope import Scope
from agent.office.store import NewCompany, OfficeStore
from agent.office.users import IDLE, UserError, Users

PASSWORD = "correct horse battery"
CHEAP = {"time_cost": 1, "memory_cost": 8, "parallelism": 1}
ANOTHER_PROCESS = """
import asyncio, sys
from agent.office.database import create_engine
from agent.office.users import UserError, Users

async def main(url, what, user_id):
    users = Users(create_engine(url))
    await users.list()
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        await (users.remove(int(user_id)) if what == "remove" else users.change(int(user_id), "viewer", []))
        print("done")
    except UserError as error:
        print(error)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
async def store(database: str) -> AsyncIterator[OfficeStore]:
    async with await OfficeStore.open(database) as store:
        store.users = Users(store._engine, Passwords(CHEAP))
        yield store


async def at_once(store: OfficeStore, *commands: tuple[str, ...]) -> list[str]:
    """Have a process do each of these, all in the moment in which the users are let go of; what each of them says."""
    processes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", ANOTHER_PROCESS, *command),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        for command in commands
    ]
    for process in processes:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
    async with store.transaction() as session:
        await session.execute(select(User).with_for_update())
        said = asyncio.gather(*(process.communicate(b"\n") for process in processes))
        await asyncio.sleep(1)  # until they wait for the users: where that takes longer, the test sees less
    return [output.decode().strip() for output, _ in await said]


@pytest.mark.parametrize("what", ["demote", "remove"])
async def test_two_admins_who_do_away_with_each_other_leave_one(database: str, store: OfficeStore, what: str) -> None:
    anna = await store.users.add("anna", PASSWORD, "admin")
    bert = await store.users.add("bert", PASSWORD, "admin")
    said = await at_once(store, (database, what, str(anna.id)), (database, what, str(bert.id)))
    assert sorted(said) == ["Somebody must remain an admin: make another user one first.", "done"]
    assert [user.role for user in await store.users.list()].count("admin") == 1


async def test_neither_goes_by_what_the_other_is_about_to_change(
    database: str, store: OfficeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna = await store.users.add("anna", PASSWORD, "admin")
    bert = await store.users.add("bert", PASSWORD, "admin")
    both, keep_an_admin = asyncio.Barrier(2), users._keep_an_admin

    async def meet(session: AsyncSession) -> None:
        """Both at once, where both come so far without waiting for each other."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await both.wait()
        await keep_an_admin(session)

    monkeypatch.setattr(users, "_keep_an_admin", meet)
    async with await OfficeStore.open(database) as other:
        done = await asyncio.gather(
            store.users.change(anna.id, "viewer", []),
            other.users.change(bert.id, "viewer", []),
            return_exceptions=True,
        )
    assert [type(one) for one in done].count(UserError) == 1, done
    assert [user.role for user in await store.users.list()].count("admin") == 1


async def test_one_who_is_removed_twice_at_once_is_gone(database: str, store: OfficeStore) -> None:
    company = await store.add_company(NewCompany("Acme", "plumbing", "plumber", "£65"))
    await store.users.add("anna", PASSWORD, "admin")
    for _ in range(2):
        bert = await store.users.add("bert", PASSWORD, "viewer", [company])
        said = await at_once(store, *[(database, "remove", str(bert.id))] * 2)
        assert sorted(said) == ["There is no such user any more.", "done"]
        assert [user.name for user in await store.users.list()] == ["anna"]


async def test_an_admin_remains(store: OfficeStore) -> None:
    anna = await store.users.add("Anna", PASSWORD, "admin")
    for attempt in (store.users.change(anna.id, "operator", []), store.users.remove(anna.id)):
        with pytest.raises(UserError, match="must remain an admin"):
            await attempt
    assert [(user.name, user.role) for user in await store.users.list()] == [("anna", "admin")]
    await store.users.add("bert", PASSWORD, "admin")
    await store.users.remove(anna.id)
    assert [user.name for user in await store.users.list()] == ["bert"]


async def test_a_user_comes_goes_and_changes(store: OfficeStore) -> None:
    accounts = store.users
    acme = await store.add_company(NewCompany("Acme", "plumbing", "plumber", "£65"))
    bright = await store.add_company(NewCompany("Bright", "electrics", "electrician", "£70"))
    assert not await accounts.exist()
    viewer = await accounts.add("Vera", PASSWORD, "viewer", [acme, 12345])
    assert await accounts.exist()
    assert viewer.company_ids == {acme}
    assert (await accounts.change(viewer.id, "operator", [acme, bright])).company_ids == {acme, bright}
    assert await accounts.get(viewer.id) == await accounts.named(" VERA ")
    await store.companies.delete(bright, Scope.all())
    found = await accounts.named("vera")
    assert found is not None
    assert (found.role, set(found.company_ids)) == ("operator", {acme})
    with pytest.raises(UserError, match="already"):
        await accounts.add("vera", PASSWORD, "viewer")
    with pytest.raises(PasswordError):
        await accounts.add("will", "short", "viewer")
    with pytest.raises(UserError, match="no such user"):
        await accounts.change(viewer.id + 1, "viewer", [])


async def test_a_session_lasts_until_it_is_over(store: OfficeStore) -> None:
    accounts = store.users
    vera = await accounts.add("vera", PASSWORD, "viewer")
    assert await accounts.log_in("vera", "another password") is None
    assert await accounts.log_in("nobody", PASSWORD) is None
    begun, other = await accounts.log_in("vera", PASSWORD), await accounts.log_in("vera", PASSWORD)
    assert begun is not None
    assert other is not None
    token = begun[0]
    login = await accounts.session(token)
    assert login is not None
    assert login.account.name == "vera"
    assert await accounts.session_count(vera.id) == 2
    later = utc_now() + IDLE - timedelta(minutes=1)
    assert await accounts.session(token, now=later) is not None  # and it is used then
    assert await accounts.session(token, now=later + IDLE - timedelta(minutes=1)) is not None
    assert await accounts.session(other[0], now=later + timedelta(minutes=2)) is None
    await accounts.set_password(vera.id, "a brand new one")
    assert await accounts.session(token) is None
    assert await accounts.has_password(vera.id, "a brand new one")
    again = await accounts.log_in("vera", "a brand new one")
    assert again is not None
    await accounts.log_out(again[0])
    assert await accounts.session(again[0]) is None
