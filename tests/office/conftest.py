"""The office's tests run on both databases: SQLite, and a PostgreSQL of their own (`tests/postgres_fixtures.py`)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.office.archive import CallArchive
from agent.office.seed import seed_examples
from agent.office.store import OfficeStore

BACKENDS = ("sqlite", "postgresql")


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
