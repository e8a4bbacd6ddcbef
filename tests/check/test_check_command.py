"""`voice-agent check` as it is typed: what it prints, its document, its exit status; and the runner behind it."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from rich.console import Console
from typer.testing import CliRunner

from agent.check import probes, show
from agent.check.finding import Findings, Probe, error, ok, skipped, warning
from agent.check.probes import GROUPS, PROBES
from agent.check.runner import run
from agent.check.subject import Subject
from agent.cli import app
from tests.check.conftest import KEYS, SubjectMaker

ROOT = Path(__file__).parents[2]
DOCUMENT = Draft202012Validator(
    {
        "type": "object",
        "required": ["format", "version", "status", "exit", "counts", "seconds", "groups"],
        "properties": {
            "format": {"const": 1},
            "status": {"enum": ["ok", "skipped", "warning", "error"]},
            "exit": {"enum": [0, 1]},
            "seconds": {"type": "number"},
            "counts": {"type": "object", "required": ["ok", "skipped", "warning", "error"]},
            "groups": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["name", "findings"],
                    "properties": {
                        "findings": {
                            "type": "array",
                            "items": {
                                "type": "object",
                                "required": ["name", "level", "text", "mend", "seconds"],
                                "properties": {
                                    "level": {"enum": ["ok", "skipped", "warning", "error"]},
                                    "seconds": {"type": ["number", "null"]},
                                },
                            },
                        }
                    },
                },
            },
        },
    }
)
"""As docs/troubleshooting.md has it."""


def write_env(tmp_path: Path, *lines: str) -> Path:
    file = tmp_path / "env"
    keys = [f"{vendor.upper()}_API_KEY={key}" for vendor, key in KEYS.items()]
    ports = ["LISTEN_PORT=0", "FASTAGI_PORT=0", "HTTP_PORT=0", "CONSOLE=false"]
    file.write_text("\n".join([*keys, *ports, f"DATA_DIR={tmp_path / 'data'}", *lines]) + "\n")
    file.chmod(0o600)
    return file


def test_a_document_for_programs(tmp_path: Path, clean_environment: None) -> None:
    file = write_env(tmp_path)
    done = CliRunner().invoke(app, ["check", "--offline", "--json", "--env-file", str(file), "--skip", "asterisk"])
    document = json.loads(done.stdout)
    DOCUMENT.validate(document)
    assert [group["name"] for group in document["groups"]] == [name for name in GROUPS if name != "asterisk"]
    assert (done.exit_code, document["exit"], document["status"]) == (0, 0, "warning")
    findings = [finding for group in document["groups"] for finding in group["findings"]]
    assert {finding["name"] for finding in findings} >= {
        "wheel",
        "env-file",
        "data-dir",
        "port-http",
        "database",
        "call",
    }
    assert all(finding["mend"] for finding in findings if finding["level"] in ("warning", "error"))
    assert not (tmp_path / "data").exists()


def test_errors_and_wrong_groups_by_the_exit_status(tmp_path: Path, clean_environment: None) -> None:
    file = write_env(tmp_path, "MAX_CALLS=many")
    command = ["check", "--offline", "--env-file", str(file), "--only", "settings", "--only", "files"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 1
    assert "error    settings: MAX_CALLS" in done.stdout
    assert "skipped  directories: not tried: a setting is wrong" in done.stdout
    assert "1 to mend" in done.stdout
    done = CliRunner().invoke(app, ["check", "--only", "vendor"])
    assert done.exit_code == 2
    assert "'vendor' is no group" in done.stderr


def test_each_group_is_named_in_the_help_and_has_a_probe() -> None:
    done = CliRunner().invoke(app, ["check", "--help"], env={"COLUMNS": "200", "TERM": "dumb"})
    assert done.exit_code == 0
    assert not [group for group in GROUPS if group not in done.stdout]
    assert {probe.group for probe in PROBES} == set(GROUPS)
    assert len({(probe.group, probe.name) for probe in PROBES}) == len(PROBES)


# -- the runner -------------------------------------------------------------------------------------------------------


async def hangs(_subject: Subject) -> Findings:
    yield ok("first", "before it hangs")
    await asyncio.sleep(60)


async def raises(_subject: Subject) -> Findings:
    yield ok("second", "before it fails")
    raise RuntimeError("key dg-secret-key of +44 20 7946 0123")


async def tells(_subject: Subject) -> Findings:
    yield warning("third", "a line\nof dg-secret-key", "ring 02079460123")


async def test_a_probe_that_hangs_or_fails_disturbs_no_other_and_no_secret_is_shown(a_subject: SubjectMaker) -> None:
    made = [
        Probe("host", "hangs", hangs, limit_s=0.2),
        Probe("host", "raises", raises),
        Probe("host", "tells", tells),
    ]
    outcome = await run(made, a_subject())
    assert [(finding.name, finding.level) for finding in outcome.findings] == [
        ("first", "ok"), ("hangs", "error"), ("second", "ok"), ("raises", "error"), ("third", "warning"),
    ]  # fmt: skip
    assert outcome.status == "error"
    told = json.dumps(show.document(outcome))
    assert "dg-secret-key" not in told
    assert "7946" not in told
    assert "a line\\\\nof ***" in told


async def test_probes_run_at_once_but_for_those_that_measure(a_subject: SubjectMaker) -> None:
    order: list[str] = []

    def sleeper(name: str) -> Probe:
        async def look(_subject: Subject) -> Findings:
            order.append(f"{name} begins")
            await asyncio.sleep(0.3)
            order.append(f"{name} ends")
            yield skipped(name, "")

        return Probe("host", name, look, stage={"t": 0, "a": 1, "z": 2}[name[0]])

    await run([sleeper(name) for name in ("z", "a1", "a2", "a3", "t")], a_subject())
    assert order[:2] == ["t begins", "t ends"]
    assert set(order[2:5]) == {"a1 begins", "a2 begins", "a3 begins"}
    assert order[-2:] == ["z begins", "z ends"]


async def test_offline_leaves_out_what_asks_others(a_subject: SubjectMaker) -> None:
    async def never(_subject: Subject) -> Findings:
        raise AssertionError("asked")
        yield

    subject = a_subject()
    subject.offline = True
    outcome = await run([Probe("vendors", "never", never, online=True)], subject)
    assert [finding.level for finding in outcome.findings] == ["skipped"]
    assert {probe.name for probe in PROBES if probe.online} == {"deepgram", "llm", "cartesia", "apis", "clock-offset"}


def test_it_all_ends_in_time() -> None:
    """Each stage takes as long as its slowest probe at most."""
    stages = {stage: [probe.limit_s for probe in PROBES if probe.stage == stage] for stage in (0, 1, 2)}
    assert sum(stages[0]) + max(stages[1]) + max(stages[2]) <= 22


# -- what is shown ----------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def a_capable_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the one is on which the tests are started."""
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)


async def shown(a_subject: SubjectMaker, *, terminal: bool) -> str:
    async def look(_subject: Subject) -> Findings:
        yield ok("one", "[bold]is no markup[/bold]")
        yield error("two", "is wrong", "mend it")

    outcome = await run([Probe("files", "x", look)], a_subject())
    text = io.StringIO()
    show.print_outcome(Console(file=text, force_terminal=terminal, width=60, no_color=not terminal), outcome)
    return text.getvalue()


async def test_plain_where_there_is_no_terminal(a_subject: SubjectMaker) -> None:
    text = await shown(a_subject, terminal=False)
    assert "\x1b" not in text
    assert text.isascii()
    assert "ok       one: [bold]is no markup[/bold]\nerror    two: is wrong\n         mend: mend it\n" in text


async def test_progress_is_shown_on_a_terminal_and_gone_behind(a_subject: SubjectMaker) -> None:
    async def look(_subject: Subject) -> Findings:
        await asyncio.sleep(0.3)
        yield ok("one", "")

    for terminal in (True, False):
        text = io.StringIO()
        console = Console(file=text, force_terminal=terminal, width=60)
        with show.Progress(console) as progress:
            probe = Probe("files", "the disk", look)
            await run([probe], a_subject(), on_begin=progress.begins, on_end=progress.ends)
        assert ("looking at the disk" in text.getvalue()) == terminal
        assert bool(text.getvalue()) == terminal


async def test_beautiful_where_there_is_one(a_subject: SubjectMaker) -> None:
    text = await shown(a_subject, terminal=True)
    assert "\x1b" in text
    lines = re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()
    assert any(line.split() == ["✗", "two", "is", "wrong"] for line in lines)
    assert any(line.split() == ["→", "mend", "it"] for line in lines)


def test_ctrl_c_ends_it_at_once(tmp_path: Path, clean_environment: None) -> None:
    """In the middle of a probe that waits for a vendor which takes the connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        where = f"127.0.0.1:{silent.getsockname()[1]}"
        file = write_env(
            tmp_path, f"DEEPGRAM_URL=ws://{where}", f"GROQ_URL=http://{where}", f"CARTESIA_URL=ws://{where}",
        )  # fmt: skip
        process = subprocess.Popen(
            [sys.executable, "-m", "agent", "check", "--env-file", str(file), "--only", "vendors"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,
        )
        silent.settimeout(30)
        with silent.accept()[0]:  # it asks the first one by now
            begun = time.monotonic()
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert b"Traceback" not in errors
    assert time.monotonic() - begun < 5


def test_the_docs_know_each_group() -> None:
    text = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    assert not [group for group in probes.GROUPS if f"`{group}`" not in text]


def test_what_a_library_warns_of_harmlessly_is_not_among_the_findings() -> None:
    library = logging.getLogger("picows")
    before = library.level
    library.setLevel(logging.WARNING)
    try:
        CliRunner().invoke(app, ["check", "--only", "install"])
        assert not library.isEnabledFor(logging.WARNING)
    finally:
        library.setLevel(before)
