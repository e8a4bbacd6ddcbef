"""Who may use the console: users, what they may see, and the browsers they have logged in with."""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import selectinload

from agent.office.database import reading
from agent.office.models import ROLES, Company, ConsoleSession, User, utc_now
from agent.office.passwords import Passwords, check_password

IDLE = timedelta(hours=12)
"""A browser that asks nothing for so long is logged out."""
LONGEST = timedelta(days=7)
"""And any browser after this time."""
FRESH = timedelta(minutes=5)
"""How exactly it is known when a user was last seen: the database is not written to with each page."""
_NAME = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,63}")


class UserError(ValueError):
    """What cannot be done to a user; the text says why, for a person."""


@dataclass(frozen=True, slots=True)
class Account:
    """A user, as the console shows it; never the password's hash."""

    id: int
    name: str
    role: str
    company_ids: frozenset[int]
    """Whose calls and bookings it sees; of no account for an admin, who sees all."""
    created_at: datetime
    last_seen: datetime | None


@dataclass(frozen=True, slots=True)
class Login:
    """A browser that has logged in."""

    account: Account
    csrf: str
    """What each of its forms must carry."""


class Users:
    """Users and their sessions. Names are in lower case, whatever is typed."""

    def __init__(self, engine: AsyncEngine, passwords: Passwords | None = None) -> None:
        self._sessions = async_sessionmaker(engine, expire_on_commit=False)
        self._reading = async_sessionmaker(reading(engine), expire_on_commit=False)
        self._passwords = passwords or Passwords()
        self._changing = asyncio.Lock()

    # -- users -------------------------------------------------------------------------------------------------------

    async def exist(self) -> bool:
        """Whether there is any user."""
        async with self._reading() as session:
            return await session.scalar(select(User.id).limit(1)) is not None

    async def list(self) -> list[Account]:
        """All users, by name."""
        async with self._reading() as session:
            users = await session.scalars(select(User).options(selectinload(User.companies)).order_by(User.name))
            return [_account(user) for user in users]

    async def get(self, user_id: int) -> Account | None:
        """The user of that ID."""
        async with self._reading() as session:
            user = await session.get(User, user_id, options=[selectinload(User.companies)])
            return _account(user) if user is not None else None

    async def named(self, name: str) -> Account | None:
        """The user of that name."""
        async with self._reading() as session:
            user = await session.scalar(
                select(User).options(selectinload(User.companies)).where(User.name == name.strip().lower())
            )
            return _account(user) if user is not None else None

    async def add(self, name: str, password: str, role: str, company_ids: Iterable[int] = ()) -> Account:
        """Add a user. Raises `UserError`, `PasswordError` or `Busy`."""
        name = check_name(name)
        _check_role(role)
        check_password(password, name)
        kept = await self._passwords.hash(password)
        try:
            async with self._changing, self._sessions.begin() as session:
                user = User(name=name, password_hash=kept, role=role)
                user.companies = await _companies(session, company_ids)
                session.add(user)
        except IntegrityError as error:
            raise UserError(f"There is a user {name} already.") from error
        return _account(user)

    async def change(self, user_id: int, role: str, company_ids: Iterable[int]) -> Account:
        """Give a user another role and other companies. Raises `UserError`, also where no admin would be left."""
        _check_role(role)
        try:
            async with self._changing, self._sessions.begin() as session:
                await _lock_admins(session)
                user = await _user(session, user_id)
                was_admin, user.role = user.role == "admin", role
                user.companies = await _companies(session, company_ids)
                await session.flush()
                if was_admin:
                    await _keep_an_admin(session)
        except IntegrityError as error:
            raise UserError("One of these companies was taken away in this moment: look again.") from error
        return _account(user)

    async def set_password(self, user_id: int, password: str, *, but: str = "") -> None:
        """Give a user another password and end its sessions, except the one of the token `but`.

        Raises `UserError`, `PasswordError` or `Busy`.
        """
        account = await self.get(user_id)
        if account is None:
            raise UserError("There is no such user any more.")
        check_password(password, account.name)
        kept = await self._passwords.hash(password)
        async with self._changing, self._sessions.begin() as session:
            (await _user(session, user_id)).password_hash = kept
            await _end(session, user_id, but)

    async def remove(self, user_id: int) -> None:
        """Take a user away, and log it out everywhere. Raises `UserError`, also for the last admin."""
        async with self._changing, self._sessions.begin() as session:
            await _lock_admins(session)
            user = await _user(session, user_id)
            await _end(session, user_id)
            await session.delete(user)
            await session.flush()
            if user.role == "admin":
                await _keep_an_admin(session)

    async def has_password(self, user_id: int, password: str) -> bool:
        """Whether this is the user's password. Raises `Busy`."""
        async with self._reading() as session:
            kept = await session.scalar(select(User.password_hash).where(User.id == user_id))
        return await self._passwords.is_right(kept, password)

    # -- sessions ----------------------------------------------------------------------------------------------------

    async def log_in(self, name: str, password: str, *, instead_of: str = "") -> tuple[str, Account] | None:
        """Begin a session: its token, for the cookie, and whose it is; None when name or password is wrong.

        An unknown name costs the same work. The session of the token `instead_of` ends, if there is one. Raises `Busy`.
        """
        async with self._reading() as session:
            found = (
                await session.execute(select(User.id, User.password_hash).where(User.name == name.strip().lower()))
            ).one_or_none()
        right = await self._passwords.is_right(found.password_hash if found else None, password)
        if found is None or not right:
            return None
        kept: str = found.password_hash
        renewed = await self._passwords.hash(password) if self._passwords.is_outdated(kept) else None
        return await self._begin(found.id, kept, renewed, instead_of)

    async def _begin(
        self, user_id: int, kept: str, renewed: str | None, instead_of: str = ""
    ) -> tuple[str, Account] | None:
        token, moment = secrets.token_urlsafe(32), utc_now()
        async with self._sessions.begin() as session:
            user = await session.get(User, user_id, options=[selectinload(User.companies)])
            if user is None or user.password_hash != kept:
                return None  # removed, or given another password, while this one was checked
            user.password_hash = renewed or kept
            user.last_seen = moment
            await session.execute(
                delete(ConsoleSession).where(
                    (ConsoleSession.expires_at <= moment) | (ConsoleSession.token_hash == _hash(instead_of))
                )
            )
            session.add(
                ConsoleSession(
                    token_hash=_hash(token),
                    user_id=user_id,
                    csrf=secrets.token_urlsafe(32),
                    created_at=moment,
                    expires_at=moment + IDLE,
                )
            )
        return token, _account(user)

    async def session(self, token: str, *, now: datetime | None = None, use: bool = True) -> Login | None:
        """Whose session this token is; None when it is none, or over. `use`: and it was used just now."""
        if not token:
            return None
        moment = now or utc_now()
        async with self._reading() as session:
            found = (
                await session.execute(
                    select(ConsoleSession, User)
                    .join(User, User.id == ConsoleSession.user_id)
                    .options(selectinload(User.companies))
                    .where(ConsoleSession.token_hash == _hash(token), ConsoleSession.expires_at > moment)
                )
            ).one_or_none()
        if found is None:
            return None
        kept, user = found
        expires_at = min(moment + IDLE, kept.created_at + LONGEST)
        if use and expires_at - kept.expires_at >= FRESH:
            await self._seen(kept.token_hash, expires_at, user.id, moment)
        return Login(_account(user), kept.csrf)

    async def _seen(self, token_hash: str, expires_at: datetime, user_id: int, moment: datetime) -> None:
        async with self._sessions.begin() as session:
            kept = await session.get(ConsoleSession, token_hash)
            user = await session.get(User, user_id)
            if kept is not None and user is not None:
                kept.expires_at, user.last_seen = expires_at, moment

    async def log_out(self, token: str) -> None:
        """End the session of this token."""
        async with self._sessions.begin() as session:
            await session.execute(delete(ConsoleSession).where(ConsoleSession.token_hash == _hash(token)))

    async def log_out_everywhere(self, user_id: int, *, but: str = "") -> None:
        """End every session of a user, except the one of the token `but`."""
        async with self._sessions.begin() as session:
            await _end(session, user_id, but)

    async def session_count(self, user_id: int) -> int:
        """Browsers in which a user is logged in."""
        async with self._reading() as session:
            query = (
                select(func.count())
                .select_from(ConsoleSession)
                .where(ConsoleSession.user_id == user_id, ConsoleSession.expires_at > utc_now())
            )
            return await session.scalar(query) or 0


def check_name(name: str) -> str:
    """A user's name in lower case. Raises `UserError` when it cannot be one."""
    name = name.strip().lower()
    if not _NAME.fullmatch(name):
        raise UserError("A name has 1 to 64 letters, digits or . _ @ + - and begins with a letter or digit.")
    return name


def _check_role(role: str) -> None:
    if role not in ROLES:
        raise UserError(f"A role is one of {', '.join(ROLES)}.")


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _account(user: User) -> Account:
    return Account(
        user.id, user.name, user.role, frozenset(company.id for company in user.companies), user.created_at,
        user.last_seen,
    )  # fmt: skip


async def _user(session: AsyncSession, user_id: int) -> User:
    """The user, whom nobody else changes until the transaction is over. Raises `UserError`."""
    user = await session.get(User, user_id, options=[selectinload(User.companies)], with_for_update=True)
    if user is None:
        raise UserError("There is no such user any more.")
    return user


async def _companies(session: AsyncSession, ids: Iterable[int]) -> list[Company]:
    return list(await session.scalars(select(Company).where(Company.id.in_(list(ids))).order_by(Company.name)))


async def _end(session: AsyncSession, user_id: int, but: str = "") -> None:
    others = (ConsoleSession.user_id == user_id) & (ConsoleSession.token_hash != _hash(but))
    await session.execute(delete(ConsoleSession).where(others))


async def _lock_admins(session: AsyncSession) -> None:
    """Let nobody else change an admin until the transaction is over.

    Everybody locks them first and in one order: two admins who demote each other at once wait for each other in a line,
    and not in a ring. SQLite has one writer at a time anyhow.
    """
    await session.execute(select(User.id).where(User.role == "admin").order_by(User.id).with_for_update())


async def _keep_an_admin(session: AsyncSession) -> None:
    """Raise `UserError`, which undoes the change, unless an admin is left."""
    if await session.scalar(select(User.id).where(User.role == "admin").limit(1)) is None:
        raise UserError("Somebody must remain an admin: make another user one first.")
