"""What an installation has for Asterisk and systemd: the same bytes as the repository's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.setup import asterisk_files, files, systemd_files

REPOSITORY = Path(__file__).resolve().parents[2]


def test_asterisks_files_are_those_of_the_repository() -> None:
    for path in (REPOSITORY / "asterisk").rglob("*"):
        if path.is_file() and path.suffix in (".conf", ".agi"):
            name = path.relative_to(REPOSITORY / "asterisk")
            assert (asterisk_files() / name).read_bytes() == path.read_bytes(), name


def test_the_units_are_those_of_the_repository() -> None:
    names = {path.name for path in (REPOSITORY / "deploy/systemd").iterdir()}
    assert names == {"voice-agent.service", "voice-agent@.service", "voice-agent-user.service"}
    for name in names:
        assert (systemd_files() / name).read_bytes() == (REPOSITORY / "deploy/systemd" / name).read_bytes()


def test_an_installation_without_them_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(files, "_HERE", tmp_path)
    monkeypatch.setattr(files, "_CLONE", tmp_path)
    for of in (asterisk_files, systemd_files):
        with pytest.raises(FileNotFoundError, match="install the package again"):
            of()
