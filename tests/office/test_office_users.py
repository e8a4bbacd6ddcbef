"""Users on either database, changed from several processes at once."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from agent.office.models import utc_now
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


async def at_once(*commands: tuple[str, ...]) -> list[str]:
    """Have a process do each of these, all in one moment; what each of them says."""
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
    return [output.decode().strip() for output, _ in await asyncio.gather(*(p.communicate(b"\n") for p in processes))]


@pytest.mark.parametrize("what", ["demote", "remove"])
async def test_two_admins_who_do_away_with_each_other_leave_one(database: str, store: OfficeStore, what: str) -> None:
    for turn in range(3):
        anna = await store.users.named("anna") or await store.users.add("anna", PASSWORD, "admin")
        bert = await store.users.named("bert") or await store.users.add("bert", PASSWORD, "admin")
        await store.users.change(anna.id, "admin", [])
        await store.users.change(bert.id, "admin", [])
        said = await at_once((database, what, str(anna.id)), (database, what, str(bert.id)))
        assert sorted(said) == ["Somebody must remain an admin: make another user one first.", "done"], turn
        assert [user.role for user in await store.users.list()].count("admin") == 1


async def test_one_who_is_removed_twice_at_once_is_gone(database: str, store: OfficeStore) -> None:
    company = await store.add_company(NewCompany("Acme", "plumbing", "plumber", "£65"))
    await store.users.add("anna", PASSWORD, "admin")
    for _ in range(3):
        bert = await store.users.add("bert", PASSWORD, "viewer", [company])
        said = await at_once(*[(database, "remove", str(bert.id))] * 2)
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
    users = store.users
    acme = await store.add_company(NewCompany("Acme", "plumbing", "plumber", "£65"))
    bright = await store.add_company(NewCompany("Bright", "electrics", "electrician", "£70"))
    assert not await users.exist()
    viewer = await users.add("Vera", PASSWORD, "viewer", [acme, 12345])
    assert await users.exist()
    assert viewer.company_ids == {acme}
    assert (await users.change(viewer.id, "operator", [acme, bright])).company_ids == {acme, bright}
    assert await users.get(viewer.id) == await users.named(" VERA ")
    await store.companies.delete(bright, Scope.all())
    found = await users.named("vera")
    assert found is not None
    assert (found.role, set(found.company_ids)) == ("operator", {acme})
    with pytest.raises(UserError, match="already"):
        await users.add("vera", PASSWORD, "viewer")
    with pytest.raises(PasswordError):
        await users.add("will", "short", "viewer")
    with pytest.raises(UserError, match="no such user"):
        await users.change(viewer.id + 1, "viewer", [])


async def test_a_session_lasts_until_it_is_over(store: OfficeStore) -> None:
    users = store.users
    vera = await users.add("vera", PASSWORD, "viewer")
    assert await users.log_in("vera", "another password") is None
    assert await users.log_in("nobody", PASSWORD) is None
    begun, other = await users.log_in("vera", PASSWORD), await users.log_in("vera", PASSWORD)
    assert begun is not None
    assert other is not None
    token = begun[0]
    login = await users.session(token)
    assert login is not None
    assert login.account.name == "vera"
    assert await users.session_count(vera.id) == 2
    later = utc_now() + IDLE - timedelta(minutes=1)
    assert await users.session(token, now=later) is not None  # and it is used then
    assert await users.session(token, now=later + IDLE - timedelta(minutes=1)) is not None
    assert await users.session(other[0], now=later + timedelta(minutes=2)) is None
    await users.set_password(vera.id, "a brand new one")
    assert await users.session(token) is None
    assert await users.has_password(vera.id, "a brand new one")
    again = await users.log_in("vera", "a brand new one")
    assert again is not None
    await users.log_out(again[0])
    assert await users.session(again[0]) is None
