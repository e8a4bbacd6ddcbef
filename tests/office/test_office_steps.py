"""Long work that others are let into."""

from __future__ import annotations

import asyncio

import pytest

from agent.office import steps


async def turns_of_others(while_: asyncio.Task[list[int]]) -> int:
    turns = 0
    while not while_.done():
        turns += 1
        await asyncio.sleep(0)
    return turns


@pytest.mark.parametrize(("step_s", "least", "most"), [(0.0, 100, 103), (60.0, 1, 3)])
async def test_others_have_their_turn_after_each_step(
    monkeypatch: pytest.MonkeyPatch, step_s: float, least: int, most: int
) -> None:
    monkeypatch.setattr(steps, "STEP_S", step_s)
    work = asyncio.create_task(steps.in_steps(number for number in range(100)))
    assert least <= await turns_of_others(work) <= most
    assert work.result() == list(range(100))
