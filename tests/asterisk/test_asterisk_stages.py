"""A caller who hangs up, at each stage of a call: nothing is left of it in Asterisk, and nothing in the agent."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer
from rig.agent import AgentStack
from rig.config import PEOPLE_SILENT
from rig.gateway import SipGateway
from rig.line import Line
from rig.sipcaller import SipCall

from agent.sandbox.caller import CallPlan, SimulatedCaller
from agent.sandbox.caller.command import packaged_script
from agent.speech_engines.tones import ToneRecogniser, ToneVoice

pytestmark = [pytest.mark.asterisk, pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(180)]

LONDON = "02079460123"


@dataclass
class Office:
    """A back office that takes a booking, and never answers."""

    asked: asyncio.Event = field(default_factory=asyncio.Event)
    go: asyncio.Event = field(default_factory=asyncio.Event)

    async def book(self, request: web.Request) -> web.Response:
        self.asked.set()
        await self.go.wait()
        return web.json_response({"booking_id": "B-1"}, status=201)


@dataclass
class Stage:
    line: Line
    stack: AgentStack
    office: Office

    async def calls(self) -> int:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{self.stack.http_port}/health") as response,
        ):
            return int((await response.json())["calls"])

    async def record(self, before: int) -> dict[str, Any]:
        """The record of the call that is over. Neither Asterisk nor the agent has anything left of it."""
        await self.line.rig.settle()
        async with asyncio.timeout(10):
            while len(self.stack.records()) <= before or await self.calls():  # noqa: ASYNC110 - it is asked
                await asyncio.sleep(0.1)
        return max(self.stack.records(), key=lambda record: str(record["started"]))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def office_and_stack(
    running_line: Line, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[Office, AgentStack]]:
    office = Office()
    app = web.Application()
    app.router.add_post("/book", office.book)
    async with TestServer(app) as server:
        settings = {"BOOKING_API_URL": f"http://127.0.0.1:{server.port}/book", "BOOKING_API_KEY": "key"}
        async with AgentStack(tmp_path_factory.mktemp("stages"), running_line.rig.metadata, settings=settings) as stack:
            yield office, stack
            office.go.set()


@pytest_asyncio.fixture(loop_scope="session")
async def stage(line: Line, office_and_stack: tuple[Office, AgentStack]) -> Stage:
    office, stack = office_and_stack
    await line.rig.set_global("VOICE_AGENT_AUDIO_PORT", str(stack.audio_port))
    await line.rig.set_global("VOICE_AGENT_AGI_PORT", str(stack.agi_port))
    return Stage(line, stack, office)


async def greeted(phone: SipCall) -> None:
    await phone.media.heard(10, after_s=0.0)
    await phone.media.quiet(10)


async def says(phone: SipCall, text: str) -> None:
    await phone.media.say(ToneVoice().speak(text, 8000).samples.tobytes())


async def gives_up(line: Line, number: str, after_s: float) -> None:
    """Call, and hang up before the answer."""

    async def ring() -> None:
        async with line.caller().call(number):
            raise AssertionError("the call was answered")

    ringing = asyncio.create_task(ring())
    await asyncio.sleep(after_s)
    ringing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await ringing


async def test_while_people_are_rung(stage: Stage) -> None:
    await stage.line.rig.set_global("VOICE_AGENT_PEOPLE", PEOPLE_SILENT)
    before = len(stage.stack.records())
    await gives_up(stage.line, f"missed-{LONDON}", 1.0)
    await stage.line.rig.settle()
    await asyncio.sleep(2.0)  # the people have rung for two seconds, and nobody asks the agent any more
    assert (len(stage.stack.records()), await stage.calls()) == (before, 0)


@pytest.mark.parametrize("way", ["fastagi", "http"])
async def test_while_the_agent_is_asked_for_room(line: Line, way: str) -> None:
    if way == "http":
        await line.rig.set_global("VOICE_AGENT_HTTP_PORT", str(line.http_port))
    line.slow_s = 1.0
    before = line.agent.connections
    await gives_up(line, f"all-{LONDON}", 0.4)
    await line.rig.settle()
    await asyncio.sleep(1.0)
    assert len(line.started) == 1
    assert line.agent.connections == before
    if way == "fastagi":
        assert line.registry.announced == 0
    else:  # CURL() hears nothing of a hangup: the announcement is left to expire
        await line.registry.claim(line.started[0].uuid)
    assert line.rig.complaints() == []


async def test_at_the_answer(stage: Stage) -> None:
    before = len(stage.stack.records())
    async with stage.line.caller().call(f"all-{LONDON}"):
        pass
    await stage.line.rig.settle()
    await asyncio.sleep(1.0)
    assert await stage.calls() == 0
    # Whether the audio was connected by then is up to Asterisk.
    assert len(stage.stack.records()) - before in (0, 1)


async def test_in_the_greeting(stage: Stage) -> None:
    before = len(stage.stack.records())
    async with stage.line.caller().call(f"all-{LONDON}") as phone:
        await phone.media.heard(10, after_s=0.0)
        await asyncio.sleep(0.3)
    record = await stage.record(before)
    assert (record["ended_by"], record["outcome"]) == ("caller", "no_booking")
    assert len(record["turns"]) == 1
    assert len(record["turns"][0]["heard"]) < len(record["turns"][0]["agent"])
    assert stage.line.rig.complaints() == []


@pytest.mark.parametrize(("what", "after_s"), [("thinks", 0.25), ("speaks", None)])
async def test_while_the_agent(stage: Stage, what: str, after_s: float | None) -> None:
    before = len(stage.stack.records())
    async with stage.line.caller().call(f"all-{LONDON}") as phone:
        await greeted(phone)
        await says(phone, "My kitchen tap is leaking.")
        if after_s is None:
            await phone.media.heard(10)
            await asyncio.sleep(0.3)
        else:
            await asyncio.sleep(after_s)
    record = await stage.record(before)
    assert record["ended_by"] == "caller"
    assert not record.get("verdict")
    if what == "speaks":
        assert "leaking" in record["turns"][-1]["caller"]
        assert record["turns"][-1]["times"]["first_frame"] is not None
    assert stage.line.rig.complaints() == []


async def test_while_a_tool_runs(stage: Stage) -> None:
    before = len(stage.stack.records())
    stage.office.asked.clear()
    async with SipGateway(stage.line.caller(), f"all-{LONDON}") as gateway:
        plan = CallPlan(port=gateway.port)
        caller = SimulatedCaller(plan, packaged_script("leaking_tap"), ToneVoice(), ToneRecogniser())
        talking = asyncio.create_task(caller.run())
        async with asyncio.timeout(120):
            await stage.office.asked.wait()
        await gateway.calls[0].hang_up()
        await asyncio.wait({talking}, timeout=20)
        talking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await talking
    record = await stage.record(before)
    assert record["ended_by"] == "caller"
    assert stage.line.rig.complaints() == []


async def test_in_the_last_words(stage: Stage) -> None:
    before = len(stage.stack.records())
    async with stage.line.caller().call(f"all-{LONDON}") as phone:
        await greeted(phone)
        await phone.media.press("0")
        await phone.media.heard(10)
        await asyncio.sleep(0.2)
    record = await stage.record(before)
    assert (record["ended_by"], record["verdict"]) == ("caller", "transfer 2001")
    assert stage.line.rig.complaints() == []


async def test_nothing_is_left_of_all_of_them(stage: Stage) -> None:
    for _ in range(3):  # the back office opens its few connections as calls come to it
        async with stage.line.caller().call(f"all-{LONDON}") as phone:
            await greeted(phone)
            at_one = len(os.listdir(f"/proc/{stage.stack.pid}/fd"))
    for _ in range(5):
        async with stage.line.caller().call(f"all-{LONDON}") as phone:
            await phone.media.heard(10, after_s=0.0)
    async with stage.line.caller().call(f"all-{LONDON}") as phone:
        await greeted(phone)
        assert len(os.listdir(f"/proc/{stage.stack.pid}/fd")) <= at_one + 2
    assert stage.line.rig.complaints() == []
