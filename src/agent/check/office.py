"""The back office: its database, who may log in, whose calls are answered, and what waits to be sent.

Nothing is written: a database that is not there yet, or of an older version, is left as it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from pathlib import Path

from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from agent.check.finding import Findings, error, ok, warning
from agent.check.subject import Subject
from agent.office.database import DatabaseError, database_url, migration_config, unusable
from agent.office.models import Company, Number, User
from agent.tools.outbox.table import FILE

STUCK_S = 900.0
"""A booking that waits longer has its alert by then."""


async def database(subject: Subject) -> Findings:
    """It can be connected to, and its schema is one that this version knows."""
    settings = subject.settings
    try:
        url = database_url(settings.database)
    except DatabaseError as problem:
        yield error("database", str(problem), "mend DATABASE_URL")
        return
    sqlite = url.get_backend_name() == "sqlite"
    if sqlite and url.database and not await asyncio.to_thread(Path(url.database).exists):
        yield ok("database", f"{url.database} will be made when the agent starts")
        yield warning(
            "companies",
            "there is no company yet: every call is answered as Home Services",
            "start the agent, and add your company in the console (or serve --seed for two examples)",
        )
        return
    engine = _engine(url)
    try:
        async with engine.connect() as connection:
            state = await connection.run_sync(_schema)
            if state == "newer":
                yield error(
                    "database",
                    "the database is of a newer version of this program",
                    "install that version again, or put a backup back: docs/back-office.md",
                )
                return
            where = "SQLite" if sqlite else "PostgreSQL"
            if state == "older":
                yield ok("database", f"{where}: connected; the next start brings its schema up to date")
                return
            yield ok("database", f"{where}: connected, its schema is this version's")
            async for finding in _people(connection, console=settings.console):
                yield finding
            async for finding in _companies(connection, own=not settings.context_api_url):
                yield finding
    except (OSError, SQLAlchemyError, sqlite3.Error) as problem:
        yield error("database", str(unusable(settings.database, problem)), "see that it runs, and who may connect")
    finally:
        await engine.dispose()


def _engine(url: URL) -> AsyncEngine:
    """One that may not write where that is SQLite's: a check as root must leave no file that the agent cannot open."""
    if url.get_backend_name() == "sqlite":
        url = url.set(database=f"file:{url.database}", query={"mode": "ro", "uri": "true"})
    return create_async_engine(url, hide_parameters=True)


async def company_voices(subject: Subject) -> list[str]:
    """The voices that companies have of their own; none where the database cannot be read."""
    try:
        engine = _engine(database_url(subject.settings.database))
    except DatabaseError:
        return []
    try:
        async with engine.connect() as connection:
            if await connection.run_sync(_schema) != "head":
                return []
            return list(await connection.scalars(select(Company.voice_id).distinct().where(Company.voice_id != "")))
    except (OSError, SQLAlchemyError, sqlite3.Error):
        return []  # what is wrong with it is told by `database`
    finally:
        await engine.dispose()


def _schema(connection: Connection) -> str:
    script = ScriptDirectory.from_config(migration_config(connection))
    revision = MigrationContext.configure(connection).get_current_revision()
    if revision == script.get_current_head():
        return "head"
    known = {each.revision for each in script.walk_revisions()}
    return "older" if revision is None or revision in known else "newer"


async def _people(connection: AsyncConnection, *, console: bool) -> Findings:
    if not console:
        return
    users = await connection.scalar(select(func.count()).select_from(User)) or 0
    admins = await connection.scalar(select(func.count()).select_from(User).where(User.role == "admin")) or 0
    if not admins:
        yield warning(
            "console-users",
            "nobody can log in to the console yet",
            "voice-agent user add NAME --role admin; or follow the link that serve prints",
        )
    else:
        yield ok("console-users", f"{users} may log in to the console, {admins} of them as admin")


async def _companies(connection: AsyncConnection, *, own: bool) -> Findings:
    if not own:
        return
    companies = await connection.scalar(select(func.count()).select_from(Company)) or 0
    numbers = await connection.scalar(select(func.count()).select_from(Number)) or 0
    if not companies or not numbers:
        yield warning(
            "companies",
            f"{companies} companies, {numbers} numbers: every call is answered as Home Services",
            "add your company and its numbers in the console, under Companies",
        )
        return
    yield ok("companies", f"{companies} companies with {numbers} numbers")
    with_numbers = select(Number.company_id)
    without = (
        await connection.scalar(select(func.count()).select_from(Company).where(Company.id.not_in(with_numbers))) or 0
    )
    if without:
        yield warning(
            "company-numbers",
            f"{without} companies have no number: no call reaches them",
            "add their numbers in the console",
        )
    targets = await connection.scalars(select(Company.transfer_targets))
    if untransferable := sum(1 for each in targets if not each):
        yield warning(
            "transfer-targets",
            f"{untransferable} companies have no transfer target: nobody takes a caller who asks for a person",
            "name extensions of voice-agent-transfer in the console, under Companies",
        )


async def outbox(subject: Subject) -> Findings:
    """What waits for a person, or for too long."""
    path = subject.settings.data_dir / FILE
    if not path.exists():
        yield ok("outbox", "nothing was ever kept")
        return
    try:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=1.0)) as kept:
            rows = kept.execute("SELECT kind, state, count(*), min(made_at) FROM rows GROUP BY kind, state").fetchall()
    except sqlite3.Error as problem:
        yield error(
            "outbox", f"{path} cannot be read: {problem}", "bookings cannot be kept: see who may read and write it"
        )
        return
    booked = {state: (number, made_at) for kind, state, number, made_at in rows if kind == "booking"}
    person = sum(booked[state][0] for state in ("refused", "uncertain") if state in booked)
    waiting, oldest = booked.get("waiting", (0, 0.0))
    if person:
        yield warning(
            "outbox",
            f"{person} bookings wait for a person: refused or uncertain",
            "voice-agent outbox lists them; docs/bookings.md",
        )
    if waiting and time.time() - oldest > STUCK_S:
        yield warning(
            "outbox-waiting",
            f"{waiting} bookings are not accepted yet, the oldest for {(time.time() - oldest) / 60:.0f} minutes",
            "voice-agent outbox shows why; see BOOKING_API_URL and BOOKING_API_KEY, and that the agent runs",
        )
    elif not person:
        yield ok("outbox", f"{waiting} bookings under way, none that waits for a person")
    lost = sum(number for kind, state, number, _ in rows if kind in ("webhook", "mail") and state == "refused")
    if lost:
        yield warning(
            "notices", f"{lost} webhooks or mails were given up", "voice-agent outbox --all shows why; docs/notices.md"
        )


async def retention(subject: Subject) -> Findings:
    """What is kept of callers goes some day."""
    days = subject.settings.retention_days
    if not days:
        yield warning(
            "retention",
            "RETENTION_DAYS is 0: transcripts, recordings and numbers are kept for ever",
            "set it to as many days as you need them and may keep them",
        )
    else:
        yield ok("retention", f"what calls leave is erased after {days} days")
