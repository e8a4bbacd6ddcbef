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


def test_a_tool_is_tried_by_hand(tmp_path: Path) -> None:
    given = ("dentist", "--try", "free_times")
    status, output = run(*given, '{"day": "monday", "urgent": false}')
    assert (status, "09:30" in output) == (0, True)
    status, output = run(*given, '{"day": "monday"}')
    assert (status, "urgent is missing" in output) == (1, True)
    status, output = run(*given, "{day}")
    assert (status, "no valid JSON" in output) == (1, True)
    status, output = run("dentist", "--try", "free_time", "{}")
    assert status == 2
    assert "no tool 'free_time'; there are free_times, book_appointment" in "".join(output.split("\n"))


def test_what_a_tried_tool_does_to_the_call_is_shown(tmp_path: Path) -> None:
    status, output = run("home_services", "--try", "end_call", "{}")
    assert (status, "effect: end" in output) == (0, True)
