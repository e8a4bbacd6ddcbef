"""What `make wheels` makes of the Pythons that a host has; that it builds is seen by running it."""

from __future__ import annotations

import importlib.util
import sys
import tarfile
from pathlib import Path
from types import ModuleType

import pytest

BUILDER = Path(__file__).resolve().parents[2] / "deploy/wheels/build.py"


@pytest.fixture(scope="module")
def builder() -> ModuleType:
    spec = importlib.util.spec_from_file_location("wheel_builder", BUILDER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


def test_a_python_is_what_it_says_it_is(builder: ModuleType, tmp_path: Path) -> None:
    other = "3.11" if sys.version_info[:2] != (3, 11) else "3.12"
    assert not builder._can_build(sys.executable, other)
    assert not builder._can_build(str(tmp_path / "python"), "3.11")
    assert dict(builder._at_hand(["3.99"])) == {}


def test_the_sdist_is_unpacked_by_a_python_that_knows_no_filters(
    builder: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/pyproject.toml").write_text("[project]")
    with tarfile.open(tmp_path / "tree.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "tree", "tree")
    itself = tarfile.TarFile.extractall

    def of_debian_12(archive: tarfile.TarFile, path: Path) -> None:
        """As Python 3.11.2 has it: there is no argument `filter`."""
        itself(archive, path)

    monkeypatch.delattr(tarfile, "data_filter", raising=False)
    monkeypatch.setattr(tarfile.TarFile, "extractall", of_debian_12)
    tree = builder._unpacked(tmp_path / "tree.tar.gz", tmp_path / "out")
    assert (tree / "pyproject.toml").read_text() == "[project]"


def test_pythons_are_looked_for_where_they_are_kept(
    builder: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in (".pyenv/versions/3.12.1/bin/python", ".local/share/uv/python/cpython-3.12.9-linux/bin/python3.12"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    found = [path for path in builder._candidates("3.12") if path.startswith(str(tmp_path))]
    assert [Path(path).name for path in found] == ["python", "python3.12"]


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["built", "skipped: not at hand"], 0),
        (["skipped: not at hand"], 1),
        (["built", "FAILED: cc ended with 1"], 1),
        (["built, and tried in a clean environment"] * 3, 0),
    ],
)
def test_what_was_skipped_is_said_and_what_failed_is_an_error(
    builder: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], status: int
) -> None:
    (tmp_path / "a.whl").touch()
    results = [
        builder.Result(f"3.1{number}", tmp_path / "a.whl" if text.startswith("built") else None, text)
        for number, text in enumerate(words)
    ]
    assert builder._sum_up(results) == status
    said = capsys.readouterr().out
    assert all(text in said for text in words)
