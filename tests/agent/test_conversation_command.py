"""`voice-agent conversation`: what a user sees who checks or copies one."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from agent.cli import app
from agent.ops.settings import Settings


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["conversation", *arguments])
    return result.exit_code, result.output


def test_what_is_shown() -> None:
    status, output = run("dentist")
    assert status == 0
    assert "dentist: Dentist's reception, en-GB" in output
    assert "book_appointment(patient_name, date_of_birth, " in output
    assert "Practice: Example Ltd" in output
    assert "home_services: Home services" in run()[1]


def test_a_copy_to_begin_with(tmp_path: Path) -> None:
    target = tmp_path / "desk"
    status, output = run("dentist", "--copy", str(target))
    assert status == 0
    assert output.startswith("desk: Dentist's reception")
    assert sorted(path.name for path in target.iterdir() if path.is_file()) == [
        "conversation.toml", "prompt.md", "tools.py",
    ]  # fmt: skip
    status, output = run("dentist", "--copy", str(target))
    assert status == 2
    assert "File exists" in output
    assert (
        "there is no conversation 'dentis' to copy; there are dentist"
        in run("dentis", "--copy", str(tmp_path / "x"))[1]
    )


def test_mistakes_are_shown_and_change_the_exit_status(tmp_path: Path) -> None:
    run("home_services", "--copy", str(tmp_path / "desk"))
    file = tmp_path / "desk" / "conversation.toml"
    file.write_text(file.read_text("utf-8").replace("goodbye =", "goodby ="), "utf-8")
    status, output = run(str(tmp_path / "desk"))
    assert status == 2
    assert "phrases.goodby is no key; is goodbye meant?" in "".join(output.split("\n"))
