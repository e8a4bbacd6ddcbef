"""The Perl AGI script, run as Asterisk runs it: what it writes is what the agent reads."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import stat
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from agent.telephony import CallRegistry, FastAgiServer, MetadataDirectory, Verdict

SCRIPT = Path(__file__).resolve().parents[2] / "asterisk/voice-agent.agi"
CHANNEL = {
    "request": "voice-agent.agi",
    "channel": "PJSIP/trunk-00000001",
    "uniqueid": "1700000000.2",
    "callerid": "07700900123",
    "calleridname": "Ann Example",
    "callingpres": "0",
    "extension": "s",
}

pytestmark = pytest.mark.skipif(shutil.which("perl") is None, reason="needs perl")


async def run(*arguments: str, **headers: str | bytes) -> tuple[int, dict[str, str], list[str]]:
    """Be Asterisk for one request: the script's exit status, the variables it set, its commands."""
    process = await asyncio.create_subprocess_exec(
        "perl",
        str(SCRIPT),
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    for name, value in (CHANNEL | headers).items():
        text = value if isinstance(value, bytes) else value.encode()
        process.stdin.write(f"agi_{name}: ".encode() + text + b"\n")
    process.stdin.write(b"\n")
    variables: dict[str, str] = {}
    commands: list[str] = []
    async with asyncio.timeout(10):
        while line := await process.stdout.readline():
            commands.append(line.decode().rstrip("\n"))
            words = commands[-1].split(" ", 3)
            if words[:2] == ["SET", "VARIABLE"]:
                variables[words[2]] = words[3].strip('"')
            value = "200 result=1 (1700000000.1)" if words[0] == "GET" else "200 result=1"
            process.stdin.write(value.encode() + b"\n")
        status = await process.wait()
    process.stdin.close()
    return status, variables, commands


@pytest.fixture
def directory(tmp_path: Path) -> MetadataDirectory:
    path = tmp_path / "metadata"
    path.mkdir()
    path.chmod(0o2770)
    return MetadataDirectory(path)


async def test_the_agent_reads_what_the_script_wrote(directory: MetadataDirectory) -> None:
    status, variables, _ = await run("start", "02012345678", str(directory.path))
    assert (status, variables["VOICE_AGENT_STATUS"]) == (0, "OK")
    call = UUID(variables["VOICE_AGENT_UUID"])
    assert stat.S_IMODE((directory.path / f"{call}.json").stat().st_mode) == 0o640
    info = await CallRegistry(metadata=directory).claim(call)
    assert info is not None
    assert (info.did, info.caller_id, info.caller_name) == ("02012345678", "07700900123", "Ann Example")
    assert (info.unique_id, info.linked_id) == ("1700000000.2", "1700000000.1")
    assert (info.channel, info.source) == ("PJSIP/trunk-00000001", "file")
    assert os.listdir(directory.path) == []


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ('a "b" \\c\x01/', 'a "b" \\c /'),
        ("Ünal 🙂 \u2028x", "Ünal 🙂 x"),
        (b"M\xfcller", "Müller"),
        ('","did":"999', '","did":"999'),
        ("", ""),
        ("unknown", ""),
    ],
)
async def test_any_name_is_json(directory: MetadataDirectory, raw: str | bytes, name: str) -> None:
    _, variables, _ = await run("start", "02012345678", str(directory.path), calleridname=raw)
    path = directory.path / f"{variables['VOICE_AGENT_UUID']}.json"
    assert json.loads(path.read_text("ascii"))["did"] == "02012345678"
    info = directory.take(UUID(path.stem))
    assert info is not None
    assert info.caller_name == name


async def test_a_withheld_number_is_not_kept(directory: MetadataDirectory) -> None:
    _, variables, _ = await run("start", "0201", str(directory.path), callingpres="35")
    info = directory.take(UUID(variables["VOICE_AGENT_UUID"]))
    assert info is not None
    assert info.caller_id == ""


async def test_a_directory_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    status, variables, commands = await run("start", "0201", str(tmp_path / "absent"))
    assert variables["VOICE_AGENT_STATUS"] == "ERROR"
    assert status == 0
    assert any(command.startswith("VERBOSE") and "absent" in command for command in commands)


async def test_each_call_has_a_uuid_of_its_own(directory: MetadataDirectory) -> None:
    made = {(await run("start", "1", str(directory.path)))[1]["VOICE_AGENT_UUID"] for _ in range(5)}
    assert len(made) == 5


@pytest.mark.parametrize("verdict", [Verdict("transfer", "2001"), Verdict("hangup"), None])
async def test_next_is_the_agent_s_answer(verdict: Verdict | None) -> None:
    registry, call = CallRegistry(), uuid4()
    if verdict:
        registry.decide(call, verdict)

    async def refuse(info: object) -> bool:
        return False

    async with FastAgiServer(registry, refuse, port=0) as agi:
        status, variables, _ = await run("next", str(call), f"127.0.0.1:{agi.port}")
    assert status == 0
    assert variables == {
        "VOICE_AGENT_NEXT": verdict.action if verdict else "UNKNOWN",
        "VOICE_AGENT_TARGET": verdict.target if verdict else "",
    }


async def test_next_without_an_agent_sets_nothing() -> None:
    status, variables, commands = await run("next", str(uuid4()), "127.0.0.1:1")
    assert (status, variables, commands) == (1, {}, [])


async def test_an_unknown_request_does_nothing(directory: MetadataDirectory) -> None:
    assert await run("stop", "1", str(directory.path)) == (0, {}, [])
    assert os.listdir(directory.path) == []
