"""`voice-agent user`: who may log in to the console, from the command line."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Sequence

from agent.office.passwords import PasswordError
from agent.office.store import OfficeStore
from agent.office.users import Account, UserError
from agent.ops.settings import Settings


def read_password(from_stdin: bool) -> str:
    """Ask for a new password, twice, or take the first line of the standard input. Raises `PasswordError`."""
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise PasswordError("There is no terminal to ask for the password: give it by --password-stdin.")
    password = getpass.getpass("password: ")
    if getpass.getpass("password again: ") != password:
        raise PasswordError("The two passwords are not the same.")
    return password


async def add_user(settings: Settings, name: str, role: str, companies: Sequence[str], password: str) -> str:
    """Add a user who sees `companies`, by their names; returns what to say. Raises `UserError`, `PasswordError`."""
    async with await _open(settings) as store:
        ids = {company.name.lower(): company.id for company, _ in await store.list_companies()}
        unknown = [company for company in companies if company.lower() not in ids]
        if unknown:
            known = ", ".join(sorted(ids)) or "none"
            raise UserError(f"There is no company {unknown[0]!r}; there are: {known}.")
        account = await store.users.add(name, password, role, [ids[company.lower()] for company in companies])
        return f"{account.name} can log in now, as {account.role}"


async def list_users(settings: Settings) -> str:
    """Everybody, one a line: name, role, companies, when last seen."""
    async with await _open(settings) as store:
        names = {company.id: company.name for company, _ in await store.list_companies()}
        lines = []
        for account in await store.users.list():
            theirs = sorted(names[company_id] for company_id in account.company_ids if company_id in names)
            sees = "all companies" if account.role == "admin" else ", ".join(theirs) or "no company"
            seen = f"{account.last_seen:%Y-%m-%d %H:%M} UTC" if account.last_seen else "never"
            lines.append(f"{account.name:<24} {account.role:<9} {seen:<21} {sees}")
        return "\n".join(lines) or "nobody can log in yet: voice-agent user add NAME --role admin"


async def change_password(settings: Settings, name: str, password: str) -> str:
    """Give a user another password and log them out everywhere. Raises `UserError` or `PasswordError`."""
    async with await _open(settings) as store:
        account = await _named(store, name)
        await store.users.set_password(account.id, password)
        return f"{account.name} has a new password, and is logged out everywhere"


async def remove_user(settings: Settings, name: str) -> str:
    """Take a user away. Raises `UserError`, also for the last admin."""
    async with await _open(settings) as store:
        account = await _named(store, name)
        await store.users.remove(account.id)
        return f"{account.name} is removed"


async def _open(settings: Settings) -> OfficeStore:
    return await OfficeStore.open(settings.database, region=settings.default_region, timezone=settings.default_timezone)


async def _named(store: OfficeStore, name: str) -> Account:
    account = await store.users.named(name)
    if account is None:
        known = ", ".join(account.name for account in await store.users.list()) or "nobody yet"
        raise UserError(f"There is no user {name!r}; there are: {known}.")
    return account
