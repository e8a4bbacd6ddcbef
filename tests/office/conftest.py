"""The office's tests run on both databases: SQLite, and a PostgreSQL of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from agent.office.archive import CallArchive
from agent.office.database import upgrade_to_head
from agent.office.seed import seed_examples
from agent.office.store import OfficeStore
from tests.office.postgres_server import NoPostgresError, PostgresServer

BACKENDS = ("sqlite", "postgresql")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL for the whole run; skips with a reason where it cannot be had."""
    pytest.importorskip("asyncpg", reason="asyncpg is not installed: pip install '.[postgres]'")
    try:
        server = PostgresServer()
    except NoPostgresError as error:
        pytest.skip(str(error))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def postgres_template(postgres_server: PostgresServer) -> str:
    """The name of a database that is up to date and empty."""
    url = postgres_server.new_database()
    asyncio.run(upgrade_to_head(url))
    return url.rpartition("/")[2]


@pytest.fixture
def postgres_url(postgres_server: PostgresServer, postgres_template: str) -> Iterator[str]:
    """The URL of a database of this test's own, up to date and empty."""
    url = postgres_server.new_database(postgres_template)
    yield url
    postgres_server.drop_database(url)


@pytest.fixture
def bare_postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of a database without a table."""
    url = postgres_server.new_database()
    yield url
    postgres_server.drop_database(url)


def sqlite_url(directory: Path) -> str:
    """The URL of a SQLite database in a directory."""
    return f"sqlite:///{directory / 'office.sqlite3'}"


@pytest.fixture(params=BACKENDS)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database of this test's own, on each backend in turn; perhaps without tables yet."""
    if request.param == "sqlite":
        return sqlite_url(tmp_path)
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture(params=BACKENDS)
def bare_database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database without a table, on each backend in turn."""
    return sqlite_url(tmp_path) if request.param == "sqlite" else str(request.getfixturevalue("bare_postgres_url"))


@pytest.fixture
async def store(database: str) -> AsyncIterator[OfficeStore]:
    """An office with the example companies, on each backend in turn."""
    async with await OfficeStore.open(database) as store:
        await seed_examples(store)
        yield store


@pytest.fixture
def archive(store: OfficeStore) -> CallArchive:
    """Its calls."""
    return store.archive
