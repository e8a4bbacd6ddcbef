"""`voice-agent check` beside a real Asterisk: by AMI and by its command line; a module that is gone, another port."""

from __future__ import annotations

from pathlib import Path

import pytest
from rig.config import CHECKER, MANAGER_SECRET, MANAGER_USER
from rig.line import Line

from agent.check import asterisk
from agent.check.finding import Finding, Level
from agent.check.subject import Host, Subject
from agent.ops.settings import load_settings

pytestmark = [pytest.mark.asterisk, pytest.mark.asyncio(loop_scope="session")]


async def look(line: Line, tmp_path: Path, user: str = "", **changes: object) -> dict[str, Finding]:
    ami = {"ami_host": "127.0.0.1", "ami_port": line.rig.manager_port, "ami_user": user, "ami_secret": MANAGER_SECRET}
    settings = load_settings(
        None,
        **{
            "data_dir": tmp_path,
            "listen_port": line.agent.port,
            "fastagi_port": line.agi.port,
            "metadata_dir": line.rig.metadata,
            **(ami if user else {}),
            **changes,
        },
    )
    host = Host(asterisk_cli=line.rig.cli_program, asterisk_etc=line.rig.place / "etc")
    subject = Subject(None, host=host, settings_=settings)
    return {finding.name: finding async for finding in asterisk.asterisk(subject)}


def levels(found: dict[str, Finding]) -> dict[str, Level]:
    return {name: finding.level for name, finding in found.items()}


GOOD = {"asterisk-version": "ok", "asterisk-modules": "ok", "dialplan": "ok", "dialplan-agent": "ok"}


async def test_all_is_well_by_ami_and_by_the_command_line(line: Line, tmp_path: Path) -> None:
    by_ami = await look(line, tmp_path, CHECKER)
    assert levels(by_ami) == {"ami": "ok"} | GOOD
    by_cli = await look(line, tmp_path)
    assert levels(by_cli) == GOOD
    assert "asked by AMI" in by_ami["asterisk-version"].text
    assert by_cli["asterisk-version"].text.startswith("Asterisk 22.")
    # A user who may transfer and nothing more is as it should be: the command line is asked instead.
    assert levels(await look(line, tmp_path, MANAGER_USER)) == {"ami": "ok"} | GOOD


async def test_what_is_wrong_is_named(line: Line, tmp_path: Path) -> None:
    await line.rig.cli("module unload app_audiosocket.so")
    try:
        found = await look(line, tmp_path, CHECKER, listen_port=9)
        assert found["asterisk-modules"].text == "app_audiosocket is not loaded"
        assert "module load app_audiosocket.so" in found["asterisk-modules"].mend
        assert found["dialplan-ports"].level == "error"
        assert "LISTEN_PORT is 9" in found["dialplan-ports"].text
    finally:
        await line.rig.cli("module load app_audiosocket.so")
    await line.rig.set_global("VOICE_AGENT_SCRIPT", "voice-agent.agi")
    found = await look(line, tmp_path, CHECKER, metadata_dir=tmp_path)
    assert found["agi-metadata"].level == "error"
    assert MANAGER_SECRET not in str(found)
    line.rig.complaints()
