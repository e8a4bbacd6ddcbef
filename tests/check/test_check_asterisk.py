"""Asterisk as it is told of by a made-up command line, and by a manager; each thing wrong once.

`tests/asterisk/test_asterisk_check.py` asks a real one.
"""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from rig.manager import SECRET, FakeManager

from agent.check import asterisk
from agent.check.asterisk_version import parse_version
from agent.check.finding import Finding
from agent.check.subject import Host, Subject
from agent.setup import asterisk_files
from tests.check.conftest import SubjectMaker, look

VERSION = "Asterisk 22.10.1~dfsg built by nobody @ buildd on a x86_64 running Linux"
CONTEXT = "[ Context 'voice-agent' created by 'pbx_config' ]\n  '_[+0-9A-Za-z].' => 1. TryExec(AudioSocket(x))\n"


def module_lines(*without: str, silent: str = "") -> str:
    names = (*asterisk.MODULES, *asterisk.BY_AGI, "app_dial", "chan_audiosocket", "codec_resample")
    lines = ["Module                         Description               Use Count  Status      Support Level"]
    lines += [
        f"{name}.so   Some words of it    0          {'Not Running' if name == silent else 'Running'}          core"
        for name in names
        if name not in without
    ]
    return "\n".join([*lines, f"{len(lines) - 1} modules loaded"])


def a_line(subject: Subject, *, version: str = VERSION, modules: str = "", **variables: str) -> dict[str, str]:
    """What a command line answers on a host that is in order."""
    ports = {
        "VOICE_AGENT_AUDIO_PORT": str(subject.settings.listen_port),
        "VOICE_AGENT_AGI_PORT": str(subject.settings.fastagi_port),
    }
    answers = {
        "core show version": version,
        "module show": modules or module_lines(),
        "dialplan show globals": "\n".join(f"   {name}={value}" for name, value in {**ports, **variables}.items()),
        "core show settings": "  AGI Scripts directory:       /usr/share/asterisk/agi-bin",
    }
    for context in asterisk.CONTEXTS:
        answers[f"dialplan show {context}"] = f"[ Context '{context}' created by 'pbx_config' ]\n"
    return answers | {"dialplan show voice-agent": CONTEXT}


def install(tmp_path: Path, answers: Mapping[str, str]) -> Host:
    """A host whose `asterisk -rx` gives these answers, with the shipped files."""
    place = tmp_path / "cli"
    place.mkdir(exist_ok=True)
    for command, answer in answers.items():
        (place / command.replace(" ", "_")).write_text(answer + "\n")
    program = tmp_path / "asterisk"
    program.write_text(f'#!/bin/sh\nexec cat "{place}/$(echo "$2" | tr " " _)"\n')
    program.chmod(0o755)
    etc = tmp_path / "etc"
    etc.mkdir(exist_ok=True)
    for name in ("voice-agent.conf", "voice-agent-site.conf"):
        (etc / name).write_bytes((asterisk_files() / name).read_bytes())
    (etc / "extensions.conf").write_text("#include voice-agent.conf\n#include voice-agent-site.conf\n")
    return Host(asterisk_cli=(str(program), "-rx"), asterisk_etc=etc)


async def ask(
    a_subject: SubjectMaker, tmp_path: Path, changes: Mapping[str, Any] | None = None, **line: Any
) -> dict[str, Finding]:
    subject = a_subject(**(changes or {}))
    subject.host = install(tmp_path, a_line(subject, **line))
    return await look(asterisk.asterisk, subject)


async def test_an_asterisk_in_order(a_subject: SubjectMaker, tmp_path: Path) -> None:
    found = await ask(a_subject, tmp_path)
    assert {finding.level for finding in found.values()} == {"ok"}
    assert set(found) == {"asterisk-version", "asterisk-modules", "dialplan", "dialplan-agent"}


@pytest.mark.parametrize("name", ["app_audiosocket", "res_agi", "func_timeout"])
async def test_a_module_that_is_missing_or_does_not_run(a_subject: SubjectMaker, tmp_path: Path, name: str) -> None:
    for modules, mend in ((module_lines(name), "install the package"), (module_lines(silent=name), "module load")):
        found = (await ask(a_subject, tmp_path, modules=modules))["asterisk-modules"]
        assert (found.level, found.text) == ("error", f"{name} is not loaded")
        assert mend in found.mend


async def test_modules_of_the_way_that_is_used(a_subject: SubjectMaker, tmp_path: Path) -> None:
    no_agi = module_lines("res_agi")
    subject = a_subject()
    by_http: dict[str, Any] = {"VOICE_AGENT_HTTP_PORT": str(subject.settings.http_port)}
    found = await ask(a_subject, tmp_path, modules=no_agi, **by_http)
    assert found["asterisk-modules"].text.startswith(("func_", "res_curl"))
    wide: dict[str, Any] = {"VOICE_AGENT_CODEC": "slin16"}
    found = await ask(a_subject, tmp_path, {"sample_rate": 16000}, modules=module_lines("codec_resample"), **wide)
    assert found["asterisk-modules"].text == "codec_resample is not loaded"


@pytest.mark.parametrize(
    ("text", "behaviour", "lacks"),
    [
        ("Asterisk 16.28.0~dfsg-0+deb11u4", "none", 0),
        ("Asterisk 18.10.0~dfsg+~cs6.10.40431411-2 built", "old", 3),
        ("Asterisk 20.4.0", "old", 3),
        ("Asterisk 20.13.0", "old", 2),
        ("Asterisk 20.14.1", "mid", 0),
        ("Asterisk 20.17.0", "new", 1),
        ("Asterisk 20.19.0", "new", 0),
        ("Asterisk 21.8.0", "old", 2),
        ("Asterisk 21.12.3", "mid", 0),
        ("Asterisk 22.3.0", "old", 2),
        ("Asterisk 22.6.0", "mid", 0),
        ("Asterisk 22.8.2", "new", 1),
        ("Asterisk 22.10.1~dfsg+~cs6.17", "new", 0),
        ("Asterisk 23.0.0", "mid", 0),
        ("Asterisk 23.2.0", "new", 1),
        ("Asterisk 24.0.0-rc1", "new", 0),
        ("Asterisk certified/18.9-cert8", "old", 2),
        ("Asterisk certified-20.7-cert3 built", "old", 2),
        ("Asterisk certified-22.8-cert1", "new", 1),
    ],
)
def test_what_a_version_can_do(text: str, behaviour: str, lacks: int) -> None:
    version = parse_version(text)
    assert version is not None
    assert (version.behaviour, len(version.lacks)) == (behaviour, lacks)


async def test_a_version_that_is_too_old(a_subject: SubjectMaker, tmp_path: Path) -> None:
    levels = {}
    for version in ("Asterisk 16.28.0", "Asterisk 18.10.0", "Asterisk 22.6.0", "who knows"):
        levels[version] = (await ask(a_subject, tmp_path, version=version))["asterisk-version"].level
    assert levels == {
        "Asterisk 16.28.0": "error",
        "Asterisk 18.10.0": "warning",
        "Asterisk 22.6.0": "ok",
        "who knows": "warning",
    }
    wide: dict[str, Any] = {"VOICE_AGENT_CODEC": "slin16"}
    found = await ask(a_subject, tmp_path, {"sample_rate": 16000}, version="Asterisk 22.6.0", **wide)
    assert (found["asterisk-version"].level, "16 kHz" in found["asterisk-version"].text) == ("error", True)


async def test_a_dialplan_that_is_not_there(a_subject: SubjectMaker, tmp_path: Path) -> None:
    subject = a_subject()
    answers = a_line(subject)
    answers["dialplan show voice-agent"] = "There is no existence of 'voice-agent' context\nCommand failed"
    subject.host = install(tmp_path, answers)
    found = (await look(asterisk.asterisk, subject))["dialplan"]
    assert (found.level, "#include" in found.mend) == ("error", True)
    (subject.host.asterisk_etc / "voice-agent.conf").unlink()
    assert "copies voice-agent.conf" in (await look(asterisk.asterisk, subject))["dialplan"].mend


async def test_a_dialplan_without_a_part_of_another_version_or_of_one_s_own(
    a_subject: SubjectMaker, tmp_path: Path
) -> None:
    subject = a_subject()
    answers = a_line(subject)
    subject.host = install(
        tmp_path, answers | {"dialplan show voice-agent-menu": "There is no existence of 'voice-agent-menu' context"}
    )
    assert "voice-agent-menu" in (await look(asterisk.asterisk, subject))["dialplan"].text
    subject.host = install(tmp_path, answers)
    with (subject.host.asterisk_etc / "voice-agent.conf").open("a") as file:
        file.write("; of another version\n")
    assert (await look(asterisk.asterisk, subject))["dialplan-version"].level == "warning"
    subject.host = install(tmp_path, answers | {"dialplan show voice-agent": "[ Context 'voice-agent' created ]"})
    assert (await look(asterisk.asterisk, subject))["dialplan-own"].level == "warning"


@pytest.mark.parametrize(
    ("variables", "changes", "name", "level"),
    [
        ({"VOICE_AGENT_AUDIO_PORT": "9"}, {}, "dialplan-ports", "error"),
        ({"VOICE_AGENT_AGI_PORT": "9"}, {}, "dialplan-ports", "error"),
        ({"VOICE_AGENT_HTTP_PORT": "9"}, {}, "dialplan-ports", "error"),
        # A balancer may be there.
        ({"VOICE_AGENT_HOST": "192.0.2.7", "VOICE_AGENT_AUDIO_PORT": "9"}, {}, "dialplan-ports", "warning"),
        ({"VOICE_AGENT_HOST": "192.0.2.7"}, {}, "dialplan-host", "warning"),
        ({}, {"listen_host": "127.0.0.2"}, "dialplan-host", "error"),
        ({"VOICE_AGENT_CODEC": "slin16"}, {}, "dialplan-rate", "error"),
        ({}, {"sample_rate": 16000}, "dialplan-rate", "error"),
    ],
)
async def test_a_dialplan_that_leads_elsewhere(
    a_subject: SubjectMaker,
    tmp_path: Path,
    variables: dict[str, Any],
    changes: dict[str, Any],
    name: str,
    level: str,
) -> None:
    found = await ask(a_subject, tmp_path, changes, **variables)
    assert found[name].level == level
    assert "dialplan-agent" not in found


async def test_the_script(a_subject: SubjectMaker, tmp_path: Path) -> None:
    subject = a_subject()
    shared = {"VOICE_AGENT_SCRIPT": "voice-agent.agi", "VOICE_AGENT_METADATA": str(subject.settings.metadata)}
    answers = a_line(subject, **shared) | {"core show settings": f"  AGI Scripts directory:   {tmp_path}\n"}
    subject.host = install(tmp_path, answers)
    found = await look(asterisk.asterisk, subject)
    assert (found["agi-script"].level, found["agi-metadata"].level) == ("error", "error")
    script = tmp_path / "voice-agent.agi"
    subject.settings.metadata.mkdir()
    for mode, level in ((0o644, "error"), (0o777, "error"), (0o755, "ok")):
        script.touch()
        script.chmod(mode)
        found = await look(asterisk.asterisk, subject)
        assert (found["agi-script"].level, found["agi-metadata"].level) == (level, "ok")
    assert stat.S_IMODE(script.stat().st_mode) == 0o755
    subject.host = install(tmp_path, answers | a_line(subject, VOICE_AGENT_SCRIPT="voice-agent.agi"))
    assert (await look(asterisk.asterisk, subject))["agi-metadata"].text.count("/var/lib/voice-agent/metadata") == 1


async def test_nobody_to_ask(a_subject: SubjectMaker, tmp_path: Path) -> None:
    subject = a_subject()
    host = install(tmp_path, a_line(subject))
    subject.host = Host(asterisk_cli=("no-such-program", "-rx"), asterisk_etc=host.asterisk_etc)
    found = await look(asterisk.asterisk, subject)
    assert (found["asterisk"].level, found["dialplan"].level) == ("warning", "ok")
    (host.asterisk_etc / "extensions.conf").write_text("#include voice-agent.conf\n")
    found = await look(asterisk.asterisk, subject)
    assert (found["dialplan"].level, "voice-agent-fallback" in found["dialplan"].text) == ("error", True)
    (host.asterisk_etc / "more.conf").write_text('#include "voice-agent.conf"\n#include <voice-agent-site.conf>\n')
    (host.asterisk_etc / "extensions.conf").write_text("#tryinclude more.conf\n")
    assert (await look(asterisk.asterisk, subject))["dialplan"].level == "ok"
    subject.host = Host(asterisk_cli=("no-such-program",), asterisk_etc=tmp_path / "none")
    assert (await look(asterisk.asterisk, subject))["dialplan"].level == "skipped"


@pytest.mark.parametrize(
    "says",
    ["Unable to connect to remote asterisk (does /var/run/asterisk/asterisk.ctl exist?)", "Operation not permitted"],
)
async def test_an_asterisk_that_does_not_run_or_hangs(
    a_subject: SubjectMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str
) -> None:
    subject = a_subject()
    program = tmp_path / "asterisk"
    program.write_text(f"#!/bin/sh\necho '{says}'\nexit 1\n")
    program.chmod(0o755)
    subject.host = Host(asterisk_cli=(str(program), "-rx"), asterisk_etc=tmp_path / "none")
    found = (await look(asterisk.asterisk, subject))["asterisk"]
    assert (found.level, "systemctl start asterisk" in found.mend) == ("warning", True)
    monkeypatch.setattr("agent.check.asterisk_line.COMMAND_S", 0.2)
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    found = (await look(asterisk.asterisk, subject))["asterisk"]
    assert "said nothing" in found.text


class CommandManager(FakeManager):
    """A manager whose user may give commands, unless `denied`."""

    def __init__(self, answers: Mapping[str, str], *, denied: bool = False) -> None:
        super().__init__()
        self._answers = answers
        self._denied = denied

    def answer(self, action: dict[str, str]) -> str:
        if action["Action"] != "Command":
            return super().answer(action)
        if self._denied:
            return "Response: Error\r\nMessage: Permission denied"
        lines = "\r\n".join(f"Output: {line}" for line in self._answers[action["Command"]].splitlines())
        return f"Response: Success\r\nMessage: Command output follows\r\n{lines}"


@pytest.mark.parametrize(
    ("denied", "secret", "ami", "rest"),
    [
        (False, SECRET, "ok", True),
        (True, SECRET, "", False),  # transfers work; there is no command line here either
        (False, "another secret", "", False),
    ],
)
async def test_by_the_manager(
    a_subject: SubjectMaker, tmp_path: Path, denied: bool, secret: str, ami: str, rest: bool
) -> None:
    manager = CommandManager({}, denied=denied)
    server = await asyncio.start_server(manager.serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        subject = a_subject(ami_host="127.0.0.1", ami_port=port, ami_user="agent", ami_secret=secret)
        manager._answers = a_line(subject)
        subject.host = Host(asterisk_cli=("no-such-program",), asterisk_etc=tmp_path / "none")
        found = await look(asterisk.asterisk, subject)
    assert ("asterisk-version" in found) == rest
    if rest:
        assert found["ami"].level == ami
        assert {finding.level for finding in found.values()} == {"ok"}
        assert found["asterisk-version"].text.endswith("asked by AMI (new)")
    elif denied:
        assert (found["asterisk"].level, "write = call,command" in found["asterisk"].mend) == ("warning", True)
    else:
        assert (found["asterisk"].level, "AMI_SECRET" in found["asterisk"].text) == ("error", True)
        assert secret not in str(found)


async def test_a_manager_beside_a_command_line(a_subject: SubjectMaker, tmp_path: Path) -> None:
    """A user who may transfer and no more is as it should be; one that is refused is not."""
    for denied, secret, level in ((True, SECRET, "ok"), (False, "another secret", "error")):
        manager = CommandManager({}, denied=denied)
        server = await asyncio.start_server(manager.serve, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            subject = a_subject(ami_host="127.0.0.1", ami_port=port, ami_user="agent", ami_secret=secret)
            subject.host = install(tmp_path, a_line(subject))
            found = await look(asterisk.asterisk, subject)
        assert found["ami"].level == level
        assert found["asterisk-version"].level == "ok"


async def test_an_asterisk_on_another_machine(
    a_subject: SubjectMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its 127.0.0.1 is not ours."""
    manager = CommandManager({})
    server = await asyncio.start_server(manager.serve, "127.0.0.1", 0)
    async with server:
        subject = a_subject(
            ami_host="127.0.0.1", ami_port=server.sockets[0].getsockname()[1], ami_user="agent", ami_secret=SECRET
        )
        manager._answers = a_line(subject)
        subject.host = Host(asterisk_cli=("no-such-program",), asterisk_etc=tmp_path / "none")
        monkeypatch.setattr(asterisk, "is_ours", lambda host: False)
        found = await look(asterisk.asterisk, subject)
    assert "Asterisk's own machine" in found["dialplan-host"].text
