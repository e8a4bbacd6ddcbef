"""The Perl AGI script, run as Asterisk runs it: what it writes is what the agent reads."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
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


async def run(
    *arguments: str, before: tuple[str, ...] = (), **headers: str | bytes
) -> tuple[int, dict[str, str], list[str]]:
    """Be Asterisk for one request: the script's exit status, the variables it set, its commands."""
    process = await asyncio.create_subprocess_exec(
        *before,
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
        await registry.decide(call, verdict)

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


# ---- what should not happen ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        b"Ann\nagi_callerid: 1\nagi_channel: x\nx",
        b"Ann\n\nHANGUP\n200",
        b"Ann\r\nagi_uniqueid: 1",
        b"Ann\x00\x1b[2J" + b"y" * 5000,
    ],
)
async def test_a_name_of_several_lines_changes_nothing_else(directory: MetadataDirectory, name: bytes) -> None:
    # The order is Asterisk's own (`setup_env`): what says that the number is withheld comes after the name.
    _, variables, _ = await run("start", "02012345678", str(directory.path), calleridname=name, callingpres="35")
    assert variables["VOICE_AGENT_STATUS"] == "OK"
    info = directory.take(UUID(variables["VOICE_AGENT_UUID"]))
    assert info is not None
    assert (info.did, info.caller_id) == ("02012345678", "07700900123" if b"\n\n" in name else "")
    assert (info.unique_id, info.channel) == ("1700000000.2", "PJSIP/trunk-00000001")
    assert info.linked_id == "1700000000.1"
    assert info.caller_name.startswith("Ann")
    assert info.caller_name.isprintable()


@pytest.mark.parametrize("mode", [0o2777, 0o2775, 0o2771])
async def test_a_directory_that_others_may_use_is_an_error(directory: MetadataDirectory, mode: int) -> None:
    directory.path.chmod(mode)
    _, variables, commands = await run("start", "0201", str(directory.path))
    assert variables["VOICE_AGENT_STATUS"] == "ERROR"
    assert any("chmod 2770" in command for command in commands)
    assert os.listdir(directory.path) == []


FULL = 'mount -t tmpfs -o size=16k,mode=2770 none "$0" && { head -c 100k /dev/zero >"$0/ballast" 2>/dev/null; "$@"; }'
READ_ONLY = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && "$@"'


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")
@pytest.mark.parametrize(
    ("mount", "why"), [(FULL, "No space left"), (READ_ONLY, "Read-only file system")], ids=["full", "read-only"]
)
async def test_a_disk_that_takes_nothing_is_an_error(directory: MetadataDirectory, mount: str, why: str) -> None:
    # In a mount namespace of its own. What is left in the directory is listed there, too.
    listing = f'{mount}; code=$?; ls -A "$0" >&2; exit $code'
    before = ("unshare", "--mount", "--propagation", "private", "sh", "-c", listing, str(directory.path))
    status, variables, commands = await run("start", "0201", str(directory.path), before=before)
    assert (status, variables["VOICE_AGENT_STATUS"]) == (0, "ERROR")
    assert any(why in command for command in commands)


async def test_nothing_half_written_is_left(directory: MetadataDirectory) -> None:
    # No file may grow: the write fails after the file was made, as on a full disk.
    before = ("sh", "-c", "trap '' XFSZ; ulimit -f 0; exec \"$@\"", "sh")
    _, variables, commands = await run("start", "0201", str(directory.path), before=before)
    assert variables["VOICE_AGENT_STATUS"] == "ERROR"
    assert any("too large" in command for command in commands)
    assert os.listdir(directory.path) == []


async def test_orphans_are_swept_and_nothing_else(directory: MetadataDirectory, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("kept")
    old, fresh, link = (directory.path / f"{uuid4()}.json" for _ in range(3))
    half = directory.path / f".{uuid4()}.12.tmp"
    foreign = directory.path / "notes.json"
    for path in (old, fresh, half, foreign):
        path.write_text("{}")
    link.symlink_to(victim)
    for path in (old, half, foreign, link):
        os.utime(path, (1, 1), follow_symlinks=False)
    _, variables, _ = await run("start", "0201", str(directory.path))
    mine = directory.path / f"{variables['VOICE_AGENT_UUID']}.json"
    assert set(directory.path.iterdir()) == {fresh, foreign, mine}
    assert victim.read_text() == "kept"


@pytest.mark.parametrize("kind", ["start", "next"])
async def test_no_caller_waits_longer_than_five_seconds(directory: MetadataDirectory, kind: str) -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    place = str(directory.path) if kind == "start" else f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        process = await asyncio.create_subprocess_exec(
            *("perl", str(SCRIPT), kind, str(uuid4()), place),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
        )
        assert process.stdin is not None
        process.stdin.write(b"agi_request: x\n\n")
        async with asyncio.timeout(12):
            assert await process.wait() == -signal.SIGALRM
        process.stdin.close()
    finally:
        server.close()
        await server.wait_closed()
    assert os.listdir(directory.path) == []


@pytest.mark.parametrize(
    "answer",
    [
        b"EXEC System reboot\n",
        b'SET VARIABLE VOICE_AGENT_TARGET "1,1)"\n',
        b'SET VARIABLE VOICE_AGENT_PEOPLE "PJSIP/9"\n',
        b'SET VARIABLE VOICE_AGENT_NEXT "hangup"\nEXEC System reboot\n',
        b"HTTP/1.1 400 Bad Request\r\n",
        bytes(range(256)) * 10,
    ],
)
async def test_what_is_no_agent_cannot_use_the_dialplan(answer: bytes) -> None:
    async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\n\n")
        writer.write(answer)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(answers, "127.0.0.1", 0)
    try:
        status, _, commands = await run("next", str(uuid4()), f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
    finally:
        server.close()
        await server.wait_closed()
    assert status == 1
    assert all(command == 'SET VARIABLE VOICE_AGENT_NEXT "hangup"' for command in commands)


@pytest.mark.parametrize("call", ["", "x", "1\nagi_arg_2: 3" + "4" * 30])
async def test_next_of_what_is_no_uuid_asks_nobody(call: str) -> None:
    assert await run("next", call, "127.0.0.1:1") == (0, {}, [])


async def test_a_missed_transfer_is_told() -> None:
    call, missed = uuid4(), list[tuple[UUID, str]]()

    async def refuse(info: object) -> bool:
        return False

    async with FastAgiServer(
        CallRegistry(), refuse, port=0, on_missed=lambda uuid, status: missed.append((uuid, status))
    ) as agi:
        place = f"127.0.0.1:{agi.port}"
        assert await run("transferred", str(call), place, "", "TIMEOUT", "") == (0, {}, [])
        assert await run("transferred", str(call), place, "NOANSWER", "", "") == (0, {}, [])
        assert await run("transferred", str(call), place, "ANSWER") == (0, {}, [])
        assert await run("transferred", str(call), place, "BUSY\nagi_arg_1: x") == (0, {}, [])
        assert agi.counters["transferred_answered"] == 2
    assert missed == [(call, "TIMEOUT"), (call, "NOANSWER")]
