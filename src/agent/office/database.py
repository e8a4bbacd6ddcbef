"""Opening the back office's database: SQLite by default, PostgreSQL by URL; migrated before first use."""

from __future__ import annotations

import importlib.util
import sqlite3
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError
from sqlalchemy import Connection, event, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from agent.office.models import Base
from agent.office.query_times import QUERY_TIMES
from agent.ops.sqlite_file import make_sqlite_file
from fastaudio.extras import how_to_install

MIGRATIONS = Path(__file__).parent / "migrations"
BUSY_SECONDS = 5.0
"""How long a writer waits for another one before SQLite gives up."""
_MIGRATION_LOCK = 0x766F6963
"""Key of the PostgreSQL advisory lock held while migrating: several hosts may start at once."""
CALL_WORDS, BOOKING_WORDS = SEARCH_INDEXES = ("call_words", "booking_words")
"""What each database has of its own for finding calls and bookings, in the migrations and not in the models, begins
so."""
_ASYNC_DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "postgresql": "postgresql+asyncpg",
    "postgres": "postgresql+asyncpg",
}


class DatabaseError(RuntimeError):
    """The database cannot be used; the text says which, why, and what would do."""


def database_url(url: str) -> URL:
    """Parse `url` and give it an asyncio driver where it names none.

    Raises `DatabaseError` when it is no URL or its driver is not installed.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise DatabaseError(
            "DATABASE_URL is no database URL; write for example sqlite:////var/lib/voice-agent/office.sqlite3 "
            "or postgresql://user:password@host/office"
        ) from error
    parsed = parsed.set(drivername=_ASYNC_DRIVERS.get(parsed.drivername, parsed.drivername))
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise DatabaseError(f"DATABASE_URL asks for {parsed.drivername}: the back office knows SQLite and PostgreSQL")
    driver = parsed.drivername.partition("+")[2]
    if not driver or importlib.util.find_spec(driver) is None:
        raise DatabaseError(
            f"DATABASE_URL asks for {parsed.drivername}, whose driver {driver or '(none)'} is not installed: "
            f"for PostgreSQL {how_to_install('postgres')}"
        )
    return parsed


def create_engine(url: str) -> AsyncEngine:
    """Return an engine for `url`. A new SQLite file is readable by its owner alone: it holds people's addresses.

    Errors do not repeat the values of a statement: they may be names and numbers, and errors reach the log.
    """
    parsed = database_url(url)
    if parsed.get_backend_name() != "sqlite":
        # To compile a query, or to start workers for it, takes longer than any of ours; and cores are for calls.
        settings = {"jit": "off", "max_parallel_workers_per_gather": "0"}
        arguments = {"server_settings": settings} if parsed.drivername == "postgresql+asyncpg" else {}
        engine = create_async_engine(parsed, pool_pre_ping=True, hide_parameters=True, connect_args=arguments)
        QUERY_TIMES.watch(engine)
        return engine
    if parsed.database and parsed.database != ":memory:":
        make_sqlite_file(Path(parsed.database), BUSY_SECONDS)
    # SQLite has one writer at a time, and lets those who wait poll: within the process they wait in a line instead.
    engine = _sqlite_engine(parsed, pool_size=1, max_overflow=0)
    if parsed.database and parsed.database != ":memory:":
        _readers[engine] = _sqlite_engine(parsed, execution_options={"reading": True})
    return engine


_readers: WeakKeyDictionary[AsyncEngine, AsyncEngine] = WeakKeyDictionary()
"""By a SQLite file's engine: the one with the connections that only read. They never wait for a writer."""


def _sqlite_engine(url: URL, **options: Any) -> AsyncEngine:
    engine = create_async_engine(url, hide_parameters=True, connect_args={"timeout": BUSY_SECONDS}, **options)
    event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    event.listen(engine.sync_engine, "begin", _begin_immediate)
    QUERY_TIMES.watch(engine)
    return engine


async def close_engine(engine: AsyncEngine) -> None:
    """Close every connection of an engine, those that only read included."""
    for each in (engine, reading(engine)):
        await each.dispose()


async def upgrade_to_head(url: str) -> None:
    """Bring the schema of the database at `url` up to date. Several processes may do so at once."""
    engine = create_engine(url)
    try:
        await upgrade_engine(engine)
    finally:
        await close_engine(engine)


def unusable(url: str, error: OSError | SQLAlchemyError | sqlite3.Error | CommandError) -> DatabaseError:
    """Say which database cannot be used and why, without its password or a statement's values."""
    parsed = database_url(url)
    where = parsed.database if parsed.get_backend_name() == "sqlite" else parsed.render_as_string(hide_password=True)
    reason = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(error, CommandError):  # its schema has a revision that is not among ours
        return DatabaseError(f"the database {where} is of a newer version of this program: install that, or a backup")
    return DatabaseError(f"the database {where} cannot be used: {reason}; DATABASE_URL and DATA_DIR say where it is")


async def upgrade_engine(engine: AsyncEngine) -> None:
    """Bring the schema behind `engine` up to date, in one transaction."""
    async with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        await connection.run_sync(_upgrade)


def reading(engine: AsyncEngine) -> AsyncEngine:
    """Return the engine for transactions that only read: on SQLite they neither wait for a writer nor stop one."""
    return _readers.get(engine) or engine.execution_options(reading=True)


def insert_into(dialect: str, table: type[Base]) -> sqlite.Insert | postgresql.Insert:
    """Return an INSERT that can say what is done about a row that is there already: each dialect has its own.

    With `excluded` it is to be kept: that is a copy of the table, of thousands of objects that hold each other, which
    stay until the garbage collector comes by.
    """
    return sqlite.insert(table) if dialect == "sqlite" else postgresql.insert(table)


def is_in_models(name: str | None, kind: str, _parents: object) -> bool:
    """Alembic's `include_name`: whether the models tell of a table or an index of this name."""
    return kind not in ("table", "index") or not (name or "").startswith(SEARCH_INDEXES)


def migration_config(connection: Connection) -> Config:
    """Return Alembic's configuration for the packaged migrations over an open connection."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _upgrade(connection: Connection) -> None:
    command.upgrade(migration_config(connection), "head")


def _prepare_sqlite(connection: Any, _record: object) -> None:
    # The driver's own transactions begin too late and commit before DDL; ours begin where SQLAlchemy says.
    connection.isolation_level = None
    cursor = connection.cursor()
    # Who was told of a booking may rely on it: NORMAL would let a power cut take back what was answered.
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    # Names and numbers that are erased are overwritten.
    cursor.execute("PRAGMA secure_delete=ON")
    cursor.close()


def _begin_immediate(connection: Connection) -> None:
    # A transaction that reads first and writes later fails at once when another one wrote in between; one that
    # takes the write lock at its beginning waits for it instead.
    only_reads = connection.get_execution_options().get("reading", False)
    connection.exec_driver_sql("BEGIN" if only_reads else "BEGIN IMMEDIATE")
