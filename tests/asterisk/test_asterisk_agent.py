"""The whole agent behind a real Asterisk: greeted, understood, interrupted, booked, transferred, and what if it dies.

The vendors are emulated on their own wire. `tones` carries text exactly and cheaply; one call is made with real voices.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from rig import rtpcheck
from rig.agent import AgentStack
from rig.config import HUMAN, MANAGER_SECRET, MANAGER_USER
from rig.gateway import SipGateway
from rig.line import Line, hears_message, hears_tone, rings, talks_with_the_human
from rig.sipcaller import SipCall
from rig.sipp import HumanPhone

from agent.office.store import NewCompany, OfficeStore
from agent.sandbox.caller import CallPlan, CallResult, Script, SimulatedCaller, parse_script
from agent.sandbox.caller.command import line_of, packaged_script
from agent.speech_engines import Recogniser, Voice, load_recogniser, load_voice
from agent.speech_engines.tones import ToneRecogniser, ToneVoice

pytestmark = [pytest.mark.asterisk, pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(240)]

LONDON, MANCHESTER = "all-02079460123", "all-01614960456"
TRANSFERRING = "I'll put you through now."
LONDON_NUMBERS = "02079460123", "+442079460123"
"""As the dialplan has it, and as it may be kept."""


each_way = pytest.mark.parametrize("way", ["fastagi", "http", "script"])


@dataclass
class Service:
    """The line with the real agent on it."""

    line: Line
    stack: AgentStack

    async def converse(self, number: str, script: Script, voice: Voice, ears: Recogniser) -> tuple[CallResult, SipCall]:
        """One call by the simulated caller, over SIP."""
        async with SipGateway(self.line.caller(), number) as gateway:
            plan = CallPlan(port=gateway.port)
            caller = SimulatedCaller(plan, script, voice, ears, lambda heard: print(line_of(heard)))
            result = await caller.run()
        return result, gateway.calls[0]


async def connect(line: Line, stack: AgentStack, way: str = "fastagi") -> Service:
    """Have the dialplan ask this agent, by FastAGI, HTTP or the script."""
    if way == "http":
        await line.rig.set_global("VOICE_AGENT_HTTP_PORT", str(stack.http_port))
    elif way == "script":
        await line.rig.set_global("VOICE_AGENT_SCRIPT", "voice-agent.agi")
    await line.rig.set_global("VOICE_AGENT_AUDIO_PORT", str(stack.audio_port))
    await line.rig.set_global("VOICE_AGENT_AGI_PORT", str(stack.agi_port))
    return Service(line, stack)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stack(running_line: Line, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[AgentStack]:
    async with AgentStack(tmp_path_factory.mktemp("agent"), running_line.rig.metadata) as stack:
        yield stack


@pytest_asyncio.fixture(loop_scope="session")
async def service(line: Line, stack: AgentStack) -> AsyncIterator[Service]:
    before = len(stack.output("serve"))
    yield await connect(line, stack)
    # Shown when the test fails.
    print(stack.output("serve")[before:])


async def test_a_tap_is_booked(service: Service) -> None:
    result, phone = await service.converse(LONDON, packaged_script("leaking_tap"), ToneVoice(), ToneRecogniser())
    assert result.ok, result.failure
    assert result.ended_by == "agent"
    assert result.said_by("agent")[0].startswith("Hello, Thames Plumbing, good ")

    booking = (await service.stack.bookings())[0]
    assert (booking.customer_name, booking.postcode) == ("Anna Smith", "SW4 7DQ")
    assert "Baker Street" in booking.address
    assert "tap" in booking.problem_description
    assert booking.company_name == "Thames Plumbing"

    assert len(result.interruptions) == 1
    stopped = result.interruptions[0].stopped_after_ms
    assert stopped is not None
    assert stopped < 400

    stalls = (await service.stack.record_of(*LONDON_NUMBERS))["media"]["stalls"]
    report = rtpcheck.check(phone.packets)
    assert report.problems(jumps=stalls) == []
    assert stalls or rtpcheck.on_pace(report, ppm=2000)
    assert service.line.rig.complaints() == []


async def test_another_number_is_another_company(service: Service) -> None:
    script = parse_script('when "northern spark": say: My lights have gone out.\nhangup')
    result, _ = await service.converse(MANCHESTER, script, ToneVoice(), ToneRecogniser())
    assert result.ok, result.failure
    assert result.ended_by == "caller"
    assert result.said_by("agent")[0].startswith("Hello, Northern Spark Electrical, good ")
    record = await service.stack.record_of("+441614960456", "01614960456")
    assert (record["company"], record["ended_by"]) == ("Northern Spark Electrical", "caller")
    assert record["linked_id"] == record["unique_id"] != ""
    assert "lights" in record["turns"][-1]["caller"]
    assert service.line.rig.complaints() == []


async def test_zero_is_put_through_to_the_company_s_human(service: Service) -> None:
    async with service.line.caller().call(LONDON) as phone:
        await phone.media.heard(10, after_s=0.0)
        await phone.media.quiet(10)
        await phone.media.press("0")
        await hears_tone(phone, 620, 20)
    assert service.line.rig.complaints() == []


@pytest.mark.parametrize("way", ["fastagi", "http", "AMI"])
async def test_zero_rings_a_human_and_both_hear_each_other(line: Line, tmp_path: Path, way: str) -> None:
    ami = {
        "AMI_HOST": "127.0.0.1",
        "AMI_PORT": str(line.rig.manager_port),
        "AMI_USER": MANAGER_USER,
        "AMI_SECRET": MANAGER_SECRET,
    }
    async with AgentStack(tmp_path, line.rig.metadata, settings=ami if way == "AMI" else {}) as stack:
        await connect(line, stack, way)
        async with await OfficeStore.open(stack.database_url) as office:
            await office.add_company(
                NewCompany(
                    name="Ringing Ltd",
                    trade_type="plumbing",
                    trade_label="plumber",
                    callout_fee="£70",
                    numbers=("+442079460777",),
                    transfer_targets={"office": HUMAN},
                )
            )
        async with HumanPhone(line.rig, tmp_path) as human:
            async with line.caller().call("all-02079460777") as phone:
                await phone.media.heard(10, after_s=0.0)
                await phone.media.quiet(10)
                after = len(phone.packets)
                await phone.media.press("0")
                await rings(phone, 15)
                said = rtpcheck.samples([packet for packet in phone.packets[after:] if packet.payload_type == 0])
                words = ToneRecogniser().transcribe(said.astype("int16"))
                assert " ".join(word.text for word in words) == TRANSFERRING
                await asyncio.sleep(2.0)
                await talks_with_the_human(phone)
            await human.done()
        record = await stack.record_of("02079460777", "+442079460777")
        assert (record["verdict"], record["ended_by"], record["outcome"]) == (
            f"transfer {HUMAN}",
            "agent",
            "transferred",
        )
        assert MANAGER_SECRET not in stack.output("serve") + str(record)
        assert "07700900123" not in stack.output("serve")
    woken = {"AMI wakes the call's thread with a signal": r"app_audiosocket\.c: Reached timeout after \d+ ms"}
    assert line.rig.complaints(woken) == []


async def test_the_script_announces_to_the_agent_too(service: Service) -> None:
    await service.line.rig.set_global("VOICE_AGENT_SCRIPT", "voice-agent.agi")
    script = parse_script('when "thames plumbing": say: My kitchen tap is leaking.\nhangup')
    result, _ = await service.converse(LONDON, script, ToneVoice(), ToneRecogniser())
    assert result.ok, result.failure
    assert list(service.line.rig.metadata.iterdir()) == []
    assert service.line.rig.complaints() == []


@each_way
async def test_an_agent_that_is_killed_is_the_fallback(line: Line, tmp_path: Path, way: str) -> None:
    async with AgentStack(tmp_path, line.rig.metadata) as stack:
        await connect(line, stack, way)
        async with line.caller().call(LONDON) as phone:
            await phone.media.heard(10, after_s=0.0)
            stack.kill()
            await hears_message(phone)


@each_way
async def test_the_call_that_is_too_many_is_the_fallback(line: Line, tmp_path: Path, way: str) -> None:
    async with AgentStack(tmp_path, line.rig.metadata, settings={"MAX_CALLS": "1"}) as stack:
        await connect(line, stack, way)
        async with line.caller().call(LONDON) as phone:
            await phone.media.heard(10, after_s=0.0)
            async with line.caller("07700900456").call(LONDON) as other:
                await hears_message(other)
            assert not phone.ended.is_set()
        # The place is free when the agent has put the first call away.
        await stack.record_of(*LONDON_NUMBERS)
        await asyncio.sleep(1)
        async with line.caller().call(LONDON) as phone:
            await phone.media.heard(10, after_s=0.0)
            await phone.media.quiet(10)
            assert not phone.ended.is_set()
    assert line.rig.complaints() == []


async def test_a_call_that_nobody_announced_is_the_fallback(line: Line, tmp_path: Path) -> None:
    """The agent looks for the script's files elsewhere, and refuses whom it does not know."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    async with AgentStack(tmp_path, elsewhere, settings={"UNKNOWN_UUID": "refuse"}) as stack:
        await connect(line, stack, "script")
        async with line.caller().call(LONDON) as phone:
            await hears_message(phone)
        assert "unknown_uuid" in stack.output("serve") or "was not announced" in stack.output("serve")
        assert stack.records() == []
    assert line.rig.complaints() == []


@pytest.mark.speech
async def test_real_voices_book_a_tap(line: Line, tmp_path: Path) -> None:
    async with AgentStack(tmp_path, line.rig.metadata, "real") as stack:
        service = await connect(line, stack)
        voice, ears = load_voice("hibari-low"), load_recogniser("moonshine")
        result, phone = await service.converse(LONDON, packaged_script("leaking_tap"), voice, ears)
        assert result.ok, result.failure
        assert "plumbing" in result.said_by("agent")[0].lower()
        booking = (await stack.bookings())[0]
        assert booking.postcode == "SW4 7DQ"
        # Three speech engines on the machine of the call stall all of it now and then, Asterisk as well: each gap must
        # be a real one, and nothing be lost or torn. That there are none is proven with tones, above.
        report = rtpcheck.check(phone.packets)
        assert report.problems(jumps=len(report.jumps)) == []
    assert line.rig.complaints() == []
