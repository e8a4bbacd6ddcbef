"""`voice-agent --help`: each command says what it is for, shows examples that hold, and names a page that is there."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from agent import cli_complete
from agent.cli import app

ROOT = Path(__file__).parents[2]
PANELS = {"Set up", "Serve", "Look", "Try without a telephone", "Data"}


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        yield " ".join((*path, name)), command
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))


COMMANDS = dict(commands(get_command(app)))


def examples(command: Any) -> list[str]:
    return [line.strip() for line in command.epilog.splitlines() if line.startswith("  ")]


def parse(words: list[str]) -> None:
    """As the command line would, without doing anything. Raises what a wrong option or argument raises."""
    group: Any = get_command(app)
    context = group.make_context("voice-agent", list(words))
    while hasattr(group, "commands"):
        name, command, rest = group.resolve_command(context, words)
        context = command.make_context(name, list(rest), parent=context)
        if not hasattr(command, "commands") or not context._protected_args:
            return
        group, words = command, [*context._protected_args, *context.args]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_teaches(name: str) -> None:
    command = COMMANDS[name]
    first = command.help.split("\n\n")[0]
    assert len(first) > 20
    assert "\n" not in first
    assert first.endswith(".")
    assert examples(command), "no example"
    for example in examples(command):
        words = shlex.split(re.split(r" [|<] ", example)[0])
        assert " ".join(words).startswith(f"voice-agent {name}"), example
        parse(words[1:])
    page = re.search(r"More: docs/(\S+\.md)(?:, (.*))?$", command.epilog)
    assert page is not None
    text = (ROOT / "docs" / page[1]).read_text()
    if page[2]:
        assert re.search(rf"^#+ {re.escape(page[2])}$", text, re.MULTILINE), f"docs/{page[1]} has no such part"


def test_an_example_that_does_not_hold_is_seen() -> None:
    for wrong in (["top", "--onec"], ["outbox", "retry"], ["user", "add"], ["nonesuch"], ["call", "--port", "x"]):
        with pytest.raises(Exception, match=r"No such|Missing|valid integer"):
            parse(wrong)


def test_commands_stand_in_groups() -> None:
    group: Any = get_command(app)
    assert {command.rich_help_panel for command in group.commands.values()} == PANELS
    shown = CliRunner().invoke(app, ["--help"], terminal_width=100).output
    assert [shown.index(f"─ {panel} ─") for panel in ("Set up", "Serve", "Look", "Try", "Data")[:3]] == sorted(
        shown.index(f"─ {panel} ─") for panel in ("Set up", "Serve", "Look")
    )
    assert "For example:" in CliRunner().invoke(app, ["top", "--help"]).output


# ---- completion -----------------------------------------------------------------------------------------------------


@pytest.fixture
def shell(tmp_path: Path) -> Any:
    """Call it with words: what a bash offers for the last of them."""
    program = tmp_path / "voice-agent"
    program.write_text(
        f'#!/bin/sh\nexec {sys.executable} -c \'import sys; sys.argv[0] = "voice-agent"\n'
        'from agent.cli import main\nmain()\' "$@"\n'
    )
    program.chmod(0o755)
    data = tmp_path / "data" / "calls"
    data.mkdir(parents=True)
    for number in range(3):
        (data / f"ca50cb2e-ac64-4430-a6d0-00000000000{number}.json").touch()
    own = tmp_path / "own" / "bakery"
    own.mkdir(parents=True)
    (own / "conversation.toml").touch()
    environment = os.environ | {
        "PATH": f"{tmp_path}:{os.environ['PATH']}", "DATA_DIR": str(tmp_path / "data"),
        "CONVERSATIONS_DIR": str(tmp_path / "own"),
    }  # fmt: skip

    def complete(*words: str) -> list[str]:
        script = (
            'eval "$(_VOICE_AGENT_COMPLETE=source_bash voice-agent)"\n'
            f"COMP_WORDS=(voice-agent {' '.join(map(shlex.quote, words))})\nCOMP_CWORD={len(words)}\n"
            '_voice_agent_completion voice-agent\nprintf "%s\\n" "${COMPREPLY[@]}"\n'
        )
        done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    return complete


def test_bash_completes(shell: Any) -> None:
    assert shell("con") == ["conversation", "console"]
    assert set(shell("top", "--on")) == {"--once", "--only"}
    assert shell("outbox", "re") == ["retry"]
    assert shell("conversation", "") == ["bakery", "dentist", "home_services"]
    assert shell("callers", "--conversation", "d") == ["dentist"]
    assert shell("callers", "--only", "tooth") == ["toothache"]
    assert shell("call", "--script", "") == ["leaking_tap"]
    assert shell("sandbox", "--profile", "p") == ["published", "practice"]
    assert len(shell("report", "ca5")) == 3


def test_completion_never_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "nowhere"))
    monkeypatch.setenv("CONVERSATIONS_DIR", str(tmp_path / "nowhere"))
    assert cli_complete.recorded_calls("") == []
    assert cli_complete.recorded_calls("../*") == []
    assert cli_complete.conversations("x") == []
