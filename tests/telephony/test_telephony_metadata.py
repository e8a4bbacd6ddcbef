"""Metadata files: only what the script writes is believed, and nothing else is touched."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from agent.telephony import MetadataDirectory


@pytest.fixture
def directory(tmp_path: Path) -> MetadataDirectory:
    path = tmp_path / "metadata"
    path.mkdir()
    path.chmod(0o2770)
    return MetadataDirectory(path)


def write(directory: MetadataDirectory, call: UUID, mode: int = 0o640, **values: object) -> Path:
    path = directory.path / f"{call}.json"
    path.write_text(json.dumps({"uuid": str(call), "did": "02012345678"} | values))
    path.chmod(mode)
    return path


def test_a_file_is_read_and_removed(directory: MetadataDirectory) -> None:
    uuid = uuid4()
    path = write(
        directory, uuid, caller_id="07700900123", caller_name='Ann "x" Ünal\n', unique_id="1.2", linked_id="1.1"
    )
    info = directory.take(uuid)
    assert info is not None
    assert (info.did, info.caller_id, info.caller_name) == ("02012345678", "07700900123", 'Ann "x" Ünal')
    assert (info.unique_id, info.linked_id, info.source) == ("1.2", "1.1", "file")
    assert not path.exists()
    assert directory.take(uuid) is None
    assert directory.counters == {"read": 1}


@pytest.mark.parametrize(
    ("values", "mode", "reason"),
    [
        ({}, 0o644, "mode"),
        ({}, 0o660, "mode"),
        ({"uuid": "other"}, 0o640, "uuid"),
        ({"uuid": 7}, 0o640, "uuid"),
        ({"pad": "x" * 9000}, 0o640, "size"),
    ],
)
def test_a_file_that_breaks_a_rule_is_refused(
    directory: MetadataDirectory, values: dict[str, object], mode: int, reason: str
) -> None:
    uuid = uuid4()
    path = write(directory, uuid, mode, **values)
    assert directory.take(uuid) is None
    assert directory.counters == {f"bad_{reason}": 1}
    assert not path.exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 4000, "null", "\xff\xfe"])
def test_what_is_no_json_object_is_refused(directory: MetadataDirectory, text: str) -> None:
    uuid = uuid4()
    path = directory.path / f"{uuid}.json"
    path.write_bytes(text.encode("latin-1"))
    path.chmod(0o640)
    assert directory.take(uuid) is None
    assert sum(directory.counters.values()) == 1


def test_links_and_fifos_are_not_followed(directory: MetadataDirectory, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    uuid = uuid4()
    secret.write_text(json.dumps({"uuid": str(uuid)}))
    secret.chmod(0o640)
    (directory.path / f"{uuid}.json").symlink_to(secret)
    assert directory.take(uuid) is None
    assert secret.exists()
    os.mkfifo(directory.path / f"{uuid}.json", 0o640)
    assert directory.take(uuid) is None
    assert directory.counters == {"bad_unreadable": 1, "bad_kind": 1}


def test_values_that_are_no_text_are_left_out(directory: MetadataDirectory) -> None:
    uuid = uuid4()
    write(directory, uuid, did=5, caller_id=None, caller_name=["x"])
    info = directory.take(uuid)
    assert info is not None
    assert (info.did, info.caller_id, info.caller_name) == ("", "", "")


def test_orphans_alone_are_swept(directory: MetadataDirectory) -> None:
    old, fresh, uuid = uuid4(), uuid4(), uuid4()
    stale = [write(directory, old), directory.path / f".{uuid}.77.tmp", directory.path / "README"]
    for path in stale[1:]:
        path.touch()
    for path in stale:
        os.utime(path, (time.time() - 300, time.time() - 300))
    write(directory, fresh)
    assert directory.sweep() == 2
    assert sorted(entry.name for entry in directory.path.iterdir()) == sorted(["README", f"{fresh}.json"])


def test_the_directory_s_mode_is_checked(directory: MetadataDirectory, tmp_path: Path) -> None:
    assert directory.problems() == []
    directory.path.chmod(0o0755)
    assert "2770" in directory.problems()[0]
    assert "create it" in MetadataDirectory(tmp_path / "absent").problems()[0]
    assert MetadataDirectory(tmp_path / "absent").sweep() == 0
