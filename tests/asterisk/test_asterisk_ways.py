"""The three ways in which the shipped dialplan asks the agent, and what a caller meets when nobody answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from rig.line import Line, hears_message, hears_tone
from rig.server import KNOWN_WITHOUT_AGENT

from agent.telephony import MetadataDirectory, Verdict

pytestmark = [pytest.mark.asterisk, pytest.mark.asyncio(loop_scope="session")]

NUMBER = "02079460101"
WAYS = ("fastagi", "http", "script")
SILENT_S = 15.0
"""How long a caller may wait for the fallback when the agent takes connections and says nothing."""


async def ask_by(line: Line, way: str) -> None:
    if way == "http":
        await line.rig.set_global("VOICE_AGENT_HTTP_PORT", str(line.http_port))
    elif way == "script":
        await line.rig.set_global("VOICE_AGENT_SCRIPT", "voice-agent.agi")


async def agent_at(line: Line, port: int) -> None:
    """The dialplan's questions go to this port from now on, whichever way they go."""
    await line.rig.set_global("VOICE_AGENT_AGI_PORT", str(port))
    if f"VOICE_AGENT_HTTP_PORT={line.http_port}" in await line.rig.cli("dialplan show globals"):
        await line.rig.set_global("VOICE_AGENT_HTTP_PORT", str(port))


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], object]


@asynccontextmanager
async def something_else(answer: bytes | None) -> AsyncIterator[int]:
    """A server that is no agent: says the same to everything, or nothing at all and keeps the connection."""
    open_ones: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_ones.append(writer)
        if answer is not None:
            await reader.read(1000)
            writer.write(answer)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for writer in open_ones:
            writer.close()
        await server.wait_closed()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "verdict", [Verdict("transfer", "2001"), Verdict("hangup"), Verdict("menu"), None], ids=lambda v: v and v.action
)
async def test_each_verdict_by_each_way(line: Line, way: str, verdict: Verdict | None) -> None:
    await ask_by(line, way)
    async with line.caller(name='Ann "the" Ünal & 100% =').call(f"all-{NUMBER}") as call:
        agent = await line.agent.call()
        info = agent.info
        assert info is not None
        assert info.source == {"script": "file"}.get(way, way)
        assert (info.did, info.caller_id) == (NUMBER, "07700900123")
        assert info.caller_name == 'Ann "the" Ünal & 100% ='
        assert info.linked_id == info.unique_id != ""
        assert info.channel.startswith("PJSIP/rig-")
        await line.agent.decide(agent, verdict)
        if verdict is not None and verdict.action == "hangup":
            await call.wait_ended(5)
        elif verdict is not None and verdict.action == "transfer":
            await hears_tone(call, 620)
        else:
            await hears_message(call)
    assert line.rig.complaints() == []


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "name", ['x"),y(<z>&did=9', "${EXTEN} $[1+1] ${SHELL(id)}", "a,b|c\\", "\t\x01 🙂"], ids=range(4)
)
async def test_a_name_is_only_a_name(line: Line, way: str, name: str) -> None:
    await ask_by(line, way)
    async with line.caller(name=name).call(f"all-{NUMBER}") as call:
        agent = await line.agent.call()
        assert agent.info is not None
        assert agent.info.did == NUMBER
        assert agent.info.caller_name == " ".join("".join(c if c.isprintable() else " " for c in name).split())
        await line.agent.decide(agent, Verdict("hangup"))
        await call.wait_ended(5)
    assert line.rig.complaints() == []


async def test_a_withheld_number_is_empty_by_http_too(line: Line) -> None:
    await ask_by(line, "http")
    async with line.caller("anonymous", "Anonymous").call(f"all-{NUMBER}") as call:
        agent = await line.agent.call()
        assert agent.info is not None
        assert agent.info.caller_id == ""
        await line.agent.decide(agent, Verdict("hangup"))
        await call.wait_ended(5)


async def test_a_full_agent_says_so_by_http_before_the_answer(line: Line) -> None:
    await ask_by(line, "http")
    line.room = False
    before = line.agent.connections
    async with line.caller().call(f"all-{NUMBER}") as call:
        await hears_message(call)
    assert (len(line.started), line.agent.connections) == (1, before)
    assert line.registry.announced == 0
    assert line.rig.complaints() == []


@pytest.mark.parametrize("way", ["fastagi", "http"])
async def test_an_agent_that_says_nothing_to_start_is_the_fallback(line: Line, way: str) -> None:
    await ask_by(line, way)
    async with something_else(None) as port:
        await agent_at(line, port)
        async with line.caller().call(f"all-{NUMBER}") as call:
            await hears_message(call, SILENT_S)


@pytest.mark.parametrize("way", WAYS)
async def test_an_agent_that_says_nothing_to_next_is_the_fallback(line: Line, way: str) -> None:
    await ask_by(line, way)
    async with something_else(None) as port, line.caller().call(f"all-{NUMBER}") as call:
        agent = await line.agent.call()
        await agent_at(line, port)
        await line.agent.decide(agent, Verdict("hangup"))
        await hears_message(call, SILENT_S)


@pytest.mark.parametrize("way", WAYS)
async def test_an_agent_that_is_gone_at_next_is_the_fallback(line: Line, way: str) -> None:
    await ask_by(line, way)
    async with line.caller().call(f"all-{NUMBER}") as call:
        agent = await line.agent.call()
        await agent_at(line, 1)
        await line.agent.decide(agent, Verdict("hangup"))
        await hears_message(call)


async def test_nobody_at_the_http_port_is_the_fallback(line: Line) -> None:
    await line.rig.set_global("VOICE_AGENT_HTTP_PORT", "1")
    async with line.caller().call(f"all-{NUMBER}") as call:
        await hears_message(call)
    assert line.started == []
    assert line.rig.complaints(KNOWN_WITHOUT_AGENT) == []


HTML = b'<html>"hangup" $[1] ${EXTEN} OK</html>'


@pytest.mark.parametrize(
    "body", [HTML, b"", b"OK", b"hangup", b"OK \n" + b"x" * 100_000, b'") & 1 ="', b"\xff\x00OK \x01"], ids=range(7)
)
async def test_what_is_no_agent_s_answer_is_the_fallback(line: Line, body: bytes) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    async with something_else(answer) as port:
        await line.rig.set_global("VOICE_AGENT_HTTP_PORT", str(port))
        async with line.caller().call(f"all-{NUMBER}") as call:
            await hears_message(call)


@pytest.mark.parametrize("way", WAYS)
async def test_nobody_at_the_audio_port_is_the_fallback(line: Line, way: str) -> None:
    await ask_by(line, way)
    await line.rig.set_global("VOICE_AGENT_AUDIO_PORT", "1")
    async with line.caller().call(f"all-{NUMBER}") as call:
        await hears_message(call)


async def test_what_is_no_agi_is_the_fallback(line: Line) -> None:
    async with something_else(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        await line.rig.set_global("VOICE_AGENT_AGI_PORT", str(port))
        async with line.caller().call(f"all-{NUMBER}") as call:
            await hears_message(call)


async def test_a_limit_of_the_site_s_own_holds_during_the_call(line: Line) -> None:
    async with line.caller().call(f"limited-{NUMBER}") as call:
        await line.agent.call()
        ended = await call.wait_ended(15)
    # Eight seconds, without the fallback's message.
    assert 6 < ended < 10
    assert not any(packet.level > 200 for packet in call.packets)


async def test_a_script_s_orphan_is_swept(line: Line) -> None:
    MetadataDirectory(line.rig.metadata, orphan_s=0).sweep()
    await ask_by(line, "script")
    await line.rig.set_global("VOICE_AGENT_AUDIO_PORT", "1")
    async with line.caller().call(f"all-{NUMBER}") as call:
        await hears_message(call)
    assert MetadataDirectory(line.rig.metadata, orphan_s=60).sweep() == 0
    assert MetadataDirectory(line.rig.metadata, orphan_s=0).sweep() == 1
    assert list(line.rig.metadata.iterdir()) == []
