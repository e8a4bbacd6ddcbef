"""Every packaged caller gets what it should: over Nova all of them, over Flux those whose turns are the hardest.

The callers of one recogniser ring at the same time, once, before the first test that asks about one of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Literal

import pytest

from agent.sandbox.scenarios.reading import CONVERSATIONS, Caller, packaged_callers
from agent.sandbox.scenarios.rig import Options, Outcome, callers_rig

Stt = Literal["nova", "flux"]
CALLERS = {f"{c.conversation}/{c.name}": c for name in CONVERSATIONS for c in packaged_callers(name)}
OVER_FLUX = (
    "home_services/plain_booking",
    "home_services/interrupts_quote",
    "home_services/pauses_in_mid_turn",
    "home_services/says_mm_hm",
    "home_services/recorded_announcement",
    "dentist/check_up",
)
AT_ONCE = 16
CASES: list[tuple[Stt, str]] = [*(("nova", name) for name in CALLERS), *(("flux", name) for name in OVER_FLUX)]

pytestmark = [pytest.mark.demo, pytest.mark.alone, pytest.mark.timeout(600)]
Ring = Callable[[Stt], dict[str, Outcome]]


@pytest.fixture(scope="module")
def ring(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Ring:
    """What came of the calls of those tests that were chosen, by name."""
    chosen = [item.callspec.params for item in request.session.items if item.path == request.path]  # type: ignore[attr-defined]

    @cache
    def outcomes(stt: Stt) -> dict[str, Outcome]:
        names = [case["name"] for case in chosen if case["stt"] == stt]
        return asyncio.run(run_callers([CALLERS[name] for name in names], stt, tmp_path_factory.mktemp(stt)))

    return outcomes


async def run_callers(callers: list[Caller], stt: Stt, folder: Path) -> dict[str, Outcome]:
    async with callers_rig(Options(folder, stt=stt, at_once=AT_ONCE)) as rig:
        outcomes = await rig.run(callers)
    return {f"{outcome.caller.conversation}/{outcome.caller.name}": outcome for outcome in outcomes}


@pytest.mark.parametrize(("stt", "name"), CASES, ids=[f"{stt}-{name}" for stt, name in CASES])
def test_a_caller_gets_what_it_should(ring: Ring, stt: Stt, name: str) -> None:
    outcome = ring(stt)[name]
    assert outcome.passed, "\n".join([*outcome.faults, f"this host stood still for {outcome.stalled_ms:.0f} ms"])
