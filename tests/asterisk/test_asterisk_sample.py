"""The shipped sample configuration and FreePBX's file, loaded by a real Asterisk."""

from __future__ import annotations

import pytest
from rig.config import SHIPPED
from rig.line import hears_tone
from rig.server import AsteriskRig
from rig.sipcaller import SipCaller
from rig.standin import StandIn

from agent.telephony import CallInfo, CallRegistry, FastAgiServer, Verdict

pytestmark = pytest.mark.asterisk


async def test_the_sample_loads_without_a_complaint() -> None:
    async with AsteriskRig(sample=True) as rig:
        assert rig.complaints() == []
        endpoints = await rig.cli("pjsip show endpoints")
        assert "trunk/trunk" in endpoints
        assert "192.0.2.10" in endpoints
        assert "voice-agent-missed" in await rig.cli("dialplan show 02079460101@from-trunk")
        for context in ("all", "some", "missed", "hours"):
            shown = await rig.cli(f"dialplan show 02079460101@voice-agent-{context}")
            assert "1. " in shown, context
        assert "PJSIP/100" in await rig.cli("dialplan show globals")
        assert "PJSIP/100" in await rig.cli("queue show sales")
        assert "Queue(sales" in await rig.cli("dialplan show sales@voice-agent-transfer")
        assert "CURL" in await rig.cli("core show function CURL")


async def test_freepbx_s_file_loads_beside_the_agent_s() -> None:
    async with AsteriskRig(sample=True) as rig:
        etc = rig.place / "etc"
        custom = (SHIPPED / "extensions_custom.conf").read_text()
        # FreePBX has these contexts; here they only have to be there.
        own = "[from-internal]\nexten => _X.,1,Hangup()\n[ivr-1]\nexten => s,1,Hangup()\n"
        (etc / "extensions.conf").write_text(own + custom)
        await rig.cli("dialplan reload")
        assert "Goto(voice-agent,s,1)" in await rig.cli("dialplan show s@voice-agent-freepbx")
        assert "from-internal,${EXTEN},1" in await rig.cli("dialplan show 2001@voice-agent-transfer")
        assert "no existence" in await rig.cli("dialplan show 02079460101@voice-agent-transfer")
        assert "AudioSocket" in await rig.cli("dialplan show unknown@voice-agent")
        assert rig.complaints() == []


FREEPBX = """
[general]
autofallthrough = yes
[globals]
VOICE_AGENT_AUDIO_PORT = {audio_port}
VOICE_AGENT_AGI_PORT = {agi_port}
[rig]
exten => _X.,1,Set(FROM_DID=${{EXTEN}})
 same => n,Goto(voice-agent-freepbx,s,1)
exten => unmatched,1,Goto(voice-agent-freepbx,s,1)
exten => tone620,1,Answer()
 same => n,Playtones(620)
 same => n,Wait(60)
exten => tone440,1,Answer()
 same => n,Playtones(440)
 same => n,Wait(60)
[from-internal]
exten => 2001,1,Dial(PJSIP/2001)
exten => 600,1,Dial(PJSIP/2002)
exten => _0X.,1,Goto(rig,tone620,1)
[ivr-1]
exten => s,1,Answer()
 same => n,Playtones(440)
 same => n,Wait(60)
"""
"""As much of FreePBX's own dialplan as its file needs; an outgoing trunk stands behind 0."""


async def test_freepbx_s_file_takes_calls_and_hands_them_back() -> None:
    registry = CallRegistry()
    room = True

    async def on_start(info: CallInfo) -> bool:
        return room

    async with StandIn(registry) as agent, FastAgiServer(registry, on_start, port=0) as agi:
        rig = AsteriskRig(audio_port=agent.port, agi_port=agi.port)
        async with rig:
            own = FREEPBX.format(audio_port=agent.port, agi_port=agi.port)
            custom = (SHIPPED / "extensions_custom.conf").read_text()
            (rig.place / "etc/extensions.conf").write_text(own + custom)
            await rig.cli("dialplan reload")
            caller = SipCaller(rig.address)
            for verdict, tone in (
                (Verdict("transfer", "2001"), 620),
                (Verdict("menu"), 440),
                # A number outside is no target, whatever the agent says: the ring group answers.
                (Verdict("transfer", "02079460999"), 440),
                (None, 440),
            ):
                async with caller.call("02079460101") as call:
                    taken = await agent.call()
                    assert taken.info is not None
                    assert taken.info.did == "02079460101"
                    await agent.decide(taken, verdict)
                    await hears_tone(call, tone)
                await rig.settle()
            async with caller.call("unmatched") as call:
                taken = await agent.call()
                assert taken.info is not None
                assert taken.info.did == "unmatched"  # no route matched: the dialled number is what there is
                await agent.decide(taken, Verdict("hangup"))
                await call.wait_ended(5)
            room = False
            async with caller.call("02079460101") as call:
                await hears_tone(call, 440)
            await rig.settle()
            assert rig.complaints() == []
