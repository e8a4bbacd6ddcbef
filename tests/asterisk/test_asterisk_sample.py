"""The shipped sample configuration and FreePBX's file, loaded by a real Asterisk."""

from __future__ import annotations

import pytest
from rig.config import SHIPPED
from rig.server import AsteriskRig

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
