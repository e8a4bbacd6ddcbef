"""Whose the files are that an administrator's command makes before the service does."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from agent.ops.sqlite_file import make_sqlite_file

SERVICE = 54321


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_what_root_makes_in_the_service_s_directory_is_the_service_s(tmp_path: Path) -> None:
    os.chown(tmp_path, SERVICE, SERVICE)
    database = tmp_path / "office.sqlite3"
    make_sqlite_file(database, 1.0)
    state = database.stat()
    assert (state.st_uid, state.st_gid, state.st_mode & 0o777) == (SERVICE, SERVICE, 0o600)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_what_is_there_already_is_not_given_away(tmp_path: Path) -> None:
    os.chown(tmp_path, SERVICE, SERVICE)
    other = tmp_path / "other"
    sqlite3.connect(other).close()
    other.touch()
    (tmp_path / "office.sqlite3").symlink_to(other)
    make_sqlite_file(tmp_path / "office.sqlite3", 1.0)
    assert other.stat().st_uid == 0


def test_a_file_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        make_sqlite_file(tmp_path, 1.0)
