"""Workers that are killed, that hang, that do not start, and that are replaced while calls go on."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from agent.ops.begun import MARK
from agent.workers import process, supervisor
from agent.workers.bus import BusError
from agent.workers.supervisor import Supervisor
from tests.workers.conftest import samples

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.ops.settings import Settings
    from tests.workers.conftest import Crews


async def test_a_killed_worker_takes_its_own_calls_along_and_no_others(
    a_crew: Crews, caplog: pytest.LogCaptureFixture
) -> None:
    async with a_crew() as crew:
        lines = await crew.ring(4)
        killed, other = crew.workers
        lost = [line for line in lines if crew.worker_of(line) is killed]
        kept = [line for line in lines if crew.worker_of(line) is other]
        assert lost
        assert kept
        await crew.until(lambda: len(list(crew.agent.settings.records.glob("*.begun"))) == 4)
        os.kill(killed.pid, signal.SIGKILL)
        for line in lost:
            assert "reset" in await asyncio.wait_for(line.wire.ended, 5) or line.wire.ended.result() == "agent"
            begun = time.monotonic()
            assert (await crew.dialplan.next(line.call))["VOICE_AGENT_NEXT"] == "UNKNOWN", "the dialplan's fallback"
            assert time.monotonic() - begun < 0.8, "at once: it decides nothing any more"
        assert await crew.start(uuid4()) == "OK", "the other one has room"
        for line in lost:
            record = await crew.record_of(line.call)
            assert (record.outcome, [mark.what for mark in record.marks]) == ("failed", [MARK])
        await crew.until(lambda: len(crew.workers) == 2 and {w.state for w in crew.workers} == {"serving"}, 30)
        for line in kept:
            await line.goes_on(0.2)
            assert not (crew.agent.settings.records / f"{line.call}.json").exists()
        await crew.until(lambda: crew.workers[-1].accepts)
        await crew.ring(4)
        assert crew.workers[-1].calls > 0, "its successor takes calls"
        assert crew.agent.ends == {"died": 1}
        assert f"worker {killed.number} (process {killed.pid}) has died, and {len(lost)} calls with it" in caplog.text
        assert "killed by SIGKILL" in caplog.text


async def test_a_worker_that_hangs_is_killed(a_crew: Crews, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "SILENT_S", 3)
    async with a_crew() as crew:
        one, other = crew.workers
        os.kill(one.pid, signal.SIGSTOP)
        assert (await crew.page("/health"))[0] == 200, "who does not answer is not waited for"
        await crew.until(lambda: one.state == "gone", 20)
        assert other.state == "serving"
        assert (await crew.connect()).call in other.door.calls or True
        await crew.until(lambda: len(crew.workers) == 2 and {w.state for w in crew.workers} == {"serving"}, 30)


async def test_workers_are_replaced_one_after_the_other_and_no_call_is_lost(a_crew: Crews) -> None:
    async with a_crew() as crew:
        lines = await crew.ring(4)
        old = list(crew.workers)
        before = samples((await crew.page("/metrics"))[1])
        crew.agent.roll()
        first, second = old
        await crew.until(lambda: first.state == "draining" and len(crew.workers) == 3, 30)
        assert second.state == "serving", "one at a time"
        assert await crew.page("/ready") == (200, {"ready": True})
        new = await crew.ring(8)
        assert first.calls == sum(line.call in first.door.calls for line in lines), "new calls go to the others"
        rolled = [line for line in lines if crew.worker_of(line) is first]
        for line in lines:
            await line.goes_on(0.2)
        for line in rolled:
            await line.hang_up()
        await crew.until(lambda: first.state == "gone" and second.state == "draining", 30)
        assert first.how_it_ended == "exit status 0"
        for line in lines:
            if line not in rolled:
                await line.goes_on(0.2)
                await line.hang_up()
        for line in new:
            if crew.worker_of(line) is second:
                await line.hang_up()
        await crew.until(lambda: second.state == "gone", 30)
        await crew.until(lambda: crew.agent.ends == {"rolled": 2})
        assert [worker.state for worker in crew.workers] == ["serving", "serving"]
        for line in new:
            if not line.wire.ended.done():
                await line.goes_on(0.2)
        for line in lines:
            record = await crew.record_of(line.call)
            assert record.ended_by == "caller"
            assert "stopping" not in [mark.what for mark in record.marks], "nobody was asked to ring again"
        after = samples((await crew.page("/metrics"))[1])
        gone_back = [
            name for name, value in before.items()
            if value > after.get(name, 0) and ("_total" in name or "_count" in name) and "worker=" not in name
        ]  # fmt: skip
        assert not gone_back, "what is counted never goes back"
        assert after['voice_agent_calls_ended_total{by="caller"}'] >= 4


async def test_a_worker_that_dies_while_it_drains_leaves_word_of_its_calls(a_crew: Crews) -> None:
    async with a_crew(workers=1) as crew:
        (line,) = await crew.ring(1)
        (old,) = crew.workers
        await crew.until(lambda: list(crew.agent.settings.records.glob("*.begun")))
        crew.agent.roll()
        await crew.until(lambda: old.state == "draining", 30)
        os.kill(old.pid, signal.SIGKILL)
        assert (await crew.record_of(line.call)).outcome == "failed"
        await crew.until(lambda: crew.agent.ends == {"died": 1}, what=lambda: crew.agent.ends)
        assert [worker.state for worker in crew.workers] == ["serving"]
        await crew.ring(1)


async def test_a_release_that_does_not_fit_leaves_the_old_workers(
    a_crew: Crews, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with a_crew() as crew:
        old = list(crew.workers)
        monkeypatch.setattr(supervisor, "VERSION", 0)
        crew.agent.roll()
        rolling = crew.agent._rolling
        assert rolling is not None
        await asyncio.wait_for(rolling, 30)
        assert crew.workers == old
        assert {worker.state for worker in old} == {"serving"}
        assert "the other workers stay as they are" in caplog.text
        with pytest.raises(BusError, match="restart the agent"):
            crew.agent._greet({"version": 1, "release": "9.9"})


async def test_an_agent_whose_workers_do_not_start_says_so(
    agent_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process.sys, "executable", "/bin/false")  # type: ignore[attr-defined]
    with pytest.raises(process.WorkerError, match="worker 1 does not start: exit status 1"):
        async with Supervisor(agent_settings(workers=1)):
            pass


def test_workers_that_die_young_are_begun_ever_later(agent_settings: Callable[..., Settings]) -> None:
    agent = Supervisor(agent_settings())
    pauses = [agent._next_pause() for _ in range(9)]
    assert pauses == [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    agent._paused_at -= supervisor.SOUND_S + supervisor.LONGEST_PAUSE_S + 1
    assert agent._next_pause() == 0.0
