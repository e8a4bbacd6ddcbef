"""A machine that rings is said goodbye to, and the line is free again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.agent.conftest import Rig


@pytest.mark.parametrize("sound", ["<fax 30s>", "<modem 30s>"])
async def test_a_fax_or_modem(rig: Rig, sound: str) -> None:
    result, record = await rig.call(f"play: {sound}")
    assert (record.outcome, record.verdict) == ("machine", "hangup")
    assert [mark.detail for mark in record.marks if mark.what == "machine"] == ["fax"]
    assert (result.ended_by, result.verdict) == ("agent", "hangup")
    assert record.turns[-1].heard == rig.agent.services.conversations.default.phrases.goodbye
    assert not rig.llm.asked, "nobody said a word"


async def test_an_announcement_that_lets_nobody_in(rig: Rig) -> None:
    result, record = await rig.call(
        "say: Thank you for calling Acme. <600ms> This call is being recorded. <600ms> Press one for billing. <600ms> "
        "Press two for readings. <600ms> Your call is important to us. <600ms> Please hold the line. <600ms> Press one."
    )
    assert record.outcome == "machine"
    assert [mark.detail for mark in record.marks if mark.what == "machine"] == ["announcement"]
    assert result.ended_by == "agent"
    assert not record.turns[-1].interrupted, "nothing interrupts the goodbye"
