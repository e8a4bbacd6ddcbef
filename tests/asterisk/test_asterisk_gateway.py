"""The simulated caller, put behind a real Asterisk: both sides understand each other through SIP, RTP and G.711."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import numpy as np
import pytest
from rig import rtpcheck
from rig.gateway import SipGateway
from rig.line import Line

from agent.sandbox.caller import CallPlan, SimulatedCaller, parse_script
from agent.speech_engines import Recogniser, Voice
from agent.speech_engines.tones import ToneRecogniser, ToneVoice
from agent.telephony import Verdict

pytestmark = [pytest.mark.asterisk, pytest.mark.asyncio(loop_scope="session")]


async def test_the_simulated_caller_converses_through_asterisk(line: Line) -> None:
    voice, ears = ToneVoice(), ToneRecogniser()
    script = parse_script('when "hello": say: My tap is leaking.\nwhen "postcode": dtmf: 4')

    async with SipGateway(line.caller(), "all-02079460101") as gateway:
        plan = CallPlan(port=gateway.port, quiet_s=0.3, linger_s=0.5, patience_s=5)
        async with asyncio.TaskGroup() as group:
            conversation = group.create_task(SimulatedCaller(plan, script, voice, ears).run())
            agent = await line.agent.call()
            agent.play(spoken(voice, "Hello, Thames Plumbing."))
            await until(lambda: "leaking" in words(ears, agent.heard))
            agent.play(spoken(voice, "What is your postcode?"))
            assert await agent.digit(10) == "4"
            await line.agent.decide(agent, Verdict("hangup"))
        result = conversation.result()
    assert result.ok, result.failure
    assert result.ended_by == "agent"
    assert result.said_by("agent") == ["Hello, Thames Plumbing.", "What is your postcode?"]
    assert rtpcheck.check(gateway.calls[0].packets).problems() == []
    assert line.rig.complaints() == []


async def until(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - what is waited for is heard, not signalled
            await asyncio.sleep(0.2)


def spoken(voice: Voice, text: str) -> bytes:
    return voice.speak(text, 8000).samples.tobytes()


def words(ears: Recogniser, pcm: bytearray) -> str:
    return " ".join(word.text for word in ears.transcribe(np.frombuffer(bytes(pcm), "<i2")))
