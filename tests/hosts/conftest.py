"""Several hosts: a Redis of the tests' own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts.servers import MissingProgramError, RedisServer


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """An empty Redis; skips with a reason where it cannot be had."""
    pytest.importorskip("redis", reason="redis is not installed: pip install '.[redis]'")
    try:
        server = RedisServer(tmp_path)
    except MissingProgramError as error:
        pytest.skip(str(error))
    yield server
    server.stand_still(False)
    server.kill()
