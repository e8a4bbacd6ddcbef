"""A PostgreSQL for all tests that want one: it starts with the first of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.office.postgres_server import NoPostgresError, PostgresServer


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
    from agent.office.database import upgrade_to_head

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
