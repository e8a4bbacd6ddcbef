"""Many calls on one Asterisk and one agent, made by SIPp: fifty at once, and five hundred short ones without a leak."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from rig import rtpcheck
from rig.agent import AgentStack
from rig.line import Line
from rig.sipp import many_calls

pytestmark = [pytest.mark.asterisk, pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(400)]

LONDON = "all-02079460123"
GROWTH_MB = 24.0
"""What the agent's memory may differ by after four hundred more calls: its allocator keeps some of what it got."""


@dataclass(frozen=True)
class Footprint:
    """What the agent's process holds when no call is on it."""

    memory_mb: float
    descriptors: int
    threads: int

    @classmethod
    def of(cls, process: int) -> Footprint:
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
        return cls(
            int(status["VmRSS"].split()[0]) / 1024, len(os.listdir(f"/proc/{process}/fd")), int(status["Threads"])
        )


@pytest_asyncio.fixture(loop_scope="session")
async def stack(line: Line, tmp_path: Path) -> AsyncIterator[AgentStack]:
    async with AgentStack(tmp_path, line.rig.metadata, settings={"RECORD_CALLS": "false"}) as stack:
        await line.rig.set_global("VOICE_AGENT_AUDIO_PORT", str(stack.audio_port))
        await line.rig.set_global("VOICE_AGENT_AGI_PORT", str(stack.agi_port))
        yield stack


async def at_rest(line: Line, stack: AgentStack, calls: int) -> None:
    """Wait until neither Asterisk nor the agent has a call, and every record is written."""
    await line.rig.settle(30)
    async with asyncio.timeout(30), aiohttp.ClientSession() as session:
        while True:
            async with session.get(f"http://127.0.0.1:{stack.http_port}/health") as response:
                if (await response.json())["calls"] == 0 and len(stack.records()) >= calls:
                    return
            await asyncio.sleep(0.2)


async def fill_the_offices_pool(stack: AgentStack) -> None:
    """Have the back office open all the database connections that it keeps: each is a thread, files and a cache."""
    url = f"http://127.0.0.1:{stack.http_port}/did_context"
    async with aiohttp.ClientSession() as session:
        for _ in range(5):
            answers = await asyncio.gather(*(session.post(url, json={"did_number": LONDON[4:]}) for _ in range(40)))
            assert {answer.status for answer in answers} == {200}


async def test_fifty_calls_at_once(line: Line, stack: AgentStack, tmp_path: Path) -> None:
    async with line.caller().call(LONDON) as phone:
        load = await many_calls(
            line.rig, LONDON, tmp_path, calls=50, at_once=50, each_second=10, talk_s=8.0, timeout_s=60
        )
        assert phone.ended.is_set() is False
    assert (load.good, load.failed, load.most_at_once) == (50, 0, 50)
    await at_rest(line, stack, 51)
    records = stack.records()
    assert len(records) == 51
    # Each was greeted by the company that was rung, and none was cut.
    assert {(record["company"], record["ended_by"]) for record in records} == {("Thames Plumbing", "caller")}
    assert all(record["turns"][0]["heard"].startswith("Hello, Thames Plumbing") for record in records)
    # What one of them heard meanwhile: each gap is a real one, and nothing is lost or torn. SIPp, the vendors and fifty
    # calls on the machine of the test may make it stand still; the pace is measured with one call.
    report = rtpcheck.check(phone.packets)
    assert report.problems(jumps=len(report.jumps)) == []
    assert line.rig.complaints() == []


async def test_five_hundred_short_calls_leave_nothing(line: Line, stack: AgentStack, tmp_path: Path) -> None:
    # What is made once (pools, caches, the greeting) is made by the first hundred.
    first = await many_calls(line.rig, LONDON, tmp_path, calls=100, at_once=25, each_second=8, talk_s=2.5, timeout_s=60)
    await at_rest(line, stack, 100)
    await fill_the_offices_pool(stack)
    before, at_asterisk = Footprint.of(stack.pid), await line.rig.descriptors()
    rest = await many_calls(line.rig, LONDON, tmp_path, calls=400, at_once=25, each_second=8, talk_s=2.5, timeout_s=150)
    await at_rest(line, stack, 500)
    after = Footprint.of(stack.pid)
    assert (first.good + rest.good, first.failed + rest.failed) == (500, 0)
    print(f"before {before}, after {after}")
    assert after.memory_mb - before.memory_mb < GROWTH_MB
    assert after.descriptors <= before.descriptors + 4
    assert after.threads <= before.threads + 4  # the default executor makes its few when they are wanted
    assert await line.rig.descriptors() <= at_asterisk + 4
    assert line.rig.complaints() == []
