"""What a company says of itself in the back office reaches its calls: the LLM, and the caller's ear."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from agent.office.seed import LONDON_PLUMBER

if TYPE_CHECKING:
    from tests.agent.conftest import RigMaker

WEEK = {day: [["00:00", "24:00"]] for day in ("mon", "tue", "wed", "thu", "fri", "sat", "sun")}


@pytest.mark.parametrize("recorded", [True, False])
async def test_the_llm_is_told_and_the_caller_hears_the_notice_of_a_recorded_call(
    a_rig: RigMaker, recorded: bool
) -> None:
    async with a_rig(record_calls=recorded) as rig:
        company = replace(
            LONDON_PLUMBER,
            instructions="We do not fit boilers.\nWe never work on roofs.",
            opening_hours=WEEK,
            recording_notice="This call is recorded",
        )
        await rig.store.add_company(company)
        result, record = await rig.call("say: My tap leaks\nhangup")
        assert result.failure == ""
        first = record.turns[0].heard
        assert first.startswith("This call is recorded. Hello, Thames" if recorded else "Hello, Thames Plumbing")
        assert bool(record.recording) is recorded
        told = rig.llm.asked[0][0]["content"]
        assert told.endswith("Also heed, for this company:\nWe do not fit boilers.\nWe never work on roofs.\n")
        assert "Opening hours: Monday to Sunday 00:00 to midnight. It is " in told
        assert ": open now.\n" in told
