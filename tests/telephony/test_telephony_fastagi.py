"""The FastAGI server over real sockets, talked to as Asterisk does, and as nobody should."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from uuid import UUID, uuid4

import pytest

from agent.telephony import CallInfo, CallRegistry, FastAgiLimits, FastAgiServer, Verdict
from agent.telephony.desk import how_missed

QUICK = FastAgiLimits(
    request_timeout_s=0.2, command_timeout_s=0.2, start_timeout_s=0.2, verdict_wait_s=0.1, max_connections=4
)


async def room(info: CallInfo) -> bool:
    return True


class Channel:
    """Asterisk's side of one AGI request: sends the headers, obeys the commands, keeps the variables."""

    def __init__(self, port: int, script: str, *arguments: str, **headers: str) -> None:
        self.port = port
        self.variables: dict[str, str] = {}
        self.commands: list[str] = []
        self.linked_id = "1700000000.1"
        self.answer: Callable[[str], str] = self.obey
        values = {
            "network": "yes",
            "network_script": script,
            "request": f"agi://127.0.0.1:{port}/{script}",
            "channel": "PJSIP/trunk-00000001",
            "uniqueid": "1700000000.2",
            "callerid": "07700900123",
            "calleridname": "Ann Example",
            "callingpres": "0",
            "dnid": "02012345678",
            "extension": "s",
        } | headers
        values |= {f"arg_{place}": value for place, value in enumerate(arguments, 1)}
        self.headers = "".join(f"agi_{name}: {value}\n" for name, value in values.items()).encode() + b"\n"

    def obey(self, command: str) -> str:
        if command.startswith("SET VARIABLE "):
            _, _, name, value = command.split(" ", 3)
            self.variables[name] = value.strip('"')
            return "200 result=1\n"
        if command == 'GET FULL VARIABLE "${CHANNEL(linkedid)}"':
            return f"200 result=1 ({self.linked_id})\n"
        return "510 Invalid or unknown command\n"

    async def run(self) -> dict[str, str]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(self.headers)
            async with asyncio.timeout(5):
                while line := await reader.readline():
                    self.commands.append(line.decode().rstrip("\n"))
                    writer.write(self.answer(self.commands[-1]).encode())
        finally:
            writer.close()
        return self.variables


def server(
    registry: CallRegistry,
    on_start: Callable[[CallInfo], Awaitable[bool]] = room,
    limits: FastAgiLimits = QUICK,
    allowed_peers: tuple[str, ...] = ("127.0.0.0/8",),
) -> FastAgiServer:
    return FastAgiServer(registry, on_start, port=0, limits=limits, allowed_peers=allowed_peers)


async def test_start_makes_the_uuid_and_announces_the_call() -> None:
    registry = CallRegistry()
    async with server(registry) as agi:
        variables = await Channel(agi.port, "start").run()
    assert variables["VOICE_AGENT_STATUS"] == "OK"
    info = await registry.claim(UUID(variables["VOICE_AGENT_UUID"]))
    assert info is not None
    assert (info.did, info.caller_id, info.caller_name) == ("02012345678", "07700900123", "Ann Example")
    assert (info.unique_id, info.linked_id) == ("1700000000.2", "1700000000.1")
    assert (info.channel, info.source) == ("PJSIP/trunk-00000001", "fastagi")


async def test_start_takes_the_dialplan_s_uuid_and_number() -> None:
    registry, call = CallRegistry(), uuid4()
    async with server(registry) as agi:
        variables = await Channel(agi.port, "start", str(call).upper(), "01611234567").run()
    assert variables == {"VOICE_AGENT_UUID": str(call), "VOICE_AGENT_STATUS": "OK"}
    info = await registry.claim(call)
    assert info is not None
    assert info.did == "01611234567"


async def test_the_extension_is_the_number_where_no_other_is_known() -> None:
    registry = CallRegistry()
    async with server(registry) as agi:
        variables = await Channel(agi.port, "start", dnid="unknown", extension="02099999999").run()
    info = await registry.claim(UUID(variables["VOICE_AGENT_UUID"]))
    assert info is not None
    assert info.did == "02099999999"


async def test_a_withheld_number_and_an_odd_name_are_safe() -> None:
    registry = CallRegistry()
    async with server(registry) as agi:
        channel = Channel(agi.port, "start", callerid="unknown", calleridname='"; EXEC \\ Ünal 🙂\t(x)')
        variables = await channel.run()
    info = await registry.claim(UUID(variables["VOICE_AGENT_UUID"]))
    assert info is not None
    assert info.caller_id == ""
    assert info.caller_name == '"; EXEC \\ Ünal 🙂 (x)'


@pytest.mark.parametrize("asked", ["no", "late", "broken"])
async def test_no_room_is_said_and_nothing_stays(asked: str) -> None:
    async def on_start(info: CallInfo) -> bool:
        if asked == "late":
            await asyncio.sleep(5)
        if asked == "broken":
            raise RuntimeError("no database")
        return False

    dropped = list[CallInfo]()
    registry = CallRegistry(on_dropped=dropped.append)
    async with server(registry, on_start) as agi:
        variables = await Channel(agi.port, "start").run()
    assert variables["VOICE_AGENT_STATUS"] == ("FULL" if asked == "no" else "ERROR")
    assert registry.announced == 0
    assert len(dropped) == 1


async def test_a_full_registry_is_full() -> None:
    registry = CallRegistry(max_announced=1)
    async with server(registry) as agi:
        assert (await Channel(agi.port, "start").run())["VOICE_AGENT_STATUS"] == "OK"
        assert (await Channel(agi.port, "start").run())["VOICE_AGENT_STATUS"] == "FULL"


async def test_a_running_call_is_not_announced_again() -> None:
    registry, call = CallRegistry(), uuid4()
    await registry.opened(call)
    async with server(registry) as agi:
        assert (await Channel(agi.port, "start", str(call)).run())["VOICE_AGENT_STATUS"] == "ERROR"
    assert registry.announced == 0


async def test_a_uuid_that_is_none_is_an_error() -> None:
    registry = CallRegistry()
    async with server(registry) as agi:
        assert await Channel(agi.port, "start", "{12}").run() == {"VOICE_AGENT_STATUS": "ERROR"}
        assert agi.counters["refused_bad_uuid"] == 1
    assert registry.announced == 0


@pytest.mark.parametrize("reply", ["HANGUP\n", "511 Command Not Permitted on a dead channel\n"])
async def test_a_caller_who_hangs_up_while_it_rings_is_forgotten(reply: str) -> None:
    dropped = list[CallInfo]()
    registry = CallRegistry(on_dropped=dropped.append)
    async with server(registry) as agi:
        channel = Channel(agi.port, "start")
        channel.answer = lambda command: reply if command.startswith("SET") else channel.obey(command)
        assert await channel.run() == {}
        assert agi.counters["refused_hangup"] == 1
    assert registry.announced == 0
    assert len(dropped) == 1


@pytest.mark.parametrize(
    ("verdict", "variables"),
    [
        (Verdict("transfer", "2001"), {"VOICE_AGENT_TARGET": "2001", "VOICE_AGENT_NEXT": "transfer"}),
        (Verdict("menu"), {"VOICE_AGENT_TARGET": "", "VOICE_AGENT_NEXT": "menu"}),
        (Verdict("hangup"), {"VOICE_AGENT_TARGET": "", "VOICE_AGENT_NEXT": "hangup"}),
        (None, {"VOICE_AGENT_TARGET": "", "VOICE_AGENT_NEXT": "UNKNOWN"}),
    ],
)
async def test_next_answers_with_the_verdict(verdict: Verdict | None, variables: dict[str, str]) -> None:
    registry, call = CallRegistry(), uuid4()
    await registry.opened(call)
    if verdict:
        await registry.decide(call, verdict)
    await registry.closed(call)
    async with server(registry) as agi:
        channel = Channel(agi.port, "next", str(call))
        assert await channel.run() == variables
        assert list(channel.variables) == ["VOICE_AGENT_TARGET", "VOICE_AGENT_NEXT"]
        assert (await Channel(agi.port, "next", "nonsense").run())["VOICE_AGENT_NEXT"] == "UNKNOWN"
        assert (await Channel(agi.port, "next").run())["VOICE_AGENT_NEXT"] == "UNKNOWN"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "bad_header"),
        (b"\n", "bad_header"),
        (b"agi_network_script: shutdown\n\n", "script"),
        (b"agi_x: " + b"x" * 5000 + b"\n\n", "line"),
        (b"agi_x: y\n" * 100 + b"\n", "lines"),
        (b"agi_network_script: start\n", "timeout"),
        (b"\x16\x03\x01\x02\x00\x01\x00\xfc\x03\x03\n", "bad_header"),
    ],
)
async def test_noise_ends_alone_and_is_counted(text: bytes, reason: str) -> None:
    registry = CallRegistry()
    async with server(registry) as agi:
        reader, writer = await asyncio.open_connection("127.0.0.1", agi.port)
        writer.write(text)
        async with asyncio.timeout(2):
            assert await reader.read() == b""
        writer.close()
        assert agi.counters[f"refused_{reason}"] == 1
        assert (await Channel(agi.port, "start").run())["VOICE_AGENT_STATUS"] == "OK"


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("510 Invalid or unknown command\n", "refused"),
        ("520-Invalid command syntax.  Proper usage follows:\nUsage: SET\n520 End of proper usage.\n", "refused"),
        ("what?\n", "bad_reply"),
        ("520-x\n" * 100, "lines"),
        ("", "timeout"),
    ],
)
async def test_a_refused_command_withdraws_the_call(reply: str, reason: str) -> None:
    registry = CallRegistry()
    async with server(registry) as agi:
        channel = Channel(agi.port, "start")
        channel.answer = lambda command: reply if command.startswith("SET") else channel.obey(command)
        await channel.run()
        assert agi.counters[f"refused_{reason}"] == 1
    assert registry.announced == 0


async def test_strangers_are_turned_away() -> None:
    async with server(CallRegistry(), allowed_peers=("10.0.0.0/8",)) as agi:
        reader, writer = await asyncio.open_connection("127.0.0.1", agi.port)
        assert await reader.read() == b""
        writer.close()
        assert agi.counters == {"refused_peer": 1}


async def test_the_number_of_connections_is_limited() -> None:
    limits = FastAgiLimits(max_connections=2, request_timeout_s=5)
    async with server(CallRegistry(), limits=limits) as agi:
        idle = [await asyncio.open_connection("127.0.0.1", agi.port) for _ in range(3)]
        assert await idle[2][0].read() == b""
        assert agi.counters["refused_connections"] == 1
    for _, writer in idle:
        writer.close()


async def test_stopping_ends_open_requests() -> None:
    async with asyncio.timeout(2):
        async with server(CallRegistry(), limits=FastAgiLimits(request_timeout_s=60)) as agi:
            reader, writer = await asyncio.open_connection("127.0.0.1", agi.port)
            await Channel(agi.port, "next").run()
            assert agi.counters["connections"] == 2
        assert await reader.read() == b""
        writer.close()


async def test_an_answer_under_way_arrives_although_the_server_stops() -> None:
    registry, call = CallRegistry(), uuid4()
    await registry.opened(call)
    await registry.decide(call, Verdict("hangup"))
    await registry.closed(call)
    async with server(registry) as agi:
        channel = Channel(agi.port, "next", str(call))
        reader, writer = await asyncio.open_connection("127.0.0.1", agi.port)
        writer.write(channel.headers)
        command = await reader.readline()

        async def go_on(command: bytes) -> None:
            await asyncio.sleep(0.1)
            while command:
                writer.write(channel.obey(command.decode().rstrip("\n")).encode())
                command = await reader.readline()

        dialplan = asyncio.create_task(go_on(command))
    await dialplan
    writer.close()
    assert channel.variables == {"VOICE_AGENT_TARGET": "", "VOICE_AGENT_NEXT": "hangup"}


async def test_a_transfer_that_nobody_answered_is_told() -> None:
    call, missed = uuid4(), list[tuple[UUID, str]]()
    async with FastAgiServer(
        CallRegistry(), room, port=0, limits=QUICK, on_missed=lambda uuid, status: missed.append((uuid, status))
    ) as agi:
        for arguments in (
            (str(call), "NOANSWER"),
            (str(call), "ANSWER", "TIMEOUT"),
            (str(call), "", "", "TRUE"),
            ("x",),
        ):
            assert await Channel(agi.port, "transferred", *arguments).run() == {}
        assert agi.counters["transferred_missed"] == 2
        assert agi.counters["transferred_answered"] == agi.counters["transferred_unknown"] == 1
    assert missed == [(call, "NOANSWER"), (call, "CANCEL")]


@pytest.mark.parametrize(
    ("dial", "queue", "abandoned", "status"),
    [
        ("ANSWER", "", "", ""),
        ("ANSWER", "TIMEOUT", "", ""),  # the queue was in vain, a phone behind it was not
        ("BUSY", "", "", "BUSY"),
        ("", "JOINEMPTY", "", "JOINEMPTY"),
        ("", "CONTINUE", "", ""),
        ("", "", "TRUE", "CANCEL"),
        ("", "", "", ""),
        ("no; answer", "", "", ""),
    ],
)
def test_how_a_transfer_was_missed(dial: str, queue: str, abandoned: str, status: str) -> None:
    assert how_missed(dial, queue, abandoned) == status
